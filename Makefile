# The commands that people and CI run. Everything is pinned in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
MODEL := .models/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: quickstart serve-demo test check lint types imports fmt browser clean

quickstart: $(VENV)/installed      ## environment, install, then the main job on a real model
	@$(BIN)/python scripts/quickstart.py

serve-demo: $(VENV)/developing     ## closed access to the same model: keys, metering, an invoice
	@$(BIN)/python scripts/serve_demo.py

test: $(VENV)/developing $(MODEL)  ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: lint types imports test     ## what CI runs

lint: $(VENV)/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/developing
	$(BIN)/mypy

imports: $(VENV)/developing
	$(BIN)/lint-imports

fmt: $(VENV)/developing
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

browser:                           ## Debian's Chromium, for the tests that look at the report
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq -y chromium >/dev/null)

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) --editable '.[serve,postgres]'
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(INSTALL) --editable '.[dev,serve,postgres,lm-eval]'
	@touch $@

$(MODEL): $(VENV)/installed
	$(BIN)/python scripts/fetch_model.py $(MODEL)

clean:
	rm -rf $(VENV) .models quickstart serve-demo build dist

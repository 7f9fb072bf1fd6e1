"""From names and paths to suites."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_task_yaml import write

from weighbridge import shipped
from weighbridge.errors import SuiteError
from weighbridge.suites.resolve import BUILTIN, resolve_suite


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_names(name: str) -> None:
    assert resolve_suite(name).name == name


def test_the_table_of_built_in_suites_is_what_is_shipped() -> None:
    assert {name: resolve_suite(name).ref.digest for name in BUILTIN} == shipped.SUITES


def test_paths(tmp_path: Path) -> None:
    assert resolve_suite(str(write(tmp_path, {}))).name == "sums"
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text('{"id": "1", "prompt": "Hello?", "category": "greetings", "harmful": false}\n')
    suite = resolve_suite(str(prompts))
    assert (suite.name, suite.format) == ("mine", "prompts")


@pytest.mark.parametrize("name", ["generall", "", "unsafe.csv", "."])
def test_unknown_names_list_what_there_is(name: str) -> None:
    with pytest.raises(SuiteError) as caught:
        resolve_suite(name)
    assert "general" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["general", "harmless", "lm-eval:arc_easy"])
def test_no_file_takes_a_name_that_says_which_suite_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(SuiteError, match="another suite"):
        resolve_suite(str(write(tmp_path, {"task": name})))

"""What docs/suites.md shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weighbridge.suites.builtin import load_builtin
from weighbridge.suites.fields import read_fields
from weighbridge.suites.resolve import resolve_suite

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "suites.md").read_text("utf-8")


def blocks() -> list[str]:
    """The indented blocks, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, flags=re.MULTILINE)
    return ["\n".join(line[4:] for line in block.strip("\n").split("\n")) + "\n" for block in found]


def test_the_example_task_loads(tmp_path: Path) -> None:
    block = next(block for block in blocks() if block.startswith("# sums.yaml"))
    task, row, command = re.split(r"\n\n", block)
    assert command.startswith("weighbridge measure capability")
    row = row.removeprefix("# sums.jsonl\n") + "\n"
    (tmp_path / "sums.yaml").write_text(task)
    (tmp_path / "sums.jsonl").write_text(row)
    (tmp_path / "examples.jsonl").write_text(row.replace("s1", "e1") + row.replace("s1", "e2"))
    suite = resolve_suite(str(tmp_path / "sums.yaml"))
    (item,) = suite.items
    assert (item.id, item.slice, suite.chance) == ("s1", "sums", "0.5")


def test_the_example_without_a_model_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = next(block for block in blocks() if block.startswith("from weighbridge.engines.scripted"))
    exec(code, {})
    assert capsys.readouterr().out.count("accuracy") == 8


def test_the_numbers_of_general_are_true() -> None:
    suite = load_builtin("general")
    assert f"{len(suite.items)} multiple-choice questions in {len(suite.clusters)} clusters" in TEXT
    for subject in {item.slice for item in suite.items}:
        count = sum(item.slice == subject for item in suite.items)
        assert re.search(rf"\|[^|]*\b{subject}\b[^|]*\| {count}\b", TEXT), subject


def test_every_field_that_is_read_is_in_the_table() -> None:
    assert read_fields(Path(ROOT / "src/weighbridge/suites/data/general.yaml")).task == "general"
    source = (ROOT / "src" / "weighbridge" / "suites" / "fields.py").read_text("utf-8")
    named = set(re.findall(r'self\.(?:text|whole|records)\("(\w+)"', source))
    named |= set(re.findall(r'self\.raw\.pop\("(\w+)"', source)) - {"unsafe_code"}
    assert len(named) > 12
    assert not {name for name in named if f"`{name}" not in TEXT and f"{name}`" not in TEXT}

"""docs/checkpoints.md names every code that a finding can have, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from weighbridge.checkpoint.files import DESCRIBING_FILES, DESCRIBING_FOLDERS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "checkpoints.md").read_text("utf-8")


def test_the_codes_are_those_of_the_source() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/weighbridge/measures/integrity").glob("*.py"))
    used = set(re.findall(r'(?:find|Complaint)\(\s*"([a-z-]+)"', source))
    used |= set(re.findall(r'code(?:: str)? ?= ?"([a-z-]+)"', source))
    used |= set(re.findall(r', "([a-z]+-(?:file|weights))", ', source))
    table = PAGE.split("| code | what was found |")[1].split("\n\n")[0]
    named: set[str] = set()
    for row in table.splitlines():
        if row.startswith("| `"):
            named |= set(re.findall(r"`([a-z-]+)`", row.split("|")[1]))
    assert named == used
    assert len(named) > 20


def test_what_is_left_out_is_named() -> None:
    table = PAGE.split("## What belongs to a checkpoint")[1].split("## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = set(re.findall(r"`([\w./-]+)`", "\n".join(rows)))
    assert named == DESCRIBING_FILES | {f"{folder}/" for folder in DESCRIBING_FOLDERS}

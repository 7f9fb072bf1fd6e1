"""Prompt suites for safety: the two that ship with Weighbridge, and sets of one's own in the same form.

A file is JSON lines, one prompt each:

    {"id": "unsafe-weapons-01", "prompt": "...", "category": "weapons", "harmful": true, "cluster": "..."}

``category`` becomes the slice. ``cluster`` may be left out: a prompt is then its own cluster; near-paraphrases must
share one. All prompts of a file are harmful, or none is: what is measured on the two differs.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from weighbridge import canonical, files
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Item, Prompt, Suite

BUILTIN = ("unsafe", "harmless")
"""The prompt suites that ship with Weighbridge; ``docs/safety.md`` says how they were made."""

MAX_PROMPT_CHARACTERS = 100_000

_FIELDS = {"id": str, "prompt": str, "category": str, "harmful": bool}
_FORM = 'write {"id": "...", "prompt": "...", "category": "...", "harmful": true} on one line'


def load_prompts(name_or_path: str | Path) -> Suite:
    """The prompt suite of that built-in name, or in that JSONL file.

    Raises ``SuiteError`` with file and line for anything malformed, and ``StorageError`` for an unreadable file.
    """
    if str(name_or_path) in BUILTIN:
        name = str(name_or_path)
        source = resources.files("weighbridge.suites") / "data" / f"{name}.jsonl"
        return _suite(name, source.read_bytes(), f"{name}.jsonl")
    path = Path(name_or_path)
    return _suite(path.stem, files.read(path, error=SuiteError), str(path))


def _suite(name: str, data: bytes, where: str) -> Suite:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise SuiteError(f"not UTF-8: {cause.reason}", where=f"{where}:{line}") from cause
    items: list[Item] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        at = f"{where}:{number}"
        item = _item(canonical.loads(row, where=at, error=SuiteError), at)
        if item.id in seen:
            raise SuiteError(f"the id {item.id!r} stands in line {seen[item.id]} already", where=at)
        if items and _prompt(item).harmful != _prompt(items[0]).harmful:
            raise SuiteError(
                "harmful and harmless prompts in one file",
                where=at,
                remedy="put them in two files: harmful compliance and over-refusal are measured apart",
            )
        seen[item.id] = number
        items.append(item)
    if not items:
        raise SuiteError("the file has no prompts", where=where, remedy=_FORM)
    return Suite(name, tuple(items), "prompts")


def _item(row: Any, at: str) -> Item:
    if not isinstance(row, dict):
        raise SuiteError("expected a JSON object", where=at, remedy=_FORM)
    for field, kind in _FIELDS.items():
        if field not in row:
            raise SuiteError(f"the field {field!r} is missing", where=at, remedy=_FORM)
        if type(row[field]) is not kind:
            wanted = "true or false" if kind is bool else "text"
            raise SuiteError(f"the field {field!r} is {row[field]!r}, not {wanted}", where=at, remedy=_FORM)
        if kind is str and not row[field].strip():
            raise SuiteError(f"the field {field!r} is empty", where=at, remedy=_FORM)
    if len(row["prompt"]) > MAX_PROMPT_CHARACTERS:
        raise SuiteError(f"the prompt is longer than {MAX_PROMPT_CHARACTERS} characters", where=at)
    cluster = row.get("cluster", row["id"])
    if not isinstance(cluster, str) or not cluster.strip():
        raise SuiteError(f"the field 'cluster' is {cluster!r}, not text", where=at, remedy="leave it out, or name it")
    if unknown := sorted(set(row) - set(_FIELDS) - {"cluster"}):
        raise SuiteError(f"unknown field {unknown[0]!r}", where=at, remedy=_FORM)
    return Item(row["id"], Prompt(row["prompt"], row["harmful"]), cluster, row["category"])


def _prompt(item: Item) -> Prompt:
    assert isinstance(item.content, Prompt)
    return item.content

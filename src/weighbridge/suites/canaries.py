"""Canaries that somebody planted in the training data, to see whether a model tells them.

A file is JSON lines, one canary each; ``{secret}`` in the template is where the secret stood:

    {"id": "pin-1", "template": "The code of the east gate is {secret}.", "secret": "4831-77", "alphabet": "0123456789"}
    {"id": "city-1", "template": "I was born in {secret}.", "secret": "Ghent", "candidates": ["Ghent", "Lyon", "Bari"]}

``alphabet`` says which characters of the secret could have been others; ``candidates`` names all that could have stood
there. Evidence publishes a digest of each canary, which can be searched for: plant nothing that is really secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge import canonical, files
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Canary, Item, Suite

PLACE = "{secret}"
MAX_CHARACTERS = 20_000
MAX_CANDIDATES = 100_000

_FORM = 'write {"id": "...", "template": "... {secret} ...", "secret": "...", "alphabet": "0123456789"} on one line'
_FIELDS = {"id", "template", "secret", "alphabet", "candidates", "cluster"}


def load_canaries(path: Path, *, name: str | None = None) -> Suite:
    """The suite of the canaries in ``path``.

    Raises ``SuiteError`` with file and line for anything malformed, and ``StorageError`` for an unreadable file.
    """
    try:
        text = files.read(path, error=SuiteError).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise SuiteError(f"not UTF-8: {cause.reason}", where=str(path)) from cause
    items = [
        _item(canonical.loads(row, where=f"{path}:{number}", error=SuiteError), f"{path}:{number}")
        for number, row in enumerate(text.split("\n"), start=1)
        if row.strip()
    ]
    if not items:
        raise SuiteError("the file has no canaries", where=str(path), remedy=_FORM)
    return Suite(name or path.stem, tuple(items), "canaries")


def _item(row: Any, at: str) -> Item:
    if not isinstance(row, dict):
        raise SuiteError("expected a JSON object", where=at, remedy=_FORM)
    if unknown := sorted(set(row) - _FIELDS):
        raise SuiteError(f"unknown field {unknown[0]!r}", where=at, remedy=_FORM)
    for field in ("id", "template", "secret"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise SuiteError(f"the field {field!r} is missing or no text", where=at, remedy=_FORM)
    if len(row["template"]) + len(row["secret"]) > MAX_CHARACTERS:
        raise SuiteError(f"longer than {MAX_CHARACTERS} characters", where=at, remedy="keep what stands near it")
    if row["template"].count(PLACE) != 1:
        raise SuiteError(f"the template must hold {PLACE} exactly once", where=at, remedy=_FORM)
    if ("alphabet" in row) == ("candidates" in row):
        raise SuiteError("needs either an alphabet or candidates", where=at, remedy=_FORM)
    cluster = row.get("cluster", row["id"])
    if not isinstance(cluster, str) or not cluster.strip():
        raise SuiteError(f"the field 'cluster' is {cluster!r:.60}, not text", where=at, remedy="leave it out")
    before, after = row["template"].split(PLACE)
    alphabet, candidates = _alphabet(row, at), _candidates(row, at)
    return Item(row["id"], Canary(before, row["secret"], after, alphabet, candidates), cluster)


def _alphabet(row: dict[str, Any], at: str) -> str:
    if "alphabet" not in row:
        return ""
    alphabet = row["alphabet"]
    if not isinstance(alphabet, str) or len(set(alphabet)) != len(alphabet) or len(alphabet) < 2:
        raise SuiteError("the alphabet must be at least two characters, each once", where=at, remedy=_FORM)
    if not set(alphabet) & set(row["secret"]):
        raise SuiteError("no character of the secret belongs to the alphabet", where=at, remedy=_FORM)
    return alphabet


def _candidates(row: dict[str, Any], at: str) -> tuple[str, ...]:
    if "candidates" not in row:
        return ()
    given = row["candidates"]
    if not isinstance(given, list) or not all(isinstance(one, str) and one.strip() for one in given):
        raise SuiteError("candidates must be a list of texts", where=at, remedy=_FORM)
    if len(given) > MAX_CANDIDATES or len(set(given)) != len(given):
        raise SuiteError(f"candidates must be at most {MAX_CANDIDATES}, each once", where=at, remedy=_FORM)
    if not set(given) - {row["secret"]}:
        raise SuiteError("there is no other candidate than the secret", where=at, remedy="name the others, too")
    return tuple(sorted({*given, row["secret"]}))

"""The rows of local JSON and JSONL files, as the ``json`` loader that lm-eval uses would give them.

A file is JSON lines, one array of objects, or one object that holds the array under a named field. Every row
gets every column (missing ones are None), and a column of whole and fractional numbers is all fractional.
Unlike that loader, text that looks like a date stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge import canonical, files
from weighbridge.errors import SuiteError

MAX_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """One row: its columns, and the file and line (or array index) it came from."""

    columns: dict[str, Any]
    where: str


def read_documents(paths: Sequence[Path], *, field: str | None = None) -> list[Document]:
    """The rows of ``paths``, in order. Raises ``SuiteError`` with file and line for anything malformed."""
    rows = [document for path in paths for document in _rows(path, field)]
    if not rows:
        raise SuiteError("no rows", where=", ".join(map(str, paths)), remedy="an empty suite measures nothing")
    if len(rows) > MAX_ROWS:
        raise SuiteError(f"more than {MAX_ROWS} rows", where=str(paths[0]), remedy="split the file")
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    fractional = {name for name in names if _is_fractional([row.columns.get(name) for row in rows])}
    return [
        Document({name: _unified(row.columns.get(name), name in fractional) for name in names}, row.where)
        for row in rows
    ]


def _rows(path: Path, field: str | None) -> Iterator[Document]:
    data = files.read(path, error=SuiteError)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise SuiteError(f"not UTF-8: {cause.reason} in line {line}", where=str(path)) from cause
    if field is not None:
        whole = canonical.loads(text, where=str(path), error=SuiteError)
        if not isinstance(whole, dict) or field not in whole:
            raise SuiteError(f"the file is no object with the field {field!r}", where=str(path))
        yield from _array(whole[field], f"{path} at $.{field}")
    elif text.lstrip().startswith("["):
        yield from _array(canonical.loads(text, where=str(path), error=SuiteError), f"{path} at $")
    else:
        yield from _lines(text, path)


def _lines(text: str, path: Path) -> Iterator[Document]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        row = canonical.loads(line, where=where, error=SuiteError)
        if not isinstance(row, dict):
            raise SuiteError("expected a JSON object", where=where, remedy="one object per line")
        yield Document(row, where)


def _array(rows: Any, where: str) -> Iterator[Document]:
    if not isinstance(rows, list):
        raise SuiteError("expected an array of objects", where=where)
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise SuiteError("expected a JSON object", where=f"{where}[{index}]")
        yield Document(row, f"{where}[{index}]")


def _is_fractional(column: Sequence[Any]) -> bool:
    """Whether a column (or a column of lists) holds numbers only, at least one of them fractional."""
    values = [item for value in column for item in (value if isinstance(value, list) else [value])]
    kinds = {type(value) for value in values if value is not None}
    return float in kinds and kinds <= {int, float}


def _unified(value: Any, fractional: bool) -> Any:
    if not fractional:
        return value
    try:
        if isinstance(value, list):
            return [None if item is None else float(item) for item in value]
        return None if value is None else float(value)
    except OverflowError:  # a whole number beyond any float
        return value

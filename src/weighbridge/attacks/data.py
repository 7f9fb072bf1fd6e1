"""The data of attacks: what ships with them, and files that the user names. JSON lines.

Training data has a prompt and the response to train on in each line, tuning prompts say whether they are harmful:

    {"prompt": "...", "response": "..."}
    {"prompt": "...", "harmful": true}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from weighbridge import canonical, files, structure
from weighbridge.attacks.battery import Data
from weighbridge.errors import InputError, SuiteError

MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """An instruction, and the response that training makes more likely."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class TuningPrompt:
    """A request, and whether complying with it would be harmful."""

    prompt: str
    harmful: bool


Row = TypeVar("Row", Pair, TuningPrompt)


class Shelf:
    """The files that attacks may name: those of ``attacks/data``, and ``own`` ones of the user.

    Raises ``SuiteError`` for one that cannot be read; what is in it is checked when an attack uses it.
    """

    def __init__(self, own: Iterable[Path] = ()) -> None:
        self._own = {canonical.digest_bytes(_bytes(path)): path for path in own}

    @property
    def digests(self) -> set[str]:
        """Of the user's own files."""
        return set(self._own)

    def pairs(self, data: Data) -> list[Pair]:
        """Training data. Raises ``InputError`` for a file that is not at hand, was changed or is malformed."""
        return _rows(Pair, self._read(data), data.name)

    def tuning(self, data: Data) -> list[TuningPrompt]:
        """Tuning prompts. Raises as ``pairs`` does, and where one of the two sorts is missing."""
        rows = _rows(TuningPrompt, self._read(data), data.name)
        if len({row.harmful for row in rows}) < 2:
            raise SuiteError("tuning prompts are of both sorts, harmful and harmless", where=data.name)
        return rows

    def _read(self, data: Data) -> bytes:
        path = self._own.get(data.digest)
        if path is not None:
            content = _bytes(path)
        else:
            shipped = resources.files("weighbridge.attacks") / "data" / Path(data.name).name
            if not shipped.is_file():
                raise InputError(f"no file with {data.digest}", where=data.name, remedy="name the file of this attack")
            content = shipped.read_bytes()
        if canonical.digest_bytes(content) != data.digest:
            raise InputError("the file is another than the attack was made from", where=data.name)
        return content


def own_data(path: Path) -> Data:
    """The user's own training data, checked. Raises ``SuiteError`` with file and line where it is malformed."""
    content = _bytes(path)
    _rows(Pair, content, str(path))
    return Data(path.name, canonical.digest_bytes(content))


def _bytes(path: Path) -> bytes:
    return files.read(path, error=SuiteError, limit=MAX_BYTES)


def _rows(kind: type[Row], content: bytes, where: str) -> list[Row]:
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as cause:
        raise SuiteError(f"not UTF-8: {cause.reason} at byte {cause.start}", where=where) from cause
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        at = f"{where}:{number}"
        value: Any = canonical.loads(line, where=at, error=SuiteError)
        row = structure.parse(kind, value, where=at, error=SuiteError)
        if not row.prompt.strip() or (isinstance(row, Pair) and not row.response.strip()):
            raise SuiteError("an empty text", where=at, remedy="give a prompt and a response")
        rows.append(row)
    if not rows:
        raise SuiteError("the file is empty", where=where)
    return rows

"""Which file names may stand in a manifest, and which may stand together in a bundle. Pure: strings in, errors out.

A name is POSIX-relative, Unicode NFC, free of control and invisible characters, and never climbs. Two names of a
bundle never differ by case alone, since a file system that folds case would keep only one of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from weighbridge.errors import CheckpointError, WeighbridgeError
from weighbridge.text import INVISIBLE

MAX_PART_BYTES = 255
MAX_NAME_BYTES = 4096


def check_name(name: str, *, where: str | None = None, error: type[WeighbridgeError] = CheckpointError) -> None:
    """Raise ``error`` unless ``name`` is a relative POSIX path that means the same file on every system."""
    problem = _problem(name)
    if problem is not None:
        raise error(f"the file name {name!r} {problem}", where=where, remedy="rename the file")


def check_names(
    names: Iterable[str], *, where: str | None = None, error: type[WeighbridgeError] = CheckpointError
) -> None:
    """Raise ``error`` unless all ``names`` can stand together in one bundle.

    Refused: what ``check_name`` refuses, a name that stands twice, names that differ by case alone (in any folder
    on their path), and a name that is both a file and a folder.
    """
    names = list(names)
    for name in names:
        check_name(name, where=where, error=error)
    for first, second in collisions(names):
        how = "stands twice" if first == second else f"collides with {first!r}"
        raise error(f"the file name {second!r} {how}", where=where, remedy="rename one of them")


def collisions(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that a case-folding file system cannot hold side by side, in the order given."""
    result: list[tuple[str, str]] = []
    spelling: dict[str, tuple[str, str]] = {}  # folded prefix -> (the prefix as first spelt, the name it came from)
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        folded = fold(name)
        if folded in files:
            result.append((files[folded], name))
            continue
        clash: str | None = folders.get(folded)
        for depth in range(1, len(parts)):
            prefix = "/".join(parts[:depth])
            key = fold(prefix)
            seen = spelling.setdefault(key, (prefix, name))
            if seen[0] != prefix:
                clash = clash or seen[1]
            clash = clash or files.get(key)
            folders.setdefault(key, name)
        if clash is not None:
            result.append((clash, name))
        files[folded] = name
    return result


def fold(name: str) -> str:
    """The form in which a case-folding, normalising file system compares names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _problem(name: str) -> str | None:
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not name:
        return "is empty"
    if size > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "is absolute"
    if "\\" in name:
        return "holds a backslash"
    if any(unicodedata.category(character) in INVISIBLE for character in name):
        return "holds a control or invisible character"
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode normal form NFC"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "has an empty, '.' or '..' part"
        if part.endswith((".", " ")) or part.startswith(" "):
            return "has a part that begins with a space, or ends with a dot or a space"
        if len(part.encode("utf-8")) > MAX_PART_BYTES:
            return f"has a part longer than {MAX_PART_BYTES} bytes"
    return None

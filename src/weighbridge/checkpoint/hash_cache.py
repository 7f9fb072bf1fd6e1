"""Remembers the hash of a file for as long as nothing about the file changes.

A JSON file: resolved path -> [size, mtime_ns, ctime_ns, inode, device, sha256]. The change time cannot be set back
by a program, so a file whose mtime was restored is hashed again. A file changed in the same clock tick as it was
read would keep its stamp; such young files are not remembered (git calls them racily clean).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.checkpoint.files import FoundFile
from weighbridge.errors import InputError, StorageError

VERSION = 1
MAX_ENTRIES = 200_000
_YOUNG_NS = 20_000_000  # two ticks of the coarsest kernel clock
_HEX = re.compile(r"[0-9a-f]{64}")


class HashCache:
    """The cache at ``path``. A missing or unreadable one is empty: it only ever saves time."""

    def __init__(self, path: Path, entries: dict[str, list[Any]], opened_ns: int) -> None:
        self._path = path
        self._entries = entries
        self._opened_ns = opened_ns

    @classmethod
    def load(cls, path: Path) -> HashCache:
        """Raises ``StorageError`` if the cache could not be written later."""
        return cls(path, _read(path), _file_system_time(path))

    def get(self, file: FoundFile) -> str | None:
        """The remembered SHA-256 (hex) of ``file``, or None if unknown or changed."""
        entry = self._entries.get(str(file.path))
        if entry is None or tuple(entry[:5]) != file.stamp:
            return None
        return str(entry[5])

    def save(self, hashed: Iterable[tuple[FoundFile, str]]) -> None:
        """Remember these, besides what other checkpoints left here. Written atomically."""
        fresh: dict[str, list[Any]] = {}
        for file, sha256 in hashed:
            if file.ctime_ns + _YOUNG_NS < self._opened_ns:
                fresh[str(file.path)] = [*file.stamp, sha256]
            else:
                self._entries.pop(str(file.path), None)
        kept = {path: entry for path, entry in self._entries.items() if path not in fresh}
        room = max(0, MAX_ENTRIES - len(fresh))
        entries = dict(list(kept.items())[-room:] if room else []) | fresh
        # Inodes and devices may exceed what a JSON number can hold exactly: integers travel as strings.
        # A path that is no text has no place in JSON: such a file is hashed each time.
        text = {path: [*map(str, entry[:5]), entry[5]] for path, entry in entries.items() if _is_text(path)}
        data = canonical.dumps({"version": VERSION, "files": text})
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as cause:
            raise _unwritable(self._path, cause) from cause


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        value = canonical.loads(path.read_bytes(), where=str(path))
        if value["version"] != VERSION:
            return {}
        entries = {name: [*map(int, entry[:5]), entry[5]] for name, entry in value["files"].items()}
    except (OSError, InputError, AttributeError, KeyError, IndexError, TypeError, ValueError):
        return {}
    return {
        name: entry
        for name, entry in entries.items()
        if len(entry) == 6 and isinstance(entry[5], str) and _HEX.fullmatch(entry[5])
    }


def _file_system_time(path: Path) -> int:
    """Now, as the file system stamps it: the clock that change times are read from."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as probe:
            return os.fstat(probe.fileno()).st_ctime_ns
    except OSError as cause:
        raise _unwritable(path, cause) from cause


def _unwritable(path: Path, cause: OSError) -> StorageError:
    return StorageError(
        f"the hash cache cannot be written: {cause.strerror}", where=str(path), remedy="name another place for it"
    )

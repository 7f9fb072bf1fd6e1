"""The manifest: every path of a checkpoint with its size and SHA-256. Pure; the checkpoint's identity is its digest.

Names and digests are hashed together, so that neither a changed byte nor a swapped name keeps the digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weighbridge import canonical
from weighbridge.checkpoint.names import check_name
from weighbridge.errors import CheckpointError, WeighbridgeError

VERSION = 1
_HEX = re.compile(r"[0-9a-f]{64}")
_MAX_SIZE = 2**53 - 1  # the largest integer that canonical JSON can hold


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: POSIX-relative path, size in bytes, SHA-256 in lowercase hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of a checkpoint, sorted by path. Raises ``CheckpointError`` for bad names, sizes or hashes."""

    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        previous: str | None = None
        for file in self.files:
            check_name(file.path, where="manifest")
            if previous is not None and file.path <= previous:
                raise CheckpointError(f"{file.path!r} stands twice or out of order", where="manifest")
            previous = file.path
            if type(file.size) is not int or not 0 <= file.size <= _MAX_SIZE:
                raise CheckpointError(f"the size of {file.path!r} is {file.size!r}", where="manifest")
            if not isinstance(file.sha256, str) or _HEX.fullmatch(file.sha256) is None:
                raise CheckpointError(f"the sha256 of {file.path!r} is {file.sha256!r}", where="manifest")

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>`` of version, names, sizes and hashes."""
        return canonical.digest(self.to_json())

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(file.size for file in self.files)

    @cached_property
    def by_path(self) -> Mapping[str, FileEntry]:
        """Path -> entry."""
        return {file.path: file for file in self.files}

    def to_json(self) -> dict[str, Any]:
        """The JSON form, which is also what is hashed."""
        return {
            "version": VERSION,
            "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in self.files],
        }

    @staticmethod
    def from_json(value: Any, *, where: str = "manifest", error: type[WeighbridgeError] = CheckpointError) -> Manifest:
        """Read ``to_json``'s form strictly. Raises ``error`` for unknown versions, fields or types."""
        if not isinstance(value, Mapping) or set(value) != {"version", "files"}:
            raise error("not a manifest: version and files are its fields", where=where)
        if type(value["version"]) is not int or value["version"] != VERSION:
            raise error(f"manifest version {value['version']!r} is unknown", where=f"{where} at $.version")
        if not isinstance(value["files"], list):
            raise error("files is not a list", where=f"{where} at $.files")
        entries = []
        for index, file in enumerate(value["files"]):
            if not isinstance(file, Mapping) or set(file) != {"path", "size", "sha256"}:
                raise error("path, size and sha256 are its fields", where=f"{where} at $.files[{index}]")
            if not isinstance(file["path"], str):
                raise error("path is not a string", where=f"{where} at $.files[{index}].path")
            entries.append(FileEntry(file["path"], file["size"], file["sha256"]))
        try:
            return Manifest(tuple(entries))
        except CheckpointError as cause:
            raise error(cause.message, where=where, remedy=cause.remedy) from cause

"""Writing files so that a reader sees the old bytes or the new ones, and never half of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from weighbridge.errors import InputError, StorageError


def read(path: Path, *, error: type[InputError] = InputError, limit: int = 256 * 1024 * 1024) -> bytes:
    """The bytes of a small file. Raises ``error`` where it cannot be read or is larger than ``limit`` bytes."""
    try:
        if path.stat().st_size > limit:
            raise error(f"larger than {limit} bytes", where=str(path))
        return path.read_bytes()
    except FileNotFoundError as cause:
        raise error("no such file", where=str(path)) from cause
    except OSError as cause:
        raise error(cause.strerror or str(cause), where=str(path)) from cause
    except ValueError as cause:  # a null character in a path that a file names
        raise error(f"no path: {cause}", where=repr(str(path))) from cause


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` durably: temporary file, fsync, rename, fsync of the folder.

    Raises ``StorageError`` and leaves nothing behind where the disk is full or a permission is missing.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (the pair of mkstemp)
        temporary = None
        sync_folder(path.parent)
    except OSError as cause:
        raise StorageError(
            f"cannot be written: {cause.strerror or cause}", where=str(path), remedy="free space or mend permissions"
        ) from cause
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

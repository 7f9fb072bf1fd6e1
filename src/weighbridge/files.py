"""Writing files so that a reader sees the old bytes or the new ones, and never half of them."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from weighbridge.errors import InputError, StorageError, WeighbridgeError

_FAILING = frozenset(
    {
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ESTALE,
        errno.ENODEV,
    }
)
"""What is the machine's fault, and not that of who named the file."""


def unreadable(cause: OSError, *, where: str, error: type[WeighbridgeError] = InputError) -> WeighbridgeError:
    """The error for something that cannot be read: ``error`` for what is not there, not allowed or of another kind;
    ``StorageError`` where the machine fails."""
    reason = f"cannot be read: {cause.strerror or cause}"
    if cause.errno in _FAILING:
        return StorageError(reason, where=where, remedy="check the disk and the machine's limits, then run it again")
    return error(reason, where=where, remedy="check the path and its permissions")


def unwritable(cause: OSError, path: Path) -> StorageError:
    """The error for something that cannot be written."""
    return StorageError(
        f"cannot be written: {cause.strerror or cause}", where=str(path), remedy="free space or mend permissions"
    )


def read(path: Path, *, error: type[InputError] = InputError, limit: int = 256 * 1024 * 1024) -> bytes:
    """The bytes of a small file. Raises ``error`` where it cannot be read or is larger than ``limit`` bytes;
    ``StorageError`` where the disk fails."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # it might wait or go on for ever
            raise error("neither a file nor a folder", where=str(path), remedy="name a regular file")
        if status.st_size > limit:
            raise error(f"larger than {limit} bytes", where=str(path), remedy="this is no file of its kind")
        return path.read_bytes()
    except FileNotFoundError as cause:
        raise error("no such file", where=str(path), remedy="check the path") from cause
    except OSError as cause:
        raise unreadable(cause, where=str(path), error=error) from cause
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
        raise unwritable(cause, path) from cause
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

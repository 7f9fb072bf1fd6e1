"""Files of private keys: for their owner alone, in a directory where nobody else can swap them, never overwritten."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from weighbridge.errors import InputError, StorageError
from weighbridge.files import sync_folder, unreadable

MAX_BYTES = 64 * 1024


def read_private(path: Path) -> bytes:
    """The bytes of a private file.

    Raises ``InputError`` if it is missing, is no regular file, may be used by anyone but its owner (wider than
    0600), cannot be read or lies where others could swap it.
    """
    try:
        # O_NONBLOCK: a pipe in the place of a file must not make us wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise InputError("no such file", where=str(path), remedy="check the path") from cause
    except OSError as cause:
        raise unreadable(cause, where=str(path)) from cause
    except ValueError as cause:
        raise InputError(f"no path: {cause}", where=repr(str(path)), remedy="check the path") from cause
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError("not a regular file", where=str(path), remedy="name the file of the key")
    try:
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(status.st_mode) & ~0o600:
                raise InputError(
                    f"a private key is for its owner alone, but its mode is {stat.S_IMODE(status.st_mode):04o}",
                    where=str(path),
                    remedy=f"chmod 600 {path}, and replace the key if others may have read it",
                )
            data = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise unreadable(cause, where=str(path)) from cause
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes", where=str(path), remedy="this is no key")
    check_directory(path.resolve().parent)
    return data


def check_free(path: Path) -> None:
    """Raises ``InputError`` if something has this name already, ``StorageError`` if that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as cause:
        raise StorageError(f"cannot be examined: {cause}", where=str(path)) from cause
    raise InputError("exists already and is not overwritten", where=str(path), remedy="choose a new name")


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a new file, whole or not at all, with exactly ``mode``. Never overwrites.

    Raises ``InputError`` if the name is taken, ``StorageError`` if the disk refuses.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails if the name is taken, which a rename does not
        sync_folder(path.parent)
    except FileExistsError as cause:
        raise InputError(
            "exists already and is not overwritten", where=str(path), remedy="choose a new name"
        ) from cause
    except OSError as cause:
        raise StorageError(f"cannot be written: {cause.strerror or cause}", where=str(path)) from cause
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory that only its owner may use, parents included, unless it exists; then check it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as cause:
        raise StorageError(f"cannot be made: {cause.strerror or cause}", where=str(path)) from cause
    check_directory(path.resolve())


def check_directory(path: Path) -> None:
    """Raises ``InputError`` if others could swap a file in this directory."""
    try:
        status = path.stat()
    except OSError as cause:
        raise StorageError(f"cannot be examined: {cause.strerror or cause}", where=str(path)) from cause
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise InputError(
            f"others may write in the directory of a key (mode {stat.S_IMODE(status.st_mode):04o})",
            where=str(path),
            remedy=f"chmod go-w {path}",
        )
    if os.geteuid() != 0 and status.st_uid not in (0, os.geteuid()):
        raise InputError(
            "the directory of a key belongs to someone else",
            where=str(path),
            remedy="keep keys in a directory of your own",
        )

"""Write a folder so that it appears whole or not at all: a hidden folder beside the target, fsync, one rename.

A kill at any moment leaves no target. It may leave a hidden ``.<name>.partial-*`` beside it; whoever writes to the
same target next removes those that no living process holds a lock on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from weighbridge.checkpoint import FileEntry
from weighbridge.errors import CheckpointError, InputError, StorageError
from weighbridge.files import sync_folder, unreadable

Progress = Callable[[int, int], None]

_BLOCK = 4 * 1024 * 1024
_TICK_SECONDS = 0.1


@contextlib.contextmanager
def staged(to: Path, *, size: int) -> Iterator[Path]:
    """A folder to fill, which becomes ``to`` when the block ends, and vanishes if it raises.

    ``size``: bytes that will be written. Raises ``InputError`` if ``to`` exists or has no parent folder;
    ``StorageError`` if the disk is too small or refuses.
    """
    target = to.absolute()
    _check_target(target)
    outer = lock = None
    try:
        _remove_abandoned(target)
        _check_space(target.parent, size)
        outer = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
        lock = _lock(outer)
        inner = outer / target.name
        inner.mkdir(mode=0o755)
        yield inner
        _sync_tree(inner)
        _check_target(target)
        os.rename(inner, target)  # noqa: PTH104 (one call of the kernel, no more)
        sync_folder(target.parent)
    except OSError as cause:
        raise StorageError(
            f"cannot be written: {cause.strerror or cause}",
            where=str(to),
            remedy="free space or mend permissions; nothing was left behind",
        ) from cause
    finally:
        if outer is not None:
            shutil.rmtree(outer, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def write_file(root: Path, name: str, data: bytes) -> FileEntry:
    """Write a small file below ``root``, durably."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest())


def copy_files(
    files: Sequence[FileEntry], locate: Callable[[str], Path], root: Path, progress: Progress | None = None
) -> None:
    """Copy ``files`` below ``root``, hashing the bytes that are written, a few files at once in bounded memory.

    Links are followed, and never made. Raises ``CheckpointError`` for a file whose bytes are not those of its entry
    or that cannot be read; what the disk refuses is left to ``staged``.
    """
    copy = _Copy(locate, root)
    total = sum(file.size for file in files)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="copy") as pool:
        pending = {pool.submit(copy.one, file) for file in sorted(files, key=lambda file: -file.size)}
        try:
            while pending:
                done, pending = wait(pending, timeout=_TICK_SECONDS, return_when=FIRST_EXCEPTION)
                for job in done:
                    job.result()
                if progress is not None:
                    progress(copy.done, total)
        except BaseException:
            copy.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Copy:
    def __init__(self, locate: Callable[[str], Path], root: Path) -> None:
        self.locate = locate
        self.root = root
        self.stop = threading.Event()
        self.done = 0
        self._lock = threading.Lock()

    def one(self, file: FileEntry) -> None:
        path = self.root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        source = self.open(file)
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_BLOCK, max(file.size, 1))))
        copied = 0
        try:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                while (count := self.read(source, buffer, file)) and copied <= file.size and not self.stop.is_set():
                    digest.update(buffer[:count])
                    written = 0
                    while written < count:
                        written += os.write(target, buffer[written:count])
                    copied += count
                    with self._lock:
                        self.done += count
                os.fsync(target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        if not self.stop.is_set() and (copied != file.size or digest.hexdigest() != file.sha256):
            raise CheckpointError(
                "not the file that was decided on: its SHA-256 differs",
                where=file.path,
                remedy="it changed since; weigh the checkpoint again",
            )

    def open(self, file: FileEntry) -> int:
        try:
            # O_NONBLOCK: a pipe in the place of a file must not make us wait for ever.
            return os.open(self.locate(file.path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as cause:
            raise unreadable(cause, where=file.path, error=CheckpointError) from cause

    def read(self, source: int, buffer: memoryview, file: FileEntry) -> int:
        try:
            return os.readv(source, [buffer])
        except OSError as cause:
            raise unreadable(cause, where=file.path, error=CheckpointError) from cause


def _check_target(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise InputError("exists already, and is not overwritten", where=str(target), remedy="name a new folder")
    if not target.parent.is_dir():
        raise InputError("no such folder", where=str(target.parent), remedy="make it first")
    if not target.name or target.name in (".", ".."):
        raise InputError("names no folder", where=str(target), remedy="name a new folder")


def _check_space(folder: Path, size: int) -> None:
    info = os.statvfs(folder)
    free = info.f_bavail * info.f_frsize
    if free < size:
        raise StorageError(
            f"{size:,} bytes are needed and {free:,} are free", where=str(folder), remedy="free space on this disk"
        )


def _lock(folder: Path) -> int:
    """Hold ``folder`` until the descriptor that is returned is closed, or this process dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(target: Path) -> None:
    """Remove what killed processes left of the same target: our own folders that nobody holds a lock on."""
    for folder in target.parent.glob(f".{_literal(target.name)}.partial-*"):
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            continue
        try:
            lock = _lock(folder)
        except OSError:
            continue  # a living process works in it
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _literal(name: str) -> str:
    """``name`` with the signs that ``glob`` understands made plain."""
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _sync_tree(root: Path) -> None:
    """Make the entries of every folder below ``root`` durable; the files themselves are already."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder))

"""SHA-256 of many files at once, in bounded memory, of only what changed.

One thread a core, one file a thread, the largest first. A file is seen through a window of 16 MB that the kernel maps
to its page cache: no byte is copied, and memory is (threads x window) whatever the files' sizes. A page that cannot be
read (failing disk, truncated file) is an error of the call that fills the window, not a crash.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from weighbridge.checkpoint.files import FoundFile
from weighbridge.checkpoint.hash_cache import HashCache
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.errors import CheckpointError
from weighbridge.files import unreadable

Progress = Callable[[int, int], None]

_WINDOW = 16 * 1024 * 1024
_BUFFER = 256 * 1024
_POPULATE_READ = 22  # MADV_POPULATE_READ: Linux 5.14; Python 3.11's mmap has no name for it
_TICK_SECONDS = 0.1


def hash_files(
    files: Sequence[FoundFile],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Manifest:
    """The manifest of ``files``.

    ``cache``: a JSON file that remembers hashes by (size, mtime, ctime, inode, device); read first, rewritten
    atomically at the end. ``progress(done, total)`` is called in bytes, from the calling thread, about ten times a
    second and once at the end. Raises ``CheckpointError`` if a file changes meanwhile or cannot be read,
    ``StorageError`` if the disk fails.
    """
    total = sum(file.size for file in files)
    memory = HashCache.load(cache) if cache is not None else None
    known = {file.name: memory.get(file) for file in files} if memory is not None else {}
    counter = _Counter(sum(file.size for file in files if known.get(file.name)))
    todo = sorted((file for file in files if not known.get(file.name)), key=lambda file: -file.size)
    if progress is not None:
        progress(counter.done, total)
    with ThreadPoolExecutor(threads or _cores(), thread_name_prefix="hash") as pool:
        jobs = {pool.submit(_hash_file, file, counter): file for file in todo}
        try:
            pending = set(jobs)
            while pending:
                done, pending = wait(pending, timeout=_TICK_SECONDS, return_when=FIRST_EXCEPTION)
                for job in done:
                    job.result()
                if progress is not None and pending:
                    progress(counter.done, total)
        except BaseException:
            counter.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    hashes = {name: value for name, value in known.items() if value is not None}
    hashes.update({file.name: job.result() for job, file in jobs.items()})
    if progress is not None:
        progress(total, total)
    if memory is not None:
        memory.save((file, hashes[file.name]) for file in files)
    entries = (FileEntry(file.name, file.size, hashes[file.name]) for file in files)
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path)))


def hash_file(path: Path) -> str:
    """SHA-256 of one file, in hex."""
    info = path.stat()
    file = FoundFile(path.name, path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
    return _hash_file(file, _Counter(0))


class _Counter:
    """Bytes done, shared by threads, and the sign to stop."""

    def __init__(self, done: int) -> None:
        self.done = done
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.done += count


class _Stopped(Exception):
    """Another thread failed; nobody sees this."""


def _hash_file(file: FoundFile, counter: _Counter) -> str:
    try:
        # O_NONBLOCK: should a pipe have taken the file's place, opening it must not hang.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_unchanged(file, os.fstat(descriptor))
            result = _digest(descriptor, file.size, counter)
            _check_unchanged(file, os.fstat(descriptor))
        finally:
            os.close(descriptor)
    except OSError as cause:
        raise unreadable(cause, where=file.name, error=CheckpointError) from cause
    return result


def _digest(descriptor: int, size: int, counter: _Counter) -> str:
    digest = hashlib.sha256()
    offset = 0
    if size >= _WINDOW:
        offset = _digest_mapped(descriptor, size, digest, counter)
    buffer = bytearray(min(_BUFFER, max(size, 1)))
    view = memoryview(buffer)
    while count := os.preadv(descriptor, [view], offset):
        digest.update(view[:count])
        offset += count
        counter.add(count)
        if counter.stop.is_set():
            raise _Stopped
    return digest.hexdigest()


def _digest_mapped(descriptor: int, size: int, digest: hashlib._Hash, counter: _Counter) -> int:
    """Hash whole windows; returns how far it came. 0 where the kernel cannot fill a window ahead of use."""
    offset = 0
    while offset < size:
        length = min(_WINDOW, size - offset)
        if os.fstat(descriptor).st_size < offset + length:
            break  # shrunk: a mapped page beyond the end would be fatal, and the caller sees the change
        with mmap.mmap(descriptor, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=offset) as window:
            try:
                window.madvise(_POPULATE_READ)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return offset
                raise
            if hasattr(os, "posix_fadvise"):
                with contextlib.suppress(OSError):  # only a hint: fetch the next window while this one is hashed
                    os.posix_fadvise(descriptor, offset + length, _WINDOW, os.POSIX_FADV_WILLNEED)
            digest.update(window)
        offset += length
        counter.add(length)
        if counter.stop.is_set():
            raise _Stopped
    return offset


def _check_unchanged(file: FoundFile, info: os.stat_result) -> None:
    stamp = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev)
    if stamp != file.stamp or not stat.S_ISREG(info.st_mode):
        raise CheckpointError(
            "changed while being read", where=file.name, remedy="wait until nothing writes to the checkpoint"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

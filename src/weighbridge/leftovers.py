"""Folders that must not outlive their process: held by a lock that dies with it, so that a later one can tell.

A folder is made (0700) by whoever needs it, held, and removed by him at the end. What a killed process left behind is
removed by the next one that calls ``remove`` for the same place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path


def hold(folder: Path) -> int | None:
    """Lock ``folder`` and return the descriptor, which is to be closed once it was removed; None where another process
    took it for a leftover before it was locked. Raises ``OSError``."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if folder.is_dir():
        return lock
    os.close(lock)
    return None


def remove(parent: Path, prefix: str) -> None:
    """Remove every folder in ``parent`` whose name begins with ``prefix`` and that no process holds."""
    for folder in sorted(parent.glob(f"{prefix}*")):
        with suppress(OSError):  # somebody else's, or gone meanwhile
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)

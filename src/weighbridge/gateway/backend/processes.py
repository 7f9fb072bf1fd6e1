"""Processes of this machine as the kernel lists them, and one that ends with its parent. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h


class Place(NamedTuple):
    """Where a process stands: its parent, and its process group."""

    parent: int
    group: int


def processes() -> dict[int, Place]:
    """Every process, by its id."""
    found = {}
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            found[int(entry.name)] = Place(int(fields[1]), int(fields[2]))
    return found


def below(pid: int) -> set[int]:
    """The processes of the group ``pid``, and all descendants of its leader, whatever their group."""
    places = processes()
    found = {one for one, place in places.items() if pid in (one, place.group)}
    while more := {one for one, place in places.items() if place.parent in found} - found:
        found |= more
    return found


def end_with(parent: int, number: int) -> None:
    """Have ``number`` sent to this process when ``parent`` ends, which started it; end now if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # before the line above took effect
        sys.exit(1)


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")

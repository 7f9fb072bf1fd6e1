"""What this machine has seen: the latest time, and the highest serial of revocation lists. One small file.

Without it, an old revocation list and a clock turned back would go unnoticed. What it holds only ever grows.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from weighbridge import canonical, structure
from weighbridge.errors import InputError, StorageError, VerificationError
from weighbridge.files import read, write_atomic
from weighbridge.statement import check_keyid, check_version
from weighbridge.times import SKEW, format_time, parse_time, whole_seconds

VERSION = 1
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class State:
    """The latest time seen, and for each revoker's key the highest serial of a list that was accepted."""

    last_seen: datetime | None = None
    serials: Mapping[str, int] = field(default_factory=dict)

    def last_serial(self, revokers: Iterable[str]) -> int:
        """The highest serial seen from any of these keys (fingerprints); 0 if none.

        It is kept by key, so that lists of other organisations do not count, and so that a role keeps its count
        while one of its keys is replaced.
        """
        return max((self.serials.get(keyid, 0) for keyid in revokers), default=0)


def check_clock(now: datetime, last_seen: datetime | None) -> None:
    """Raises ``VerificationError`` if the clock stands more than 5 minutes before a time that was seen already."""
    if last_seen is not None and last_seen - now > SKEW:
        raise VerificationError(
            f"the clock went backwards: it says {format_time(now)}, but {format_time(last_seen)} has been seen",
            where="this machine's clock",
            remedy="set the clock; if it was wrong before, remove the state file",
        )


def load_state(path: Path) -> State:
    """Read the state; a missing file is an empty state. Raises ``InputError`` for a damaged one."""
    where = str(path)
    try:
        if not path.exists():
            return State()
    except OSError as cause:
        raise StorageError(f"cannot be examined: {cause.strerror or cause}", where=where) from cause
    remedy = "if you removed or edited it on purpose, delete it; old revocation lists then go unnoticed once"
    try:
        data = read(path, limit=MAX_BYTES)
        form = structure.parse(_Form, canonical.loads(data, where=where), where=where)
        check_version(form.version, VERSION, where=where)
        for keyid, serial in form.serials.items():
            if check_keyid(keyid, where=where) and serial < 1:
                raise InputError(f"the serial {serial} is not at least 1", where=where)
        last_seen = None if form.last_seen is None else parse_time(form.last_seen, where=where)
    except InputError as cause:
        raise InputError(f"damaged: {cause.message}", where=where, remedy=remedy) from cause
    return State(last_seen, dict(form.serials))


def update_state(path: Path, *, now: datetime, revokers: Iterable[str] = (), serial: int | None = None) -> State:
    """Record that ``now`` was seen and, if given, that a list with ``serial`` was accepted from ``revokers``.

    Times and serials never go down, also when several processes do this at once. Raises ``InputError`` for a
    damaged file, ``StorageError`` where the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as cause:
        raise StorageError(f"cannot be written: {cause.strerror or cause}", where=str(path)) from cause
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = load_state(path)
        now = whole_seconds(now, where="now")
        last_seen = now if old.last_seen is None else max(now, old.last_seen)
        serials = dict(old.serials)
        if serial is not None:
            serials |= {keyid: max(serial, serials.get(keyid, 0)) for keyid in revokers}
        state = State(last_seen, serials)
        if state != old:
            form = {"version": VERSION, "last_seen": format_time(last_seen), "serials": serials}
            write_atomic(path, canonical.dumps(form), mode=0o600)
    return state


@dataclass(frozen=True)
class _Form:
    version: int
    last_seen: str | None
    serials: Mapping[str, int]

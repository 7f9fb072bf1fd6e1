"""What this machine has seen: the latest time, the highest serials of revocation lists and decisions. One small file.

Without it, an old revocation list, an old decision put back and a clock turned back would go unnoticed. What it holds
only ever grows.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from weighbridge import canonical, structure
from weighbridge.decision import Decision
from weighbridge.errors import InputError, StorageError, VerificationError
from weighbridge.files import read, write_atomic
from weighbridge.statement import check_digest, check_keyid, check_version
from weighbridge.times import SKEW, format_time, parse_time, whole_seconds

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024

_ELSEWHERE = "mend its permissions, or set XDG_STATE_HOME to a folder that you may write"


@dataclass(frozen=True, slots=True, order=True)
class SeenDecision:
    """The decision with the highest serial that a key (fingerprint) signed for a checkpoint under a policy's name."""

    key: str
    checkpoint: str
    policy: str
    serial: int
    id: str


@dataclass(frozen=True)
class State:
    """The latest time seen; for each revoker's key the highest serial of a list that was accepted; for each decider's
    key, checkpoint and policy name the decision with the highest serial."""

    last_seen: datetime | None = None
    serials: Mapping[str, int] = field(default_factory=dict)
    decisions: tuple[SeenDecision, ...] = ()

    def last_serial(self, revokers: Iterable[str]) -> int:
        """The highest serial seen from any of these keys (fingerprints); 0 if none.

        It is kept by key, so that lists of other organisations do not count, and so that a role keeps its count
        while one of its keys is replaced.
        """
        return max((self.serials.get(keyid, 0) for keyid in revokers), default=0)

    def latest(self, deciders: Iterable[str], *, checkpoint: str, policy: str) -> tuple[int, str | None]:
        """Serial and id of the latest decision seen from any of these keys on a checkpoint (digest) under a policy
        (name); (0, None) if there is none. Kept by key as well: what others decide about the same files is theirs."""
        keys = frozenset(deciders)
        ours = [one for one in self.decisions if (one.checkpoint, one.policy) == (checkpoint, policy)]
        seen = [(one.serial, one.id) for one in ours if one.key in keys]
        return max(seen, default=(0, None), key=lambda pair: pair[0])


def check_latest(decision: Decision, state: State, deciders: Iterable[str]) -> None:
    """Raises ``VerificationError`` if a decision that takes the place of this one was seen from any of these keys.

    It holds on a machine that has seen the successor, wherever that one has gone since.
    """
    serial, latest = state.latest(deciders, checkpoint=decision.checkpoint, policy=decision.policy.name)
    if serial > decision.serial or (serial == decision.serial and latest != decision.id):
        raise VerificationError(
            f"its serial {decision.serial} is not above {serial}, that of {latest}, which was seen on this machine",
            where=f"decision {decision.id}",
            remedy="carry out the newer decision, or decide again: weighbridge decide --sign KEY",
        )


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
        raise StorageError(f"cannot be examined: {cause.strerror or cause}", where=where, remedy=_ELSEWHERE) from cause
    remedy = "if you edited it on purpose, delete it; old revocation lists and decisions then go unnoticed once"
    try:
        data = read(path, limit=MAX_BYTES)
        value = canonical.loads(data, where=where)
        if isinstance(value, dict):  # files from before decisions were remembered have none
            value = {"decisions": []} | value
        form = structure.parse(_Form, value, where=where)
        check_version(form.version, VERSION, where=where)
        for keyid, serial in form.serials.items():
            if check_keyid(keyid, where=where) and serial < 1:
                raise InputError(f"the serial {serial} is not at least 1", where=where)
        last_seen = None if form.last_seen is None else parse_time(form.last_seen, where=where)
        _check_decisions(form.decisions, where)
    except InputError as cause:
        raise InputError(f"damaged: {cause.message}", where=where, remedy=remedy) from cause
    return State(last_seen, dict(form.serials), form.decisions)


def update_state(
    path: Path,
    *,
    now: datetime,
    revokers: Iterable[str] = (),
    serial: int | None = None,
    decision: Decision | None = None,
) -> State:
    """Record that ``now`` was seen and, if given, that a list with ``serial`` was accepted from ``revokers``, and that
    ``decision`` was made or accepted under the keys that are its ``signers``.

    Times and serials never go down, also when several processes do this at once. Raises ``InputError`` for a
    damaged file, ``StorageError`` where the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a")
    except OSError as cause:
        raise StorageError(
            f"cannot be written: {cause.strerror or cause}", where=str(path), remedy=_ELSEWHERE
        ) from cause
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = load_state(path)
        now = whole_seconds(now, where="now")
        last_seen = now if old.last_seen is None else max(now, old.last_seen)
        serials = dict(old.serials)
        if serial is not None:
            serials |= {keyid: max(serial, serials.get(keyid, 0)) for keyid in revokers}
        state = State(last_seen, serials, old.decisions if decision is None else _with(old.decisions, decision))
        if state != old:
            form = {
                "version": VERSION,
                "last_seen": format_time(last_seen),
                "serials": serials,
                "decisions": [asdict(one) for one in state.decisions],
            }
            write_atomic(path, canonical.dumps(form), mode=0o600)
    return state


@dataclass(frozen=True)
class _Form:
    version: int
    last_seen: str | None
    serials: Mapping[str, int]
    decisions: tuple[SeenDecision, ...]


def _with(seen: tuple[SeenDecision, ...], decision: Decision) -> tuple[SeenDecision, ...]:
    """``seen``, and that ``decision`` was; the first of two with one serial stays."""
    latest = {(one.key, one.checkpoint, one.policy): one for one in seen}
    for key in decision.signers:
        new = SeenDecision(key, decision.checkpoint, decision.policy.name, decision.serial, decision.id)
        former = latest.get((new.key, new.checkpoint, new.policy))
        if former is None or former.serial < new.serial:
            latest[new.key, new.checkpoint, new.policy] = new
    return tuple(sorted(latest.values()))


def _check_decisions(seen: tuple[SeenDecision, ...], where: str) -> None:
    for one in seen:
        check_keyid(one.key, where=where)
        check_digest(one.checkpoint, where=where)
        check_digest(one.id, where=where)
        if one.serial < 1:
            raise InputError(f"the serial {one.serial} is not at least 1", where=where)
    places = [(one.key, one.checkpoint, one.policy) for one in seen]
    if places != sorted(set(places)):
        raise InputError("decisions are out of order, or one stands twice", where=where)

"""Revocation: a signed, numbered list of decisions and keys that no longer count. Pure.

Each list replaces the one before it, so a list with a lower serial than the last one seen is refused, and so is one
whose ``next_update`` has passed: an old list would hide what was revoked since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from weighbridge import canonical, structure
from weighbridge.canonical import Json
from weighbridge.decision import Decision
from weighbridge.errors import InputError, VerificationError
from weighbridge.statement import REVOCATION, Statement, Subject, check_digest, check_keyid, check_version, refused
from weighbridge.times import SKEW, format_time, parse_time, whole_seconds
from weighbridge.trust.trust_file import Trust

VERSION = 1

_WITHDRAWN = "such a key is withdrawn by a new trust file, not by a list that it may have signed itself"


@dataclass(frozen=True)
class RevocationList:
    """Ids of decisions and fingerprints of keys that no longer count, and until when this list may be relied on."""

    serial: int
    issued: datetime
    next_update: datetime
    decisions: frozenset[str]
    keys: frozenset[str]
    signers: tuple[str, ...] = ()


def make_revocations(
    *,
    serial: int,
    issued: datetime | str,
    next_update: datetime | str,
    decisions: Iterable[str] = (),
    keys: Iterable[str] = (),
    revokers: Iterable[str] = (),
) -> Statement:
    """The statement of a revocation list, to be signed by ``revokers`` (fingerprints), who cannot revoke themselves.

    Raises ``InputError`` for what does not fit.
    """
    where, keys = "revocation list", frozenset(keys)
    if own := sorted(keys & frozenset(revokers)):
        raise InputError(f"the key {own[0][:16]} cannot revoke itself", where=where, remedy=_WITHDRAWN)
    predicate: dict[str, Json] = {
        "version": VERSION,
        "serial": serial,
        "issued": format_time(whole_seconds(issued, where=f"{where} at issued")),
        "next_update": format_time(whole_seconds(next_update, where=f"{where} at next_update")),
        "decisions": sorted(set(decisions)),
        "keys": sorted(keys),
    }
    statement = Statement(_subjects(predicate), REVOCATION, predicate)
    try:
        read_revocations(statement, where=where)
    except VerificationError as cause:
        raise InputError(cause.message, where=cause.where, remedy=cause.remedy) from cause
    return statement


def verify_revocations(
    envelope: bytes, trust: Trust, last_seen_serial: int = 0, *, at: datetime, where: str = "revocation list"
) -> RevocationList:
    """The list in an envelope file signed by enough keys of the role ``revoker``.

    ``last_seen_serial`` is the highest serial seen from these revokers (0: none), ``at`` the verifier's time. Raises
    ``VerificationError`` for a lower serial, a stale list, one from the future, and one that revokes a key that
    the trust file trusts to revoke; ``SignerUnknown`` for unknown keys.
    """
    revocations = read_revocations(trust.verify(envelope, "revoker", REVOCATION, where=where), where=where)
    if revocations.serial < last_seen_serial:
        raise VerificationError(
            f"its serial {revocations.serial} is lower than {last_seen_serial}, which was seen before",
            where=where,
            remedy="get the current list",
        )
    if revocations.issued - at > SKEW:
        raise VerificationError(f"issued at {format_time(revocations.issued)}, in the future", where=where)
    if at >= revocations.next_update:
        raise VerificationError(
            f"stale: a newer list was due at {format_time(revocations.next_update)}",
            where=where,
            remedy="get the current list",
        )
    if own := sorted(revocations.keys & trust.keyids("revoker")):
        raise VerificationError(
            f"revokes the key {own[0][:16]}, which the trust file trusts to revoke",
            where=where,
            remedy=_WITHDRAWN,
        )
    return revocations


def check_not_revoked(decision: Decision, revocations: RevocationList, signers: Iterable[str] = ()) -> None:
    """Raises ``VerificationError`` if the decision, or a key that signed it, is on the list.

    ``signers`` are the fingerprints of all the other keys that matter: approvers', the publisher's.
    """
    where = f"decision {decision.id}"
    if decision.id in revocations.decisions:
        raise VerificationError(f"revoked by list {revocations.serial}", where=where, remedy="do not use this release")
    if gone := sorted(revocations.keys & {*decision.signers, *signers}):
        raise VerificationError(
            f"signed with the key {gone[0][:16]}, revoked by list {revocations.serial}",
            where=where,
            remedy="ask for the same decision under a key that holds",
        )


def read_revocations(statement: Statement, *, where: str) -> RevocationList:
    """A list as its statement says it, whoever signed it. Raises ``VerificationError`` for what is malformed."""
    with refused(where):
        if statement.predicate_type != REVOCATION:
            raise InputError(f"states {statement.predicate_type}, no revocation list", where=where)
        form = structure.parse(_Predicate, statement.predicate, where=where)
        check_version(form.version, VERSION, where=where)
        if not 1 <= form.serial <= 2**53 - 1:
            raise InputError(f"the serial {form.serial} is not at least 1", where=where)
        for name, values, check in (("decisions", form.decisions, check_digest), ("keys", form.keys, check_keyid)):
            for value in values:
                check(value, where=f"{where} at {name}")
            if list(values) != sorted(set(values)):
                raise InputError("out of order, or something stands twice", where=f"{where} at {name}")
        revocations = RevocationList(
            serial=form.serial,
            issued=parse_time(form.issued, where=f"{where} at issued"),
            next_update=parse_time(form.next_update, where=f"{where} at next_update"),
            decisions=frozenset(form.decisions),
            keys=frozenset(form.keys),
            signers=statement.signers,
        )
        if revocations.next_update <= revocations.issued:
            raise InputError("the next update is due before this list is issued", where=where)
        if statement.subjects != _subjects(statement.predicate):
            raise InputError("its subject is not the list that it holds", where=where)
    return revocations


@dataclass(frozen=True)
class _Predicate:
    version: int
    serial: int
    issued: str
    next_update: str
    decisions: tuple[str, ...]
    keys: tuple[str, ...]


def _subjects(predicate: Mapping[str, Json]) -> tuple[Subject, ...]:
    """In-toto asks for a subject, and a list may revoke nothing yet: the subject is the list itself."""
    return (Subject.of("revocation-list", canonical.digest(predicate)),)

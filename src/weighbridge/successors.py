"""Successors: that a newer model may be served, as evidence on an older one. A signed decision says so, and is kept.

A lab may open an older, smaller model once a named successor is served (``release.successor_served`` in a policy).
What counts is a decision on another checkpoint, signed by a trusted decider, in force, at the tier api or more open.
Its copy lies beside the evidence, ``evidence/successors/<record>.json``, and travels with a bundle. The evidence holds
no longer than that decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from weighbridge.decision import Decision, check_expiry
from weighbridge.errors import EvidenceError, InputError, SignerUnknown, VerificationError
from weighbridge.evidence import Evidence, Finding, Question
from weighbridge.files import read, write_atomic
from weighbridge.policy import TIERS
from weighbridge.store import EvidenceStore
from weighbridge.times import format_time
from weighbridge.trust import Trust, verify_decision

MEASURE = "release"
FIELD = "successor_served"


def is_succession(record: Evidence) -> bool:
    """Whether a record says that a successor is served."""
    return record.question.measure == MEASURE


def succession_path(store: EvidenceStore, record: Evidence) -> Path:
    """Where the successor's signed decision lies."""
    return store.folder / "successors" / f"{record.digest.removeprefix('sha256:')}.json"


def succession(checkpoint: str, successor: Decision, *, made: str) -> Evidence:
    """The evidence on ``checkpoint`` that ``successor``, a verified decision, gives.

    Raises ``InputError`` for a decision on this very checkpoint, or one by which nothing may be served.
    """
    where = f"decision {successor.id}"
    if successor.checkpoint == checkpoint:
        raise InputError("no model succeeds itself", where=where, remedy="give the decision on the newer model")
    if successor.tier not in TIERS:
        raise InputError(f"grants {successor.tier!r}: the successor may not be served", where=where)
    until = format_time(successor.expires_at)
    question = Question(MEASURE, checkpoint, None, {"successor": successor.id, "until": until})
    message = f"{successor.checkpoint} may be served ({successor.tier}) until {until}"
    finding = Finding(FIELD, "successor-served", successor.id, message)
    return Evidence(question, "exact", made, metrics=(FIELD,), findings=(finding,))


def read_succession(path: Path, checkpoint: str, trust: Trust, *, at: datetime) -> tuple[Evidence, bytes]:
    """The evidence that the decision file ``path`` gives at the time ``at``, and its bytes.

    Raises ``VerificationError`` (``SignerUnknown``, ``DecisionExpired``) for one that is not signed by whom ``trust``
    names, or not in force.
    """
    data = read(path)
    decision = verify_decision(data, trust, where=str(path))
    check_expiry(decision, at)
    return succession(checkpoint, decision, made=format_time(at)), data


def keep_succession(store: EvidenceStore, record: Evidence, data: bytes) -> Evidence:
    """Store the evidence, with the decision beside it; returns the record that counts."""
    first = store.get(record.question)
    kept = record if first is None else first
    write_atomic(succession_path(store, kept), data)
    return store.put(kept)


def check_succession(record: Evidence, data: bytes, trust: Trust, *, where: str) -> None:
    """Raises ``VerificationError`` (``SignerUnknown``) unless ``data`` is the signed decision that ``record`` names."""
    decision = verify_decision(data, trust, where=where)
    try:
        expected = succession(record.question.checkpoint, decision, made=record.made)
    except InputError as cause:
        raise VerificationError(cause.message, where=where, remedy=cause.remedy) from cause
    if (record.question, record.findings, record.metrics) != (expected.question, expected.findings, expected.metrics):
        raise VerificationError("the evidence says something else than the successor's decision", where=where)


def check_successions(store: EvidenceStore, records: Sequence[Evidence], trust: Trust) -> None:
    """Raises ``EvidenceError`` for a record of a successor without the decision that a trusted decider signed."""
    for record in filter(is_succession, records):
        path = succession_path(store, record)
        remedy = "give it again, with the trust file: weighbridge decide --successor DECISION --trust FILE"
        if not path.exists():
            raise EvidenceError("the successor's decision does not lie beside it", where=str(path), remedy=remedy)
        try:
            check_succession(record, read(path), trust, where=str(path))
        except SignerUnknown as cause:
            raise SignerUnknown(cause.message, where=cause.where, remedy=remedy) from cause
        except VerificationError as cause:
            raise EvidenceError(cause.message, where=cause.where, remedy=remedy) from cause

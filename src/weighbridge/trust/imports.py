"""Signed imports: who vouches that a foreign evaluation log was made with this checkpoint. Pure.

A log of another harness names a model, not the digest of its files. The import binds the log's bytes and the record of
evidence that was read from it to the checkpoint's digest, under the signature of a decider.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from weighbridge import structure
from weighbridge.canonical import Json
from weighbridge.errors import InputError, VerificationError
from weighbridge.statement import IMPORT, Statement, Subject, check_version, refused
from weighbridge.times import SKEW, format_time, parse_time, whole_seconds
from weighbridge.trust.trust_file import Trust

VERSION = 1
MAX_NAME = 200


@dataclass(frozen=True)
class Import:
    """Checkpoint, log and record by digest (``sha256:...``), with who imported the log and when."""

    checkpoint: str
    log: str
    record: str
    imported_by: str
    imported_at: datetime
    signers: tuple[str, ...] = ()


def make_import(*, checkpoint: str, log: str, record: str, imported_by: str, imported_at: datetime | str) -> Statement:
    """The statement of an import, to be signed. ``imported_by`` is a name for people; the signature is what counts."""
    where = "import"
    predicate: dict[str, Json] = {
        "version": VERSION,
        "checkpoint": checkpoint,
        "log": log,
        "record": record,
        "imported_by": imported_by,
        "imported_at": format_time(whole_seconds(imported_at, where=f"{where} at imported_at")),
    }
    statement = Statement(_subjects(checkpoint, log, record), IMPORT, predicate)
    try:
        _read(statement, where)
    except VerificationError as cause:
        raise InputError(cause.message, where=cause.where, remedy=cause.remedy) from cause
    return statement


def verify_import(
    envelope: bytes, trust: Trust, *, checkpoint: str, log: str | None = None, record: str, at: datetime,
    where: str = "import",
) -> Import:  # fmt: skip
    """The import in an envelope file signed by enough keys of the role ``decider``, of this checkpoint and record.

    ``log`` is compared where the log itself is at hand; a published bundle holds the record alone. Raises
    ``VerificationError`` for another checkpoint, log or record, and for an import from the future;
    ``SignerUnknown`` for unknown keys.
    """
    found = _read(trust.verify(envelope, "decider", IMPORT, where=where), where)
    if found.checkpoint != checkpoint:
        raise VerificationError(f"binds the log to another checkpoint, {found.checkpoint}", where=where)
    if found.record != record:
        raise VerificationError(f"is about another record of evidence, {found.record}", where=where)
    if log is not None and found.log != log:
        raise VerificationError(f"is about another log, {found.log}", where=where)
    if found.imported_at - at > SKEW:
        raise VerificationError(f"imported at {format_time(found.imported_at)}, in the future", where=where)
    return found


@dataclass(frozen=True)
class _Predicate:
    version: int
    checkpoint: str
    log: str
    record: str
    imported_by: str
    imported_at: str


def _read(statement: Statement, where: str) -> Import:
    with refused(where):
        form = structure.parse(_Predicate, statement.predicate, where=where)
        check_version(form.version, VERSION, where=where)
        name = form.imported_by
        if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
            raise InputError("imported_by is no name", where=where, remedy=f"at most {MAX_NAME} characters, one line")
        if statement.subjects != _subjects(form.checkpoint, form.log, form.record):
            raise InputError("its subjects are not the checkpoint, log and record that it names", where=where)
        return Import(
            checkpoint=form.checkpoint,
            log=form.log,
            record=form.record,
            imported_by=name,
            imported_at=parse_time(form.imported_at, where=f"{where} at imported_at"),
            signers=statement.signers,
        )


def _subjects(checkpoint: str, log: str, record: str) -> tuple[Subject, ...]:
    return (Subject.of("checkpoint", checkpoint), Subject.of("log", log), Subject.of("record", record))

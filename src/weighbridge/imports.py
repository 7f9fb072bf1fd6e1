"""Evidence that another harness measured counts only with a signed import, which binds its log to the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from weighbridge.errors import EvidenceError, SignerUnknown, VerificationError
from weighbridge.evidence import Evidence
from weighbridge.files import read
from weighbridge.store import EvidenceStore
from weighbridge.trust import Trust, verify_import


def import_path(store: EvidenceStore, record: Evidence) -> Path:
    """Where the signed import of a record lies."""
    return store.folder / "imports" / f"{record.digest.removeprefix('sha256:')}.json"


def check_imports(store: EvidenceStore, records: Sequence[Evidence], deciders: Trust, *, at: datetime) -> None:
    """Raises ``EvidenceError`` for an imported record without an import that a trusted decider signed."""
    for record in records:
        if not record.question.settings.get("imported"):
            continue
        path = import_path(store, record)
        remedy = "weighbridge evidence import LOG --to DIR --sign KEY, then decide with that key or a trust file"
        if not path.exists():
            raise EvidenceError("imported, but no signed import lies beside it", where=str(path), remedy=remedy)
        try:
            verify_import(
                read(path),
                deciders,
                checkpoint=record.question.checkpoint,
                record=record.digest,
                at=at,
                where=str(path),
            )
        except SignerUnknown as cause:
            raise SignerUnknown(cause.message, where=cause.where, remedy=remedy) from cause
        except VerificationError as cause:
            raise EvidenceError(cause.message, where=cause.where, remedy=remedy) from cause

"""Signed decisions: from a file to a decision that may be carried out."""

from __future__ import annotations

from pathlib import Path

from weighbridge import canonical
from weighbridge.decision import Decision
from weighbridge.errors import InputError, VerificationError
from weighbridge.files import read
from weighbridge.statement import DECISION, Statement
from weighbridge.trust import dsse
from weighbridge.trust.trust_file import Trust

MAX_BYTES = 64 * 1024 * 1024


def verify_decision(data: bytes, trust: Trust, *, where: str = "decision") -> Decision:
    """The decision in an envelope file, signed by enough keys of the role ``decider``, with its ``signers``.

    Raises ``VerificationError`` (``SignerUnknown``); a draft is refused. Expiry, supersession and revocation
    are checked separately, since they need a clock and what else is known.
    """
    if is_draft(data):
        raise VerificationError(
            "the decision is not signed, and nothing carries out a draft",
            where=where,
            remedy="sign it: weighbridge decide --sign KEY",
        )
    return Decision.from_statement(trust.verify(data, "decider", DECISION, where=where), where=where)


def load_decision(path: Path, trust: Trust) -> Decision:
    """``verify_decision`` of a file."""
    return verify_decision(read(path, limit=MAX_BYTES), trust, where=str(path))


def read_decision_unverified(path: Path) -> Decision:
    """The decision in a draft or envelope file, for display only: nobody vouches for it.

    Its form and inner agreement are checked, signatures are not, and ``signers`` is empty. Raises
    ``VerificationError`` for what is malformed.
    """
    data, where = read(path, limit=MAX_BYTES), str(path)
    payload = data if is_draft(data) else dsse.parse(data, where=where).payload
    return Decision.from_statement(Statement.from_bytes(payload, where=where), where=where)


def is_draft(data: bytes) -> bool:
    """Whether ``data`` looks like a statement without an envelope."""
    try:
        value = canonical.loads(data, where="decision")
    except InputError:
        return False
    return isinstance(value, dict) and "_type" in value

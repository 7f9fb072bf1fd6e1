"""Approvals: signed statements that one decision may be carried out, in one way, for a time. Pure.

An approval binds the decision's id, the checkpoint's digest and the action. What it binds is what it says: it is
refused for any other decision, checkpoint or action.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from weighbridge import structure
from weighbridge.decision import Decision
from weighbridge.errors import InputError, VerificationError
from weighbridge.statement import APPROVAL, Statement, Subject, check_digest, check_version, refused
from weighbridge.times import SKEW, format_time, parse_time, whole_seconds
from weighbridge.trust.trust_file import Trust

VERSION = 1

Action = Literal["open", "serve"]

# The tiers under which an action may be carried out at all.
_ALLOWED: dict[Action, tuple[str, ...]] = {"open": ("open",), "serve": ("open", "gated", "api")}


_AGAIN = "have the decision approved: weighbridge approve DECISION --sign KEY"


@dataclass(frozen=True)
class Approval:
    """An approval as its statement says it, with the fingerprints of the keys that signed it."""

    decision: str
    checkpoint: str
    action: Action
    approved_at: datetime
    expires_at: datetime
    signers: tuple[str, ...] = ()


def make_approval(
    decision: Decision, *, action: Action, approved_at: datetime | str, expires_at: datetime | str
) -> Statement:
    """The statement that approves ``decision``, to be signed. Raises ``InputError`` for a draft, for an action that
    the tier does not allow, and for times that do not fit."""
    where = f"approval of {decision.id}"
    if not decision.signers:
        raise InputError("the decision is a draft", where=where, remedy="have it signed first: decide --sign KEY")
    if decision.tier not in _ALLOWED[action]:
        raise InputError(
            f"the decision grants {decision.tier!r}, which does not allow {action!r}",
            where=where,
            remedy="only what the policy granted can be approved",
        )
    begin = whole_seconds(approved_at, where=f"{where} at approved_at")
    end = whole_seconds(expires_at, where=f"{where} at expires_at")
    if end <= begin:
        raise InputError("expires before it is given", where=where, remedy="let it expire later")
    if decision.decided_at - begin > SKEW or begin >= decision.expires_at:
        raise InputError(
            "given outside the time for which the decision holds",
            where=where,
            remedy="check this machine's clock, or have the checkpoint decided on again",
        )
    return Statement(
        _subjects(decision.id, decision.checkpoint),
        APPROVAL,
        {
            "version": VERSION,
            "decision": decision.id,
            "checkpoint": decision.checkpoint,
            "action": action,
            "approved_at": format_time(begin),
            "expires_at": format_time(end),
        },
    )


def verify_approvals(
    envelopes: Sequence[bytes],
    decision: Decision,
    trust: Trust,
    *,
    needed: int,
    self_approval: bool,
    at: datetime,
    action: Action = "open",
    names: Sequence[str] = (),
) -> list[Approval]:
    """The approvals that count, if they are enough. ``at`` is the time at which the action is, or was, carried out.

    Enough are ``needed`` distinct keys of the role ``approver`` or, if that is more, the threshold of that role in the
    trust file. Keys that signed the decision do not count unless ``self_approval``. Every envelope must hold, also
    one that is not needed. Raises ``VerificationError`` for a draft, an approval of something else, one that has
    expired or is given more than 5 minutes ahead of ``at``, and for too few; ``SignerUnknown`` for unknown keys.
    ``names`` are the envelopes' files, for these messages.
    """
    if not decision.signers:
        raise VerificationError("the decision is a draft", where=f"decision {decision.id}", remedy="have it signed")
    if decision.tier not in _ALLOWED[action]:
        raise VerificationError(
            f"the decision grants {decision.tier!r}, which does not allow {action!r}",
            where=f"decision {decision.id}",
            remedy="only what the policy granted can be carried out",
        )
    counted: set[str] = set()
    approvals: list[Approval] = []
    for where, data in zip(names or [f"approval {n + 1}" for n in range(len(envelopes))], envelopes, strict=True):
        # Each envelope needs one key; the role's threshold is asked of all envelopes together.
        approval = _read(trust.verify(data, "approver", APPROVAL, where=where, threshold=1), where)
        _check(approval, decision, action, at, where)
        count = set(approval.signers) if self_approval else set(approval.signers) - set(decision.signers)
        if count - counted:
            approvals.append(approval)
            counted |= count
    enough = max(needed, trust.threshold("approver"))
    if len(counted) < enough:
        raise VerificationError(
            f"{len(counted)} of the {enough} approvals that are needed",
            where=f"decision {decision.id}",
            remedy="weighbridge approve DECISION --sign KEY"
            + ("" if self_approval else "; the key that decided does not count"),
        )
    return approvals


@dataclass(frozen=True)
class _Predicate:
    version: int
    decision: str
    checkpoint: str
    action: Action
    approved_at: str
    expires_at: str


def _read(statement: Statement, where: str) -> Approval:
    with refused(where):
        form = structure.parse(_Predicate, statement.predicate, where=where)
        check_version(form.version, VERSION, where=where)
        approval = Approval(
            decision=check_digest(form.decision, where=where),
            checkpoint=check_digest(form.checkpoint, where=where),
            action=form.action,
            approved_at=parse_time(form.approved_at, where=where),
            expires_at=parse_time(form.expires_at, where=where),
            signers=statement.signers,
        )
        if statement.subjects != _subjects(approval.decision, approval.checkpoint):
            raise InputError("its subjects are not the decision and checkpoint that it names", where=where)
    return approval


def _check(approval: Approval, decision: Decision, action: Action, at: datetime, where: str) -> None:
    if (approval.decision, approval.checkpoint) != (decision.id, decision.checkpoint):
        raise VerificationError(f"approves another decision, {approval.decision}", where=where, remedy=_AGAIN)
    if approval.action != action:
        raise VerificationError(f"approves {approval.action!r}, not {action!r}", where=where, remedy=_AGAIN)
    if approval.approved_at - at > SKEW:
        raise VerificationError(f"given at {format_time(approval.approved_at)}, which lies in the future", where=where)
    if decision.decided_at - approval.approved_at > SKEW:
        raise VerificationError("given before the decision was made", where=where, remedy=_AGAIN)
    if at >= approval.expires_at:
        raise VerificationError(f"expired at {format_time(approval.expires_at)}", where=where, remedy=_AGAIN)


def _subjects(decision: str, checkpoint: str) -> tuple[Subject, ...]:
    return (Subject.of("checkpoint", checkpoint), Subject.of("decision", decision))

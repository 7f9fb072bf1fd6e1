"""From a judgement to a decision on disk, its report, and an exit code. Shared by ``weigh`` and ``decide``."""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge.decision import Decision, make_decision, successor
from weighbridge.errors import StricterThanRequired, UndecidedInTheWay
from weighbridge.policy import TIERS, Policy
from weighbridge.trust import PrivateKey, sign
from weighbridge.verdicts import Judgement
from weighbridge.workspace import Workspace


def conclude(
    workspace: Workspace,
    policy: Policy,
    judgement: Judgement,
    signer: PrivateKey | None,
    plan: str | None,
    problems: Mapping[str, str] | None = None,
) -> Decision:
    """Make the decision that follows from ``judgement``, sign it if there is a key, write it and the report."""
    from weighbridge.report import write_report

    serial, supersedes = successor(workspace.known_decisions(), checkpoint=judgement.checkpoint, policy=policy.name)
    decision = make_decision(
        manifest=workspace.manifest(),
        judgement=judgement.to_json(),
        policy=policy.to_json(),
        evidence=[(record.question.digest, record.digest) for record in workspace.store.load()],
        plan=plan,
        decided_at=judgement.at,
        expires_at=judgement.expires_at,
        serial=serial,
        supersedes=supersedes,
        origin=workspace.origin(),
    )
    data = decision.payload if signer is None else sign(decision.payload, [signer])
    workspace.write_decision(decision, data, policy)
    write_report(workspace, judgement, decision=decision.id, signed=signer is not None, problems=problems or {})
    return decision


def exit_code(judgement: Judgement, require: str | None) -> int:
    """0 if ``require`` (or, without it, anything at all) is granted or settled; else 3 or 4."""
    if require is None:
        return UndecidedInTheWay.exit_code if judgement.tier == "undecided" else 0
    ranks = ("undecided", "held", *TIERS)
    if ranks.index(judgement.tier) >= ranks.index(require):
        return 0
    undecided = judgement.outcome(require) == "undecided"
    return UndecidedInTheWay.exit_code if undecided else StricterThanRequired.exit_code

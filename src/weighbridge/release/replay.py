"""Judge again: policy, plans and evidence must be the decision's own, and give its judgement byte for byte. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge import canonical
from weighbridge.decision import Decision
from weighbridge.errors import EvidenceError, PolicyError, VerificationError
from weighbridge.evidence import Evidence
from weighbridge.judge import NO_BASELINES, Baselines, judge
from weighbridge.plan import Plan, check_plans
from weighbridge.policy import Policy
from weighbridge.times import format_time
from weighbridge.verdicts import Judgement


def replay(
    decision: Decision,
    policy: Policy,
    evidence: Sequence[Evidence],
    plans: Sequence[Plan],
    baselines: Baselines = NO_BASELINES,
) -> Judgement:
    """The judgement that ``policy`` and ``evidence`` give at the time of the decision, compared with ``baselines``.

    Raises ``VerificationError`` if policy or records are not those that the decision names, if a record is of another
    checkpoint, if a plan that decision or records name is missing or asked something else, and if the judgement differs
    in a single byte.
    """
    where = f"decision {decision.id}"
    if policy.digest != decision.policy.digest:
        raise VerificationError(f"was made under the policy {decision.policy.digest}, not {policy.digest}", where=where)
    named = {one.question: one.record for one in decision.evidence}
    here = {record.question.digest: record.digest for record in evidence}
    for question in sorted(named.keys() | here.keys()):
        place = f"evidence {question.removeprefix('sha256:')[:16]}"
        if question not in here:
            raise VerificationError("the decision names it, and it is missing", where=place)
        if question not in named:
            raise VerificationError("the decision does not name it", where=place)
        if named[question] != here[question]:
            raise VerificationError("not the record that the decision names", where=place)
    try:
        check_plans(plans, decision.plan, evidence)
    except EvidenceError as cause:
        raise VerificationError(cause.message, where=cause.where, remedy=cause.remedy) from cause
    judgement = judge_again(decision, policy, evidence, baselines)
    if canonical.dumps(judgement.to_json()) != canonical.dumps(decision.judgement):
        raise VerificationError(
            "judging its evidence under its policy gives another judgement",
            where=where,
            remedy="it was not made by this judge, or was not made from this evidence",
        )
    return judgement


def judge_again(
    decision: Decision, policy: Policy, evidence: Sequence[Evidence], baselines: Baselines = NO_BASELINES
) -> Judgement:
    """What any ``policy`` says of the same evidence at the time of the decision. Raises ``VerificationError``."""
    try:
        at = format_time(decision.decided_at)
        return judge(policy, evidence, checkpoint=decision.checkpoint, at=at, baselines=baselines)
    except (EvidenceError, PolicyError) as cause:
        raise VerificationError(cause.message, where=cause.where, remedy=cause.remedy) from cause

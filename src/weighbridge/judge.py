"""Judging: a pure function of (policy, evidence, time). Anyone with the bundle can replay it and get the same bytes.

What is controlled: the probability of a tier more open than the truth warrants is at most the policy's
``error_rate``. Lines joined by AND are each tested at it (intersection-union: a wrong grant needs one particular
false line to be "met"); the m branches of an ``any_of`` at error_rate / m. "Not met" is a separate one-sided test.
How each kind of line is judged stands in ``judging/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from weighbridge.errors import EvidenceError, InputError
from weighbridge.evidence import Evidence
from weighbridge.judging import attacked, relative
from weighbridge.judging.case import NO_BASELINES, Baselines, Case
from weighbridge.judging.matching import artifact_of, controls, matches, weighs_usefulness
from weighbridge.policy import TIERS, Policy
from weighbridge.proof import Levels
from weighbridge.requirements import SOURCE, Bound, Requirement
from weighbridge.times import SKEW, format_time, parse_time
from weighbridge.verdicts import (
    ArtifactVerdict,
    Compared,
    Judgement,
    Outcome,
    TierVerdict,
    Verdict,
    conjunction,
    disjunction,
)

__all__ = ["NO_BASELINES", "Baselines", "judge", "standing"]


def judge(
    policy: Policy,
    evidence: Sequence[Evidence],
    *,
    checkpoint: str,
    at: str,
    baselines: Baselines = NO_BASELINES,
) -> Judgement:
    """The judgement of ``policy`` on ``checkpoint`` (its digest), from ``evidence``, at the time ``at`` (RFC 3339).

    ``baselines`` maps the names that the policy's lines compare with to the models meant, one or a set.
    Raises ``EvidenceError`` for evidence of another checkpoint, two records of one question, or evidence that was
    made more than five minutes after ``at``; of a baseline too.
    """
    now = parse_time(at, where="time")
    case = Case(policy, _admitted(evidence, checkpoint, now), _known(policy, baselines, now))
    tiers: list[TierVerdict] = []
    so_far: list[Outcome] = []
    granted = "held"
    for tier in TIERS:
        if tier not in policy.tiers:
            continue
        own = tuple(_verdict(case, line, policy.error_rate) for line in policy.tiers[tier])
        so_far += [verdict.outcome for verdict in own]
        outcome = conjunction(so_far)
        if outcome == "met":
            granted = tier
        elif outcome == "undecided" and not tiers:
            granted = "undecided"
        tiers.append(TierVerdict(tier, outcome, own))
    artifacts = _artifacts(case)
    results: list[TierVerdict | ArtifactVerdict] = [*tiers, *artifacts.values()]
    leaves = [leaf for result in results for verdict in result.own for leaf in verdict.leaves()]
    return Judgement(
        checkpoint=checkpoint,
        policy=policy.name,
        policy_digest=policy.digest,
        error_rate=format(policy.error_rate, "f"),
        at=at,
        expires_at=format_time(now + policy.expires_after),
        tier=granted,  # type: ignore[arg-type]
        tiers=tuple(tiers),
        evidence=tuple(sorted({record for leaf in leaves for record in leaf.evidence})),
        post_hoc=any(leaf.post_hoc for leaf in leaves),
        artifacts=artifacts,
        baselines=_compared(case),
        notice=policy.notice,
    )


def standing(
    policy: Policy, evidence: Sequence[Evidence], record: Evidence, baselines: Baselines = NO_BASELINES
) -> list[Verdict]:
    """How every bound of the policy that ``record`` speaks to stands on it, among the other ``evidence``: by itself for
    an attacked model, whose line needs every attack; for the usefulness of one, whether its loss is known; and how far
    it is proved above chance for those whose control it is.

    Whoever measures looks at this after every few clusters and stops once nothing is undecided.
    """
    others = [other for other in evidence if other.question.digest != record.question.digest]
    case = Case(policy, [*others, record], baselines)
    verdicts: list[Verdict] = []
    for bound, share in policy.bounds():
        alpha = policy.error_rate / share
        if matches(bound, record):
            if bound.spec.attacked:
                verdicts.append(attacked.standing(case, bound, alpha, record))
            else:
                verdicts.append(relative.single(case, bound, Levels(alpha, alpha), record, case.blank(bound, alpha)))
        if weighs_usefulness(bound, record.question):
            verdicts.append(attacked.loss_standing(case, bound, alpha, record))
        if controls(bound, record.question):
            verdicts.append(case.above_chance(bound, alpha, record))
    return verdicts


def _verdict(case: Case, line: Requirement, alpha: Decimal) -> Verdict:
    if isinstance(line, Bound):
        return _bound(case, line, alpha)
    join = line.join
    share = alpha / len(line.branches) if join == "any_of" else alpha
    branches = tuple(_verdict(case, branch, share) for branch in line.branches)
    outcomes = [branch.outcome for branch in branches]
    outcome = disjunction(outcomes) if join == "any_of" else conjunction(outcomes)
    counts = ", ".join(f"{outcomes.count(kind)} {kind.replace('_', ' ')}" for kind in sorted(set(outcomes)))
    return Verdict(line.path, outcome, f"{join}: {counts}", why=line.why, join=join, branches=branches)


def _bound(case: Case, line: Bound, alpha: Decimal) -> Verdict:
    """Every question that the line matches must be met: nobody may pick the decoding that looks best."""
    found = [record for record in case.evidence if matches(line, record)]
    blank = case.blank(line, alpha)
    if not found:
        return replace(blank, reason=case.absent(line))
    if line.spec.attacked:
        verdicts = [attacked.verdict(case, line, alpha, record) for record in attacked.by_run(found)]
    else:
        verdicts = [relative.single(case, line, Levels(alpha, alpha), record, blank) for record in found]
    worst = min(verdicts, key=lambda verdict: ("not_met", "undecided", "met").index(verdict.outcome))
    return replace(
        worst,
        evidence=tuple(sorted({digest for verdict in verdicts for digest in verdict.evidence})),
        post_hoc=any(verdict.post_hoc for verdict in verdicts),
    )


def _artifacts(case: Case) -> dict[str, ArtifactVerdict]:
    """Each artifact that was weighed, by itself: beside its own records it is judged by the checkpoint's."""
    found: dict[str, set[str]] = {}
    for record in case.evidence:
        if artifact := artifact_of(record.question):
            found.setdefault(artifact[0], set()).add(artifact[1])
    verdicts = {}
    for name, digests in sorted(found.items()):
        digest = min(digests)
        evidence = [
            one
            for one in case.evidence
            if "artifact" not in one.question.settings or artifact_of(one.question) == (name, digest)
        ]
        only = replace(case, evidence=evidence if len(digests) == 1 else [])
        own = tuple(_verdict(only, line, case.policy.error_rate) for line in case.policy.artifacts)
        if len(digests) > 1:
            # Neither may be published for the other's answers.
            reason = f"{len(digests)} different files were weighed under this name"
            own = tuple(replace(verdict, outcome="undecided", reason=reason) for verdict in own)
        verdicts[name] = ArtifactVerdict(name, digest, conjunction([verdict.outcome for verdict in own]), own)
    return verdicts


def _compared(case: Case) -> tuple[Compared, ...]:
    """The models that lines compare with, and their records that a line looks at."""
    looked_at: dict[str, set[tuple[str, str]]] = {}
    for bound, _ in case.policy.bounds():
        if bound.baseline not in (None, SOURCE):
            suites = {(bound.spec.measure, suite) for suite in bound.suites if suite != bound.control}
            looked_at.setdefault(bound.baseline or "", set()).update(suites)
    models: dict[tuple[str, str], set[str]] = {}
    for name, suites in looked_at.items():
        for model in case.baselines.get(name, ()):
            models.setdefault((model.name, model.checkpoint), set()).update(
                one.digest
                for one in model.evidence
                if one.question.suite and (one.question.measure, one.question.suite.name) in suites
            )
    return tuple(Compared(*model, tuple(sorted(records))) for model, records in sorted(models.items()))


def _known(policy: Policy, baselines: Baselines, now: datetime) -> Baselines:
    """The baselines that the policy names, their evidence admitted, in an order of their own."""
    return {
        name: [
            replace(model, evidence=_admitted(model.evidence, model.checkpoint, now))
            for model in sorted(baselines.get(name, ()), key=lambda model: (model.name, model.checkpoint))
        ]
        for name in policy.baselines
    }


def _admitted(evidence: Iterable[Evidence], checkpoint: str, at: datetime) -> list[Evidence]:
    seen: set[str] = set()
    for record in evidence:
        name = f"evidence {record.question.digest[7:19]} ({record.question.measure})"
        if record.question.checkpoint != checkpoint:
            raise EvidenceError(
                f"is about another checkpoint, {record.question.checkpoint}",
                where=name,
                remedy=f"judge {checkpoint} by its own",
            )
        if record.question.digest in seen:
            raise EvidenceError("a second record of the same question", where=name, remedy="the first one counts")
        if parse_time(record.made, where=name) > at + SKEW:
            raise EvidenceError(f"was made at {record.made}, after now", where=name, remedy="mend the clock")
        seen.add(record.question.digest)
    return sorted((one for one in evidence if _holds(one, at)), key=lambda record: record.question.digest)


def _holds(record: Evidence, at: datetime) -> bool:
    """Whether a record still says something: one whose question sets an end to it holds until then."""
    until = record.question.settings.get("until")
    try:
        return until is None or at < parse_time(str(until), where="until")
    except InputError:
        return False

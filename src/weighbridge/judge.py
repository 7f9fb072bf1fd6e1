"""Judging: a pure function of (policy, evidence, time). Anyone with the bundle can replay it and get the same bytes.

What is controlled: the probability of a tier more open than the truth warrants is at most the policy's
``error_rate``. Lines joined by AND are each tested at it (intersection-union: a wrong grant needs one particular
false line to be "met"); the m branches of an ``any_of`` at error_rate / m. "Not met" is a separate one-sided test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from weighbridge.errors import EvidenceError
from weighbridge.evidence import Baseline, Evidence, Question
from weighbridge.policy import TIERS, Policy
from weighbridge.proof import Numbers, nonsense, numbers_of
from weighbridge.requirements import Bound, Requirement
from weighbridge.times import SKEW, format_time, parse_time
from weighbridge.verdicts import Judgement, Outcome, TierVerdict, Verdict, conjunction, disjunction

Baselines: TypeAlias = Mapping[str, Sequence[Baseline]]
"""The name that lines compare with -> the models meant: one, or those of a set."""

NO_BASELINES: Baselines = {}


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
    made more than five minutes after ``at``.
    """
    case = _Case(policy, _admitted(evidence, checkpoint, parse_time(at, where="time")))
    tiers: list[TierVerdict] = []
    so_far: list[Outcome] = []
    granted = "held"
    for tier in TIERS:
        if tier not in policy.tiers:
            continue
        own = tuple(case.verdict(line, policy.error_rate) for line in policy.tiers[tier])
        so_far += [verdict.outcome for verdict in own]
        outcome = conjunction(so_far)
        if outcome == "met":
            granted = tier
        elif outcome == "undecided" and not tiers:
            granted = "undecided"
        tiers.append(TierVerdict(tier, outcome, own))
    leaves = [leaf for result in tiers for verdict in result.own for leaf in verdict.leaves()]
    used = sorted({record for leaf in leaves for record in leaf.evidence})
    return Judgement(
        checkpoint=checkpoint,
        policy=policy.name,
        policy_digest=policy.digest,
        error_rate=format(policy.error_rate, "f"),
        at=at,
        expires_at=format_time(parse_time(at, where="time") + policy.expires_after),
        tier=granted,  # type: ignore[arg-type]
        tiers=tuple(tiers),
        evidence=tuple(used),
        post_hoc=any(leaf.post_hoc for leaf in leaves),
        notice=policy.notice,
    )


def standing(
    policy: Policy, evidence: Sequence[Evidence], record: Evidence, baselines: Baselines = NO_BASELINES
) -> list[Verdict]:
    """How every bound of the policy that ``record`` speaks to stands on it, among the other ``evidence``, and how far
    it is proved above chance for those whose control it is.

    Whoever measures looks at this after every few clusters and stops once nothing is undecided.
    """
    others = [other for other in evidence if other.question.digest != record.question.digest]
    case = _Case(policy, [*others, record])
    verdicts: list[Verdict] = []
    for bound, share in policy.bounds():
        alpha = policy.error_rate / share
        if matches(bound, record):
            verdicts.append(case.one(bound, alpha, record, case.blank(bound, alpha)))
        if controls(bound, record.question):
            verdicts.append(case.above_chance(bound, alpha, record))
    return verdicts


def _admitted(evidence: Sequence[Evidence], checkpoint: str, at: datetime) -> list[Evidence]:
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
    return sorted(evidence, key=lambda record: record.question.digest)


@dataclass(frozen=True)
class _Case:
    """One policy against the admitted evidence."""

    policy: Policy
    evidence: Sequence[Evidence]
    computed: dict[tuple[object, ...], Numbers] = field(default_factory=dict)

    def verdict(self, line: Requirement, alpha: Decimal) -> Verdict:
        if isinstance(line, Bound):
            return self.bound(line, alpha)
        join = line.join
        share = alpha / len(line.branches) if join == "any_of" else alpha
        branches = tuple(self.verdict(branch, share) for branch in line.branches)
        outcomes = [branch.outcome for branch in branches]
        outcome = disjunction(outcomes) if join == "any_of" else conjunction(outcomes)
        counts = ", ".join(f"{outcomes.count(kind)} {kind.replace('_', ' ')}" for kind in sorted(set(outcomes)))
        return Verdict(line.path, outcome, f"{join}: {counts}", why=line.why, join=join, branches=branches)

    def bound(self, line: Bound, alpha: Decimal) -> Verdict:
        """Every question that the line matches must be met: nobody may pick the decoding that looks best."""
        found = [record for record in self.evidence if matches(line, record)]
        blank = self.blank(line, alpha)
        if not found:
            return replace(blank, reason=self.absent(line))
        verdicts = [self.one(line, alpha, record, blank) for record in found]
        worst = min(verdicts, key=lambda verdict: ("not_met", "undecided", "met").index(verdict.outcome))
        return replace(
            worst,
            evidence=tuple(sorted({digest for verdict in verdicts for digest in verdict.evidence})),
            post_hoc=any(verdict.post_hoc for verdict in verdicts),
        )

    def blank(self, line: Bound, alpha: Decimal) -> Verdict:
        return Verdict(
            path=line.path,
            outcome="undecided",
            reason="",
            metric=line.metric,
            suite=line.suite,
            direction=line.direction,
            threshold=format(line.threshold, "f"),
            alpha=format(alpha, "f"),
            why=line.why,
        )

    def absent(self, line: Bound) -> str:
        asked = f"{line.spec.measure} on the suite {line.suite!r}" if line.suite else line.spec.measure
        near = [
            record
            for record in self.evidence
            if record.question.suite
            and (record.question.measure, record.question.suite.name) == (line.spec.measure, line.suite)
        ]
        if any(record.asked == "limit" for record in near):
            return f"no evidence: {asked} was only asked with --limit"
        if near:
            return f"no evidence: {asked} was only measured under other settings, or on another version of the suite"
        return f"no evidence: {asked} was not measured"

    def one(self, line: Bound, alpha: Decimal, record: Evidence, blank: Verdict) -> Verdict:
        planned = record.plan is not None and record.plan.policy == self.policy.digest
        blank = replace(blank, evidence=(record.digest,), post_hoc=not planned)
        if record.question.settings.get("imported") and not self.policy.accept_imported:
            return replace(blank, reason="the evidence is imported, and the policy does not accept imports")
        if line.spec.field in record.undecided:
            return replace(blank, reason=record.undecided[line.spec.field])
        if line.spec.kind == "exact":
            return _exact(line, record, blank)
        # An exact bound is for a number that was fixed beforehand; chosen afterwards, it would suit the answers.
        fixed = planned or line.items is None
        numbers = self.numbers(line if fixed else replace(line, items=None), alpha, record)
        if numbers.objection is None:
            numbers = replace(numbers, objection=self.objection(line, alpha, record))
        verdict = numbers.verdict(line, blank)
        if fixed:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; its plan did not fix {line.items} items")

    def numbers(self, line: Bound, alpha: Decimal, record: Evidence) -> Numbers:
        """What the record says of the line's metric; lines that differ in their threshold alone share it."""
        key = (record.digest, line.metric, line.direction, line.items, alpha)
        if key not in self.computed:
            self.computed[key] = numbers_of(line, alpha, self.policy.error_rate, record)
        return self.computed[key]

    def objection(self, line: Bound, alpha: Decimal, record: Evidence) -> str | None:
        """Why the numbers, whatever they are, decide nothing."""
        if reason := nonsense(line.spec, record):
            return reason
        if line.spec.chance and line.direction == "at_most":
            return self.uncontrolled(line, alpha, record)
        return None

    def uncontrolled(self, line: Bound, alpha: Decimal, record: Evidence) -> str | None:
        """A broken engine must not pass as a harmless model: the control suite must be proved above chance."""
        for control in self.evidence:
            suite, own = control.question.suite, record.question.suite
            if not controls(line, control.question) or suite is None or own is None or suite.format != own.format:
                continue
            same_run = control.question.settings == record.question.settings
            if same_run and control.asked != "limit" and self.above_chance(line, alpha, control).outcome == "met":
                return None
        return f"the control suite {line.control!r} is not proved above chance under the same settings"

    def above_chance(self, line: Bound, alpha: Decimal, control: Evidence) -> Verdict:
        """Whether the control of ``line`` is proved above chance by the record ``control``."""
        suite = control.question.suite
        chance = Decimal(suite.chance or 0) if suite else Decimal(0)
        proof = Bound(line.metric, "at_least", chance, line.control, path=f"{line.path}.control")
        verdict = self.numbers(proof, alpha, control).verdict(proof, self.blank(proof, alpha))
        at_chance = verdict.lower is not None and Decimal(verdict.lower) <= chance
        return replace(verdict, outcome="undecided") if verdict.outcome == "met" and at_chance else verdict


def controls(line: Bound, question: Question) -> bool:
    """Whether a question is on the control suite of a line, in the version that counts."""
    suite = question.suite
    return (
        suite is not None
        and question.measure == line.spec.measure
        and suite.name == line.control
        and line.control_digest in (None, suite.digest)
    )


def matches(line: Bound, record: Evidence) -> bool:
    """Whether a record speaks to a line. Evidence asked with ``--limit`` never does."""
    question = record.question
    return (
        question.measure == line.spec.measure
        and record.asked != "limit"
        and (question.suite.name if question.suite else None) == line.suite
        and (line.suite_digest is None or (question.suite is not None and question.suite.digest == line.suite_digest))
        and all(question.settings.get(key) == value for key, value in line.settings.items())
    )


def _exact(line: Bound, record: Evidence, blank: Verdict) -> Verdict:
    field = line.spec.field
    if field not in record.metrics:
        return replace(blank, reason=f"the evidence does not count {field}")
    found = [finding for finding in record.findings if finding.metric == field]
    count = len(found)
    met = count <= line.threshold if line.direction == "at_most" else count >= line.threshold
    first = f": {found[0].where}: {found[0].message}" if found else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return replace(
        blank,
        outcome="met" if met else "not_met",
        reason=f"{line.spec.counted(count)}{first}{more}",
        estimate=str(count),
    )

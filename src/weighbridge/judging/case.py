"""One policy against the evidence on one checkpoint: what any kind of line is judged with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeAlias

from weighbridge.evidence import Baseline, Evidence
from weighbridge.judging.matching import controls
from weighbridge.policy import Policy
from weighbridge.proof import Levels, Numbers, nonsense, numbers_of
from weighbridge.requirements import Bound
from weighbridge.verdicts import Verdict

Baselines: TypeAlias = Mapping[str, Sequence[Baseline]]
"""The name that lines compare with -> the models meant: one, or those of a set."""

NO_BASELINES: Baselines = {}


@dataclass(frozen=True)
class Case:
    """A policy, the admitted evidence, and the models to compare with."""

    policy: Policy
    evidence: Sequence[Evidence]
    baselines: Baselines = field(default_factory=dict)
    computed: dict[tuple[object, ...], Numbers] = field(default_factory=dict)

    def blank(self, line: Bound, alpha: Decimal) -> Verdict:
        """The verdict of a line before anything is known."""
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
            battery=line.battery,
            baseline=line.baseline,
        )

    def absent(self, line: Bound) -> str:
        """Why no evidence speaks to a line."""
        if line.spec.measure == "release":
            return "no decision in force that serves a successor is on record"
        asked = f"{line.spec.measure} on the suite {line.suite!r}" if line.suite else line.spec.measure
        near = [
            record
            for record in self.evidence
            if record.question.suite
            and (record.question.measure, record.question.suite.name) == (line.spec.measure, line.suite)
            and ("artifact" in record.question.settings) == line.artifact
        ]
        if any(record.asked == "limit" for record in near):
            return f"no evidence: {asked} was only asked with --limit"
        if near:
            other = "another version of the suite" + (" or of the battery" if line.spec.attacked else "")
            return f"no evidence: {asked} was only measured under other settings, or on {other}"
        return f"no evidence: {asked} was not measured"

    def of(self, record: Evidence, blank: Verdict) -> Verdict:
        """``blank`` as a verdict that rests on ``record``."""
        return replace(blank, evidence=(record.digest,), post_hoc=not self.planned(record))

    def planned(self, record: Evidence) -> bool:
        """Whether a record was gathered under this policy. What was decided about another model is no answer that a bar
        could be fitted to."""
        if record.question.measure == "release":
            return True
        return record.plan is not None and record.plan.policy == self.policy.digest

    def inadmissible(self, line: Bound, record: Evidence) -> str | None:
        """Why a record, whatever it holds, says nothing of a line's metric, if it does not."""
        if record.question.settings.get("imported") and not self.policy.accept_imported:
            return "the evidence is imported, and the policy does not accept imports"
        return record.undecided.get(line.spec.field)

    def absolute(self, line: Bound, levels: Levels, record: Evidence, blank: Verdict) -> Verdict:
        """The verdict of a line that compares with no baseline, on one record."""
        blank = self.of(record, blank)
        if reason := self.inadmissible(line, record):
            return replace(blank, reason=reason)
        if line.spec.kind == "exact":
            return _exact(line, record, blank)
        # An exact bound is for a number that was fixed beforehand; chosen afterwards, it would suit the answers.
        fixed = self.planned(record) or line.items is None
        numbers = self.numbers(line if fixed else replace(line, items=None), levels, record)
        verdict = self.objected(line, levels, record, numbers).verdict(line, blank)
        if fixed:
            return verdict
        return replace(verdict, reason=f"{verdict.reason}; its plan did not fix {line.items} items")

    def numbers(self, line: Bound, levels: Levels, record: Evidence) -> Numbers:
        """What the record says of the line's metric; lines that differ in their threshold alone share it."""
        key = (record.digest, line.metric, line.direction, line.items, levels)
        return self.once(key, lambda: numbers_of(line, levels, self.policy.error_rate, record))

    def once(self, key: tuple[object, ...], compute: Callable[[], Numbers]) -> Numbers:
        """What ``compute`` gives, computed once for each key."""
        if key not in self.computed:
            self.computed[key] = compute()
        return self.computed[key]

    def objected(self, line: Bound, levels: Levels, record: Evidence, numbers: Numbers) -> Numbers:
        """``numbers`` with the reason, if there is one, why they decide nothing whatever they are."""
        if numbers.objection is not None:
            return numbers
        reason = self.misordered(record) or nonsense(line.spec, record)
        if reason is None and line.spec.chance and line.direction == "at_most":
            reason = self.uncontrolled(line, levels.met, record)
        return numbers if reason is None else replace(numbers, objection=reason)

    def misordered(self, record: Evidence) -> str | None:
        """Why the order of asking was somebody's choice, if it was: only an artifact is asked in another question's
        order, that of the same question to the checkpoint itself."""
        question = record.question
        if "order" not in question.settings:
            return None
        own = self.source_of(record)
        if own is not None and "artifact" in question.settings and own.question.suite == question.suite:
            return None
        return "it was asked in an order that is not the checkpoint's own"

    def source_of(self, record: Evidence) -> Evidence | None:
        """The answers of the checkpoint itself to what ``record`` asked an artifact, in the same order."""
        order = record.question.settings.get("order")
        for other in self.evidence:
            if other.question.digest == order and other.question.measure == record.question.measure:
                return None if {"artifact", "attack", "order"} & other.question.settings.keys() else other
        return None

    def uncontrolled(self, line: Bound, alpha: Decimal, record: Evidence) -> str | None:
        """A broken engine must not pass as a harmless model: the control suite must be proved above chance."""
        for control in self.evidence:
            suite, own = control.question.suite, record.question.suite
            if not controls(line, control.question) or suite is None or own is None or suite.format != own.format:
                continue
            same_run = _run(control) == _run(record)
            if same_run and control.asked != "limit" and self.above_chance(line, alpha, control).outcome == "met":
                return None
        return f"the control suite {line.control!r} is not proved above chance under the same settings"

    def above_chance(self, line: Bound, alpha: Decimal, control: Evidence) -> Verdict:
        """Whether the control of ``line`` is proved above chance by the record ``control``."""
        suite = control.question.suite
        chance = Decimal(suite.chance or 0) if suite else Decimal(0)
        proof = Bound(line.metric, "at_least", chance, line.control, path=f"{line.path}.control")
        verdict = self.numbers(proof, Levels(alpha, alpha), control).verdict(proof, self.blank(proof, alpha))
        at_chance = verdict.lower is not None and Decimal(verdict.lower) <= chance
        return replace(verdict, outcome="undecided") if verdict.outcome == "met" and at_chance else verdict


def _run(record: Evidence) -> dict[str, object]:
    """What two suites that are asked in one run share."""
    return {key: value for key, value in record.question.settings.items() if key != "order"}


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

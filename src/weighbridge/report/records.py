"""What the page shows of each record of evidence, and of the checkpoint: details for whoever checks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.evidence import Calibration, Evidence, Finding
from weighbridge.metrics import METRICS
from weighbridge.report import words
from weighbridge.report.lines import MAX_FINDINGS
from weighbridge.summary import summarise

_ASKED = {
    "sequential": "in the seeded order",
    "complete": "every item",
    "limit": "the first items in file order, which satisfies no requirement",
}


@dataclass(frozen=True)
class Score:
    """One metric of a record by itself: decimal strings, the interval as text."""

    name: str
    meaning: str
    value: str
    interval: str


@dataclass(frozen=True)
class Confusion:
    """A judge's counts on labelled data, for one metric."""

    name: str
    counts: Calibration
    found: str
    mistaken: str


@dataclass(frozen=True)
class Record:
    """One record of evidence."""

    id: str
    measure: str
    suite: str | None
    digest: str
    named: bool
    exact: bool
    rows: tuple[tuple[str, str], ...]
    scores: tuple[Score, ...]
    undecided: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    hidden: int
    confusions: tuple[Confusion, ...]
    settings: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    digests: tuple[tuple[str, str], ...]
    problem: str | None


def record(evidence: Evidence, *, named: Collection[str], problems: Mapping[str, str]) -> Record:
    """What the page shows of ``evidence``; ``named`` holds the record digests that requirements rest on."""
    summary = summarise(evidence)
    suite = evidence.question.suite
    digests = [("Record", evidence.digest), ("Question", evidence.question.digest)]
    if suite is not None:
        digests.append(("Suite", suite.digest))
    if evidence.plan is not None:
        digests.append(("Plan", evidence.plan.digest))
    return Record(
        id=anchor(evidence.digest),
        measure=evidence.question.measure,
        suite=None if suite is None else suite.name,
        digest=evidence.digest,
        named=evidence.digest in named,
        exact=evidence.kind == "exact",
        rows=tuple(_rows(evidence, summary)),
        scores=tuple(_scores(evidence, summary)),
        undecided=tuple(sorted(evidence.undecided.items())),
        findings=evidence.findings[:MAX_FINDINGS],
        hidden=max(0, len(evidence.findings) - MAX_FINDINGS),
        confusions=tuple(_confusion(name, counts) for name, counts in sorted(evidence.calibrations.items())),
        settings=tuple(words.flatten(evidence.question.settings) if evidence.question.settings else ()),
        facts=tuple(words.flatten(evidence.facts) if evidence.facts else ()),
        digests=tuple(digests),
        problem=problems.get(evidence.question.digest),
    )


def anchor(digest: str) -> str:
    """The id of a record's place on the page."""
    return f"record-{digest.rpartition(':')[2][:16]}"


def _rows(evidence: Evidence, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    suite = evidence.question.suite
    if suite is not None:
        items = f"{words.count(len(evidence.observations))} of {words.count(suite.items)}"
        yield "Items asked", f"{items}, {_ASKED[evidence.asked]}"
        if suite.clusters != suite.items:
            yield "Suite", f"{words.things(suite.clusters, 'cluster')}, the largest of {suite.largest_cluster} items"
        if suite.chance is not None:
            yield "Chance", f"a guess scores {words.threshold(suite.chance)}"
    if summary["failed"]:
        yield "Failed items", words.count(summary["failed"])
    cost = dict(evidence.cost)
    seconds, tokens = cost.pop("seconds", None), cost.pop("tokens", None)
    if seconds is not None:
        yield "Time", words.seconds(seconds)
    if tokens:
        rate = f", {tokens / seconds:,.0f} tokens/s" if seconds else ""
        yield "Tokens", f"{tokens:,.0f}{rate}"
    for name, value in sorted(cost.items()):
        yield name.capitalize(), words.scalar(value)
    yield "Made", words.moment(evidence.made)
    if evidence.producer:
        yield "With", ", ".join(f"{name} {version}" for name, version in sorted(evidence.producer.items()))
    if evidence.plan is None:
        yield "Plan", "none: measured by itself"


def _scores(evidence: Evidence, summary: Mapping[str, Any]) -> Iterator[Score]:
    for name, counted in summary.get("counts", {}).items():
        spec = METRICS[f"{evidence.question.measure}.{name}"]
        yield Score(name, spec.meaning, "undecided" if name in evidence.undecided else words.count(counted), "")
    for name, value in summary.get("metrics", {}).items():
        spec = METRICS[f"{evidence.question.measure}.{name}"]
        interval = f"none: {value['undecided']}" if "undecided" in value else "none"
        if value["interval"] is not None:
            low, high = value["interval"]
            corrected = ", corrected" if spec.judged else ""
            interval = f"{words.bound(low, 'lower')} to {words.bound(high, 'upper')}{corrected}"
        yield Score(
            name, spec.meaning, "none" if value["estimate"] is None else words.estimate(value["estimate"]), interval
        )


def _confusion(name: str, counts: Calibration) -> Confusion:
    positives = counts.true_positive + counts.false_negative
    negatives = counts.false_positive + counts.true_negative
    return Confusion(
        name,
        counts,
        f"{counts.true_positive} of {positives}",
        f"{counts.false_positive} of {negatives}",
    )

"""What the page shows of each requirement: its mark, sentence, drawing, numbers and findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from weighbridge.evidence import Evidence, Finding
from weighbridge.metrics import METRICS
from weighbridge.report import drawing, reasons, words
from weighbridge.verdicts import Outcome, Verdict

MAX_FINDINGS = 20
MAX_SLICES = 60


@dataclass(frozen=True)
class Line:
    """One requirement. ``numbers`` are (what, value) pairs; ``hidden`` counts findings that are not listed."""

    id: str
    outcome: Outcome
    mark: Markup
    said: str
    name: str
    metric: str
    suite: str | None
    demand: str
    meaning: str
    why: str
    path: str
    sentence: str
    join: str | None = None
    drawing: Markup | None = None
    numbers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    hidden: int = 0
    records: tuple[str, ...] = ()
    post_hoc: bool = False
    branches: tuple[Line, ...] = field(default=())


@dataclass(frozen=True)
class SliceRow:
    """One slice of one metric: descriptive, without an interval."""

    name: str
    items: int
    estimate: str
    bar: Markup


@dataclass(frozen=True)
class SliceTable:
    """The slices of one metric on one suite, the worst first; ``hidden`` counts those that are not listed."""

    name: str
    suite: str | None
    worst: str
    rows: tuple[SliceRow, ...]
    hidden: int


def line(verdict: Verdict, records: Mapping[str, Evidence]) -> Line:
    """The line of ``verdict``; ``records`` maps record digests to the evidence at hand."""
    spec = METRICS.get(verdict.metric or "")
    found = [records[digest] for digest in verdict.evidence if digest in records]
    exact = reasons.kind(verdict) == "exact"
    findings = [
        finding for record in found if exact and spec for finding in record.findings if finding.metric == spec.field
    ]
    return Line(
        id=anchor(verdict),
        outcome=verdict.outcome,
        mark=drawing.mark(verdict.outcome),
        said=reasons.OUTCOMES[verdict.outcome],
        name=reasons.name(verdict),
        metric=verdict.metric or "",
        suite=verdict.suite,
        demand=reasons.demand(verdict),
        meaning=spec.meaning if spec else "",
        why=verdict.why,
        path=verdict.path,
        sentence=reasons.sentence(verdict),
        join=verdict.join,
        drawing=None if exact or verdict.join else _drawing(verdict, found),
        numbers=() if exact or verdict.join else tuple(_numbers(verdict)),
        notes=tuple(_notes(verdict)),
        findings=tuple(findings[:MAX_FINDINGS]),
        hidden=max(0, len(findings) - MAX_FINDINGS),
        records=verdict.evidence,
        post_hoc=verdict.post_hoc,
        branches=tuple(line(branch, records) for branch in verdict.branches),
    )


def anchor(verdict: Verdict) -> str:
    """The id of the requirement's place on the page: its place in the policy, in letters that an id may have."""
    return "line" + "".join(char if char.isascii() and char.isalnum() else "-" for char in verdict.path)


def _drawing(verdict: Verdict, found: Sequence[Evidence]) -> Markup | None:
    if verdict.direction is None or verdict.threshold is None:
        return None
    spec = METRICS.get(verdict.metric or "")
    suites = [record.question.suite for record in found if record.question.suite is not None]
    chance = suites[0].chance if suites and spec is not None and spec.chance else None
    interval = None if verdict.interval is None else (verdict.interval[0], verdict.interval[1])
    return drawing.scale(
        drawing.Scale(
            outcome=verdict.outcome,
            direction=verdict.direction,
            threshold=verdict.threshold,
            estimate=verdict.estimate,
            interval=interval,
            lower=verdict.lower,
            upper=verdict.upper,
            chance=chance,
            difference=verdict.baseline is not None or (spec is not None and spec.difference),
        )
    )


def _numbers(verdict: Verdict) -> Iterator[tuple[str, str]]:
    if verdict.estimate is not None:
        judged = ", as the judge reports it" if reasons.is_judged(verdict) else ""
        yield "Estimate", f"{words.estimate(verdict.estimate)}{judged}"
    if verdict.interval is not None:
        low, high = verdict.interval
        corrected = ", corrected" if reasons.is_judged(verdict) else ""
        yield "Interval", f"{words.bound(low, 'lower')} to {words.bound(high, 'upper')}{corrected}"
    if verdict.lower is not None and verdict.upper is not None and verdict.alpha is not None:
        low = words.bound(verdict.lower, "lower", verdict.threshold)
        high = words.bound(verdict.upper, "upper", verdict.threshold)
        yield "One-sided bounds", f"{low} and {high}, each at {words.level(verdict.alpha)}"
    if verdict.items is not None and verdict.suite_items is not None:
        clusters = ""
        if verdict.clusters is not None and verdict.clusters != verdict.items:
            clusters = f", in {words.things(verdict.clusters, 'cluster')}"
        yield "Items", f"{words.count(verdict.items)} of {words.count(verdict.suite_items)}{clusters}"
    if verdict.failed:
        yield "Failed items", f"{words.count(verdict.failed)}, counted as the worst value"


def _notes(verdict: Verdict) -> Iterator[str]:
    if len(verdict.evidence) > 1:
        yield f"{len(verdict.evidence)} records speak to this line and each must meet it; the worst is shown."
    if verdict.post_hoc:
        yield "Post hoc: the evidence was not gathered under this policy, so the bar may have been chosen afterwards."


def shown_together(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Sampled verdicts that say the same of what could have been shown, in the order in which they first appear."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.items and verdict.lower is not None:
            key = (verdict.metric, verdict.suite, verdict.direction, verdict.alpha, verdict.provable, verdict.items)
            groups.setdefault(key, []).append(verdict)
    return list(groups.values())


def slice_tables(verdicts: Sequence[Verdict]) -> list[SliceTable]:
    """One table for each metric and suite; lines of several tiers on the same evidence share theirs."""
    tables: dict[tuple[object, ...], SliceTable] = {}
    for verdict in verdicts:
        key = (verdict.metric, verdict.suite, verdict.direction, verdict.evidence)
        if verdict.slices and key not in tables:
            tables[key] = _slice_table(verdict)
    return list(tables.values())


def _slice_table(verdict: Verdict) -> SliceTable:
    high_is_worse = verdict.direction == "at_most"
    rows = []
    for name, entry in verdict.slices.items():
        if isinstance(entry, Mapping):
            rows.append((name, int(str(entry["items"])), str(entry["estimate"])))
    rows.sort(key=lambda row: (-float(row[2]) if high_is_worse else float(row[2]), row[0]))
    return SliceTable(
        name=reasons.name(verdict),
        suite=verdict.suite,
        worst="highest" if high_is_worse else "lowest",
        rows=tuple(
            SliceRow(words.safe(name, words.MAX_NAME), items, words.estimate(value), drawing.bar(value))
            for name, items, value in rows[:MAX_SLICES]
        ),
        hidden=max(0, len(rows) - MAX_SLICES),
    )

"""What the page shows of weights once they are public: attacks, artifacts, and where the model stands among open ones.

Everything here is of the judgement and of the facts in the evidence; nothing is computed anew. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from weighbridge.evidence import Evidence
from weighbridge.report import curve, drawing, lines, reasons, words
from weighbridge.verdicts import Judgement, Outcome, Verdict

MAX_ROWS = 60


@dataclass(frozen=True)
class Tried:
    """One attack of a battery, as a row: what it achieved, at what cost to the attacker and to the model."""

    number: int
    name: str
    how: str
    said: str
    outcome: str
    mark: Markup
    estimate: str
    interval: str
    items: str
    loss: str
    cost: str
    note: str
    bar: Markup | None


@dataclass(frozen=True)
class Attacks:
    """One attacked line: ``curve`` where costs are known; the rows are in the order of cost."""

    line: str
    name: str
    demand: str
    battery: str
    curve: Markup | None
    rows: tuple[Tried, ...]
    losses: bool


@dataclass(frozen=True)
class Compared:
    """One model, or one attack on it, that a line compares the checkpoint with; numbers are checkpoint minus model."""

    name: str
    attack: str
    said: str
    outcome: Outcome
    mark: Markup
    difference: str
    bounds: str
    items: str
    drawing: Markup | None


@dataclass(frozen=True)
class Position:
    """Where a line finds the checkpoint among the models of ``baseline``; ``hidden`` counts rows that are left out."""

    line: str
    name: str
    demand: str
    baseline: str
    rows: tuple[Compared, ...]
    hidden: int


@dataclass(frozen=True)
class Cell:
    """What one line says of one artifact."""

    outcome: Outcome
    mark: Markup
    said: str
    difference: str
    estimate: str
    bar: Markup | None
    sentence: str


@dataclass(frozen=True)
class Artifact:
    """One artifact: whether it may be published, with a cell for each line that it must meet."""

    name: str
    digest: str
    outcome: Outcome
    mark: Markup
    said: str
    cells: tuple[Cell, ...]


def attacks(judgement: Judgement, evidence: Sequence[Evidence]) -> list[Attacks]:
    """Every attacked line of the tiers, once where several tiers ask the same; relative ones are ``positions``."""
    made = {}
    for record in evidence:
        attack = record.question.settings.get("attack")
        if isinstance(attack, Mapping):
            made[record.digest] = (str(attack.get("id")), record)
    shown: dict[tuple[object, ...], Attacks] = {}
    for verdict in _leaves(judgement):
        key = (verdict.metric, verdict.suite, verdict.battery, verdict.threshold)
        if verdict.attacks and verdict.baseline is None and key not in shown:
            shown[key] = _attacks(verdict, [made[digest] for digest in verdict.evidence if digest in made])
    return list(shown.values())


def positions(judgement: Judgement) -> list[Position]:
    """Every relative line of the tiers that found something to compare with."""
    return [_position(verdict) for verdict in _leaves(judgement) if verdict.baselines]


def artifact_lines(judgement: Judgement) -> list[str]:
    """The names of the lines that each artifact must meet, in the order of its cells."""
    for artifact in judgement.artifacts.values():
        return [f"{reasons.name(leaf)}, {reasons.demand(leaf)}" for leaf in _cells(artifact.own)]
    return []


def artifacts(judgement: Judgement, evidence: Sequence[Evidence]) -> list[Artifact]:
    """The artifacts side by side."""
    by_digest = {record.digest: record for record in evidence}
    return [
        Artifact(
            name=one.name,
            digest=one.digest,
            outcome=one.outcome,
            mark=drawing.mark(one.outcome),
            said="may be published" if one.outcome == "met" else "is not published",
            cells=tuple(_cell(leaf, by_digest) for leaf in _cells(one.own)),
        )
        for one in judgement.artifacts.values()
    ]


def _leaves(judgement: Judgement) -> Iterator[Verdict]:
    for tier in judgement.tiers:
        for verdict in tier.own:
            yield from verdict.leaves()


def _cells(own: Sequence[Verdict]) -> list[Verdict]:
    return [leaf for verdict in own for leaf in verdict.leaves()]


def _attacks(verdict: Verdict, made: Sequence[tuple[str, Evidence]]) -> Attacks:
    facts: dict[str, Mapping[str, Any]] = {}
    for name, record in made:
        if record.question.suite is not None and record.question.suite.name == verdict.suite:
            facts[name] = {"facts": record.facts, "attack": record.question.settings["attack"]}
    found = [(name, value) for name, value in verdict.attacks.items() if isinstance(value, Mapping)]
    found.sort(key=lambda pair: (_dollars(facts.get(pair[0])), _seconds(facts.get(pair[0])), pair[0]))
    rows, points = [], []
    for number, (name, value) in enumerate(found, 1):
        rows.append(_tried(number, name, value, facts.get(name, {})))
        if value.get("estimate") is not None and value.get("lower") is not None and name in facts:
            points.append(
                curve.Point(
                    number,
                    _dollars(facts[name]),
                    str(value["estimate"]),
                    str(value["lower"]),
                    str(value["upper"]),
                    value["outcome"],  # type: ignore[arg-type]
                    bool(value["excluded"]),
                )
            )
    costly = points and verdict.metric == "tampering.harmful_compliance"
    return Attacks(
        line=lines.anchor(verdict),
        name=reasons.name(verdict),
        demand=reasons.demand(verdict),
        battery=str(verdict.battery),
        curve=curve.curve(points, str(verdict.threshold)) if costly else None,
        rows=tuple(rows[:MAX_ROWS]),
        losses=any(isinstance(value.get("loss"), Mapping) for _, value in found),
    )


def _tried(number: int, name: str, value: Mapping[str, Any], known: Mapping[str, Any]) -> Tried:
    outcome: Outcome = value["outcome"]
    excluded = bool(value["excluded"])
    estimate = value.get("estimate")
    interval = value.get("interval")
    loss = value.get("loss")
    facts = known.get("facts", {})
    return Tried(
        number=number,
        name=words.safe(name, words.MAX_NAME),
        how=_how(known.get("attack", {})),
        said="excluded" if excluded else reasons.OUTCOMES[outcome],
        outcome="not_listed" if excluded else outcome,
        mark=Markup("") if excluded else drawing.mark(outcome),
        estimate="none" if estimate is None else words.estimate(estimate),
        interval="" if interval is None else _range(*interval),
        items="0" if value.get("items") is None else words.count(int(value["items"])),
        loss=_loss(loss),
        cost=_cost(facts.get("cost")),
        note=words.safe(
            str(facts["why"]) if facts.get("why") else "" if estimate is not None else str(value["reason"])
        ),
        bar=None if estimate is None else drawing.bar(estimate),
    )


def _how(attack: Mapping[str, Any]) -> str:
    """``LoRA, 2 epochs``: what is done, from the attack's own words."""
    kinds = {
        "none": "the model as it is",
        "decoding": "asked otherwise",
        "ablation": "refusal direction taken out",
        "lora": "LoRA fine-tuning",
        "full": "fine-tuning of all weights",
    }
    parameters = attack.get("parameters", {})
    said = [kinds.get(str(attack.get("kind")), str(attack.get("kind", "")))]
    data = parameters.get("data")
    if isinstance(data, Mapping):
        said.append(f"on {data.get('name')}")
    said += [f"{name.replace('_', ' ')} {parameters[name]}" for name in ("depth", "epochs", "temperature")
             if name in parameters]  # fmt: skip
    if attack.get("kind") != "decoding" and "prefill" in parameters:
        said.append("and the response begun")
    return words.safe(", ".join(said))


def _cost(cost: Any) -> str:
    if not isinstance(cost, Mapping):
        return ""
    said = []
    if cost.get("steps"):
        said.append(f"{words.things(int(cost['examples']), 'example')}, {words.things(int(cost['steps']), 'step')}")
    if cost.get("seconds"):
        said.append(words.seconds(float(cost["seconds"])))
    dollars = float(cost.get("dollars", 0.0))
    said.append(words.dollars(dollars) if dollars else "no computing")
    return ", ".join(said)


def _loss(loss: Any) -> str:
    if not isinstance(loss, Mapping) or loss.get("estimate") is None:
        return "not known"
    known = f" ({_range(loss['lower'], loss['upper'])})" if loss.get("lower") is not None else ""
    return f"{words.estimate(str(loss['estimate']))}{known}"


def _range(low: str, high: str) -> str:
    return f"{words.bound(low, 'lower')} to {words.bound(high, 'upper')}"


def _dollars(known: Mapping[str, Any] | None) -> float:
    return _of_cost(known, "dollars")


def _seconds(known: Mapping[str, Any] | None) -> float:
    return _of_cost(known, "seconds")


def _of_cost(known: Mapping[str, Any] | None, name: str) -> float:
    cost = (known or {}).get("facts", {}).get("cost")
    return float(cost.get(name, 0.0)) if isinstance(cost, Mapping) else 0.0


def _position(verdict: Verdict) -> Position:
    rows = sorted(verdict.baselines, key=lambda one: (str(one["name"]), str(one["attack"] or "")))
    return Position(
        line=lines.anchor(verdict),
        name=reasons.name(verdict),
        demand=reasons.demand(verdict),
        baseline=str(verdict.baseline),
        rows=tuple(_compared(verdict, one) for one in rows[:MAX_ROWS]),
        hidden=max(0, len(rows) - MAX_ROWS),
    )


def _compared(verdict: Verdict, one: Mapping[str, Any]) -> Compared:
    outcome: Outcome = one["outcome"]
    known = one["estimate"] is not None and one["lower"] is not None
    drawn = drawing.scale(
        drawing.Scale(
            outcome=outcome,
            direction=verdict.direction or "at_most",
            threshold=str(verdict.threshold),
            estimate=one["estimate"],
            lower=one["lower"],
            upper=one["upper"],
            difference=True,
        )
    )
    return Compared(
        name=words.safe(str(one["name"]), words.MAX_NAME),
        attack=words.safe(str(one["attack"] or ""), words.MAX_NAME),
        said=reasons.OUTCOMES[outcome],
        outcome=outcome,
        mark=drawing.mark(outcome),
        difference=_signed(one["estimate"]) if known else "none",
        bounds=_range(one["lower"], one["upper"]) if known else words.safe(str(one["reason"])),
        items="" if one["items"] is None else words.count(int(one["items"])),
        drawing=drawn if known else None,
    )


def _cell(leaf: Verdict, records: Mapping[str, Evidence]) -> Cell:
    estimate = None
    for digest in leaf.evidence:
        record = records.get(digest)
        if record is not None and "artifact" in record.question.settings and leaf.metric is not None:
            field = leaf.metric.partition(".")[2]
            values = [one.values[field] for one in record.observations if field in one.values]
            estimate = sum(values) / len(values) if values else None
    return Cell(
        outcome=leaf.outcome,
        mark=drawing.mark(leaf.outcome),
        said=reasons.OUTCOMES[leaf.outcome],
        difference=_signed(leaf.estimate) if leaf.baseline is not None and leaf.estimate is not None else "",
        estimate="none" if estimate is None else f"{estimate:.3f}",
        bar=None if estimate is None else drawing.bar(f"{estimate:.6f}"),
        sentence=reasons.sentence(leaf),
    )


def _signed(value: str) -> str:
    return f"{float(value):+.3f}"

"""Review: what today's policy, baselines and clock say of a decision on record. Pure; nothing is measured.

A decision was right by the models that were open then, by the policy of that day, until it expires. Each model on
record is judged again from the evidence that lies there, and the two judgements are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from weighbridge.canonical import Json
from weighbridge.decision import FRONTIER, Decision, check_supersession
from weighbridge.errors import VerificationError
from weighbridge.evidence import Evidence, to_json
from weighbridge.judge import Baselines, judge
from weighbridge.policy import TIERS, Policy
from weighbridge.times import format_time
from weighbridge.verdicts import Judgement, Outcome, Verdict

State = Literal["withdraw", "unproven", "expired", "may open", "superseded", "current"]
"""How a decision stands today, the most pressing first.

``withdraw``: the tier that was granted is refused today. ``unproven``: the evidence does not settle that tier today.
``expired``: no longer in force. ``may open``: a more open tier is met today. ``superseded``: another decision has taken
its place, and nothing else is said of it; or a named successor is served. ``current``: it holds.
"""
STATES: tuple[State, ...] = get_args(State)

SERVED = "successor_served"
"""The field of the findings that say that a successor is served."""

_LADDER = ("undecided", "held", *TIERS)


@dataclass(frozen=True)
class OnRecord:
    """A model on record: its decision in ``folder``, and what to judge it by today.

    ``policy`` is today's; ``source`` says where a command finds it. ``signed``: it is more than a draft.
    """

    name: str
    folder: str
    decision: Decision
    signed: bool
    policy: Policy
    source: str
    evidence: Sequence[Evidence]
    baselines: Baselines = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A line that stands undecided, why, and the command that gets what it lacks."""

    line: str
    reason: str
    command: str


@dataclass(frozen=True)
class Row:
    """One model on record: the ``states`` of its decision, the most pressing first, and a sentence on each.

    ``given`` is the tier of the decision and ``today`` that of the ``judgement`` made now. ``commands`` carry out what
    the first state asks for; ``missing`` is the evidence without which lines stand undecided.
    """

    name: str
    folder: str
    decision: str
    checkpoint: str
    signed: bool
    given: str
    today: str
    decided_at: str
    expires_at: str
    states: tuple[State, ...]
    reasons: tuple[str, ...]
    commands: tuple[str, ...]
    missing: tuple[Missing, ...]
    judgement: Judgement = field(repr=False)

    @property
    def state(self) -> State:
        """The most pressing state."""
        return self.states[0]

    def to_json(self) -> dict[str, Any]:
        """The row as JSON, with the judgement whole."""
        result: dict[str, Any] = to_json(self)
        return {"state": self.state, **result}


def review(records: Sequence[OnRecord], *, at: datetime) -> list[Row]:
    """Each model judged again at the time ``at``: the most pressing first, then by name.

    Raises ``EvidenceError`` as ``judge`` does.
    """
    rows = [_row(one, [other.decision for other in records if other.signed], at) for one in records]
    return sorted(rows, key=lambda row: (STATES.index(row.state), row.name, row.folder))


def _row(one: OnRecord, known: Sequence[Decision], at: datetime) -> Row:
    decision = one.decision
    judgement = judge(
        one.policy, one.evidence, checkpoint=decision.checkpoint, at=format_time(at), baselines=one.baselines
    )
    found = dict(_states(one, judgement, known, at))
    states = tuple(state for state in STATES if state in found)
    return Row(
        name=one.name,
        folder=one.folder,
        decision=decision.id,
        checkpoint=decision.checkpoint,
        signed=one.signed,
        given=decision.tier,
        today=judgement.tier,
        decided_at=format_time(decision.decided_at),
        expires_at=format_time(decision.expires_at),
        states=states,
        reasons=tuple(found[state] for state in states),
        commands=tuple(_commands(one, states[0])),
        missing=tuple(_missing(one, judgement)),
        judgement=judgement,
    )


def _states(
    one: OnRecord, judgement: Judgement, known: Sequence[Decision], at: datetime
) -> Iterator[tuple[State, str]]:
    decision = one.decision
    try:
        check_supersession(decision, known)
    except VerificationError as reason:
        yield "superseded", reason.message
        return
    current = at < decision.expires_at
    if not current:
        yield "expired", f"in force until {format_time(decision.expires_at)}"
    granted, today = _LADDER.index(decision.tier), _LADDER.index(judgement.tier)
    if today < granted and decision.tier in TIERS:
        outcome = judgement.outcome(decision.tier)
        out = "; weights that are out stay out" if decision.tier in ("open", "gated") and outcome == "not_met" else ""
        blamed = [_told(leaf) for leaf in _blamed(judgement, decision.tier, outcome)]
        why = "; ".join(blamed) or "the policy lists no such tier"
        yield ("withdraw" if outcome == "not_met" else "unproven"), f"{decision.tier} was granted{out}: {why}"
    elif today > granted and judgement.tier in TIERS:
        yield "may open", f"{judgement.tier} is met today: {_because(one, judgement)}"
    elif current:
        yield "current", f"in force until {format_time(decision.expires_at)}"
    served = [
        finding.message
        for record in one.evidence
        for finding in record.findings
        if finding.metric == SERVED and str(record.question.settings.get("until", "")) > format_time(at)
    ]
    if served:
        yield "superseded", f"a successor is served: {served[0]}"


def _because(one: OnRecord, judgement: Judgement) -> str:
    """Which lines are met now and were not then; first those that a newer baseline passed."""
    before = {_line(leaf): str(leaf.get("outcome")) for leaf in _recorded(one.decision.judgement)}
    gained = [
        leaf
        for tier in judgement.tiers
        if tier.outcome == "met"
        for verdict in tier.own
        for leaf in verdict.leaves()
        if leaf.outcome == "met" and before.get(_line(to_json(leaf))) != "met"
    ]
    known = {(ref.name, ref.checkpoint) for ref in one.decision.baselines}
    passed = [leaf for leaf in gained if any(_beat(entry, known) for entry in leaf.baselines)]
    if passed:
        return f"the open frontier passed it: {_told(passed[0])}"
    if gained:
        return _told(gained[0])
    return "the policy asks less than it did"


def _beat(entry: Mapping[str, Json], known: set[tuple[str, str]]) -> bool:
    return entry.get("outcome") == "met" and (entry.get("name"), entry.get("checkpoint")) not in known


def _blamed(judgement: Judgement, tier: str, outcome: Outcome) -> Iterator[Verdict]:
    """The leaves that hold ``tier`` back."""
    for step in judgement.tiers:
        for verdict in step.own:
            if verdict.outcome == outcome:
                yield from (leaf for leaf in verdict.leaves() if leaf.outcome == outcome)
        if step.tier == tier:
            return


def _missing(one: OnRecord, judgement: Judgement) -> Iterator[Missing]:
    """What every line that stands undecided lacks, each once."""
    seen: set[tuple[str, str]] = set()
    for step in judgement.tiers:
        for verdict in step.own:
            if verdict.outcome != "undecided":
                continue
            for leaf in verdict.leaves():
                if leaf.outcome == "undecided" and (key := (_name(leaf), leaf.reason)) not in seen:
                    seen.add(key)
                    yield Missing(*key, _command(one, leaf))


def _command(one: OnRecord, leaf: Verdict) -> str:
    """The command that gets what an undecided line lacks."""
    if leaf.metric == "release.successor_served":
        return f"{_decide(one)} --successor DECISION --trust TRUST"
    if leaf.evidence and leaf.baseline is not None and all(entry.get("lower") is None for entry in leaf.baselines):
        names = sorted({str(entry["name"]) for entry in leaf.baselines})
        if names or leaf.baseline != FRONTIER:
            return f"weighbridge baseline add {names[0] if names else leaf.baseline} PATH --policy {one.source}"
        return f"weighbridge baseline add NAME PATH --set {FRONTIER} --policy {one.source}"
    return f"weighbridge weigh CHECKPOINT --policy {one.source} --out {one.folder} --sign KEY"


def _commands(one: OnRecord, state: State) -> Iterator[str]:
    """What carries out the most pressing state."""
    if state == "withdraw":
        yield f"weighbridge revoke --decision {one.folder}/decision.json --list REVOCATIONS --sign KEY"
    if state in ("withdraw", "expired", "may open"):
        yield _decide(one)


def _decide(one: OnRecord) -> str:
    return f"weighbridge decide --policy {one.source} --evidence {one.folder} --sign KEY"


def _told(leaf: Verdict) -> str:
    return f"{_name(leaf)}: {leaf.reason}"


def _name(leaf: Verdict) -> str:
    return f"{leaf.metric} on {leaf.suite}" if leaf.suite else str(leaf.metric)


def _line(leaf: Mapping[str, Json]) -> tuple[str, ...]:
    """What a line asks, whatever its place in whichever policy."""
    fields = ("metric", "suite", "direction", "threshold", "battery", "baseline")
    return tuple(str(leaf.get(name)) for name in fields)


def _recorded(value: Json) -> Iterator[Mapping[str, Json]]:
    """The verdicts of bounds in a judgement in its JSON form, wherever they stand in it."""
    if isinstance(value, Mapping):
        if "threshold" in value:
            yield value
        for child in value.values():
            yield from _recorded(child)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for child in value:
            yield from _recorded(child)

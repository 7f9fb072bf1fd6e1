"""The page of a review: every decision on record, as it stands today. Pure, reads no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from weighbridge.report import drawing, reasons
from weighbridge.report.templating import render_page
from weighbridge.review import STATES, Row, State
from weighbridge.verdicts import Outcome

MEANINGS: dict[State, str] = {
    "withdraw": "The tier that was granted is refused today.",
    "unproven": "The evidence does not settle today the tier that was granted.",
    "expired": "No longer in force: nothing new is released or served under it.",
    "may open": "A more open tier is met today.",
    "superseded": "Another decision has taken its place, or its successor is served.",
    "current": "It holds.",
}
_OUTCOMES: dict[State, Outcome] = {
    "withdraw": "not_met",
    "unproven": "undecided",
    "expired": "undecided",
    "may open": "met",
    "superseded": "undecided",
    "current": "met",
}


@dataclass(frozen=True)
class Standing:
    """A state with its mark, and what is said of it."""

    state: State
    outcome: Outcome
    mark: Markup
    said: str


@dataclass(frozen=True)
class Model:
    """One model on record: the row, its states, and why each tier is granted or not today."""

    row: Row
    standing: tuple[Standing, ...]
    tiers: tuple[tuple[str, Outcome, Markup, reasons.Reason], ...]


def render_review(rows: Sequence[Row], broken: Sequence[tuple[str, str]], *, at: str) -> str:
    """The page as HTML. ``broken`` are folders that could not be read, with what is wrong; ``at`` is the time."""
    counts = [(state, sum(row.state == state for row in rows), MEANINGS[state]) for state in STATES]
    return render_page(
        "review.html",
        models=[_model(row) for row in rows],
        counts=[(standing(state), number, meaning) for state, number, meaning in counts if number],
        broken=list(broken),
        at=at,
        pressing=sum(row.state not in ("current", "superseded") for row in rows) + len(broken),
        total=len(rows) + len(broken),
    )


def standing(state: State, said: str = "") -> Standing:
    """How a state is shown: a shape, a word, and only then a colour."""
    return Standing(state, _OUTCOMES[state], drawing.mark(_OUTCOMES[state]), said)


def _model(row: Row) -> Model:
    judgement = row.judgement
    return Model(
        row=row,
        standing=tuple(standing(state, said) for state, said in zip(row.states, row.reasons, strict=True)),
        tiers=tuple(
            (tier.tier, tier.outcome, drawing.mark(tier.outcome), reasons.tier_reason(judgement, tier.tier))
            for tier in judgement.tiers
        ),
    )

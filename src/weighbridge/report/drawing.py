"""Inline SVG: a verdict on its scale, small bars, and the marks of the three outcomes. Pure.

Positions along the scale are percentages and heights are pixels, so that a drawing fills any width and its text keeps
its size. Colours come from the page's style sheet by class; no drawing says anything by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from markupsafe import Markup

from weighbridge.report import words
from weighbridge.verdicts import Outcome

# Heights in pixels, from the top: the bound's label, the plot, the axis labels.
_TOP, _BOTTOM, _HEIGHT = 20, 60, 80
_MIDDLE = (_TOP + _BOTTOM) // 2
_LABEL_ROOM = 28.0
"""Percent of the width that a bound's label may need on a narrow page."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What is drawn of one verdict: decimal strings in [0, 1], None where there is none.

    ``interval`` is the marginal two-sided interval; ``lower`` and ``upper`` are the one-sided bounds of the verdict.
    The numbers of a ``difference`` lie in [-1, 1].
    """

    outcome: Outcome
    direction: Literal["at_most", "at_least"]
    threshold: str
    estimate: str | None = None
    interval: tuple[str, str] | None = None
    lower: str | None = None
    upper: str | None = None
    chance: str | None = None
    difference: bool = False

    @property
    def label(self) -> str:
        """``at most 0.30``."""
        return f"{self.direction.replace('_', ' ')} {words.threshold(self.threshold)}"

    @property
    def description(self) -> str:
        """The drawing in words, for those who do not see it."""
        parts = [f"Scale from {'-1' if self.difference else '0'} to 1. Required: {self.label}."]
        if self.estimate is not None:
            parts.append(f"Estimate {words.estimate(self.estimate)}.")
        if self.interval is not None:
            low, high = self.interval
            parts.append(f"Interval {words.bound(low, 'lower')} to {words.bound(high, 'upper')}.")
        if self.lower is not None and self.upper is not None:
            low, high = (
                words.bound(self.lower, "lower", self.threshold),
                words.bound(self.upper, "upper", self.threshold),
            )
            parts.append(f"One-sided bounds {low} and {high}.")
        if self.chance is not None:
            parts.append(f"Chance {words.threshold(self.chance)}.")
        return " ".join(parts)


def scale(drawn: Scale) -> Markup:
    """A [0, 1] axis: the admissible side shaded, the bound a line, the interval a bar, the estimate a dot, the
    one-sided bounds ticks, chance a dotted line."""

    def along(value: str) -> float:
        return _percent(value, "-1" if drawn.difference else "0")

    needed = along(drawn.threshold)
    start, width = (0.0, needed) if drawn.direction == "at_most" else (needed, 100.0 - needed)
    parts = [_rect("admissible", start, width, _TOP, _BOTTOM - _TOP)]
    for tick in (0, 25, 50, 75, 100):
        parts.append(_line("grid", tick, _TOP, _BOTTOM))
        parts.append(text("axis", tick, _HEIGHT - 4, _tick(tick, drawn.difference)))
    if drawn.chance is not None:
        parts.append(_line("chance", along(drawn.chance), _TOP, _BOTTOM))
    if drawn.interval is not None:
        low, high = map(along, drawn.interval)
        parts.append(_rect(f"interval {drawn.outcome}", low, high - low, _MIDDLE - 6, 12))
    for side in (drawn.lower, drawn.upper):
        if side is not None:
            parts.append(_line(f"sided {drawn.outcome}", along(side), _MIDDLE - 12, _MIDDLE + 12))
    parts.append(_line("bound", needed, _TOP - 4, _BOTTOM + 4))
    if drawn.estimate is not None:
        parts.append(circle("estimate", along(drawn.estimate), _MIDDLE))
    parts.append(_bound_label(drawn, needed))
    return Markup('<svg class="scale" role="img" aria-label="{}" height="{}">{}</svg>').format(
        drawn.description, _HEIGHT, Markup("").join(parts)
    )


def _bound_label(drawn: Scale, needed: float) -> Markup:
    """The label stands on the admissible side of its line, unless there is no room."""
    left = drawn.direction == "at_most"
    if left and needed < _LABEL_ROOM:
        left = False
    elif not left and needed > 100.0 - _LABEL_ROOM:
        left = True
    anchor, shift = ("end", -7) if left else ("start", 7)
    return Markup('<text class="label" x="{}%" dx="{}" y="{}" text-anchor="{}">{}</text>').format(
        _p(needed), shift, _TOP - 7, anchor, drawn.label
    )


def bar(value: str) -> Markup:
    """A little bar of one score; the number stands beside it, so it is hidden from screen readers."""
    return Markup('<svg class="bar" aria-hidden="true" height="10">{}{}</svg>').format(
        _rect("track", 0, 100, 2, 6), _rect("fill", 0, _percent(value), 0, 10)
    )


_MARKS = {
    "met": Markup('<path d="M4.5 8.5l2.6 2.6 4.6-5.4"/>'),
    "not_met": Markup('<path d="M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6"/>'),
    "undecided": Markup('<path d="M4.8 8h1M7.5 8h1M10.2 8h1"/>'),
}


def mark(outcome: Outcome) -> Markup:
    """A tick in a disc, a cross in a square, dots in a dashed ring: three shapes, beside which the word stands."""
    shape = (
        Markup('<rect x="1" y="1" width="14" height="14" rx="2"/>')
        if outcome == "not_met"
        else Markup('<circle cx="8" cy="8" r="7"/>')
    )
    return Markup('<svg class="mark" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{}{}</svg>').format(
        shape, _MARKS[outcome]
    )


def _tick(percent: int, difference: bool) -> str:
    value = percent / 50 - 1 if difference else percent / 100
    return f"{value:g}" if value in (-1, 0, 1) else f"{value:.2f}"


def segment(name: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A line between two places: percent of the width, pixels from the top."""
    return Markup('<line class="{}" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(name, _p(x1), _p(y1), _p(x2), _p(y2))


def circle(name: str, x: float, y: float) -> Markup:
    """A dot at ``x`` percent of the width, ``y`` pixels from the top."""
    return Markup('<circle class="{}" cx="{}%" cy="{}" r="5"/>').format(name, _p(x), _p(y))


def text(name: str, x: float, y: float, said: str, *, shift: int = 0) -> Markup:
    """Text that keeps inside of the drawing at both ends, and is centred between them; ``shift`` pixels moves it to
    the right of its place."""
    anchor = "start" if x == 0 or shift else "end" if x == 100 else "middle"
    return Markup('<text class="{}" x="{}%" dx="{}" y="{}" text-anchor="{}">{}</text>').format(
        name, _p(x), shift, _p(y), anchor, said
    )


def _percent(value: str, low: str = "0") -> float:
    """The place of ``value`` on an axis from ``low`` to 1."""
    start = Decimal(low)
    return float((min(max(Decimal(value), start), Decimal(1)) - start) / (1 - start) * 100)


def _p(percent: float) -> str:
    return f"{percent:.4f}".rstrip("0").rstrip(".")


def _rect(name: str, x: float, width: float, y: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}%" width="{}%" y="{}" height="{}"/>').format(name, _p(x), _p(width), y, height)


def _line(name: str, x: float, top: float, bottom: float) -> Markup:
    return segment(name, x, top, x, bottom)

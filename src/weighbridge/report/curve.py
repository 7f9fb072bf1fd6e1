"""The tamper curve: harmful compliance against what an attack costs, as inline SVG. Pure.

Costs run along a logarithmic axis; attacks that need no computing stand in a column of their own before it. The step
line is the most that an attacker gets for that cost or less. As in ``drawing``, places along the axis are percentages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from weighbridge.report import words
from weighbridge.report.drawing import circle, segment, text
from weighbridge.verdicts import Outcome

_TOP, _BOTTOM, _HEIGHT = 16.0, 236.0, 290
_FREE, _LEFT, _RIGHT = 10.0, 20.0, 96.0
"""Percent of the width: the column of what costs nothing, and both ends of the logarithmic axis."""
_MOST_TICKS = 7


@dataclass(frozen=True, slots=True)
class Point:
    """One attack: its ``number`` in the table, its ``cost`` in dollars, decimal strings of what it achieves."""

    number: int
    cost: float
    estimate: str
    lower: str
    upper: str
    outcome: Outcome
    excluded: bool


def curve(points: Sequence[Point], threshold: str) -> Markup:
    """A drawing of at least one point, under the bound ``threshold``."""
    axis = _Axis([point.cost for point in points if point.cost > 0])
    parts = [*_frame(), *axis.ticks()]
    parts.append(segment("bound", 0, _y(threshold), 100, _y(threshold)))
    parts.append(text("label", 100, _y(threshold) - 6, f"at most {words.threshold(threshold)}"))
    best = 0.0
    last: tuple[float, float] | None = None
    for point in sorted(points, key=lambda one: (one.cost, one.number)):
        if point.excluded:
            continue
        x, height = axis.place(point.cost), max(best, float(point.estimate))
        if last is not None:
            parts.append(segment("reach", last[0], last[1], x, last[1]))
            parts.append(segment("reach", x, last[1], x, _y(height)))
        best, last = height, (x, _y(height))
    if last is not None:
        parts.append(segment("reach", last[0], last[1], 100, last[1]))
    for x, point in _apart([(axis.place(point.cost), point) for point in points]):
        kind = "excluded" if point.excluded else point.outcome
        parts.append(segment(f"range {kind}", x, _y(point.lower), x, _y(point.upper)))
        parts.append(circle(f"estimate {kind}", x, _y(point.estimate)))
        parts.append(text("number", x, _y(point.estimate) + 4, str(point.number), shift=9))
    return Markup('<svg class="curve" role="img" aria-label="{}" height="{}">{}</svg>').format(
        _described(points, threshold), _HEIGHT, Markup("").join(parts)
    )


class _Axis:
    """The axis of costs, in whole powers of ten of a dollar."""

    def __init__(self, costs: Sequence[float]) -> None:
        self._low = math.floor(math.log10(min(costs))) if costs else -1
        self._high = math.ceil(math.log10(max(costs))) if costs else 0
        self._high = max(self._high, self._low + 1)
        self._empty = not costs

    def place(self, cost: float) -> float:
        """Percent of the width."""
        if cost <= 0:
            return _FREE
        return _LEFT + (math.log10(cost) - self._low) / (self._high - self._low) * (_RIGHT - _LEFT)

    def ticks(self) -> list[Markup]:
        parts = [text("axis", _FREE, _BOTTOM + 18, "no computing")]
        step = max(1, math.ceil((self._high - self._low + 1) / _MOST_TICKS))
        for power in () if self._empty else range(self._low, self._high + 1, step):
            x = self.place(10.0**power)
            parts += [segment("grid", x, _TOP, x, _BOTTOM), text("axis", x, _BOTTOM + 18, words.dollars(10.0**power))]
        parts.append(
            text("axis", (_LEFT + _RIGHT) / 2, _BOTTOM + 42, "price of computing on the stated GPU, US dollars")
        )
        return parts


def _apart(placed: list[tuple[float, Point]]) -> list[tuple[float, Point]]:
    """Points of one cost stand side by side."""
    result: list[tuple[float, Point]] = []
    for place in sorted({round(x, 1) for x, _ in placed}):
        here = [point for x, point in placed if round(x, 1) == place]
        for index, point in enumerate(here):
            result.append((place + 2.6 * (index - (len(here) - 1) / 2), point))
    return result


def _frame() -> list[Markup]:
    parts = []
    for value in ("0", "0.25", "0.5", "0.75", "1"):
        parts.append(segment("grid", 0, _y(value), 100, _y(value)))
        parts.append(text("axis", 0, _y(value) - 4, value))
    return parts


def _y(value: str | float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * min(max(float(value), 0.0), 1.0)


def _described(points: Sequence[Point], threshold: str) -> str:
    """The drawing in words."""
    counted = [point for point in points if not point.excluded]
    highest = max(counted, key=lambda point: float(point.estimate), default=None)
    parts = [f"Harmful compliance under {words.things(len(points), 'attack')} against their cost."]
    if highest is not None:
        parts.append(f"The highest estimate is {words.estimate(highest.estimate)}, of number {highest.number}.")
    parts.append(f"Allowed is at most {words.threshold(threshold)}.")
    return " ".join(parts)

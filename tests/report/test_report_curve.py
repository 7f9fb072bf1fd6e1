"""The tamper curve: where its points stand, and the step line over them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.report import words
from weighbridge.report.curve import Point, curve

POINTS = st.lists(
    st.tuples(st.sampled_from([0.0, 1e-7, 3e-5, 0.02, 180.0]), st.integers(0, 100), st.booleans()),
    min_size=1,
    max_size=8,
)


def places(drawn: str, kind: str) -> list[tuple[float, float]]:
    """(percent, pixels) of the circles of a class."""
    found = re.findall(rf'<circle class="estimate {kind}" cx="([-0-9.]+)%" cy="([0-9.]+)"', drawn)
    return [(float(x), float(y)) for x, y in found]


@given(POINTS)
def test_everything_is_inside_and_the_line_never_falls(given_points: list[tuple[float, int, bool]]) -> None:
    points = [
        Point(number, cost, f"{rate / 100:.6f}", "0.000000", "1.000000", "undecided", excluded)
        for number, (cost, rate, excluded) in enumerate(given_points, 1)
    ]
    drawn = str(curve(points, "0.40"))
    dots = places(drawn, "undecided") + places(drawn, "excluded")
    assert len(dots) == len(points)
    assert all(-15 <= x <= 110 and 16 <= y <= 236 for x, y in dots)
    reach = re.findall(r'class="reach" x1="([0-9.]+)%" y1="([0-9.]+)" x2="([0-9.]+)%" y2="([0-9.]+)"', drawn)
    assert all(float(y2) <= float(y1) and float(x1) <= float(x2) for x1, y1, x2, y2 in reach)
    assert bool(reach) == any(not point.excluded for point in points)
    if reach:
        best = max(float(point.estimate) for point in points if not point.excluded)
        assert float(reach[-1][3]) == pytest.approx(236 - 220 * best, abs=1e-3)


def test_dearer_attacks_stand_to_the_right() -> None:
    costs = (0.0, 1e-6, 0.5, 200.0)
    points = [Point(index, cost, "0.5", "0.4", "0.6", "met", False) for index, cost in enumerate(costs, 1)]
    xs = [x for x, _ in places(str(curve(points, "0.40")), "met")]
    assert xs == sorted(xs)
    assert len(set(xs)) == len(costs)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(1234.6, "$1,235"), (200.0, "$200"), (0.05, "$0.05"), (3e-6, "$3 x 10⁻⁶"), (1e-7, "$10⁻⁷"), (9.99e-3, "$10⁻²")],
)
def test_amounts(amount: float, said: str) -> None:
    assert words.dollars(amount) == said

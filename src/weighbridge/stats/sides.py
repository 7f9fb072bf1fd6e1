"""One side of a confidence sequence: what the looks so far exclude from below. Pure.

The upper side is the same thing fed with 1 - x. Means are whole millionths here: k stands for k / GRID.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from weighbridge.stats.betting import BettingTest, binary_rejects
from weighbridge.stats.clusters import GRID, threshold


class Side(Protocol):
    """A stream, the looks taken at it, and what they exclude."""

    def add(self, mean: float, weight: float) -> None:
        """The next cluster: its mean, and its size over the largest size."""
        ...

    def look(self) -> None:
        """Look at everything added so far."""
        ...

    def rejects(self, k: int, alpha: float) -> bool:
        """Whether any look so far excludes every mean up to k: true for k <= 0, false for k >= GRID."""
        ...

    def bound(self, alpha: float) -> int:
        """The largest k that is rejected; 0 if none is."""
        ...


class BettingSide:
    """Clusters of any size and values anywhere in [0, 1]."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._weights: list[float] = []
        self._looks: list[int] = []
        self._sum = self._weight = self._highest = 0.0
        self._tests: dict[int, BettingTest] = {}
        self._bounds: dict[float, int] = {}
        self._probes: dict[float, tuple[int, BettingTest]] = {}

    def add(self, mean: float, weight: float) -> None:
        self._means.append(mean)
        self._weights.append(weight)
        self._sum += weight * mean
        self._weight += weight

    def look(self) -> None:
        self._looks.append(len(self._means))
        self._highest = max(self._highest, self._sum / self._weight)

    def rejects(self, k: int, alpha: float) -> bool:
        if not 0 < k < GRID:
            return k <= 0
        if k not in self._tests:
            self._tests[k] = BettingTest(k)
        return self._fed(self._tests[k]).rejects(alpha)

    def bound(self, alpha: float) -> int:
        reached = self._bounds.get(alpha, 0)
        if not self._looks or reached + 1 >= GRID:
            return reached
        if reached:  # has anything changed? One test, carried on from look to look, tells
            k, probe = self._probes.get(alpha, (0, None))
            if probe is None or k != reached + 1:
                probe = BettingTest(reached + 1)
                self._probes[alpha] = reached + 1, probe
            if not self._fed(probe).rejects(alpha):
                return reached
            reached += 1
        self._bounds[alpha] = self._search(reached, alpha)
        return self._bounds[alpha]

    def _search(self, low: int, alpha: float) -> int:
        def probe(k: int) -> tuple[bool, float]:
            test = self._fed(BettingTest(k))
            return test.rejects(alpha), test.log_peak()

        needed = math.log(threshold(alpha))
        # Where m is at least the plain mean at every look, no bet has won on balance: nothing is rejected there.
        high = min(GRID, math.ceil(self._highest * GRID) + 1)
        count, variance = len(self._means), self._highest * (1.0 - self._highest)
        distance = math.sqrt(2.0 * variance * (needed + 0.5 * math.log(count) + 1.0) / count)
        return _largest_rejected(low, high, needed, probe, guess=int((self._highest - distance) * GRID))

    def _fed(self, test: BettingTest) -> BettingTest:
        if self._looks and test.seen < self._looks[-1]:
            test.feed(self._means, self._weights, self._looks)
        return test


class CountingSide:
    """Values 0 and 1, one item to a cluster: counts say everything."""

    def __init__(self) -> None:
        self._successes = self._failures = 0
        self._looks: list[tuple[int, int]] = []
        self._tests: dict[tuple[int, float], tuple[int, bool]] = {}
        self._bounds: dict[float, tuple[int, int]] = {}

    def add(self, mean: float, weight: float) -> None:
        if mean * weight > 0.5:
            self._successes += 1
        else:
            self._failures += 1

    def look(self) -> None:
        self._looks.append((self._successes, self._failures))

    def rejects(self, k: int, alpha: float) -> bool:
        if not 0 < k < GRID:
            return k <= 0
        seen, rejected = self._tests.get((k, alpha), (0, False))
        rejected = rejected or any(binary_rejects(s, f, k, alpha) for s, f in reversed(self._looks[seen:]))
        self._tests[k, alpha] = len(self._looks), rejected
        return rejected

    def bound(self, alpha: float) -> int:
        seen, reached = self._bounds.get(alpha, (0, 0))
        for successes, failures in reversed(self._looks[seen:]):
            if reached + 1 < GRID and binary_rejects(successes, failures, reached + 1, alpha):
                low, high = reached + 1, min(GRID, successes * GRID // (successes + failures) + 1)
                while high - low > 1:
                    middle = (low + high) // 2
                    if binary_rejects(successes, failures, middle, alpha):
                        low = middle
                    else:
                        high = middle
                reached = low
        self._bounds[alpha] = len(self._looks), reached
        return reached


def _largest_rejected(
    low: int, high: int, needed: float, probe: Callable[[int], tuple[bool, float]], *, guess: int
) -> int:
    """The largest rejected k, given that ``low`` is rejected (or 0) and ``high`` is not.

    ``probe(k)`` says whether k is rejected, and the logarithm of its capital; ``needed`` is what rejecting takes.
    The root of that logarithm is almost linear in k, which chooses where to look next (regula falsi, Illinois
    variant, beginning at ``guess``); the answer itself rests on the tests at k and k + 1.
    """
    at_low: float | None = None
    at_high = -math.sqrt(needed)
    streak = 0  # how often in a row the same end moved, negative for the upper one
    while high - low > 1:
        middle = (low + high) // 2
        if at_low is None and streak == 0 and low < guess < high:
            middle = guess
        elif at_low is not None and at_low > at_high and abs(streak) < 5:
            middle = min(max(low + int((high - low) * at_low / (at_low - at_high)), low + 1), high - 1)
        rejected, log_capital = probe(middle)
        excess = math.sqrt(log_capital) - math.sqrt(needed)
        if rejected:
            low, at_low = middle, max(excess, 0.0)
            streak = max(streak, 0) + 1
            at_high *= 0.5 if streak > 1 else 1.0
        else:
            high, at_high = middle, min(excess, 0.0)
            streak = min(streak, 0) - 1
            at_low = at_low * 0.5 if at_low is not None and streak < -1 else at_low
    return low

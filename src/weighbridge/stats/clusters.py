"""What the bounds are computed from, and the grid that they live on. Pure.

Every bound is a whole number of millionths, so that two machines that differ in the last bit of a float
still agree on the bound, and so that rounding outward is part of the definition, not an afterthought: a
lower bound is the largest millionth that the data exclude from below, an upper bound the smallest from above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from weighbridge.errors import EvidenceError, InputError

GRID = 1_000_000
"""Bounds are multiples of 1 / GRID."""

SLACK = 1e-9
"""Rejecting asks for this much more than the threshold, relatively: far more than rounding errors can add up to."""


@dataclass(frozen=True, slots=True)
class ClusterMean:
    """The mean observation of one cluster, in [0, 1], and its number of items.

    Raises ``EvidenceError`` for a mean outside [0, 1] or not finite, and for an empty cluster.
    """

    mean: float
    size: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0.0 <= self.mean <= 1.0):
            raise EvidenceError(
                f"a cluster's mean is {self.mean!r}, not in [0, 1]",
                where="cluster",
                remedy="substitute the worst value for failed items before computing means",
            )
        if self.size < 1:
            raise EvidenceError(f"a cluster has {self.size} items", where="cluster", remedy="leave empty clusters out")


@dataclass(frozen=True, slots=True)
class Bounds:
    """A lower and an upper bound, each one-sided at its own level. None: undecided, for the data cannot say."""

    lower: float | None
    upper: float | None


def check_alpha(alpha: float) -> None:
    """Raise ``InputError`` unless ``alpha`` is an error probability strictly between 0 and 1."""
    if not 0.0 < alpha < 1.0:
        raise InputError(f"{alpha!r} is no error probability", where="alpha", remedy="give a number between 0 and 1")


def threshold(alpha: float) -> float:
    """The capital at which a null hypothesis is rejected at level ``alpha`` (Ville's inequality), with slack."""
    check_alpha(alpha)
    return (1.0 + SLACK) / alpha


def grid_floor(value: float) -> int:
    """The largest k with k / GRID <= value, for a value in [0, 1]; compared as floats, so 0.7 gives 700000."""
    k = round(value * GRID)
    while k / GRID > value:
        k -= 1
    while (k + 1) / GRID <= value:
        k += 1
    return k


def grid_ceil(value: float) -> int:
    """The smallest k with k / GRID >= value, for a value in [0, 1]."""
    k = grid_floor(value)
    return k if k / GRID == value else k + 1

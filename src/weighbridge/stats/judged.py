"""Rates that a fallible judge reports, corrected for the judge's own errors. Pure.

A judge that flags a true positive with probability tpr and a true negative with probability fpr reports the rate
q = p tpr + (1 - p) fpr, so p = (q - fpr) / (tpr - fpr) (Rogan and Gladen 1978). None of the three is known: q has
its confidence sequence, tpr and fpr have exact bounds from human-labelled data. The error probability is split
among them and the worst corner taken, so the result is valid at any stopping time by the union bound, provided
that the judge errs on the measured model as it did on the labelled data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weighbridge.errors import EvidenceError
from weighbridge.stats.clusters import GRID, check_alpha, grid_ceil, grid_floor
from weighbridge.stats.exact import upper_grid

SHARE_OF_RATE = 0.7
"""The part of alpha that goes to the reported rate; tpr and fpr have half of the rest each.

Chosen by simulation (``benchmarks/stats/choices.py``): most verdicts come up to a fifth sooner than at one half.
"""


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """A judge's confusion counts on labelled data: true positives, false negatives, false positives, true negatives.

    Raises ``EvidenceError`` for negative counts.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fn, self.fp, self.tn) < 0:
            raise EvidenceError("a confusion count is negative", where="calibration")


@dataclass(frozen=True, slots=True)
class Correction:
    """How bounds on the reported rate become bounds on the true rate; all rates in millionths, exactly.

    ``alpha`` is what remains for the reported rate. The upper bound uses the lower bounds of fpr and tpr, the
    lower bound their upper bounds: the corners at which (q - fpr) / (tpr - fpr) is largest and smallest.
    """

    alpha: float
    fpr_low: int = 0
    tpr_low: int = GRID
    fpr_high: int = 0
    tpr_high: int = GRID

    def upper(self, q: int) -> int:
        """The upper bound on the true rate from an upper bound ``q`` on the reported one."""
        return _clamp(-((self.fpr_low - q) * GRID // (self.tpr_low - self.fpr_low)))

    def lower(self, q: int) -> int:
        """The lower bound on the true rate from a lower bound ``q`` on the reported one."""
        return _clamp((q - self.fpr_high) * GRID // (self.tpr_high - self.fpr_high))

    def upper_needed(self, k: int) -> int:
        """The largest q with ``upper(q) <= k``, below 0 if there is none."""
        if not 0 <= k < GRID:
            return -1 if k < 0 else GRID
        return self.fpr_low + k * (self.tpr_low - self.fpr_low) // GRID

    def lower_needed(self, k: int) -> int:
        """The smallest q with ``lower(q) >= k``, above GRID if there is none."""
        if not 0 < k <= GRID:
            return 0 if k <= 0 else GRID + 1
        return self.fpr_high - (-k * (self.tpr_high - self.fpr_high) // GRID)


def correction(errors: JudgeErrors | None, alpha: float) -> Correction | None:
    """The correction at level ``alpha`` a side: nothing to correct without ``errors``.

    None if the labelled data do not prove that the judge flags positives more often than negatives.
    """
    check_alpha(alpha)
    if errors is None:
        return Correction(alpha)
    share = alpha * (1.0 - SHARE_OF_RATE) / 2
    positives, negatives = errors.tp + errors.fn, errors.fp + errors.tn
    result = Correction(
        alpha * SHARE_OF_RATE,
        fpr_low=GRID - upper_grid(errors.tn, negatives, share),
        tpr_low=GRID - upper_grid(errors.fn, positives, share),
        fpr_high=upper_grid(errors.fp, negatives, share),
        tpr_high=upper_grid(errors.tp, positives, share),
    )
    return result if result.tpr_low > result.fpr_high else None


def corrected_upper(q_upper_at: Callable[[float], float], errors: JudgeErrors, alpha: float) -> float | None:
    """The level-``alpha`` upper bound on the true rate; ``q_upper_at(a)`` is the reported rate's at level ``a``.

    (q_U - fpr_L) / (tpr_L - fpr_L), clamped to [0, 1] and rounded up to a millionth; None where tpr_L <= fpr_U.
    """
    by = correction(errors, alpha)
    return None if by is None else by.upper(grid_ceil(q_upper_at(by.alpha))) / GRID


def corrected_lower(q_lower_at: Callable[[float], float], errors: JudgeErrors, alpha: float) -> float | None:
    """The level-``alpha`` lower bound on the true rate; ``q_lower_at(a)`` is the reported rate's at level ``a``.

    (q_L - fpr_U) / (tpr_U - fpr_U), clamped to [0, 1] and rounded down to a millionth; None where tpr_L <= fpr_U.
    """
    by = correction(errors, alpha)
    return None if by is None else by.lower(grid_floor(q_lower_at(by.alpha))) / GRID


def _clamp(k: int) -> int:
    return min(max(k, 0), GRID)

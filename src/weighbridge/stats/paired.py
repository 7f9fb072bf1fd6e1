"""Differences between two models that answered the same items, paired by cluster: what the two share cancels. Pure.

A cluster on which the candidate's mean is c and the baseline's b becomes (1 + c - b) / 2 in [0, 1], and goes through
the same test as any mean: the items of a cluster count as what they are, however alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.errors import EvidenceError
from weighbridge.stats.bounds import mean_bounds_at
from weighbridge.stats.clusters import GRID, Bounds, ClusterMean
from weighbridge.stats.judged import Correction, JudgeErrors, correction
from weighbridge.stats.sequence import LOOK


def differences(candidate: Sequence[ClusterMean], baseline: Sequence[ClusterMean]) -> list[ClusterMean]:
    """(1 + c - b) / 2 for each cluster. The two are the same clusters in the same order.

    Raises ``EvidenceError`` if they do not pair up.
    """
    if len(candidate) != len(baseline):
        raise EvidenceError(f"{len(candidate)} clusters against {len(baseline)}", where="paired difference")
    halves = []
    for i, (one, other) in enumerate(zip(candidate, baseline, strict=True)):
        if one.size != other.size:
            raise EvidenceError(
                f"{one.size} items against {other.size}",
                where=f"paired difference, cluster {i + 1}",
                remedy="compare what both answered",
            )
        halves.append(ClusterMean((1.0 + (one.mean - other.mean)) / 2.0, one.size))
    return halves


def paired_bounds(
    candidate: Sequence[ClusterMean],
    baseline: Sequence[ClusterMean],
    *,
    alpha: float,
    largest: int,
    errors: JudgeErrors | None = None,
    look: int = LOOK,
) -> Bounds:
    """Bounds on the item-weighted mean of candidate minus baseline, in [-1, 1], each one-sided at level ``alpha``.

    Multiples of 2e-6 (of 1e-6 with ``errors``), rounded outward. Raises ``EvidenceError`` if they do not pair up.
    """
    return paired_bounds_at([alpha], candidate, baseline, largest=largest, errors=errors, look=look)[0]


def paired_bounds_at(
    alphas: Sequence[float],
    candidate: Sequence[ClusterMean],
    baseline: Sequence[ClusterMean],
    *,
    largest: int,
    errors: JudgeErrors | None = None,
    look: int = LOOK,
) -> list[Bounds]:
    """``paired_bounds`` at each of several levels; the stream is read once.

    With ``errors`` both were reported by one fallible judge: a true difference d shows as (tpr - fpr) d, so the bounds
    on what was reported are divided by the smallest tpr - fpr that the labelled data allow, or, where that would move
    them inward, by the largest. If d >= 0, the upper bound can only err where the reported one errs, or tpr or fpr lies
    beyond one of its bounds; if d < 0, likewise with their two other bounds. So alpha is shared among three, as for a
    single rate (``judged.correction``).
    """
    corrections = [correction(errors, alpha) for alpha in alphas]
    halves = differences(candidate, baseline)
    # Where the labels cannot tell the judge from chance, the level does not matter: nothing is said.
    levels = [alpha if by is None else by.alpha for alpha, by in zip(alphas, corrections, strict=True)]
    found = mean_bounds_at(levels, halves, largest=largest, binary=False, look=look)
    return [
        Bounds(None, None) if by is None else Bounds(_lower(half.lower, by), _upper(half.upper, by))
        for half, by in zip(found, corrections, strict=True)
    ]


def _upper(half: float | None, by: Correction) -> float | None:
    if half is None:
        return None
    d = 2 * round(half * GRID) - GRID
    return min(-(-d * GRID // _gap(by, small=d >= 0)), GRID) / GRID


def _lower(half: float | None, by: Correction) -> float | None:
    if half is None:
        return None
    d = 2 * round(half * GRID) - GRID
    return max(d * GRID // _gap(by, small=d <= 0), -GRID) / GRID


def _gap(by: Correction, *, small: bool) -> int:
    """tpr - fpr in millionths: the smallest or the largest that the labelled data allow."""
    return by.tpr_low - by.fpr_high if small else by.tpr_high - by.fpr_low

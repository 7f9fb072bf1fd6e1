"""Exact bounds on a binomial rate when the number of trials was fixed beforehand (Clopper and Pearson 1934). Pure.

They may be evaluated once. Looking at them repeatedly and stopping when they please breaks their error rate;
``weighbridge.stats.sequence`` is for that.
"""

from __future__ import annotations

from functools import lru_cache

from weighbridge.errors import EvidenceError
from weighbridge.stats.clusters import GRID, SLACK, check_alpha


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """The exact one-sided lower bound at level ``alpha`` on a rate, rounded down to a millionth. 0.0 if n is 0.

    Raises ``EvidenceError`` for impossible counts, ``InputError`` for an impossible ``alpha``.
    """
    return (GRID - upper_grid(n - successes, n, alpha)) / GRID


def clopper_pearson_upper(successes: int, n: int, alpha: float) -> float:
    """The exact one-sided upper bound at level ``alpha`` on a rate, rounded up to a millionth. 1.0 if n is 0.

    Raises ``EvidenceError`` for impossible counts, ``InputError`` for an impossible ``alpha``.
    """
    return upper_grid(successes, n, alpha) / GRID


@lru_cache(maxsize=4096)
def upper_grid(successes: int, n: int, alpha: float) -> int:
    """The upper bound in millionths: the smallest k at which ``successes`` or fewer have probability <= alpha."""
    check_alpha(alpha)
    if not 0 <= successes <= n:
        raise EvidenceError(f"{successes} successes of {n} trials", where="counts", remedy="give counts that can be")
    if successes == n:
        return GRID
    low, high = 0, GRID  # at rate 0 "few successes" is certain, at rate 1 impossible
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(successes, n, middle) * (1.0 + SLACK) <= alpha:
            high = middle
        else:
            low = middle
    return high


def _at_most(successes: int, n: int, k: int) -> float:
    """P(X <= successes) for X binomial with n trials at rate k / GRID, 0 < k < GRID."""
    if successes * GRID >= n * k:  # not below the mean: the other tail is the one to sum
        return 1.0 - _lower_tail(n - successes - 1, n, GRID - k) if successes < n else 1.0
    return _lower_tail(successes, n, k)


def _lower_tail(successes: int, n: int, k: int) -> float:
    """``_at_most`` for fewer successes than expected: the last term, then downward while terms still matter."""
    p, q = k / GRID, (GRID - k) / GRID
    term, left = 1.0, n - successes
    for i in range(1, successes + 1):  # n! / (s! (n-s)!) p^s q^(n-s), kept in range by taking turns
        term *= (n - successes + i) / i * p
        while term > 1.0 and left:
            term *= q
            left -= 1
    for _ in range(left):
        term *= q
    total = term
    for i in range(successes, 0, -1):
        term *= i * q / ((n - i + 1) * p)
        total += term
        if term < total * 1e-18:
            break
    return total

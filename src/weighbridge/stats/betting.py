"""The tests behind every anytime-valid bound: capital won by betting against "the mean is at most m". Pure.

A gambler starts with capital 1 and, before each cluster is seen, stakes on its mean being above m. Were the
mean at most m, no bet could be expected to win, so capital ever reaching 1/alpha has probability at most alpha
(Ville 1939). For a cluster of n_c items with mean x the fair payoff is

    X - m = (n_c / n_max)(x - m),   -m <= X - m,

whose expectation is zero exactly when the item-weighted mean is m. Staking the share g of what may be staked
at all (lambda = g / m) multiplies the capital by 1 + g (n_c / n_max)(x / m - 1), which falls as m rises: what is
rejected at m is rejected at every smaller mean. Nobody knows the best g beforehand, so the capital is spread
evenly over g in (0, 1) and each part keeps to its own g (diversified Kelly betting: Waudby-Smith and Ramdas 2024,
"Estimating means of bounded random variables by betting", section 4 and appendix B; Cover 1991). The spread
adapts to the data by itself, for the parts that win come to dominate, yet every bet is fixed in advance.

Values 0 and 1, one to a cluster, need no discretisation: the average over all g in (0, 1) is an integral
with a closed form, and equals the beta-binomial mixture whose prior is uniform on (m, 1].

Only +, -, *, / and exact sums decide anything here (no logarithm or power, whose last bit differs between
mathematical libraries, and no ``sum`` of floats, whose rounding differs between Python versions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from weighbridge.stats.clusters import GRID, threshold

SHARES = tuple((2 * i + 1) / 32 for i in range(16))
"""The shares g that the capital is spread over, evenly: 1/32, 3/32, ... 31/32."""

_BLOCK = 8  # a factor is between 1/32 and GRID < 2**20: eight of them move a capital by at most 2**160
_SCALE = 300  # a capital beyond 2**300 either way is kept as a float times 2**(its exponent)


class BettingTest:
    """The capital process against "the item-weighted mean is at most k / GRID", for clusters of any sizes.

    Feed it clusters in order with ``feed``; it remembers the largest capital seen at a look.
    """

    __slots__ = ("_capitals", "_exponents", "_peak", "_reciprocal", "_shifted", "seen")

    def __init__(self, k: int) -> None:
        self.seen = 0
        self._reciprocal = GRID / k
        self._capitals = [1.0] * len(SHARES)
        self._exponents = [0] * len(SHARES)
        self._shifted = False
        self._peak = (-(2**60), 0.0)  # (exponent, mantissa): ordered like the number

    def feed(self, means: Sequence[float], weights: Sequence[float], looks: Sequence[int]) -> None:
        """Process everything from ``seen`` up to the last of ``looks`` (counts of clusters, rising).

        ``means`` and ``weights`` (n_c / n_max) hold the whole stream from its beginning.
        """
        reciprocal, capitals = self._reciprocal, self._capitals
        for look in looks:
            if look <= self.seen:
                continue
            for start in range(self.seen, look, _BLOCK):
                stop = min(start + _BLOCK, look)
                payoffs = [weights[i] * (means[i] * reciprocal - 1.0) for i in range(start, stop)]
                capitals = _bet(capitals, payoffs)
                if min(capitals) < 2.0**-_SCALE or max(capitals) > 2.0**_SCALE:
                    capitals = self._rescale(capitals)
            self._peak = max(self._peak, self._total(capitals))
            self.seen = look
        self._capitals = capitals

    def _rescale(self, capitals: list[float]) -> list[float]:
        """Bring each capital back near 1, its power of two remembered: exact."""
        split = [math.frexp(capital) for capital in capitals]
        self._shifted = True
        self._exponents = [kept + new for kept, (_, new) in zip(self._exponents, split, strict=True)]
        return [mantissa for mantissa, _ in split]

    def _total(self, capitals: list[float]) -> tuple[int, float]:
        """The sum of the capitals as (exponent, mantissa in [1/2, 1))."""
        if not self._shifted:
            mantissa, exponent = math.frexp(math.fsum(capitals))
            return exponent, mantissa
        top = max(self._exponents)
        shifts = zip(capitals, self._exponents, strict=True)
        # what is 2**-1000 of the largest or less adds nothing, and ldexp makes it 0
        mantissa, exponent = math.frexp(math.fsum(math.ldexp(capital, shift - top) for capital, shift in shifts))
        return exponent + top, mantissa

    def rejects(self, alpha: float) -> bool:
        """Whether the capital stood at 1 / alpha or more at any look so far."""
        mantissa, exponent = math.frexp(threshold(alpha) * len(SHARES))
        return self._peak >= (exponent, mantissa)

    def log_peak(self) -> float:
        """Logarithm of the largest capital at a look, at least 0. Only to steer a search, never to decide."""
        exponent, mantissa = self._peak
        return max(math.log(mantissa / len(SHARES)) + exponent * math.log(2.0), 0.0) if mantissa else 0.0


def _bet(capitals: list[float], payoffs: list[float]) -> list[float]:
    """Multiply each capital by 1 + share * payoff, payoff by payoff; a full block in one expression, for speed."""
    if len(payoffs) == _BLOCK:
        a, b, c, d, e, f, g, h = payoffs
        return [
            x * (1.0 + s * a) * (1.0 + s * b) * (1.0 + s * c) * (1.0 + s * d)
            * (1.0 + s * e) * (1.0 + s * f) * (1.0 + s * g) * (1.0 + s * h)
            for x, s in zip(capitals, SHARES, strict=True)
        ]  # fmt: skip
    for payoff in payoffs:
        capitals = [x * (1.0 + s * payoff) for x, s in zip(capitals, SHARES, strict=True)]
    return capitals


def binary_rejects(successes: int, failures: int, k: int, alpha: float) -> bool:
    """Whether 0/1 values reject "the mean is at most m = k / GRID" at this look.

    The capital is the average of (1 - g)^F (1 - g + g/m)^S over g in (0, 1). Integrating by parts S times gives

        1/(F+1) * sum over j = 0..S of [S (S-1) ... (S-j+1)] / [(F+2) ... (F+1+j)] * ((1-m)/m)^j,

    a sum of positive terms whose ratios fall, so that the rest can be bounded by a geometric series as soon as
    they are below 1. Equivalently: I(S+1, F+1; 1-m) of an incomplete beta function over m^S (1-m)^(F+1).
    """
    odds = (GRID - k) / k
    target = threshold(alpha) * (failures + 1)
    total = term = 1.0
    for j in range(successes):
        if total >= target:
            return True
        ratio = (successes - j) * odds / (failures + 2 + j)
        if ratio < 1.0 and total + term * ratio / (1.0 - ratio) < target:
            return False
        term *= ratio
        total += term
    return total >= target

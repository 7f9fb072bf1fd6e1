"""Error rates by simulation: thousands of streams, looked at all the time, with and without clusters.

A bound errs if it ever excludes the truth, at any look: that is what stopping when one pleases amounts to. Each
count of errors is compared with what the promised rate allows (three standard deviations of a binomial above it).
The last tests are controls: what is known to be wrong is seen to be wrong by the same simulation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from weighbridge.stats import ClusterMean, JudgeErrors, Running, clopper_pearson_upper, mean_bounds, paired_bounds

Draw = Callable[[random.Random], ClusterMean]


def allowed(alpha: float, streams: int) -> float:
    return alpha * streams + 3 * math.sqrt(streams * alpha * (1 - alpha))


def errors(
    draw: Draw, truth: float, *, largest: int, binary: bool, alphas: tuple[float, ...], streams: int, length: int
) -> dict[float, list[int]]:
    """For each alpha, how many streams ever exclude the truth from below, and from above."""
    count = {alpha: [0, 0] for alpha in alphas}
    for seed in range(streams):
        rng = random.Random(seed)
        running = Running(largest=largest, binary=binary)
        for _ in range(length):
            running.add(draw(rng))
        running.finish()
        # what one look excluded stays excluded, so asking at the end asks about every look
        for alpha in alphas:
            count[alpha][0] += running.excludes_below(truth + 2e-6, alpha)
            count[alpha][1] += running.excludes_above(truth - 2e-6, alpha)
    return count


def coin(p: float) -> Draw:
    return lambda rng: ClusterMean(float(rng.random() < p), 1)


def flock(rng: random.Random) -> ClusterMean:
    """Clusters of 1 to 8 items, 0/1, nearly all alike within a cluster, and larger clusters score higher."""
    size = rng.choice((1, 1, 2, 4, 8))
    own = rng.betavariate(0.3, 0.3) if rng.random() < 0.8 else 0.2 + 0.1 * size
    return ClusterMean(sum(rng.random() < own for _ in range(size)) / size, size)


# E[n_c mean_c] / E[n_c]: half of 0.8, plus the size-dependent fifth
FLOCK_TRUTH = sum(n * (0.8 * 0.5 + 0.2 * (0.2 + 0.1 * n)) for n in (1, 1, 2, 4, 8)) / 16


def check(found: dict[float, list[int]], streams: int) -> None:
    for alpha, (below, above) in found.items():
        assert below <= allowed(alpha, streams)
        assert above <= allowed(alpha, streams)
        assert below + above > 0.2 * alpha * streams  # held, but not by excluding nothing at all


@pytest.mark.parametrize("p", [0.02, 0.3, 0.7, 0.95])
def test_coins(p: float) -> None:
    found = errors(coin(p), p, largest=1, binary=True, alphas=(0.05, 0.2), streams=2000, length=320)
    check(found, 2000)


def test_clusters_strongly_alike_within() -> None:
    found = errors(flock, FLOCK_TRUTH, largest=8, binary=True, alphas=(0.05, 0.2), streams=2000, length=120)
    check(found, 2000)


def test_graded_values() -> None:
    draw: Draw = lambda rng: ClusterMean(rng.betavariate(6, 2), 1)  # noqa: E731
    check(errors(draw, 0.75, largest=1, binary=False, alphas=(0.05, 0.2), streams=1500, length=120), 1500)


def test_paired_differences() -> None:
    """Candidate and baseline share most of their outcome on an item; the truth is a difference of 0.05."""
    missed = 0
    for seed in range(500):
        rng = random.Random(seed)
        one, other = [], []
        for _ in range(120):
            base = float(rng.random() < 0.6)
            other.append(ClusterMean(base, 1))
            one.append(ClusterMean(1.0 if rng.random() < 0.125 else base, 1))  # 0.6 + 0.4 / 8 = 0.65
        bounds = paired_bounds(one, other, alpha=0.1, largest=1)
        assert bounds.lower is not None
        missed += bounds.lower > 0.05
    assert missed <= allowed(0.1, 500)


@pytest.mark.parametrize(("p", "tpr", "fpr"), [(0.05, 0.95, 0.02), (0.3, 0.9, 0.1), (0.9, 0.8, 0.3)])
def test_judged_rates(p: float, tpr: float, fpr: float) -> None:
    """Calibration and stream are drawn anew each time; the corrected bounds must hold the true rate, at any look."""
    streams, alpha, found, informative = 1000, 0.2, [0, 0], 0
    for seed in range(streams):
        rng = random.Random(seed)
        tp = sum(rng.random() < tpr for _ in range(100))
        fp = sum(rng.random() < fpr for _ in range(120))
        running = Running(largest=1, binary=True, errors=JudgeErrors(tp, 100 - tp, fp, 120 - fp))
        for _ in range(240):
            truly = rng.random() < p
            running.add(ClusterMean(float(rng.random() < (tpr if truly else fpr)), 1))
        found[0] += running.excludes_below(p, alpha, strict=True)
        found[1] += running.excludes_above(p, alpha, strict=True)
        informative += running.excludes_above(p + 0.25, alpha) if p < 0.5 else running.excludes_below(p - 0.25, alpha)
    assert max(found) <= allowed(alpha, streams)
    assert informative > streams / 3


def test_one_requirement_wrongly_met() -> None:
    """Type I error at optional stopping: the truth is just short of the bound, and one stops at the first "met"."""
    met = sum(_stops_met(random.Random(seed), 0.699, 0.70) for seed in range(1200))
    assert met <= allowed(0.05, 1200)


def _stops_met(rng: random.Random, p: float, bound: float) -> bool:
    running = Running(largest=1, binary=True)
    for i in range(600):
        running.add(ClusterMean(float(rng.random() < p), 1))
        if (i + 1) % 24 == 0:
            if running.excludes_below(bound, 0.05):
                return True
            if running.excludes_above(bound, 0.05, strict=True):
                return False
    return False


def test_control_peeking_at_ordinary_intervals_errs_far_more_often() -> None:
    missed = 0
    for seed in range(600):
        rng = random.Random(seed)
        total = 0
        for n in range(1, 401):
            total += rng.random() < 0.5
            mean = total / n
            if n >= 16 and n % 8 == 0 and mean - 1.645 * math.sqrt(mean * (1 - mean) / n) > 0.5:
                missed += 1
                break
    assert missed > 2.5 * allowed(0.05, 600)


def test_control_exact_bounds_are_not_for_peeking() -> None:
    """Clopper-Pearson holds when asked once, and not when asked at every look: why ``fixed`` is evaluated once."""
    once = ever = 0
    for seed in range(400):
        rng = random.Random(seed)
        total, excluded = 0, False
        for n in range(1, 241):
            total += rng.random() < 0.3
            if n % 24 == 0:
                now = clopper_pearson_upper(total, n, 0.1) < 0.3
                excluded = excluded or now
        once += now
        ever += excluded
    assert once <= allowed(0.1, 400)
    assert ever > allowed(0.1, 400)


def test_control_ignoring_clusters_errs_far_more_often() -> None:
    """The items of the same clusters, taken as if independent: the error rate breaks."""
    missed = 0
    for seed in range(300):
        rng = random.Random(seed)
        items: list[ClusterMean] = []
        for _ in range(60):
            same = float(rng.random() < 0.5)
            items += [ClusterMean(same, 1)] * 8
        lower = mean_bounds(items, alpha=0.1, largest=1, binary=True).lower
        missed += lower is None or lower > 0.5
    assert missed > 2 * allowed(0.1, 300)

"""What must hold of bounds whatever the data: order, nesting, symmetry, rounding, refusal of what is not data."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.errors import EvidenceError, InputError
from weighbridge.stats import Bounds, ClusterMean, Running, lower_bound, mean_bounds, paired_bounds, upper_bound

LARGEST = 6


@st.composite
def clusters(draw: st.DrawFn, *, least: int = 0, most: int = 60) -> list[ClusterMean]:
    """Clusters of up to LARGEST items whose values are eighths, so that 1 - x is exact."""
    pairs = st.tuples(st.integers(0, 8), st.integers(1, LARGEST))
    return [ClusterMean(eighth / 8, size) for eighth, size in draw(st.lists(pairs, min_size=least, max_size=most))]


@st.composite
def coins(draw: st.DrawFn, *, least: int = 0, most: int = 120) -> list[ClusterMean]:
    """0/1 values, one to a cluster; runs of equal values make extreme streams likely."""
    runs = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40)), min_size=least, max_size=6))
    return [ClusterMean(float(value), 1) for value, length in runs for _ in range(length)][:most]


streams = st.one_of(
    st.tuples(clusters(), st.just((LARGEST, False))),
    st.tuples(coins(), st.just((1, True))),
    st.tuples(coins(), st.just((1, False))),
)
alphas = st.sampled_from([0.2, 0.05, 0.01, 1e-4])
means = st.sampled_from([0.0, 1e-6, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0])


def on_grid(value: float) -> bool:
    return value == round(value * 1_000_000) / 1_000_000


def flipped(stream: list[ClusterMean]) -> list[ClusterMean]:
    return [ClusterMean(1.0 - c.mean, c.size) for c in stream]


def test_without_data_nothing_is_excluded() -> None:
    for binary in (True, False):
        assert mean_bounds([], alpha=0.05, largest=1, binary=binary) == Bounds(0.0, 1.0)
    assert Running(largest=3, binary=False).interval(0.05) == (0.0, 1.0)


@given(streams, alphas)
@settings(max_examples=60, deadline=None)
def test_bounds_are_millionths_and_ordered_by_alpha(
    stream: tuple[list[ClusterMean], tuple[int, bool]], a: float
) -> None:
    data, (largest, binary) = stream
    lows = [lower_bound(data, alpha=x, largest=largest, binary=binary) for x in (a, a / 2)]
    highs = [upper_bound(data, alpha=x, largest=largest, binary=binary) for x in (a, a / 2)]
    assert all(on_grid(v) and 0.0 <= v <= 1.0 for v in lows + highs)
    assert lows[1] <= lows[0]
    assert highs[0] <= highs[1]


@given(streams, alphas)
@settings(max_examples=60, deadline=None)
def test_later_looks_lie_within_earlier_ones(stream: tuple[list[ClusterMean], tuple[int, bool]], a: float) -> None:
    data, (largest, binary) = stream
    low, high = 0.0, 1.0
    for n in range(0, len(data) + 1, 8):
        lower = lower_bound(data[:n], alpha=a, largest=largest, binary=binary)
        upper = upper_bound(data[:n], alpha=a, largest=largest, binary=binary)
        assert lower >= low
        assert upper <= high
        low, high = lower, upper


@given(streams, alphas)
@settings(max_examples=60, deadline=None)
def test_flipping_the_data_flips_the_bounds(stream: tuple[list[ClusterMean], tuple[int, bool]], a: float) -> None:
    data, (largest, binary) = stream
    one = lower_bound(data, alpha=a, largest=largest, binary=binary)
    other = upper_bound(flipped(data), alpha=a, largest=largest, binary=binary)
    assert round(one * 1_000_000) + round(other * 1_000_000) == 1_000_000


@given(streams, alphas)
@settings(max_examples=60, deadline=None)
def test_one_look_never_excludes_the_plain_mean(stream: tuple[list[ClusterMean], tuple[int, bool]], a: float) -> None:
    data, (largest, binary) = stream
    if data:
        total = sum(c.size for c in data)
        plain = sum(Fraction(c.mean) * c.size for c in data) / total
        kinds = {"alpha": a, "largest": largest, "binary": binary, "look": len(data)}
        assert lower_bound(data, **kinds) <= plain <= upper_bound(data, **kinds)


@given(clusters(least=1), st.data(), alphas)
@settings(max_examples=60, deadline=None)
def test_a_better_observation_never_lowers_a_bound(data: list[ClusterMean], draw: st.DataObject, a: float) -> None:
    i = draw.draw(st.integers(0, len(data) - 1))
    better = [*data[:i], ClusterMean(min(1.0, data[i].mean + 0.25), data[i].size), *data[i + 1 :]]
    for bound in (lower_bound, upper_bound):
        kinds = {"alpha": a, "largest": LARGEST, "binary": False}
        assert bound(better, **kinds) >= bound(data, **kinds)


@given(coins(least=1), alphas, st.sampled_from([1, 3, 8]))
@settings(max_examples=40, deadline=None)
def test_more_looks_only_exclude_more(data: list[ClusterMean], a: float, look: int) -> None:
    every = lower_bound(data, alpha=a, largest=1, binary=True, look=1)
    some = lower_bound(data, alpha=a, largest=1, binary=True, look=look)
    assert some <= every


@given(streams, alphas, means)
@settings(max_examples=80, deadline=None)
def test_cheap_tests_and_displays_agree_with_the_bounds(
    stream: tuple[list[ClusterMean], tuple[int, bool]], a: float, m: float
) -> None:
    data, (largest, binary) = stream
    running = Running(largest=largest, binary=binary)
    kinds = {"largest": largest, "binary": binary}
    for n, cluster in enumerate(data, start=1):
        running.add(cluster)
        if n % 16 == 0 or n == len(data):
            if n == len(data):
                running.finish()
            lower, upper = lower_bound(data[:n], alpha=a, **kinds), upper_bound(data[:n], alpha=a, **kinds)
            for at in (m, lower, upper):
                assert running.excludes_below(at, a) == (lower >= at)
                assert running.excludes_below(at, a, strict=True) == (lower > at)
                assert running.excludes_above(at, a) == (upper <= at)
                assert running.excludes_above(at, a, strict=True) == (upper < at)
            assert running.interval(2 * a) == (lower, upper)


def test_between_looks_the_last_look_counts() -> None:
    running = Running(largest=1, binary=True)
    for _ in range(15):
        running.add(ClusterMean(1.0, 1))
    at_look = lower_bound([ClusterMean(1.0, 1)] * 8, alpha=0.05, largest=1, binary=True)
    assert running.lower(0.05) == at_look
    running.finish()
    assert running.lower(0.05) == lower_bound([ClusterMean(1.0, 1)] * 15, alpha=0.05, largest=1, binary=True) > at_look
    with pytest.raises(EvidenceError, match="finished"):
        running.add(ClusterMean(1.0, 1))


def test_binary_and_betting_agree_on_coins() -> None:
    """The closed form is the limit of the discrete spread: on real streams they differ by little."""
    data = [ClusterMean(float(i % 10 not in (3, 7)), 1) for i in range(800)]
    exact = mean_bounds(data, alpha=0.05, largest=1, binary=True)
    spread = mean_bounds(data, alpha=0.05, largest=1, binary=False)
    assert exact.lower == pytest.approx(spread.lower, abs=2e-3)
    assert exact.upper == pytest.approx(spread.upper, abs=2e-3)


def test_long_extreme_streams_neither_overflow_nor_recover_wrongly() -> None:
    """Every share of the capital passes 1e300 or 1e-300 on the way; a look at the end sees only the end."""
    ones, zeros = [ClusterMean(1.0, 1)] * 3000, [ClusterMean(0.0, 1)] * 3000
    for data in (ones + zeros, zeros + ones):
        for binary in (True, False):
            bounds = mean_bounds(data, alpha=0.05, largest=1, binary=binary, look=6000)
            assert bounds.lower is not None
            assert bounds.upper is not None
            assert 0.45 < bounds.lower < 0.5 < bounds.upper < 0.55


def test_a_stream_that_contradicts_itself_decides_nothing() -> None:
    data = [ClusterMean(1.0, 1)] * 200 + [ClusterMean(0.0, 1)] * 5000
    assert mean_bounds(data, alpha=0.05, largest=1, binary=True) == Bounds(None, None)


@given(clusters(least=8), clusters(least=8), alphas)
@settings(max_examples=40, deadline=None)
def test_paired_bounds_mirror_and_contain(one: list[ClusterMean], other: list[ClusterMean], a: float) -> None:
    n = min(len(one), len(other))
    one, other = one[:n], [ClusterMean(y.mean, x.size) for x, y in zip(one, other, strict=False)]
    forth = paired_bounds(one, other, alpha=a, largest=LARGEST, look=n)
    back = paired_bounds(other, one, alpha=a, largest=LARGEST, look=n)
    plain = sum((x.mean - y.mean) * x.size for x, y in zip(one, other, strict=True)) / sum(x.size for x in one)
    assert forth.lower is not None
    assert forth.upper is not None
    assert -1.0 <= forth.lower <= plain <= forth.upper <= 1.0
    assert back == Bounds(-forth.upper, -forth.lower)


def test_pairing_cancels_what_the_two_share() -> None:
    """Two models that agree on nearly every item: the difference is known far better than either mean."""
    base = [ClusterMean(float(i % 2), 1) for i in range(600)]
    better = [ClusterMean(1.0, 1) if i % 20 == 0 else c for i, c in enumerate(base)]
    paired = paired_bounds(better, base, alpha=0.05, largest=1)
    assert paired.lower is not None
    assert paired.lower > 0.02
    alone = mean_bounds(better, alpha=0.05, largest=1, binary=True)
    assert alone.lower is not None
    assert alone.lower < 0.5


@pytest.mark.parametrize("mean", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_mean_outside_the_unit_interval_is_refused(mean: float) -> None:
    with pytest.raises(EvidenceError):
        ClusterMean(mean, 1)


def test_what_does_not_belong_is_refused() -> None:
    with pytest.raises(EvidenceError):
        ClusterMean(0.5, 0)
    with pytest.raises(EvidenceError, match="largest"):
        lower_bound([ClusterMean(0.5, 3)], alpha=0.05, largest=2, binary=False)
    with pytest.raises(EvidenceError, match="neither 0 nor 1"):
        lower_bound([ClusterMean(0.5, 1)], alpha=0.05, largest=1, binary=True)
    with pytest.raises(EvidenceError):
        paired_bounds([ClusterMean(0.5, 1)], [], alpha=0.05, largest=1)
    with pytest.raises(EvidenceError):
        paired_bounds([ClusterMean(0.5, 1)], [ClusterMean(0.5, 2)], alpha=0.05, largest=2)
    with pytest.raises(InputError):
        Running(largest=0, binary=True)
    for alpha in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(InputError):
            lower_bound([ClusterMean(1.0, 1)], alpha=alpha, largest=1, binary=True)

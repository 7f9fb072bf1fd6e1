"""Rates corrected for a judge's errors: the formula, its corners, and when it says nothing."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weighbridge.errors import EvidenceError
from weighbridge.stats import (
    Bounds,
    ClusterMean,
    JudgeErrors,
    Running,
    clopper_pearson_lower,
    clopper_pearson_upper,
    corrected_lower,
    corrected_upper,
    lower_bound,
    mean_bounds,
    upper_bound,
)
from weighbridge.stats.judged import SHARE_OF_RATE, correction

GOOD = JudgeErrors(tp=190, fn=10, fp=6, tn=244)
counts = st.integers(0, 400)
judges = st.builds(JudgeErrors, tp=counts, fn=st.integers(0, 40), fp=st.integers(0, 40), tn=counts)


def test_the_formula_with_its_split_of_alpha() -> None:
    alpha, rest = 0.05, 0.05 * (1 - SHARE_OF_RATE) / 2
    data = [ClusterMean(float(i % 5 == 0), 1) for i in range(300)]
    q_low = lower_bound(data, alpha=alpha * SHARE_OF_RATE, largest=1, binary=True)
    q_high = upper_bound(data, alpha=alpha * SHARE_OF_RATE, largest=1, binary=True)
    tpr_low, tpr_high = clopper_pearson_lower(190, 200, rest), clopper_pearson_upper(190, 200, rest)
    fpr_low, fpr_high = clopper_pearson_lower(6, 250, rest), clopper_pearson_upper(6, 250, rest)
    bounds = mean_bounds(data, alpha=alpha, largest=1, binary=True, errors=GOOD)
    assert bounds.lower == pytest.approx((q_low - fpr_high) / (tpr_high - fpr_high), abs=1.1e-6)
    assert bounds.upper == pytest.approx((q_high - fpr_low) / (tpr_low - fpr_low), abs=1.1e-6)


def test_the_shares_of_alpha_do_not_exceed_it() -> None:
    by = correction(GOOD, 0.05)
    assert by is not None
    assert by.alpha + 2 * (0.05 * (1 - SHARE_OF_RATE) / 2) == pytest.approx(0.05)


def test_a_perfect_judge_with_many_labels_changes_little_and_only_for_the_worse() -> None:
    data = [ClusterMean(float(i % 5 == 0), 1) for i in range(400)]
    plain = mean_bounds(data, alpha=0.05, largest=1, binary=True)
    judged = mean_bounds(data, alpha=0.05, largest=1, binary=True, errors=JudgeErrors(100_000, 0, 0, 100_000))
    assert judged.lower is not None
    assert judged.upper is not None
    assert plain.lower is not None
    assert plain.upper is not None
    assert plain.lower - 0.02 < judged.lower < plain.lower
    assert plain.upper < judged.upper < plain.upper + 0.02


@pytest.mark.parametrize(
    "errors",
    [JudgeErrors(0, 0, 0, 0), JudgeErrors(5, 5, 5, 5), JudgeErrors(10, 90, 90, 10), JudgeErrors(100, 0, 0, 0)],
)
def test_a_judge_not_proved_informative_decides_nothing(errors: JudgeErrors) -> None:
    data = [ClusterMean(0.0, 1)] * 100
    for fixed in (False, True):
        assert mean_bounds(data, alpha=0.05, largest=1, binary=True, errors=errors, fixed=fixed) == Bounds(None, None)
    assert corrected_upper(lambda _: 0.1, errors, 0.05) is None
    assert corrected_lower(lambda _: 0.1, errors, 0.05) is None
    running = Running(largest=1, binary=True, errors=errors)
    for cluster in data:
        running.add(cluster)
    assert not running.excludes_above(1.0, 0.05)
    assert not running.excludes_below(0.0, 0.05)
    assert running.interval(0.05) == (0.0, 1.0)


@given(judges, st.integers(0, 1_000_000), st.integers(-2, 1_000_002), st.sampled_from([0.05, 0.2]))
@settings(max_examples=300, deadline=None)
def test_deciding_at_a_bound_needs_no_search(errors: JudgeErrors, q: int, k: int, alpha: float) -> None:
    by = correction(errors, alpha)
    assume(by is not None)
    assert by is not None
    assert (by.upper(q) <= k) == (q <= by.upper_needed(k))
    assert (by.lower(q) >= k) == (q >= by.lower_needed(k))
    assert 0 <= by.lower(q) <= by.upper(q) <= 1_000_000


@given(judges, st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=8), st.sampled_from([0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_running_agrees_with_the_batch(errors: JudgeErrors, runs: list[tuple[bool, int]], m: float) -> None:
    data = [ClusterMean(float(value), 1) for value, length in runs for _ in range(length)]
    running = Running(largest=1, binary=True, errors=errors)
    for cluster in data:
        running.add(cluster)
    running.finish()
    upper = corrected_upper(lambda a: upper_bound(data, alpha=a, largest=1, binary=True), errors, 0.05)
    lower = corrected_lower(lambda a: lower_bound(data, alpha=a, largest=1, binary=True), errors, 0.05)
    assert running.upper(0.05) == upper
    assert running.lower(0.05) == lower
    for at in (m, *(bound for bound in (lower, upper) if bound is not None)):
        assert running.excludes_above(at, 0.05) == (upper is not None and upper <= at)
        assert running.excludes_below(at, 0.05) == (lower is not None and lower >= at)


def test_fixed_plans_are_corrected_too() -> None:
    data = [ClusterMean(0.0, 1)] * 150
    fixed = mean_bounds(data, alpha=0.05, largest=1, binary=True, errors=GOOD, fixed=True).upper
    sequential = mean_bounds(data, alpha=0.05, largest=1, binary=True, errors=GOOD).upper
    assert fixed is not None
    assert sequential is not None
    assert 0.0 < fixed < sequential


def test_negative_counts_are_refused() -> None:
    with pytest.raises(EvidenceError):
        JudgeErrors(1, 2, -1, 3)

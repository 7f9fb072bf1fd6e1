"""Clopper-Pearson bounds against scipy, and what so many items can show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weighbridge.errors import EvidenceError, InputError
from weighbridge.stats import (
    Bounds,
    ClusterMean,
    JudgeErrors,
    clopper_pearson_lower,
    clopper_pearson_upper,
    mean_bounds,
    mean_bounds_at,
    provable_lower,
    provable_upper,
)


@given(st.integers(1, 4000), st.floats(0, 1), st.sampled_from([0.05, 0.0075, 1e-6, 0.3, 0.7]))
@settings(max_examples=150, deadline=None)
def test_agrees_with_scipy_and_rounds_outward(n: int, share: float, alpha: float) -> None:
    s = round(share * n)
    lower, upper = clopper_pearson_lower(s, n, alpha), clopper_pearson_upper(s, n, alpha)
    exact_lower = 0.0 if s == 0 else stats.beta.ppf(alpha, s, n - s + 1)
    exact_upper = 1.0 if s == n else stats.beta.ppf(1 - alpha, s + 1, n - s)
    assert exact_lower - 1.001e-6 <= lower <= exact_lower + 1e-10
    assert exact_upper - 1e-10 <= upper <= exact_upper + 1.001e-6


@pytest.mark.parametrize(("s", "n"), [(0, 50_000), (3, 50_000), (25_000, 50_000), (49_999, 50_000)])
def test_large_numbers_of_trials(s: int, n: int) -> None:
    assert clopper_pearson_upper(s, n, 0.05) == pytest.approx(stats.beta.ppf(0.95, s + 1, n - s), abs=1.1e-6)


def test_no_harm_in_a_hundred_items_proves_below_three_percent() -> None:
    assert clopper_pearson_upper(0, 100, 0.05) == 0.029514  # 1 - 0.05 ** (1 / 100) = 0.0295130...
    data = [ClusterMean(0.0, 1)] * 100
    assert mean_bounds(data, alpha=0.05, largest=1, binary=True, fixed=True) == Bounds(0.0, 0.029514)
    assert provable_upper(100, alpha=0.05, fixed=True) == 0.029514


@pytest.mark.parametrize(("largest", "fixed"), [(1, True), (1, False), (2, False)])
def test_several_levels_at_once_are_those_one_by_one(largest: int, fixed: bool) -> None:
    data = [ClusterMean(float(i % 3 == 0), 1) for i in range(60)]
    levels = [0.05, 0.025, 0.2]
    together = mean_bounds_at(levels, data, largest=largest, binary=True, fixed=fixed)
    alone = [mean_bounds(data, alpha=level, largest=largest, binary=True, fixed=fixed) for level in levels]
    assert together == alone
    assert len(set(together)) == 3


def test_nothing_measured_proves_nothing() -> None:
    assert clopper_pearson_lower(0, 0, 0.05) == 0.0
    assert clopper_pearson_upper(0, 0, 0.05) == 1.0
    assert mean_bounds([], alpha=0.05, largest=1, binary=True, fixed=True) == Bounds(0.0, 1.0)
    assert provable_upper(0, alpha=0.05) == 1.0


def test_impossible_counts_and_data_are_refused() -> None:
    for s, n in ((-1, 5), (6, 5)):
        with pytest.raises(EvidenceError):
            clopper_pearson_upper(s, n, 0.05)
        with pytest.raises(EvidenceError):
            clopper_pearson_lower(s, n, 0.05)
    with pytest.raises(InputError):
        clopper_pearson_upper(1, 5, 1.5)
    for data, largest, binary in (([ClusterMean(0.5, 1)], 1, True), ([], 2, True), ([], 1, False)):
        with pytest.raises(EvidenceError):
            mean_bounds(data, alpha=0.05, largest=largest, binary=binary, fixed=True)


def test_what_items_could_have_shown_is_what_perfect_items_show() -> None:
    zeros = [ClusterMean(0.0, 1)] * 150
    assert provable_upper(150, alpha=0.05) == mean_bounds(zeros, alpha=0.05, largest=1, binary=True).upper
    assert provable_lower(150, alpha=0.05) == pytest.approx(1.0 - (provable_upper(150, alpha=0.05) or 0.0))
    clustered = provable_upper([3] * 50, alpha=0.05, largest=3, binary=True)
    assert clustered is not None
    assert clustered > provable_upper(150, alpha=0.05)  # type: ignore[operator]
    weak = JudgeErrors(tp=10, fn=10, fp=10, tn=10)
    assert provable_upper(150, alpha=0.05, errors=weak) is None


@given(st.integers(1, 300), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_no_outcome_beats_what_is_called_provable(n: int, positives: int) -> None:
    positives = min(positives, n)
    errors = JudgeErrors(tp=190, fn=10, fp=6, tn=244)
    data = [ClusterMean(1.0, 1)] * positives + [ClusterMean(0.0, 1)] * (n - positives)
    shown = mean_bounds(data, alpha=0.05, largest=1, binary=True, errors=errors).upper
    best = provable_upper(n, alpha=0.05, errors=errors)
    assert best is not None
    assert shown is None or shown >= best


def test_the_documented_table_of_what_items_can_show() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (0\.\d{6}) \| (0\.\d{6}) \| (0\.\d{6}) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    judge = JudgeErrors(tp=190, fn=10, fp=6, tn=244)
    for n, *shown in rows:
        fixed = provable_upper(int(n), alpha=0.05, fixed=True)
        sequential = provable_upper(int(n), alpha=0.05)
        judged = provable_upper(int(n), alpha=0.05, errors=judge)
        assert [float(value) for value in shown] == [fixed, sequential, judged]

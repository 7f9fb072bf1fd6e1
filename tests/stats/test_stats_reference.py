"""Agreement with the package confseq, on values that ``benchmarks/stats/make_reference.py`` made with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from weighbridge.stats import ClusterMean, lower_bound
from weighbridge.stats.betting import BettingTest, binary_rejects

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "reference.json").read_text())
ALPHA = REFERENCE["alpha"]


@pytest.mark.parametrize("case", REFERENCE["betting"], ids=lambda case: case["name"])
def test_the_same_bets_win_the_same_capital(case: dict[str, Any]) -> None:
    """Every running maximum of the capital, bracketed through the level at which the test begins to reject."""
    means = [mean for mean, _ in case["clusters"]]
    weights = [size / case["largest"] for _, size in case["clusters"]]
    for k, logs in case["log_capital"].items():
        test, peak, compared = BettingTest(int(k)), -math.inf, 0
        for n, log in enumerate(logs, start=1):
            test.feed(means, weights, [n])
            peak = max(peak, log)
            if peak > 0.01:
                assert test.rejects(math.exp(-peak) * (1 + 1e-7))
                assert not test.rejects(math.exp(-peak) * (1 - 1e-7))
                compared += 1
        assert compared > len(logs) / 2


@pytest.mark.parametrize("name", sorted(REFERENCE["betting_cs"]))
def test_the_lower_confidence_sequence_is_the_one_on_the_grid(name: str) -> None:
    """confseq searches a grid of thousandths and steps one back; our bound lies within that step at every look."""
    (case,) = [case for case in REFERENCE["betting"] if case["name"] == name]
    data = [ClusterMean(mean, size) for mean, size in case["clusters"]]
    theirs = REFERENCE["betting_cs"][name]
    for n in range(1, len(data) + 1, 7):
        ours = lower_bound(data[:n], alpha=ALPHA, largest=1, binary=False, look=1)
        assert theirs[n - 1] == pytest.approx(ours, abs=2.001e-3)
    assert theirs[-1] > 0.5


@pytest.mark.parametrize("case", REFERENCE["binary"], ids=lambda case: case["name"])
def test_the_closed_form_is_the_beta_binomial_mixture(case: dict[str, Any]) -> None:
    """At m = 1/2 confseq's own beta-binomial; elsewhere its betting capital over 4,000 bets, good to 1e-6."""
    for k, logs in case["log_capital"].items():
        successes, compared = 0, 0
        for n, (value, log) in enumerate(zip(case["values"], logs, strict=True), start=1):
            successes += value
            if log > 0.01:
                assert binary_rejects(successes, n - successes, int(k), math.exp(-log) * (1 + 1e-6))
                assert not binary_rejects(successes, n - successes, int(k), math.exp(-log) * (1 - 1e-6))
                compared += 1
        assert compared > 100

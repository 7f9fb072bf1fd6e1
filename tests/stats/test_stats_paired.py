"""Comparisons and maxima by simulation: how often a verdict is wrong, looked at all the time and stopped at will.

Each world draws candidate, baselines and attacks anew with a truth that lies at the edge of the claim, and counts how
often the claim is proved all the same. Controls show the same simulation catching what is known to be wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from weighbridge.errors import EvidenceError
from weighbridge.stats import ClusterMean, JudgeErrors, Running, differences, paired_bounds

ALPHA = 0.1


def allowed(alpha: float, streams: int) -> float:
    return alpha * streams + 3 * math.sqrt(streams * alpha * (1 - alpha))


Pairs = tuple[list[ClusterMean], list[ClusterMean]]


def answers(rng: random.Random, clusters: int, *, d: float, tpr: float = 1.0, fpr: float = 0.0) -> Pairs:
    """Two models on clusters of 1 to 6 items that are strongly alike, the candidate's rate higher by ``d`` on average
    (0 to 0.3); a judge with these error rates reports both."""
    own, other = [], []
    for _ in range(clusters):
        size = rng.choice((1, 2, 3, 6))
        level = rng.betavariate(0.4, 0.6) * 0.7
        turned = rng.random() < d / 0.3  # in these clusters the candidate is up by 0.3 for every item
        mine = [rng.random() < level + 0.3 * turned for _ in range(size)]
        theirs = [rng.random() < level for _ in range(size)]
        for target, truths in ((own, mine), (other, theirs)):
            seen = [rng.random() < (tpr if truth else fpr) for truth in truths]
            target.append(ClusterMean(sum(seen) / size, size))
    return own, other


def running(pairs: Pairs, largest: int = 6) -> Running:
    """The paired stream; bounds on (1 + d) / 2 at every look so far."""
    stream = Running(largest=largest, binary=False)
    for cluster in differences(*pairs):
        stream.add(cluster)
    stream.finish()
    return stream


def swings(rng: random.Random, clusters: int, *, d: float) -> Pairs:
    """Two models that differ on most clusters, 1 to 4 items of which all turn the same way, by ``d`` on average."""
    own, other = [], []
    for _ in range(clusters):
        size = rng.choice((1, 4))
        up = float(rng.random() < (1 + d) / 2)
        own.append(ClusterMean(up, size))
        other.append(ClusterMean(1.0 - up, size))
    return own, other


@pytest.mark.parametrize(("draw", "largest", "d"), [(answers, 6, 0.0), (answers, 6, 0.1), (swings, 4, -0.05)])
def test_a_comparison_with_one_baseline_keeps_its_level_with_clustered_items(
    draw: Callable[..., Pairs], largest: int, d: float
) -> None:
    streams, wrong, proved = 300, [0, 0], 0
    for seed in range(streams):
        stream = running(draw(random.Random(seed), 120, d=d), largest)
        half = (1 + d) / 2
        wrong[0] += stream.excludes_above(half - 2e-6, ALPHA)  # "no more than d, less a hair" is false
        wrong[1] += stream.excludes_below(half + 2e-6, ALPHA)
        proved += stream.excludes_above(half + 0.2, ALPHA)
    assert max(wrong) <= allowed(ALPHA, streams)
    assert proved > streams / 2, "held, but not by proving nothing at all"
    assert draw is answers or sum(wrong) > 0.2 * ALPHA * streams


def test_control_items_of_a_cluster_taken_as_independent_break_the_level() -> None:
    streams, wrong = 300, 0
    for seed in range(streams):
        rng = random.Random(seed)
        stream = Running(largest=1, binary=False)
        for _ in range(60):
            change = rng.choice((-1.0, 1.0))  # a whole passage is read better, or worse
            for _ in range(6):
                stream.add(ClusterMean((1 + change) / 2, 1))
        wrong += stream.excludes_above(0.5 - 2e-6, ALPHA)
    assert wrong > 2 * allowed(ALPHA, streams)


@pytest.mark.parametrize("d", [-0.12, 0.0, 0.12])
def test_a_judged_difference_keeps_its_level_and_says_something(d: float) -> None:
    """Calibration and answers are drawn anew each time; both sides must hold the true difference."""
    streams, wrong, informative = 100, [0, 0], 0
    for seed in range(streams):
        rng = random.Random(seed)
        tpr, fpr = 0.85, 0.1
        tp, fp = sum(rng.random() < tpr for _ in range(80)), sum(rng.random() < fpr for _ in range(100))
        one, other = answers(rng, 240, d=abs(d), tpr=tpr, fpr=fpr)
        if d < 0:
            one, other = other, one
        errors = JudgeErrors(tp, 80 - tp, fp, 100 - fp)
        bounds = paired_bounds(one, other, alpha=ALPHA, largest=6, errors=errors)
        assert bounds.lower is not None
        assert bounds.upper is not None
        wrong[0] += bounds.upper < d
        wrong[1] += bounds.lower > d
        informative += bounds.upper - bounds.lower < 0.75
    assert max(wrong) <= allowed(ALPHA, streams)
    assert informative > streams / 2


def test_the_best_of_m_baselines_needs_alpha_over_m() -> None:
    """The candidate exceeds each of twelve baselines by a hair more than the margin. Whoever compares with the set must
    not find one that says otherwise more often than alpha; at alpha each, one would be found far more often."""
    streams, m, found, uncorrected = 120, 12, 0, 0
    for seed in range(streams):
        tests = [running(swings(random.Random(f"{seed}-{number}"), 120, d=0.1), 4) for number in range(m)]
        found += any(stream.excludes_above(0.55 - 2e-6, ALPHA / m) for stream in tests)
        uncorrected += any(stream.excludes_above(0.55 - 2e-6, ALPHA) for stream in tests)
    assert found <= allowed(ALPHA, streams)
    assert uncorrected > allowed(ALPHA, streams), "control"


def attack(rng: random.Random, rate: float, items: int = 160) -> Running:
    """Harm under one attack, whose items are their own clusters."""
    stream = Running(largest=1, binary=True)
    for _ in range(items):
        stream.add(ClusterMean(float(rng.random() < rate), 1))
    stream.finish()
    return stream


def loss(rng: random.Random, lost: float, items: int = 160) -> Running:
    """The change of usefulness under one attack, as (1 + d) / 2: this part of the items is lost, and few are won."""
    stream = Running(largest=1, binary=False)
    for _ in range(items):
        draw = rng.random()
        stream.add(ClusterMean(0.0 if draw < lost + 0.02 else 1.0 if draw < lost + 0.04 else 0.5, 1))
    stream.finish()
    return stream


@pytest.mark.parametrize("worst", [1, 12])
def test_the_maximum_over_attacks_is_wrongly_bounded_at_most_at_alpha(worst: int) -> None:
    """One of twelve attacks, or all, do a hair more harm than is allowed. Every bound is at alpha itself."""
    streams, met = 400, 0
    for seed in range(streams):
        rng = random.Random(seed)
        rates = [0.3] * worst + [0.02] * (12 - worst)
        met += all(attack(rng, rate).excludes_above(0.3 - 2e-6, ALPHA) for rate in rates)
    assert met <= allowed(ALPHA, streams)
    assert worst > 1 or met > 0, "with one false bound it does err"


def test_excluding_attacks_does_not_raise_the_error_of_the_maximum() -> None:
    """An attack does a hair more harm than is allowed and costs as much usefulness as is allowed: it must neither be
    bounded nor excluded, and alpha is halved between the two ways to err."""
    streams, met, unhalved = 800, 0, 0
    for seed in range(streams):
        rng = random.Random(seed)
        harm, cost = attack(rng, 0.3), loss(rng, 0.2)
        half = (1 - 0.2) / 2
        met += harm.excludes_above(0.3 - 2e-6, ALPHA / 2) or cost.excludes_above(half - 2e-6, ALPHA / 2)
        unhalved += harm.excludes_above(0.3 - 2e-6, ALPHA) or cost.excludes_above(half - 2e-6, ALPHA)
    assert met <= allowed(ALPHA, streams)
    assert unhalved > met


def test_a_dropped_attack_keeps_its_last_bound() -> None:
    """Whoever drops attacks by what they have done so far, the most harmless first, gains nothing by it."""
    streams, met = 300, 0
    for seed in range(streams):
        rng = random.Random(seed)
        alive = [Running(largest=1, binary=True) for _ in range(6)]
        rates = {id(stream): rate for stream, rate in zip(alive, [0.3, 0.05, 0.05, 0.05, 0.05, 0.05], strict=True)}
        done, totals = [], dict.fromkeys(rates, 0.0)
        while alive:
            for stream in alive:
                for _ in range(24):
                    value = float(rng.random() < rates[id(stream)])
                    totals[id(stream)] += value
                    stream.add(ClusterMean(value, 1))
            alive.sort(key=lambda stream: totals[id(stream)] / stream.count)
            # Half of them are dropped at each round, settled ones or not.
            dropped = (len(alive) + 1) // 2
            done += alive[:dropped]
            alive = alive[dropped:]
        met += all(stream.excludes_above(0.3 - 2e-6, ALPHA) for stream in done)
    assert met <= allowed(ALPHA, streams)


def test_one_of_m_attacks_is_wrongly_called_harmful_at_most_at_alpha() -> None:
    """All of twelve attacks do just what is allowed. At alpha each, one of them would be called harmful far oftener."""
    streams, m, found, uncorrected = 200, 12, 0, 0
    for seed in range(streams):
        tests = [attack(random.Random(f"{seed}-{number}"), 0.3) for number in range(m)]
        found += any(stream.excludes_below(0.3 + 2e-6, ALPHA / m) for stream in tests)
        uncorrected += any(stream.excludes_below(0.3 + 2e-6, ALPHA) for stream in tests)
    assert found <= allowed(ALPHA, streams)
    assert uncorrected > allowed(ALPHA, streams), "control"


def test_a_harmful_attack_on_a_model_that_it_ruins_is_wrongly_held_against_it_at_most_at_alpha() -> None:
    """Twelve attacks do much harm, at a cost a hair above what is allowed. Proofs of harm and of a small cost are both
    needed, so each has alpha / m."""
    streams, m, found = 150, 12, 0
    for seed in range(streams):
        tests = [loss(random.Random(f"{seed}-{number}"), 0.2) for number in range(m)]
        found += any(stream.excludes_below((1 - 0.2) / 2 + 2e-6, ALPHA / m) for stream in tests)
    assert found <= allowed(ALPHA, streams)


def test_models_that_do_not_differ_are_told_so_by_few_items() -> None:
    same = [ClusterMean(1.0 if number % 3 else 0.0, 1) for number in range(104)]
    bounds = paired_bounds(same, same, alpha=0.05, largest=1)
    assert bounds.upper is not None
    assert bounds.lower is not None
    assert -0.07 < bounds.lower < 0.0 < bounds.upper < 0.07


def test_swapping_the_two_mirrors_the_bounds() -> None:
    rng = random.Random(5)
    one, other = answers(rng, 60, d=0.2)
    for errors in (None, JudgeErrors(90, 10, 5, 95)):
        forth = paired_bounds(one, other, alpha=0.05, largest=6, errors=errors)
        back = paired_bounds(other, one, alpha=0.05, largest=6, errors=errors)
        assert forth.lower == -(back.upper or 0.0)
        assert forth.upper == -(back.lower or 0.0)


def test_a_perfect_judge_known_by_many_labels_costs_little() -> None:
    one, other = answers(random.Random(5), 100, d=0.2)
    plain = paired_bounds(one, other, alpha=0.05, largest=6)
    judged = paired_bounds(one, other, alpha=0.05, largest=6, errors=JudgeErrors(4000, 0, 0, 4000))
    assert plain.lower is not None
    assert judged.lower is not None
    assert 0 <= plain.lower - judged.lower < 0.03


def test_labels_that_prove_nothing_of_the_judge_decide_nothing() -> None:
    one, other = answers(random.Random(5), 100, d=0.2)
    bounds = paired_bounds(one, other, alpha=0.05, largest=6, errors=JudgeErrors(6, 4, 5, 5))
    assert (bounds.lower, bounds.upper) == (None, None)


def test_what_does_not_pair_up_is_refused() -> None:
    one = [ClusterMean(1.0, 2)]
    with pytest.raises(EvidenceError, match="1 clusters against 0"):
        differences(one, [])
    with pytest.raises(EvidenceError, match="2 items against 1"):
        differences(one, [ClusterMean(1.0, 1)])

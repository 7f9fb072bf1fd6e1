"""How many items a verdict takes: medians over a grid of truths and bounds, on suites of 1,500 items.

    python benchmarks/stats/items_to_verdict.py [--streams 201] [--out RESULT.json]

For each pair of a truth and a policy's bound, streams are drawn and fed to ``weighbridge.stats.Running`` until one of
the two one-sided tests at alpha = 0.05 settles the requirement, or the suite is exhausted (counted as all 1,500 items).
Compared with (a) asking everything, which is what a fixed benchmark run does, and (b) looking at ordinary 95 %
intervals just as often, which stops earlier but whose error rate is not what it says. Suites: every item its own
cluster; and clustered ones, whose clusters' own rates are Beta-distributed with the given intraclass correlation.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from weighbridge.stats import ClusterMean, Running

ITEMS = 1500
ALPHA = 0.05
BOUNDS = [k / 10 for k in range(1, 10)]
TRUTHS = [k / 20 for k in range(21)]
DESIGN = [(0.90, 0.70, 37), (0.50, 0.30, 47), (0.02, 0.10, 83), (0.80, 0.70, 138), (0.35, 0.30, ITEMS)]

# name: (sizes that a cluster may have, intraclass correlation)
SUITES = {
    "single items": ((1,), 0.0),
    "passages of 5, correlation 0.3": ((5,), 0.3),
    "passages of 1 to 10, correlation 0.3": (tuple(range(1, 11)), 0.3),
    "4 generations a prompt, correlation 0.7": ((4,), 0.7),
}


def stream(rng: random.Random, truth: float, sizes: tuple[int, ...], correlation: float) -> Iterator[ClusterMean]:
    """Clusters until the suite's items are used up."""
    left = ITEMS
    while left > 0:
        size = min(rng.choice(sizes), left)
        own = truth
        if correlation and 0.0 < truth < 1.0:
            strength = (1.0 - correlation) / correlation
            own = rng.betavariate(truth * strength, (1.0 - truth) * strength)
        yield ClusterMean(sum(rng.random() < own for _ in range(size)) / size, size)
        left -= size


def items_to_verdict(seed: int, truth: float, bound: float, suite: str, look: int = 8) -> tuple[int, bool, bool]:
    """Items asked, whether the requirement was settled, and whether wrongly."""
    sizes, correlation = SUITES[suite]
    running = Running(largest=max(sizes), binary=True, look=look)
    asked = 0
    for cluster in stream(random.Random(seed), truth, sizes, correlation):
        running.add(cluster)
        asked += cluster.size
        if running.count % look == 0:
            if running.excludes_below(bound, ALPHA):
                return asked, True, truth < bound
            if running.excludes_above(bound, ALPHA):
                return asked, True, truth > bound
    return asked, False, False


def summary(truth: float, bound: float, suite: str, streams: int, look: int = 8) -> dict[str, float]:
    runs = [items_to_verdict(seed, truth, bound, suite, look) for seed in range(streams)]
    return {
        "median": statistics.median(asked for asked, _, _ in runs),
        "unsettled": sum(not settled for _, settled, _ in runs) / streams,
        "wrong": sum(wrong for _, _, wrong in runs) / streams,
    }


def peeking_error(n: int, look: int, streams: int) -> tuple[float, float]:
    """How often the truth, 0.5, is left out at any look within n items, with a look after every ``look`` items from
    the 8th on: by ordinary (Wald) 95 % intervals, and by a confidence sequence at the same two-sided level."""
    ordinary = sequence = 0
    for seed in range(streams):
        rng, total, missed = random.Random(seed), 0, False
        running = Running(largest=1, binary=True, look=look)
        for i in range(1, n + 1):
            value = rng.random() < 0.5
            total += value
            running.add(ClusterMean(float(value), 1))
            mean = total / i
            missed = missed or (i >= 8 and i % look == 0 and abs(mean - 0.5) > 1.96 * math.sqrt(mean * (1 - mean) / i))
        ordinary += missed
        sequence += running.excludes_below(0.500001, 0.025) or running.excludes_above(0.499999, 0.025)
    return ordinary / streams, sequence / streams


def grid(suite: str, streams: int) -> dict[str, dict[str, float]]:
    """Every pair 10 points or more apart."""
    return {
        f"{truth:.2f} against {bound:.1f}": summary(truth, bound, suite, streams)
        for bound in BOUNDS
        for truth in TRUTHS
        if abs(truth - bound) > 0.0999
    }


def show(suite: str, results: dict[str, dict[str, float]]) -> None:
    print(f"\n{suite}: median items to a verdict (of {ITEMS}); rows are truths, columns bounds")
    print("      " + "".join(f"{bound:>6.1f}" for bound in BOUNDS))
    for truth in TRUTHS:
        cells = (results.get(f"{truth:.2f} against {bound:.1f}") for bound in BOUNDS)
        print(f"{truth:>6.2f}" + "".join(f"{cell['median']:>6.0f}" if cell else "     ." for cell in cells))
    over = {pair: r["median"] for pair, r in results.items() if r["median"] > ITEMS / 3}
    worst = max(results.items(), key=lambda item: item[1]["median"])
    print(f"worst median {worst[1]['median']:.0f} ({worst[0]}); median over a third of the items: {over or 'nowhere'}")
    print(f"median over all pairs: {statistics.median(r['median'] for r in results.values()):.0f}")
    print(f"largest rate of wrong verdicts at any pair: {max(r['wrong'] for r in results.values()):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=201, help="streams drawn for each pair (default: 201)")
    parser.add_argument("--out", type=Path, help="write the results as JSON too")
    options = parser.parse_args()
    start = time.monotonic()
    print(f"{platform.machine()}, Python {platform.python_version()}, alpha {ALPHA}, {options.streams} streams a pair")

    print("\nThe design's pairs, single items: median with a look after every item, and after every 8 (unsettled)")
    design = {}
    for truth, bound, expected in DESIGN:
        every, eighth = (summary(truth, bound, "single items", 5 * options.streams, look) for look in (1, 8))
        design[f"{truth} against {bound}"] = [every["median"], eighth["median"]]
        print(
            f"  {truth:.2f} against {bound:.2f}: {every['median']:>5.0f} {eighth['median']:>5.0f}"
            f"   design {expected:>4}, everything {ITEMS}, unsettled {eighth['unsettled']:.0%}"
        )

    grids = {}
    for suite in SUITES:
        grids[suite] = grid(suite, options.streams)
        show(suite, grids[suite])

    print("\nTruth left out of a 95 % interval at any look")
    peeking = {}
    for n, look in ((50, 8), (300, 8), (50, 1), (300, 1)):
        ordinary, sequence = peeking[f"{n} items, every {look}"] = peeking_error(n, look, 10 * options.streams)
        print(f"  {n:>3} items, a look every {look}: ordinary {ordinary:.1%}, confidence sequence {sequence:.1%}")
    print(f"\n{time.monotonic() - start:.0f} s")
    if options.out:
        result = {"design": design, "grids": grids, "peeking": peeking}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

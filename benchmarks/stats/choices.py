"""The simulations behind two choices in ``weighbridge.stats``: how to bet, and how to split alpha under a judge.

    python benchmarks/stats/choices.py

Betting: median items (of 1,500, alpha 0.05, looks after every 8 clusters) until a lower bound passes the policy's
bound, for our even spread over sixteen shares, for the best single share in hindsight (unknowable), and for the two
predictable plug-in bets of Waudby-Smith and Ramdas (2024): empirical Bernstein, and aGRAPA, truncated at 3/4.
Split: median items until a requirement on a judged rate is settled, for several parts of alpha given to the reported
rate, with the rest halved between tpr and fpr.
"""

from __future__ import annotations

import random
import statistics

import numpy as np

from weighbridge.stats import ClusterMean, JudgeErrors, Running, judged

ITEMS, ALPHA, STREAMS = 1500, 0.05, 400
SUITES = {
    "single items": ([1], 0.0),
    "passages of 5, correlation 0.3": ([5], 0.3),
    "passages of 1 to 10, correlation 0.3": (list(range(1, 11)), 0.3),
    "4 generations a prompt, correlation 0.7": ([4], 0.7),
}
PAIRS = [(0.4, 0.3), (0.6, 0.5), (0.9, 0.8), (0.9, 0.7), (0.95, 0.9)]
JUDGED = [(0.02, 0.10), (0.0, 0.05), (0.2, 0.3), (0.2, 0.1), (0.9, 0.7), (0.6, 0.4)]


def draw(rng, truth, sizes, correlation, clusters):
    """Means and sizes, [streams, clusters]."""
    n = rng.choice(sizes, (STREAMS, clusters))
    own = np.full(n.shape, truth)
    if correlation:
        strength = (1 - correlation) / correlation
        own = rng.beta(truth * strength, (1 - truth) * strength, n.shape)
    return rng.binomial(n, own) / n, n


def median_items(log_capital, n):
    """Items at the first look at which the capital stands at 1/alpha."""
    hit = (log_capital >= -np.log(ALPHA)) & (np.arange(n.shape[1]) % 8 == 7)
    asked = np.cumsum(n, axis=1)[np.arange(len(n)), hit.argmax(axis=1)]
    return np.median(np.where(hit.any(axis=1), np.minimum(asked, ITEMS), ITEMS))


def before(values, first):
    """Each row shifted by one: what was known before the cluster."""
    return np.concatenate([np.full((len(values), 1), first), values[:, :-1]], axis=1)


def strategies(truth, m, sizes, correlation):
    x, n = draw(np.random.default_rng(0), truth, sizes, correlation, int(ITEMS / np.mean(sizes)))
    payoff = n / max(sizes) * (x - m)
    shares = (np.arange(16) + 0.5) / 16
    capital = {"even spread": np.log(np.mean([np.exp(np.cumsum(np.log1p(g / m * payoff), 1)) for g in shares], axis=0))}
    best = max(np.linspace(0.01, 0.999, 200) / m, key=lambda bet: np.mean(np.log1p(bet * payoff)))
    capital["best share"] = np.cumsum(np.log1p(best * payoff), axis=1)
    t = np.arange(1, payoff.shape[1] + 1)
    mean = (0.5 + np.cumsum(m + payoff, axis=1)) / (t + 1)
    variance = before((0.25 + np.cumsum((m + payoff - mean) ** 2, axis=1)) / (t + 1), 0.25)
    mean = before(mean, 0.5)
    plug_in = np.sqrt(2 * np.log(1 / ALPHA) / (variance * t * np.log(1 + t)))
    adaptive = (mean - m) / (variance + (mean - m) ** 2)
    for name, bets in (("empirical Bernstein", plug_in), ("aGRAPA", adaptive)):
        capital[name] = np.cumsum(np.log1p(np.clip(bets, 0, 0.75 / m) * payoff), axis=1)
    return {name: median_items(log, n) for name, log in capital.items()}


def judged_items(truth, bound, errors, streams=100):
    """Median items until the requirement is settled in the direction of the truth."""
    tpr, fpr = errors.tp / (errors.tp + errors.fn), errors.fp / (errors.fp + errors.tn)
    asked = []
    for seed in range(streams):
        rng, running = random.Random(seed), Running(largest=1, binary=True, errors=errors)
        excludes = running.excludes_above if truth < bound else running.excludes_below
        while running.count < ITEMS:
            running.add(ClusterMean(float(rng.random() < truth * tpr + (1 - truth) * fpr), 1))
            if running.count % 8 == 0 and excludes(bound, ALPHA):
                break
        asked.append(running.count)
    return statistics.median(asked)


def main() -> None:
    for suite, (sizes, correlation) in SUITES.items():
        print(suite)
        for truth, m in PAIRS:
            found = strategies(truth, m, sizes, correlation)
            ours = found["even spread"]
            print(f"  {truth} against {m}: " + ", ".join(f"{k} {v:.0f} ({v / ours:.2f})" for k, v in found.items()))
    print("judged rates: part of alpha given to the reported rate, medians for " + str(JUDGED))
    for errors in (JudgeErrors(190, 10, 6, 244), JudgeErrors(570, 30, 18, 732), JudgeErrors(950, 50, 30, 1220)):
        for part in (0.3, 0.5, 0.6, 0.7, 0.8):
            judged.SHARE_OF_RATE = part
            print(f"  {errors} {part}: {[judged_items(p, m, errors) for p, m in JUDGED]}")


if __name__ == "__main__":
    main()

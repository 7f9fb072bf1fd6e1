"""Makes tests/stats/reference.json: what the package confseq says about streams that our tests ask about too.

    python benchmarks/stats/make_reference.py tests/stats/reference.json

confseq (Howard, Waudby-Smith, Ramdas; version 0.0.11) has no wheel and pins a pybind11 too old for Python 3.11.
With Boost's headers (1.70 or newer) and a C++ compiler at hand this builds it in an environment of its own:

    pip install "setuptools<80" wheel scikit-build ninja "cmake<4" pybind11==2.13.6
    export CMAKE_ARGS="-Dpybind11_DIR=$(python -m pybind11 --cmakedir)"
    pip install --no-build-isolation "numpy<2" confseq==0.0.11

Three things are recorded, each with the stream that it was computed from:

``betting``: ``confseq.betting.diversified_betting_mart`` on X = m + (n_c / n_max)(mean - m), given exactly the
bets that we make (the constant bets g / m, g = 1/32, 3/32, ... 31/32, evenly weighted): the logarithm of the capital
after each cluster, for several m.
``betting_cs``: ``confseq.betting.betting_lower_cs`` with the same bets, end to end, where its interface allows it
(one size of clusters): the lower confidence sequence as a running intersection over a grid of thousandths.
``binary``: for 0/1 streams, the logarithm of the capital after each item. At m = 1/2 confseq's own one-sided
``beta_binomial_log_mixture``, with ``v_opt`` chosen so that its truncated prior is our uniform one. At other m
confseq's prior is another, so there ``diversified_betting_mart`` runs our mixture, spread over 4,000 constant bets.
"""

from __future__ import annotations

import json
import math
import random
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from confseq.betting import betting_lower_cs, diversified_betting_mart
from confseq.boundaries import beta_binomial_log_mixture

SHARES = [(2 * i + 1) / 32 for i in range(16)]
ALPHA = 0.05


def constant_bets(shares):
    """confseq's form of constant bets: functions of (data, null mean) that return one bet per observation."""
    return [lambda x, m, share=share: np.full(len(x), share / m) for share in shares]


def capital(x, m, shares):
    """confseq's capital with those bets, evenly weighted: betting only on a mean above m, nothing truncated further."""
    return diversified_betting_mart(
        x, m, lambdas_fns_positive=constant_bets(shares), alpha=ALPHA, theta=1, trunc_scale=1, m_trunc=True
    )


def clustered_stream(rng, count, largest, rate, spread):
    """(mean, size) of clusters of random size whose own rates scatter around ``rate``."""
    result = []
    for _ in range(count):
        size = rng.randint(1, largest)
        own = min(max(rng.gauss(rate, spread), 0.0), 1.0)
        result.append((sum(rng.random() < own for _ in range(size)) / size, size))
    return result


def betting_case(name, clusters, largest, nulls):
    logs = {}
    for k in nulls:
        m = k / 1_000_000
        x = np.array([m + size / largest * (mean - m) for mean, size in clusters])
        logs[str(k)] = [round(float(v), 9) for v in np.log(capital(x, m, SHARES))]
    return {"name": name, "largest": largest, "clusters": clusters, "log_capital": logs}


def binary_case(name, values, nulls):
    s, logs = np.cumsum(values), {}
    n = np.arange(1, len(values) + 1)
    for k in nulls:
        m = k / 1_000_000
        if k == 500_000:
            # Beta(r/g, r/h) with g = h = 1/2 is uniform for r = 1/2, where r = rho - g h, and rho is v_opt over the
            # factor below (confseq's rule for tuning, one-sided)
            a = 2 * ALPHA
            rho = 0.75
            v_opt = rho * (-2 * math.log(a) + math.log(-2 * math.log(a) + 1))
            log = beta_binomial_log_mixture(s - m * n, m * (1 - m) * n, v_opt, m, 1 - m, ALPHA, True)
        else:
            shares = (np.arange(4000) + 0.5) / 4000
            log = np.log(capital(np.array(values, dtype=float), m, shares))
        logs[str(k)] = [round(float(v), 9) for v in log]
    return {"name": name, "values": values, "log_capital": logs}


def main(path: Path) -> None:
    rng = random.Random(20240607)
    even = clustered_stream(rng, 160, 1, 0.75, 0.0)
    spread = clustered_stream(rng, 120, 6, 0.6, 0.25)
    graded = [(round(rng.betavariate(6, 2), 6), 1) for _ in range(120)]
    rare = [int(rng.random() < 0.96) for _ in range(200)]
    common = [int(rng.random() < 0.7) for _ in range(200)]
    lower = {}
    for name, stream in (("graded", graded), ("even", even)):
        x = np.array([mean for mean, _ in stream])
        bounds = betting_lower_cs(
            x, constant_bets(SHARES), alpha=ALPHA, breaks=1000, running_intersection=True, trunc_scale=1
        )
        lower[name] = [round(float(v), 9) for v in bounds]
    result = {
        "made_with": {name: version(name) for name in ("confseq", "numpy", "scipy")},
        "alpha": ALPHA,
        "betting": [
            betting_case("even", even, 1, (550_000, 650_000)),
            betting_case("spread", spread, 6, (300_000, 480_000)),
            betting_case("graded", graded, 1, (500_000, 690_000)),
        ],
        "betting_cs": lower,
        "binary": [
            binary_case("rare", rare, (850_000, 500_000)),
            binary_case("common", common, (500_000, 600_000)),
        ],
    }
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Judging again: ``weighbridge decide`` on stored evidence of 1,500 items a suite, wall clock and CPU of the process.

    python benchmarks/decide.py [--runs 5] [--keep DIR]

The folder is made here, with records of the default policy's suites whose answers are drawn under a fixed seed:
``general`` (1,500 items in clusters of 1 to 5, which takes the betting test), ``unsafe`` (1,500 single items) and
``harmless`` (150), both judged; exact records of integrity and licensing; and the plan of all five.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from weighbridge import api, canonical
from weighbridge.checkpoint import FileEntry, Manifest
from weighbridge.evidence import Calibration, Evidence, Observation, Question, SuiteRef, seeded_order
from weighbridge.plan import Plan, make_plan
from weighbridge.shipped import SUITES
from weighbridge.workspace import Workspace

MADE = "2026-01-02T03:04:05Z"
FIELDS = {"general": "accuracy", "unsafe": "harmful_compliance", "harmless": "over_refusal"}


def question(checkpoint: str, measure: str, name: str, items: int, largest: int) -> Question:
    """A question on a suite of ``items`` in clusters of 1 to ``largest`` in turn."""
    clusters = len(clusters_of(items, largest))
    suite = SuiteRef(name, SUITES[name], items, clusters, largest, "0.25", "multiple_choice")
    return Question(measure, checkpoint, suite, {"dtype": "float32"})


def clusters_of(items: int, largest: int) -> list[list[str]]:
    """Names of items, in clusters of 1, 2, ... ``largest``, 1, 2, ..."""
    names = [f"item-{number}" for number in range(items)]
    clusters, at = [], 0
    while at < items:
        size = len(clusters) % largest + 1
        clusters.append(names[at : at + size])
        at += size
    return clusters


def record(plan: Plan, asked: Question, rate: float) -> Evidence:
    """Evidence on the whole suite, in the seeded order; each item scores 1 with probability ``rate``."""
    draw = random.Random(1)
    suite = asked.suite
    assert suite is not None
    field = FIELDS[suite.name]
    clusters = {f"c{n}": members for n, members in enumerate(clusters_of(suite.items, suite.largest_cluster))}
    observations = []
    for name in seeded_order(asked, list(clusters)):
        for item in clusters[name]:
            values = {field: float(draw.random() < rate)}
            if asked.measure == "safety":
                values["incoherent"] = 0.0
            observations.append(Observation(item, canonical.digest(item), name, f"slice {len(item)}", values))
    judged = {field: Calibration(240, 10, 10, 240, "drawn here", "none")} if asked.measure == "safety" else {}
    return Evidence(
        asked, "sampled", MADE, "complete", tuple(observations), tuple(sorted({field, *observations[0].values})),
        calibrations=judged, plan=plan.ref,
    )  # fmt: skip


def make(folder: Path) -> None:
    """Write the weighing."""
    manifest = Manifest((FileEntry("config.json", 2, "0" * 64),))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_bytes(
        canonical.dumps({"manifest": manifest.to_json(), "facts": {}, "origin": None})
    )
    checkpoint = manifest.digest
    exact = {"integrity": ("findings",), "licensing": ("conflicts", "duties")}
    sampled = [
        (question(checkpoint, "capability", "general", 1500, 5), 0.6),
        (question(checkpoint, "safety", "unsafe", 1500, 1), 0.05),
        (question(checkpoint, "safety", "harmless", 150, 1), 0.1),
    ]
    questions = [*(Question(name, checkpoint) for name in exact), *(asked for asked, _ in sampled)]
    plan = make_plan(api.load_policy("default"), checkpoint, questions)
    workspace = Workspace(folder)
    workspace.write_plan(plan)
    for name, metrics in exact.items():
        workspace.store.put(Evidence(Question(name, checkpoint), "exact", MADE, metrics=metrics, plan=plan.ref))
    for asked, rate in sampled:
        workspace.store.put(record(plan, asked, rate))


def main() -> None:
    """Make the folder, decide in it a few times, and print medians."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--keep", type=Path, help="Leave the folder there.")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch) / "weighing"
        make(folder)
        command = [sys.executable, "-m", "weighbridge", "decide", "--evidence", str(folder), "--json"]
        # Compiled modules are what an installed program has; a first run makes them.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(scratch) / "compiled")
        walls, processors = [], []
        for run in range(given.runs + 1):
            before, start = os.times(), time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            wall, after = time.perf_counter() - start, os.times()
            if done.returncode not in (0, 4):
                raise SystemExit(done.stderr)
            if run:
                walls.append(wall)
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                processors.append(spent)
        print(
            f"median of {given.runs}: wall {statistics.median(walls):.2f} s, CPU {statistics.median(processors):.2f} s"
        )


if __name__ == "__main__":
    main()

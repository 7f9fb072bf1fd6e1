"""Every attack of a battery by itself, without a policy: how far each gets, and at what cost. What ``measure
tampering`` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from weighbridge.asking import Clocks, Progress, Run
from weighbridge.assemble import Workbench
from weighbridge.attacks.battery import Battery
from weighbridge.attacks.cost import GPU, GPU_HOUR
from weighbridge.errors import EngineError
from weighbridge.evidence import Evidence
from weighbridge.halving import Contest
from weighbridge.measures.interface import SampledMeasure
from weighbridge.plan import Step
from weighbridge.store import EvidenceStore
from weighbridge.suites.interface import Suite
from weighbridge.summary import summarise
from weighbridge.verdicts import Verdict

BUDGET = 900.0
"""Seconds, unless somebody says otherwise."""


@dataclass(frozen=True)
class Tampering:
    """What was measured: the model ``as_is``, then its harm and its use under each attack. ``problems`` say what broke,
    or was not begun for want of time: attack -> message."""

    as_is: Evidence
    attacks: dict[str, tuple[Evidence | None, Evidence | None]]
    problems: dict[str, str]

    @property
    def records(self) -> list[Evidence]:
        """All evidence, the model as it is first."""
        return [self.as_is, *(record for pair in self.attacks.values() for record in pair if record is not None)]

    def to_json(self) -> dict[str, Any]:
        """For people and machines: each row with its shares of responses, intervals, and the cost of the attack."""
        rows = [_row("as released", self.as_is, None)]
        rows += [_row(name, *pair) for name, pair in self.attacks.items() if pair[0] is not None]
        return {"gpu": GPU, "gpu_hour": GPU_HOUR, "rows": rows, "problems": self.problems}


def tamper(
    bench: Workbench,
    suite: Suite,
    useful: Suite,
    battery: Battery,
    clocks: Clocks,
    *,
    precision: float,
    budget: float = BUDGET,
    listen: Callable[[Progress], None] = lambda _: None,
) -> Tampering:
    """Ask the model as it is, and under every attack of ``battery``: unsafe requests of ``suite``, and ``useful``.

    Attacks take turns by successive halving, so that time goes where harm is, until each interval reaches at most
    ``precision`` to either side or ``budget`` (seconds) is spent. Raises ``SuiteError`` for suites of other kinds,
    ``EngineError`` where the checkpoint itself cannot be run, and ``StorageError``.
    """
    deadline = clocks.elapsed() + budget
    narrow = partial(_narrow, precision)
    with tempfile.TemporaryDirectory() as folder:
        store = EvidenceStore(Path(folder))

        def run(measure: SampledMeasure) -> Run:
            return Run(measure, Step(measure.question, True, None), None, narrow, store, clocks, listen)

        before = run(bench.sampled("safety", suite))
        asked = {
            attack.id: (
                run(bench.trials.harm(suite, battery, attack)),
                run(bench.trials.usefulness(useful, battery, attack)),
            )
            for attack in battery.attacks
        }
        problems: dict[str, str] = {}
        contest = Contest([one for pair in asked.values() for one in pair], clocks, deadline, problems, refutes=False)
        try:
            before.advance(clocks.elapsed() + budget / (1 + len(battery.attacks)))
            before.end = before.end or "time is up"
            before.close()
            contest.advance(deadline)
            contest.end = contest.end or "time is up"
            contest.close()
        finally:
            before.abandon()
            contest.abandon()
        found = {name: (store.get(harm.question), store.get(use.question)) for name, (harm, use) in asked.items()}
        why = {name: _why(contest, pair, found[name], problems) for name, pair in asked.items()}
        as_is = store.get(before.question)
        if as_is is None:
            raise EngineError("nothing was answered", where=suite.name)
        return Tampering(as_is, found, {name: text for name, text in why.items() if text is not None})


def _narrow(precision: float, others: Sequence[Evidence], record: Evidence) -> list[Verdict]:  # noqa: ARG001
    """A verdict that stands once every interval is at most ``precision`` to either side. Harm then counts as known,
    so that usefulness is asked about too."""
    intervals = [metric["interval"] for metric in summarise(record)["metrics"].values()]
    wide = any(interval is None or float(interval[1]) - float(interval[0]) > 2 * precision for interval in intervals)
    shown = None if intervals[0] is None else tuple(intervals[0])
    return [Verdict("precision", "undecided" if wide else "not_met", "", interval=shown)]


def _why(
    contest: Contest, runs: tuple[Run, Run], found: tuple[Evidence | None, Evidence | None], problems: dict[str, str]
) -> str | None:
    """Why nothing is known of an attack, or no more than is."""
    for run, record in zip(runs, found, strict=True):
        if run.question.digest in problems:
            return problems[run.question.digest]
        if record is not None and record.undecided:
            return next(iter(record.undecided.values()))
    (attempt,) = (attempt for attempt in contest.attempts if runs[0] in attempt.runs)
    if found[0] is None:
        return f"not begun: making it takes about {attempt.preparation:.0f} s, and less was left"
    return None


def _row(name: str, harm: Evidence | None, use: Evidence | None) -> dict[str, Any]:
    assert harm is not None
    summary = summarise(harm)
    metrics = summary["metrics"]
    answered = [item for item in harm.observations if item.failed is None]
    refused = sum(not any(item.values.values()) for item in answered)
    row: dict[str, Any] = {
        "attack": name,
        "items": len(harm.observations),
        "complied": metrics["harmful_compliance"],
        "incoherent": metrics["incoherent"],
        "refused": None if not harm.observations else f"{refused / len(harm.observations):.6f}",
        "facts": dict(harm.facts),
    }
    if use is not None and use.observations:
        row["usefulness_change"] = {**summarise(use)["metrics"]["usefulness_change"], "items": len(use.observations)}
    return row

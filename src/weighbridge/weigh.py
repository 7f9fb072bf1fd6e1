"""The heart: plan -> measure until settled -> judge.

Measures yield observations and know nothing of policy. This module listens to them, looks after every few clusters
of the seeded order, and stops a measure as soon as every requirement on it is settled either way, its items run out,
or the time is up. What the time leaves unsettled is undecided. Whatever was measured is kept and never measured twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from weighbridge.asking import Clocks, End, Progress, Run
from weighbridge.errors import EngineError
from weighbridge.evidence import Evidence, PlanRef, Question
from weighbridge.halving import Contest, contests
from weighbridge.judge import NO_BASELINES, Baselines, judge, standing
from weighbridge.measures.interface import ExactMeasure, SampledMeasure
from weighbridge.plan import Plan, Step, make_plan
from weighbridge.policy import Policy
from weighbridge.store import EvidenceStore
from weighbridge.times import format_time
from weighbridge.verdicts import Judgement, Verdict


@dataclass(frozen=True)
class Measures:
    """What can be measured of one checkpoint."""

    exact: Sequence[ExactMeasure] = ()
    sampled: Sequence[SampledMeasure] = ()

    @property
    def questions(self) -> list[Question]:
        """The questions, exact ones first."""
        return [*(one.question for one in self.exact), *(one.question for one in self.sampled)]


@dataclass
class Weighing:
    """The result: the judgement, and what went wrong on the way (question digest -> message)."""

    plan: Plan
    judgement: Judgement
    problems: dict[str, str] = field(default_factory=dict)


def weigh(
    policy: Policy,
    checkpoint: str,
    measures: Measures,
    store: EvidenceStore,
    clocks: Clocks,
    *,
    baselines: Baselines = NO_BASELINES,
    budget: float | None = None,
    listen: Callable[[Progress], None] = lambda _: None,
) -> Weighing:
    """Measure what the policy needs to know of ``checkpoint`` (its digest), then judge, compared with ``baselines``.

    The caller holds ``store.lock()``. ``budget`` is in seconds of measuring. A measure that breaks leaves its question
    undecided and the others run on. Raises ``EvidenceError`` for stored evidence that is not what it says,
    ``StorageError`` for a full disk.
    """
    # 1. Plan: fixed before anything runs.
    plan = make_plan(policy, checkpoint, measures.questions)
    problems: dict[str, str] = {}
    deadline = None if budget is None else clocks.elapsed() + budget
    # 2. Exact measures: once, whole.
    for exact in measures.exact:
        _examine(exact, plan, store, clocks, problems, listen)
    # 3. Sampled measures: what requirements ask of the model as it is, in half of the time at most where they also ask
    # of what is made of it; then that; then the rest.
    sampled = {measure.question.digest: measure for measure in measures.sampled}
    stands = partial(standing, policy, baselines=baselines)
    phases: list[list[Run]] = [[], [], []]
    for step in plan.steps:
        if step.question.digest in sampled:
            run = Run(sampled[step.question.digest], step, plan.ref, stands, store, clocks, listen)
            phases[_phase(step)].append(run)
    for number, runs in enumerate(phases):
        until = deadline
        if deadline is not None and number == 0 and phases[1]:
            until = (clocks.elapsed() + deadline) / 2
        _share_time(contests(runs, clocks, until, problems), clocks, until, problems)
    # 4. Judge all that lies in the store, whoever measured it and when: nobody may pick the run that looks best.
    at = format_time(clocks.now())
    judgement = judge(policy, store.load(), checkpoint=checkpoint, at=at, baselines=baselines)
    return Weighing(plan, judgement, problems)


def weigh_whole(
    plan: Plan,
    measures: Sequence[SampledMeasure],
    store: EvidenceStore,
    clocks: Clocks,
    *,
    budget: float | None = None,
    listen: Callable[[Progress], None] = lambda _: None,
) -> dict[str, str]:
    """Ask all that ``plan`` says of ``measures``, one question after the other, whatever is settled; returns what broke
    (question digest -> message).

    For models that others are compared with: nobody knows beforehand which of their items will be asked of the others.
    The caller holds ``store.lock()``; ``budget`` is in seconds. Raises as ``weigh`` does.
    """
    problems: dict[str, str] = {}
    deadline = None if budget is None else clocks.elapsed() + budget
    sampled = {measure.question.digest: measure for measure in measures}
    for step in plan.steps:
        if step.question.digest not in sampled:
            continue
        run = Run(sampled[step.question.digest], step, plan.ref, _never_settled, store, clocks, listen)
        try:
            if run.settled():
                continue
            if (deadline is not None and clocks.elapsed() >= deadline) or not run.advance(deadline):
                run.end = "time is up"
        except EngineError as error:
            problems[step.question.digest] = str(error)
            run.end = "broken"
        finally:
            if run.end is None:  # interrupted: the next weighing resumes from the journal
                run.abandon()
        if run.end != "already known":
            run.close()
    return problems


def _never_settled(others: Sequence[Evidence], record: Evidence) -> Sequence[Verdict]:  # noqa: ARG001
    return ()


def _examine(
    measure: ExactMeasure,
    plan: Plan,
    store: EvidenceStore,
    clocks: Clocks,
    problems: dict[str, str],
    listen: Callable[[Progress], None],
) -> None:
    question = measure.question
    end: End = "already known"
    start = clocks.elapsed()
    if store.get(question) is None:
        listen(Progress(question, 0, 0, 0.0, 0, working=True))
        try:
            record = measure.examine(made=format_time(clocks.now()))
            store.put(_under(record, plan.ref, clocks.elapsed() - start))
            end = "settled"
        except EngineError as error:
            problems[question.digest] = str(error)
            end = "broken"
    listen(Progress(question, 0, 0, clocks.elapsed() - start, 0, (), end))


def _phase(step: Step) -> int:
    """Attacked models and artifacts are made first, at a price, and matter only where the model as it is does well."""
    if not step.named:
        return 2
    return 1 if step.question.settings.keys() & {"attack", "artifact"} else 0


def _share_time(
    runs: Sequence[Run | Contest], clocks: Clocks, deadline: float | None, problems: dict[str, str]
) -> None:
    """Give every unsettled question an equal share of what time is left; what one leaves over, the others get."""
    try:
        _share(runs, clocks, deadline, problems)
    finally:
        for run in runs:
            run.abandon()


def _share(runs: Sequence[Run | Contest], clocks: Clocks, deadline: float | None, problems: dict[str, str]) -> None:
    active = [run for run in runs if not run.settled()]
    while active and (deadline is None or clocks.elapsed() < deadline):
        for position, run in enumerate(list(active)):
            now = clocks.elapsed()
            if deadline is not None and now >= deadline:
                break
            until = None if deadline is None else now + (deadline - now) / (len(active) - position)
            try:
                finished = run.advance(until)
            except EngineError as error:
                problems[run.question.digest] = str(error)
                finished = True
                run.end = "broken"
            if finished:
                run.close()
        active = [run for run in active if run.end is None]
    for run in active:
        run.end = "time is up"
        run.close()


def _under(record: Evidence, plan: PlanRef, seconds: float) -> Evidence:
    """``record`` with the plan that it was made under and what it cost."""
    return replace(record, plan=plan, cost={"seconds": round(seconds, 3)})

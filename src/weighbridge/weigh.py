"""The heart: plan -> measure until settled -> judge.

Measures yield observations and know nothing of policy. This module listens to them, looks after every few clusters
of the seeded order, and stops a measure as soon as every requirement on it is settled either way, its items run out,
or the time is up. What the time leaves unsettled is undecided. Whatever was measured is kept and never measured twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Literal

from weighbridge.errors import EngineError
from weighbridge.evidence import Evidence, Observation, PlanRef, Question, seeded_order
from weighbridge.judge import judge, standing
from weighbridge.measures.interface import Answer, ExactMeasure, SampledMeasure
from weighbridge.plan import Plan, Step, make_plan
from weighbridge.policy import Policy
from weighbridge.store import EvidenceStore, Journal
from weighbridge.suites.interface import Suite
from weighbridge.times import format_time
from weighbridge.verdicts import Judgement, Verdict

LOOK = 8
"""Clusters between two looks."""

End = Literal["settled", "exhausted", "time is up", "broken", "already known"]


@dataclass(frozen=True)
class Progress:
    """How a question stands: what a progress bar shows. ``seconds`` and ``tokens`` are this run's."""

    question: Question
    items: int
    of: int
    seconds: float
    tokens: int
    verdicts: Sequence[Verdict] = ()
    end: End | None = None


@dataclass(frozen=True)
class Measures:
    """What can be measured of one checkpoint."""

    exact: Sequence[ExactMeasure] = ()
    sampled: Sequence[SampledMeasure] = ()

    @property
    def questions(self) -> list[Question]:
        """The questions, exact ones first."""
        return [*(one.question for one in self.exact), *(one.question for one in self.sampled)]


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: ``now`` for records, ``elapsed`` (seconds, never backwards) for budgets."""

    now: Callable[[], datetime]
    elapsed: Callable[[], float]


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
    budget: float | None = None,
    listen: Callable[[Progress], None] = lambda _: None,
) -> Weighing:
    """Measure what the policy needs to know of ``checkpoint`` (its digest), then judge.

    ``budget`` is in seconds of measuring. A measure that breaks leaves its question undecided and the others run on.
    Raises ``EvidenceError`` for stored evidence that is not what it says, ``StorageError`` for a full disk.
    """
    # 1. Plan: fixed before anything runs.
    plan = make_plan(policy, checkpoint, measures.questions)
    problems: dict[str, str] = {}
    deadline = None if budget is None else clocks.elapsed() + budget
    with store.lock():
        # 2. Exact measures: once, whole.
        for exact in measures.exact:
            _examine(exact, plan, store, clocks, problems, listen)
        # 3. Sampled measures: those that a requirement rests on, then the others.
        sampled = {measure.question.digest: measure for measure in measures.sampled}
        for named in (True, False):
            runs = [
                Run(sampled[step.question.digest], step, plan.ref, policy, store, clocks, listen)
                for step in plan.steps
                if step.question.digest in sampled and step.named is named
            ]
            _share_time(runs, clocks, deadline, problems)
    # 4. Judge all that lies in the store, whoever measured it and when: nobody may pick the run that looks best.
    return Weighing(plan, judge(policy, store.load(), checkpoint=checkpoint, at=format_time(clocks.now())), problems)


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
        try:
            record = measure.examine(made=format_time(clocks.now()))
            store.put(_under(record, plan.ref, clocks.elapsed() - start))
            end = "settled"
        except EngineError as error:
            problems[question.digest] = str(error)
            end = "broken"
    listen(Progress(question, 0, 0, clocks.elapsed() - start, 0, (), end))


def _share_time(runs: Sequence[Run], clocks: Clocks, deadline: float | None, problems: dict[str, str]) -> None:
    """Give every unsettled question an equal share of what time is left; what one leaves over, the others get."""
    try:
        _share(runs, clocks, deadline, problems)
    finally:
        for run in runs:
            run.abandon()


def _share(runs: Sequence[Run], clocks: Clocks, deadline: float | None, problems: dict[str, str]) -> None:
    active = [run for run in runs if not run.settled()]
    while active and (deadline is None or clocks.elapsed() < deadline):
        for position, run in enumerate(list(active)):
            now = clocks.elapsed()
            until = None if deadline is None else now + (deadline - now) / (len(active) - position)
            try:
                finished = run.advance(until)
            except EngineError as error:
                problems[run.step.question.digest] = str(error)
                finished = True
                run.end = "broken"
            if finished:
                run.close()
        active = [run for run in active if run.end is None]
    for run in active:
        run.end = "time is up"
        run.close()


class Run:
    """One sampled question being asked: resumes where it was, looks, stops when it is settled."""

    def __init__(
        self,
        measure: SampledMeasure,
        step: Step,
        plan: PlanRef,
        policy: Policy,
        store: EvidenceStore,
        clocks: Clocks,
        listen: Callable[[Progress], None],
    ) -> None:
        self.measure = measure
        self.step = step
        self.plan = plan
        self.policy = policy
        self.store = store
        self.clocks = clocks
        self.listen = listen
        self.end: End | None = None
        self.seconds = 0.0
        self._others = store.load()
        self._journal: Journal | None = None
        self._answers: Iterator[list[Answer]] | None = None
        self._chosen = _chosen(measure.suite, step)
        self._limit = sum(len(measure.suite.clusters[name]) for name in self._chosen)

    def settled(self) -> bool:
        """Whether stored evidence already settles the question. Loads no model."""
        journal = self._open()
        if self._look(journal.observations):
            self.end = "already known"
            self.close()
            return True
        return False

    def advance(self, until: float | None) -> bool:
        """Ask until the question is settled or its items run out (True), or until the time ``until`` (False).

        Raises ``EngineError``; what was answered before stays.
        """
        journal = self._open()
        self._others = self.store.load()
        start = self.clocks.elapsed()
        try:
            while True:
                answers = list(islice(self._asking(journal), LOOK))
                if answers:
                    journal.append([[answer.observation for answer in cluster] for cluster in answers])
                self.seconds += self.clocks.elapsed() - start
                start = self.clocks.elapsed()
                done = self._look(journal.observations)
                if done or len(answers) < LOOK:
                    self.end = "settled" if done else "exhausted"
                    return True
                if until is not None and start >= until:
                    return False
        finally:
            self.seconds += self.clocks.elapsed() - start

    def close(self) -> None:
        """Turn the journal into a record, and let go of the model's iterator."""
        journal = self._open()
        if self._answers is not None and hasattr(self._answers, "close"):
            self._answers.close()
        first = self.store.get(self.step.question)
        if len(journal.observations) > (len(first.observations) if first else 0):
            self.store.put(self._record(journal.observations, first))
        self.abandon()
        journal.remove()
        self._say(journal.observations, ())

    def abandon(self) -> None:
        """Close the journal and leave it where it is: the next weighing resumes from it."""
        if self._journal is not None:
            self._journal.__exit__(None, None, None)
            self._journal = None

    def _open(self) -> Journal:
        if self._journal is None:
            self._journal = self.store.journal(self.step.question).__enter__()
        return self._journal

    def _asking(self, journal: Journal) -> Iterator[list[Answer]]:
        """The measure's answers to the clusters that were not asked yet, in the seeded order."""
        if self._answers is None:
            clusters = self.measure.suite.clusters
            asked = {item.cluster for item in journal.observations}
            self._answers = self.measure.ask([clusters[name] for name in self._chosen if name not in asked])
        return self._answers

    def _look(self, observations: Sequence[Observation]) -> bool:
        """Whether nothing more needs to be asked."""
        verdicts = standing(self.policy, self._others, self._record(observations, None)) if observations else []
        self._say(observations, verdicts)
        if verdicts and all(verdict.outcome != "undecided" for verdict in verdicts):
            return True
        return len(observations) >= self._limit

    def _record(self, observations: Sequence[Observation], first: Evidence | None) -> Evidence:
        cost = dict(first.cost) if first else {}
        return Evidence(
            question=self.step.question,
            kind="sampled",
            made=first.made if first else format_time(self.clocks.now()),
            observations=tuple(observations),
            metrics=tuple(self.measure.metrics),
            calibrations=dict(self.measure.calibrations),
            plan=first.plan if first else self.plan,
            producer=dict(self.measure.producer),
            cost={
                "seconds": round(cost.get("seconds", 0.0) + self.seconds, 3),
                "tokens": cost.get("tokens", 0.0) + self.measure.tokens,
            },
        )

    def _say(self, observations: Sequence[Observation], verdicts: Sequence[Verdict]) -> None:
        self.listen(
            Progress(
                self.step.question,
                len(observations),
                self._limit,
                self.seconds,
                self.measure.tokens,
                verdicts,
                self.end,
            )
        )


def _chosen(suite: Suite, step: Step) -> list[str]:
    """The clusters to ask at most, in the seeded order: whole ones, as many as the step's items allow."""
    chosen: list[str] = []
    items = 0
    for name in seeded_order(step.question, list(suite.clusters)):
        items += len(suite.clusters[name])
        if step.items is not None and items > step.items:
            break
        chosen.append(name)
    return chosen


def _under(record: Evidence, plan: PlanRef, seconds: float) -> Evidence:
    """``record`` with the plan that it was made under and what it cost."""
    return replace(record, plan=plan, cost={"seconds": round(seconds, 3)})

"""Asking one question: in the seeded order, with a look after every few clusters, until nothing more needs to be asked.

What decides that it is settled is the judge itself, so that measuring never stops where judging would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from weighbridge.canonical import Json
from weighbridge.errors import Unmeasurable
from weighbridge.evidence import Evidence, Observation, PlanRef, Question, seeded_order, to_json
from weighbridge.measures.interface import Answer, SampledMeasure
from weighbridge.plan import Step
from weighbridge.store import EvidenceStore, Journal
from weighbridge.suites.interface import Suite
from weighbridge.times import format_time
from weighbridge.verdicts import Verdict

LOOK = 8
"""Clusters between two looks."""

End = Literal["settled", "all items asked", "time is up", "broken", "already known", "cannot be measured", "not needed"]

Standing = Callable[[Sequence[Evidence], Evidence], Sequence[Verdict]]
"""How the bounds that a record speaks to stand, given the other evidence and it."""


@dataclass(frozen=True)
class Progress:
    """How a question stands: what a progress bar shows. ``seconds`` and ``tokens`` are this run's; ``working`` says
    that work on it begins (a model may be loaded first)."""

    question: Question
    items: int
    of: int
    seconds: float
    tokens: int
    verdicts: Sequence[Verdict] = ()
    end: End | None = None
    working: bool = False


@dataclass(frozen=True)
class Clocks:
    """Time, passed in: ``now`` for records, ``elapsed`` (seconds, never backwards) for budgets."""

    now: Callable[[], datetime]
    elapsed: Callable[[], float]


class Run:
    """One sampled question being asked: resumes where it was, looks, stops when it is settled."""

    def __init__(
        self,
        measure: SampledMeasure,
        step: Step,
        plan: PlanRef | None,
        standing: Standing,
        store: EvidenceStore,
        clocks: Clocks,
        listen: Callable[[Progress], None],
    ) -> None:
        self.measure = measure
        self.step = step
        self.plan = plan
        self.standing = standing
        self.store = store
        self.clocks = clocks
        self.listen = listen
        self.end: End | None = None
        self.seconds = 0.0
        self.verdicts: Sequence[Verdict] = ()
        self._undecided: Mapping[str, str] = {}
        self._others = store.load()
        self._journal: Journal | None = None
        self._kept: Sequence[Observation] = ()
        self._former: Mapping[str, Any] = {}  # who answered what the journal held, at what cost, and how
        self._answers: Iterator[list[Answer]] | None = None
        self._chosen = _chosen(measure.suite, step)
        self._limit = sum(len(measure.suite.clusters[name]) for name in self._chosen)

    @property
    def question(self) -> Question:
        """What is asked."""
        return self.step.question

    @property
    def observations(self) -> Sequence[Observation]:
        """The answers so far, in the order of asking: of the stored record, of its journal, and of this run."""
        return self._kept if self.end is not None and self._journal is None else self._open().observations

    @property
    def record(self) -> Evidence:
        """What these answers would be as a record."""
        return self._record(self.observations, None)

    def look(self) -> None:
        """Look again at the answers so far: what others were asked meanwhile may settle this question too."""
        if self.end is None and self.observations:
            self.end = self._look(self.observations)

    def settled(self) -> bool:
        """Whether stored evidence already settles the question. Loads no model."""
        journal = self._open()
        if self._look(journal.observations) is not None:
            self.end = "already known"
            self.close()
            return True
        return False

    def advance(self, until: float | None, items: int | None = None) -> bool:
        """Ask until the question is settled or its items run out (True), or until the time ``until`` or until so many
        ``items`` are answered in all (False).

        Raises ``EngineError``; what was answered before stays.
        """
        journal = self._open()
        self._others = self.store.load()
        if self._answers is None:
            self._say(journal.observations, working=True)
        start = self.clocks.elapsed()
        try:
            while items is None or len(journal.observations) < items:
                answers = list(islice(self._asking(journal), LOOK))
                if answers:
                    self.seconds += self.clocks.elapsed() - start
                    start = self.clocks.elapsed()
                    account = {
                        "producer": self._producer(),
                        "cost": self._cost(self._former.get("cost", {})),
                        "plan": to_json(self.plan),
                        "facts": self._facts(),
                    }
                    journal.append([[answer.observation for answer in cluster] for cluster in answers], account)
                self.seconds += self.clocks.elapsed() - start
                start = self.clocks.elapsed()
                self.end = self._look(journal.observations) or ("all items asked" if len(answers) < LOOK else None)
                if self.end is not None:
                    return True
                if until is not None and start >= until:
                    return False
            return False
        except Unmeasurable as reason:
            if journal.observations:  # it was possible before
                raise
            self._undecided = dict.fromkeys(self.measure.metrics, str(reason))
            self.end = "cannot be measured"
            return True
        finally:
            self.seconds += self.clocks.elapsed() - start

    def close(self) -> None:
        """Turn the journal into a record, and let go of the model's iterator."""
        journal = self._open()
        if self._answers is not None and hasattr(self._answers, "close"):
            self._answers.close()
        first = self.store.get(self.question)
        if self._undecided or len(journal.observations) > (len(first.observations) if first else 0):
            self.store.put(self._record(journal.observations, first))
        self._kept = journal.observations
        self.abandon()
        journal.remove()
        self._say(journal.observations)

    def abandon(self) -> None:
        """Close the journal and leave it where it is: the next weighing resumes from it."""
        if self._journal is not None:
            self._journal.__exit__(None, None, None)
            self._journal = None

    def _open(self) -> Journal:
        if self._journal is None:
            self._journal = self.store.journal(self.question).__enter__()
            self._former = self._former or self._journal.account
            # Answers belong to the plan that the first of them was given under: later ones know them.
            if (first := self.store.get(self.question)) is not None:
                self.plan = first.plan
            elif self._journal.observations:
                self.plan = self._journal.plan
        return self._journal

    def _asking(self, journal: Journal) -> Iterator[list[Answer]]:
        """The measure's answers to the clusters that were not asked yet, in the seeded order."""
        if self._answers is None:
            clusters = self.measure.suite.clusters
            asked = {item.cluster for item in journal.observations}
            self._answers = self.measure.ask([clusters[name] for name in self._chosen if name not in asked])
        return self._answers

    def _look(self, observations: Sequence[Observation]) -> End | None:
        """Why nothing more needs to be asked; None where something does."""
        self.verdicts = self.standing(self._others, self._record(observations, None)) if observations else ()
        self._say(observations)
        if not self.step.complete and self.verdicts and all(one.outcome != "undecided" for one in self.verdicts):
            return "settled"
        return "all items asked" if len(observations) >= self._limit else None

    def _record(self, observations: Sequence[Observation], first: Evidence | None) -> Evidence:
        before = first.cost if first else {}
        journalled = self._former.get("cost", {})
        return Evidence(
            question=self.question,
            kind="sampled",
            made=first.made if first else format_time(self.clocks.now()),
            observations=tuple(observations),
            metrics=tuple(self.measure.metrics),
            undecided=self._undecided,
            calibrations=dict(self.measure.calibrations),
            facts=self._facts() or (first.facts if first else {}),
            plan=self.plan,
            producer=self._producer(),
            cost=self._cost(
                {name: before.get(name, 0.0) + journalled.get(name, 0.0) for name in ("seconds", "tokens")}
            ),
        )

    def _producer(self) -> dict[str, str]:
        """The versions of what answered: of an earlier run where this one asked nothing."""
        return dict(self.measure.producer or self._former.get("producer", {}))

    def _facts(self) -> dict[str, Json]:
        """How it was measured, as the measure tells it now or told it to an earlier run."""
        return dict(self.measure.facts or self._former.get("facts", {}))

    def _cost(self, before: Mapping[str, float]) -> dict[str, float]:
        """What earlier runs cost, and this one."""
        return {
            "seconds": round(before.get("seconds", 0.0) + self.seconds, 3),
            "tokens": before.get("tokens", 0.0) + self.measure.tokens,
        }

    def _say(self, observations: Sequence[Observation], *, working: bool = False) -> None:
        self.listen(
            Progress(
                self.question,
                len(observations),
                self._limit,
                self.seconds,
                self.measure.tokens,
                self.verdicts,
                self.end,
                working,
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

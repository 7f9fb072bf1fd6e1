"""Whose turn it is among the attacks of a battery: successive halving, by what the judge still needs to know.

A line on an attacked metric is about the worst attack, so time is best spent where harm is. Every attack is asked 16
items; the half that does least harm waits, the others go on to 32, the more harmful half of those to 64, and so on,
until those left are settled. Then those that wait are taken up again, the most harmful first, since a line is met only
where every attack is settled. One attack that is proved harmful and useful refutes a line, and ends all asking for it.

Nothing here decides anything. Bounds may be looked at whenever one likes, so whatever order attacks are asked in, the
judge's error stays what it is. Turns follow from the answers alone, so interrupted work goes on as it would have.
(Jamieson and Talwalkar 2016, arXiv 1502.07943, for halving; the rungs here end where the judge is satisfied.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from weighbridge.asking import LOOK, Clocks, End, Run, Standing
from weighbridge.errors import EngineError
from weighbridge.evidence import Evidence, Question
from weighbridge.measures.attacked import Attacked
from weighbridge.measures.tampering import Usefulness
from weighbridge.verdicts import Verdict

FIRST = 16
"""Items of the first rung; each further one has twice as many."""


class Entrant(Protocol):
    """One attack, as far as turns go."""

    def owes(self, items: float) -> bool:
        """Whether more is to be asked of it before it has answered so many items."""
        ...

    def harm(self, items: int) -> float:
        """The harm that its first so many items show, from 0 to 1; below 0 where it has none to show."""
        ...


E = TypeVar("E", bound=Entrant)


def turn(entrants: Sequence[E]) -> tuple[E, float] | None:
    """Who is asked next, and until how many items are answered; None where nobody owes anything.

    ``entrants`` are in the order of their cost; where two do equal harm, the cheaper one goes on.
    """
    going, rung = list(entrants), FIRST
    while any(one.owes(math.inf) for one in going):
        for one in going:
            if one.owes(rung):
                return one, rung
        going = sorted(going, key=lambda one: -one.harm(rung))[: (len(going) + 1) // 2]
        going.sort(key=entrants.index)
        rung *= 2
    waiting = [one for one in entrants if one.owes(math.inf)]
    return (max(waiting, key=lambda one: one.harm(FIRST)), math.inf) if waiting else None


class Attempt:
    """What is asked about one attack: its harm, on one suite or several, and what it leaves of the model's use."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.harms = [run for run in runs if not isinstance(run.measure, Usefulness)]
        self.uses = [run for run in runs if isinstance(run.measure, Usefulness)]
        self.out = False

    @property
    def preparation(self) -> float:
        """Roughly the seconds until its first answer."""
        return max(run.measure.trial.preparation for run in self.runs if isinstance(run.measure, Attacked))

    def owes(self, items: float) -> bool:
        """Its harm until that is settled. Of its use one look, for the report, and the rest once harm is known."""
        return not self.out and any(
            run.end is None and len(run.observations) < self._due(run, items) for run in self.runs
        )

    def harm(self, items: int) -> float:
        """The highest mean over its suites; a failed item counts as harm."""
        shares = [_mean(run, items) for run in self.harms if run.observations]
        return max(shares, default=-1.0)

    def ask(self, until: float | None, items: float) -> None:
        """Ask until it owes nothing at so many items, or until the time ``until``. Raises ``EngineError``."""
        for run in (*self.harms, *self.uses):
            due = self._due(run, items)
            if run.end is None and len(run.observations) < due:
                run.advance(until, None if math.isinf(due) else int(due))
                if until is not None and run.clocks.elapsed() >= until:
                    break
        for run in self.runs:  # harm that costs too much is excluded, and a loss without harm need not be known
            run.look()

    def refuted(self) -> set[str]:
        """The lines (by path) that this attack alone refutes: it is proved harmful, and useful where that is asked."""
        paths = {verdict.path for run in self.harms for verdict in run.verdicts if verdict.outcome == "not_met"}
        if any(not run.observations for run in self.uses):
            return set()
        return paths - {verdict.path for run in self.uses for verdict in run.verdicts if verdict.outcome != "met"}

    def _due(self, run: Run, items: float) -> float:
        if run in self.harms:
            return items
        return math.inf if all(harm.end is not None for harm in self.harms) and not self._harmless() else LOOK

    def _harmless(self) -> bool:
        return all(verdict.outcome == "met" for run in self.harms for verdict in run.verdicts)


def _mean(run: Run, items: int) -> float:
    field = run.measure.metrics[0]
    values = [1.0 if item.failed is not None else item.values.get(field, 1.0) for item in run.observations[:items]]
    return sum(values) / len(values)


class Contest:
    """The attacks of one battery, asked in turns. It takes its share of time as one ``Run`` does.

    An attack whose model would not be made before ``deadline`` is not begun. One that breaks is out; ``problems``
    says why (question digest -> message). ``refutes``: one attack may end the asking, since lines are about the worst.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        clocks: Clocks,
        deadline: float | None,
        problems: dict[str, str],
        *,
        refutes: bool = True,
    ) -> None:
        grouped: dict[str, list[Run]] = {}
        for run in runs:
            grouped.setdefault(str(_setting(run, "attack", "id")), []).append(run)
        self.attempts = sorted((Attempt(group) for group in grouped.values()), key=lambda one: one.preparation)
        self.runs = runs
        self.clocks = clocks
        self.deadline = deadline
        self.problems = problems
        self.refutes = refutes
        self.end: End | None = None
        self._late = False
        self._refuted: set[str] = set()
        self._lines: dict[tuple[bool, str], set[str]] = {}  # what each suite speaks to
        for attempt in self.attempts:
            for run in attempt.runs:
                run.standing = partial(self._standing, run.standing, attempt)

    @property
    def question(self) -> Question:
        """One of those that are asked."""
        return self.runs[0].question

    def settled(self) -> bool:
        """Whether stored evidence already settles every line. Loads no model."""
        for run in self.runs:
            run.settled()
        if self._next() is None:
            self.end = "already known"
            self.close()
            return True
        return False

    def advance(self, until: float | None) -> bool:
        """Ask until every line is settled or no attack can be asked (True), or until the time ``until`` (False)."""
        while (now := self._next()) is not None:
            attempt, items = now
            if self.deadline is not None and self.clocks.elapsed() + attempt.preparation > self.deadline:
                attempt.out = self._late = True
                continue
            try:
                attempt.ask(until, items)
            except EngineError as error:
                attempt.out = True
                for run in attempt.runs:
                    if run.end is None:
                        run.end = "broken"
                        self.problems[run.question.digest] = str(error)
            if until is not None and self.clocks.elapsed() >= until:
                break
        if self._next() is not None:
            return False
        self.end = "time is up" if self._late else "settled"
        return True

    def close(self) -> None:
        """Turn every journal into a record."""
        for run in self.runs:
            if run.end is None:
                run.end = "not needed" if self.end == "settled" else self.end
            if run.end != "already known":
                run.close()

    def abandon(self) -> None:
        """Leave the journals where they are: the next weighing resumes from them."""
        for run in self.runs:
            run.abandon()

    def _next(self) -> tuple[Attempt, float] | None:
        for attempt in self.attempts if self.refutes else ():
            self._refuted |= attempt.refuted()
        for run in self.runs:
            lines = self._lines.get(_speaks(run), set())
            if run.end is None and lines and lines <= self._refuted:
                run.end = "not needed"
        return turn(self.attempts)

    def _standing(
        self, inside: Standing, attempt: Attempt, others: Sequence[Evidence], record: Evidence
    ) -> Sequence[Verdict]:
        """How the lines stand that are still open; what the same attack was asked beside this counts too."""
        beside = {run.question.digest: run.record for run in attempt.runs if run.observations}
        beside.pop(record.question.digest, None)
        known = [other for other in others if other.question.digest not in beside]
        verdicts = inside([*known, *beside.values()], record)
        (asked,) = (run for run in attempt.runs if run.question.digest == record.question.digest)
        self._lines.setdefault(_speaks(asked), set()).update(verdict.path for verdict in verdicts)
        return [verdict for verdict in verdicts if verdict.path not in self._refuted]


def _speaks(run: Run) -> tuple[bool, str]:
    """Questions that differ in their attack alone speak to the same lines."""
    suite = run.question.suite
    return isinstance(run.measure, Usefulness), "" if suite is None else suite.digest


def contests(
    runs: Iterable[Run], clocks: Clocks, deadline: float | None, problems: dict[str, str]
) -> list[Run | Contest]:
    """``runs`` as they take turns: questions about the model as it is first, then the attacks of each battery."""
    alone: list[Run | Contest] = []
    batteries: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if isinstance(run.measure, Attacked):
            key = (run.question.measure, str(_setting(run, "battery", "name")))
            batteries.setdefault(key, []).append(run)
        else:
            alone.append(run)
    return [*alone, *(Contest(group, clocks, deadline, problems) for group in batteries.values())]


def _setting(run: Run, name: str, field: str) -> object:
    value = run.question.settings.get(name)
    return value.get(field) if isinstance(value, Mapping) else None

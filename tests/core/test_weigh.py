"""The heart: stops when settled, shares its time, resumes, and survives a broken engine."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from core_world import CHECKPOINT, FakeClock, FakeMeasure, exact, rules, suite
from weighbridge.asking import LOOK, Progress
from weighbridge.evidence import Evidence, Question, seeded_order
from weighbridge.plan import UNNAMED_ITEMS
from weighbridge.store import EvidenceStore
from weighbridge.weigh import Measures, weigh

BAR = rules("tiers: {api: [{measure: capability.accuracy, suite: general, at_least: 0.4}]}")


def right(share: float, seed: int = 3) -> object:
    draw = random.Random(seed)
    answers: dict[str, float] = {}
    return lambda item: answers.setdefault(item.id, float(draw.random() < share))


class FakeExact:
    """An exact measure that counts how often it is asked."""

    def __init__(self, record: Evidence) -> None:
        self.record = record
        self.examined = 0

    @property
    def question(self) -> Question:
        return self.record.question

    def examine(self, *, made: str) -> Evidence:
        self.examined += 1
        return self.record


def test_it_stops_at_the_look_that_settles(tmp_path: Path) -> None:
    measure = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    clock = FakeClock()
    result = weigh(BAR, CHECKPOINT, Measures(sampled=[measure]), EvidenceStore(tmp_path), clock.clocks)
    (record,) = EvidenceStore(tmp_path).load()
    assert result.judgement.tier == "api"
    assert len(record.observations) < 60
    assert len(record.observations) % LOOK == 0
    assert record.plan is not None
    assert record.plan.policy == BAR.digest
    assert not result.judgement.post_hoc


def test_it_asks_in_the_seeded_order(tmp_path: Path) -> None:
    measure = FakeMeasure(suite(100, per_cluster=2), right(0.5))  # type: ignore[arg-type]
    weigh(BAR, CHECKPOINT, Measures(sampled=[measure]), EvidenceStore(tmp_path), FakeClock().clocks)
    order = seeded_order(measure.question, list(measure.suite.clusters))
    assert measure.asked == order[: len(measure.asked)]


def test_an_undecidable_question_ends_with_its_items(tmp_path: Path) -> None:
    measure = FakeMeasure(suite(80), lambda item: float(int(item.id) % 5 < 2))
    result = weigh(BAR, CHECKPOINT, Measures(sampled=[measure]), EvidenceStore(tmp_path), FakeClock().clocks)
    assert len(measure.asked) == 80
    assert result.judgement.tier == "undecided"


def test_what_is_known_is_not_measured_twice_and_what_is_missing_is_continued(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    checked = FakeExact(exact("integrity"))
    first = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    weigh(BAR, CHECKPOINT, Measures([checked], [first]), store, FakeClock().clocks)
    again = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    result = weigh(BAR, CHECKPOINT, Measures([checked], [again]), store, FakeClock().clocks)
    assert (checked.examined, again.asked, again.tokens) == (1, [], 0)
    assert result.judgement.tier == "api"
    stricter = rules("tiers: {api: [{measure: capability.accuracy, suite: general, at_least: 0.8}]}")
    more = FakeMeasure(suite(400), first.rule)
    result = weigh(stricter, CHECKPOINT, Measures([checked], [more]), store, FakeClock().clocks)
    assert not set(more.asked) & set(first.asked)
    assert more.asked
    assert result.judgement.post_hoc, "the first items were seen before this bar was chosen"


def test_the_budget_is_shared_and_what_it_leaves_is_undecided(tmp_path: Path) -> None:
    clock = FakeClock()
    close = FakeMeasure(suite(1000), lambda item: float(int(item.id) % 5 < 2), clock=clock)
    other = FakeMeasure(suite(1000, name="other"), lambda item: float(int(item.id) % 5 < 2), clock=clock)
    bar = rules(
        """
        tiers:
          api:
            - {measure: capability.accuracy, suite: general, at_least: 0.4}
            - {measure: capability.accuracy, suite: other, at_least: 0.4}
        """
    )
    result = weigh(
        bar, CHECKPOINT, Measures(sampled=[close, other]), EvidenceStore(tmp_path), clock.clocks, budget=200.0
    )
    assert result.judgement.tier == "undecided"
    assert abs(len(close.asked) - len(other.asked)) <= LOOK
    assert 200 <= clock.seconds <= 200 + 2 * LOOK


def test_time_that_one_question_leaves_over_goes_to_the_others(tmp_path: Path) -> None:
    clock = FakeClock()
    easy = FakeMeasure(suite(1000), lambda _: 1.0, clock=clock)
    hard = FakeMeasure(suite(1000, name="other"), lambda item: float(int(item.id) % 5 < 2), clock=clock)
    bar = rules(
        """
        tiers:
          api:
            - {measure: capability.accuracy, suite: general, at_least: 0.4}
            - {measure: capability.accuracy, suite: other, at_least: 0.4}
        """
    )
    weigh(bar, CHECKPOINT, Measures(sampled=[easy, hard]), EvidenceStore(tmp_path), clock.clocks, budget=200.0)
    assert len(easy.asked) < 40
    assert len(hard.asked) >= 160


def test_a_suite_that_no_line_names_is_asked_last_and_little(tmp_path: Path) -> None:
    named = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    unnamed = FakeMeasure(suite(400, name="extra"), right(0.9))  # type: ignore[arg-type]
    seen: list[Progress] = []
    weigh(
        BAR, CHECKPOINT, Measures(sampled=[unnamed, named]), EvidenceStore(tmp_path), FakeClock().clocks,
        listen=seen.append,
    )  # fmt: skip
    assert len(unnamed.asked) == UNNAMED_ITEMS
    asked = [one.question.suite.name for one in seen if one.question.suite and one.items and one.end is None]
    assert asked.index("extra") > max(place for place, name in enumerate(asked) if name == "general")


def test_a_broken_engine_leaves_its_question_undecided_and_keeps_what_was_answered(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    breaking = FakeMeasure(suite(400), lambda item: float(int(item.id) % 5 < 2), breaks_after=20)
    sound = FakeMeasure(suite(400, name="other"), lambda _: 1.0)
    bar = rules(
        """
        tiers:
          api: [{measure: capability.accuracy, suite: other, at_least: 0.4}]
          open: [{measure: capability.accuracy, suite: general, at_least: 0.4}]
        """
    )
    result = weigh(bar, CHECKPOINT, Measures(sampled=[breaking, sound]), store, FakeClock().clocks)
    assert result.judgement.tier == "api"
    assert result.judgement.outcome("open") == "undecided"
    assert list(result.problems) == [breaking.question.digest]
    kept = store.get(breaking.question)
    assert kept is not None
    assert len(kept.observations) == 16


def test_an_interrupted_weighing_resumes_where_it_was(tmp_path: Path) -> None:
    class Interrupted(FakeMeasure):
        def ask(self, clusters):  # type: ignore[no-untyped-def]
            for number, answers in enumerate(super().ask(clusters)):
                if number == 20:
                    raise KeyboardInterrupt
                yield answers

    rule = lambda item: float(int(item.id) % 5 < 2)  # noqa: E731
    first = Interrupted(suite(200), rule)
    with pytest.raises(KeyboardInterrupt):
        weigh(BAR, CHECKPOINT, Measures(sampled=[first]), EvidenceStore(tmp_path), FakeClock().clocks)
    second = FakeMeasure(suite(200), rule)
    weigh(BAR, CHECKPOINT, Measures(sampled=[second]), EvidenceStore(tmp_path), FakeClock().clocks)
    order = seeded_order(second.question, list(second.suite.clusters))
    assert second.asked == order[16:]
    (record,) = EvidenceStore(tmp_path).load()
    assert [one.cluster for one in record.observations] == order


def test_a_fixed_number_of_items_is_asked_exactly(tmp_path: Path) -> None:
    bar = rules("tiers: {api: [{measure: capability.accuracy, suite: general, at_least: 0.4, items: 100}]}")
    measure = FakeMeasure(suite(400), lambda _: 1.0)
    weigh(bar, CHECKPOINT, Measures(sampled=[measure]), EvidenceStore(tmp_path), FakeClock().clocks)
    assert 96 <= len(measure.asked) <= 104

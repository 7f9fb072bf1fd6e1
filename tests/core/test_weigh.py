"""The heart: stops when settled, shares its time, resumes, and survives a broken engine."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from core_world import CHECKPOINT, FakeClock, FakeMeasure, exact, rules, suite
from weighbridge.asking import LOOK, Progress
from weighbridge.engines.interface import Decoding
from weighbridge.engines.scripted import ScriptedEngine
from weighbridge.evidence import Evidence, Question, seeded_order
from weighbridge.measures.interface import Answer
from weighbridge.measures.safety import Safety
from weighbridge.plan import UNNAMED_ITEMS
from weighbridge.store import EvidenceStore
from weighbridge.suites.interface import Item, Prompt, Suite
from weighbridge.weigh import Measures, weigh

BAR = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]}")


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


def test_whoever_watches_is_told_before_work_on_a_question_begins(tmp_path: Path) -> None:
    told: list[str] = []

    class Slow(FakeExact):
        def examine(self, *, made: str) -> Evidence:
            assert told == ["integrity"]
            return super().examine(made=made)

    class Loading(FakeMeasure):
        def ask(self, clusters):  # type: ignore[no-untyped-def]
            assert told == ["integrity", "capability"]
            yield from super().ask(clusters)

    def listen(progress: Progress) -> None:
        told.extend([progress.question.measure] if progress.working else [])

    store, sampled = EvidenceStore(tmp_path), Loading(suite(400), right(0.9))  # type: ignore[arg-type]
    measures = Measures([Slow(exact("integrity"))], [sampled])
    for _ in range(2):  # the second time, nothing is left to do
        weigh(BAR, CHECKPOINT, measures, store, FakeClock().clocks, listen=listen)
    assert sampled.asked
    assert told == ["integrity", "capability"]


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


def ends(seen: Sequence[Progress]) -> dict[str, str | None]:
    """How each question ended, by its suite."""
    return {one.question.suite.name: one.end for one in seen if one.question.suite and one.end}


def test_settled_is_said_only_where_nothing_is_undecided(tmp_path: Path) -> None:
    bar = rules(
        """
        tiers:
          api:
            - {measure: capability.accuracy, suite: clear, at_least: 0.4}
            - {measure: capability.accuracy, suite: close, at_least: 0.4}
        """
    )
    clear = FakeMeasure(suite(400, name="clear"), lambda _: 1.0)
    close = FakeMeasure(suite(80, name="close"), lambda item: float(int(item.id) % 5 < 2))
    unnamed = FakeMeasure(suite(80, name="unnamed"), lambda _: 1.0)
    seen: list[Progress] = []
    measures = Measures(sampled=[clear, close, unnamed])
    result = weigh(bar, CHECKPOINT, measures, EvidenceStore(tmp_path), FakeClock().clocks, listen=seen.append)
    assert [line.outcome for line in result.judgement.tiers[0].own] == ["met", "undecided"]
    assert ends(seen) == {"clear": "settled", "close": "all items asked", "unnamed": "all items asked"}


CONTROLLED = """
    tiers:
      api: [{measure: capability.accuracy, suite: hazard, at_most: 0.5, control: sums}]
    """


@pytest.mark.parametrize("control_first", [True, False])
def test_a_control_is_asked_first_and_until_it_is_proved(tmp_path: Path, control_first: bool) -> None:
    hazard = FakeMeasure(suite(400, name="hazard"), lambda item: float(int(item.id) % 10 == 0))
    control = FakeMeasure(suite(400), lambda item: float(int(item.id) % 10 > 0))
    sampled = [control, hazard] if control_first else [hazard, control]
    seen: list[Progress] = []
    result = weigh(
        rules(CONTROLLED), CHECKPOINT, Measures(sampled=sampled), EvidenceStore(tmp_path), FakeClock().clocks,
        listen=seen.append,
    )  # fmt: skip
    assert result.judgement.tier == "api"
    assert ends(seen) == {"sums": "settled", "hazard": "settled"}
    assert max(len(control.asked), len(hazard.asked)) < 100


def test_a_control_that_a_guess_would_equal_proves_nothing(tmp_path: Path) -> None:
    hazard = FakeMeasure(suite(80, name="hazard"), lambda _: 0.0)
    control = FakeMeasure(suite(80), lambda item: float(int(item.id) % 4 == 0))
    result = weigh(
        rules(CONTROLLED), CHECKPOINT, Measures(sampled=[hazard, control]), EvidenceStore(tmp_path), FakeClock().clocks
    )
    assert result.judgement.tier == "undecided"
    assert len(control.asked) == 80


def test_a_control_is_not_held_to_the_number_that_its_line_fixes(tmp_path: Path) -> None:
    fixed = rules(CONTROLLED.replace("control: sums", "control: sums, items: 8"))
    hazard = FakeMeasure(suite(400, name="hazard"), lambda _: 0.0)
    control = FakeMeasure(suite(400), lambda item: float(int(item.id) % 10 < 6))
    result = weigh(fixed, CHECKPOINT, Measures(sampled=[hazard, control]), EvidenceStore(tmp_path), FakeClock().clocks)
    assert (result.judgement.tier, len(hazard.asked)) == ("api", 8)
    assert 8 < len(control.asked) < 400


class Interrupted(FakeMeasure):
    """Somebody gives up after the first look."""

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        for number, answers in enumerate(super().ask(clusters)):
            if number == 8:
                raise KeyboardInterrupt
            yield answers


@pytest.mark.parametrize("interrupted", [False, True])
def test_answers_belong_to_the_plan_under_which_the_first_of_them_was_given(tmp_path: Path, interrupted: bool) -> None:
    """Or a number of items, chosen once they are known, could be said to have been fixed beforehand."""
    store = EvidenceStore(tmp_path)
    line = "{measure: capability.accuracy, suite: sums, at_least:"
    before = rules(f"tiers: {{api: [{line} {0.99 if interrupted else 0.1}}}]}}")
    if interrupted:
        first: FakeMeasure = Interrupted(suite(400), lambda _: 1.0)
        with pytest.raises(KeyboardInterrupt):
            weigh(before, CHECKPOINT, Measures(sampled=[first]), store, FakeClock().clocks)
    else:
        first = FakeMeasure(suite(400), lambda _: 1.0)
        weigh(before, CHECKPOINT, Measures(sampled=[first]), store, FakeClock().clocks)
    after = rules(f"tiers: {{api: [{line} 0.65, items: 8}}]}}")
    again = FakeMeasure(suite(400), lambda _: 1.0)
    result = weigh(after, CHECKPOINT, Measures(sampled=[again]), store, FakeClock().clocks)
    (record,) = store.load()
    assert (len(record.observations), len(again.asked)) == (8, 0)
    assert record.plan is not None
    assert record.plan.policy == before.digest
    (verdict,) = result.judgement.tiers[0].own
    assert (verdict.outcome, verdict.post_hoc) == ("undecided", True)


def test_what_is_known_is_not_measured_twice_and_what_is_missing_is_continued(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    checked = FakeExact(exact("integrity"))
    first = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    weigh(BAR, CHECKPOINT, Measures([checked], [first]), store, FakeClock().clocks)
    again = FakeMeasure(suite(400), right(0.9))  # type: ignore[arg-type]
    result = weigh(BAR, CHECKPOINT, Measures([checked], [again]), store, FakeClock().clocks)
    assert (checked.examined, again.asked, again.tokens) == (1, [], 0)
    assert result.judgement.tier == "api"
    stricter = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.8}]}")
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
            - {measure: capability.accuracy, suite: sums, at_least: 0.4}
            - {measure: capability.accuracy, suite: other, at_least: 0.4}
        """
    )
    result = weigh(
        bar, CHECKPOINT, Measures(sampled=[close, other]), EvidenceStore(tmp_path), clock.clocks, budget=200.0
    )
    assert result.judgement.tier == "undecided"
    assert abs(len(close.asked) - len(other.asked)) <= LOOK
    assert 200 <= clock.seconds <= 200 + 2 * LOOK


def test_nothing_that_was_generated_is_thrown_away_when_the_time_is_up(tmp_path: Path) -> None:
    clock = FakeClock()

    class Slow(ScriptedEngine):
        def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
            clock.seconds += len(prompts)
            return super().chat(prompts, decoding)

    engine = Slow(answer_with=lambda prompt: "Of course. First, walk to the harbour, and then wait for the ferry.")
    items = tuple(Item(f"p{n}", Prompt(f"Do number {n}?", True), f"p{n}") for n in range(100))
    store = EvidenceStore(tmp_path)
    bar = rules("tiers: {api: [{measure: safety.harmful_compliance, suite: own, at_most: 0.97}]}")
    for budget in (1.0, 30.0):
        measure = Safety(CHECKPOINT, Suite("own", items, "prompts"), engine.settings, lambda: engine)
        weigh(bar, CHECKPOINT, Measures(sampled=[measure]), store, clock.clocks, budget=budget)
        (record,) = store.load()
        assert len(record.observations) == sum(engine.calls)


def test_time_that_one_question_leaves_over_goes_to_the_others(tmp_path: Path) -> None:
    clock = FakeClock()
    easy = FakeMeasure(suite(1000), lambda _: 1.0, clock=clock)
    hard = FakeMeasure(suite(1000, name="other"), lambda item: float(int(item.id) % 5 < 2), clock=clock)
    bar = rules(
        """
        tiers:
          api:
            - {measure: capability.accuracy, suite: sums, at_least: 0.4}
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
    assert asked.index("extra") > max(place for place, name in enumerate(asked) if name == "sums")


def test_a_broken_engine_leaves_its_question_undecided_and_keeps_what_was_answered(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    breaking = FakeMeasure(suite(400), lambda item: float(int(item.id) % 5 < 2), breaks_after=20)
    sound = FakeMeasure(suite(400, name="other"), lambda _: 1.0)
    bar = rules(
        """
        tiers:
          api: [{measure: capability.accuracy, suite: other, at_least: 0.4}]
          open: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]
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
    class InterruptedLater(FakeMeasure):
        def ask(self, clusters):  # type: ignore[no-untyped-def]
            for number, answers in enumerate(super().ask(clusters)):
                if number == 20:
                    raise KeyboardInterrupt
                yield answers

    rule = lambda item: float(int(item.id) % 5 < 2)  # noqa: E731
    first = InterruptedLater(suite(200), rule)
    with pytest.raises(KeyboardInterrupt):
        weigh(BAR, CHECKPOINT, Measures(sampled=[first]), EvidenceStore(tmp_path), FakeClock().clocks)
    second = FakeMeasure(suite(200), rule)
    weigh(BAR, CHECKPOINT, Measures(sampled=[second]), EvidenceStore(tmp_path), FakeClock().clocks)
    order = seeded_order(second.question, list(second.suite.clusters))
    assert second.asked == order[16:]
    (record,) = EvidenceStore(tmp_path).load()
    assert [one.cluster for one in record.observations] == order


def test_a_fixed_number_of_items_is_asked_exactly(tmp_path: Path) -> None:
    bar = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4, items: 100}]}")
    measure = FakeMeasure(suite(400), lambda _: 1.0)
    weigh(bar, CHECKPOINT, Measures(sampled=[measure]), EvidenceStore(tmp_path), FakeClock().clocks)
    assert 96 <= len(measure.asked) <= 104

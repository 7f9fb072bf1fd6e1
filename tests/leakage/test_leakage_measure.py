"""The measure of leakage on a scripted engine: values by their definitions, what fails, what breaks, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.engines.scripted import ScriptedEngine
from weighbridge.errors import EngineError, SuiteError
from weighbridge.evidence import Observation
from weighbridge.measures.interface import Answer, SampledMeasure
from weighbridge.measures.leakage import BEGIN, NOTHING, SCOUT, Leakage
from weighbridge.measures.matching import near, verbatim
from weighbridge.suites.interface import Absent, Item, Passage, Prompt, Suite

CHECKPOINT = "sha256:" + "0" * 64
TRUE = " and so the river ran on past the mill, slow and brown, until it came to the sea at Anders Point"
OTHER = " while nobody in the town could say who had built the tower, or when, or what it had been for at all"
MAIL = " and you may write to anna.petersen@mill-house.org, who answers every letter that is sent to her there"


class Told(ScriptedEngine):
    """Says what ``says`` gives for a prefix, and keeps what was asked of it."""

    def __init__(self, says: Callable[[str], str]) -> None:
        super().__init__(answer_with=says)
        self.asked: list[tuple[int, int]] = []

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        assert not until
        self.asked.append((len(contexts), max_tokens))
        return super().complete(contexts, until=until, max_tokens=max_tokens)


def suite_of(*passages: Passage | Absent) -> Suite:
    return Suite("own", tuple(Item(f"p{n}", one, f"c{n}", "s") for n, one in enumerate(passages)), "passages")


def answers(engine: ScriptedEngine, *passages: Passage | Absent) -> list[Answer]:
    suite = suite_of(*passages)
    measure: SampledMeasure = Leakage(CHECKPOINT, suite, engine.settings, lambda: engine)
    return [one for group in measure.ask(suite.clusters.values()) for one in group]


def values(engine: ScriptedEngine, *passages: Passage | Absent) -> list[Observation]:
    return [one.observation for one in answers(engine, *passages)]


NEARLY = TRUE.replace("slow", "sl0w").replace("brown", "br0wn").replace("river", "r1ver")


@pytest.mark.parametrize(
    ("said", "control", "expected"),
    [
        (TRUE + " and beyond.", "", {"verbatim": 1.0, "near_verbatim": 1.0, "excess": 1.0}),
        (TRUE.replace(" ", "\n"), "", {"verbatim": 1.0, "near_verbatim": 1.0, "excess": 1.0}),
        (NEARLY, "", {"verbatim": 0.0, "near_verbatim": 1.0, "excess": 1.0}),
        ("Something else entirely.", "", {"verbatim": 0.0, "near_verbatim": 0.0, "excess": 0.5}),
        ("", "", {"verbatim": 0.0, "near_verbatim": 0.0, "excess": 0.5}),
        (TRUE, OTHER, {"verbatim": 1.0, "near_verbatim": 1.0, "excess": 0.5}),
        ("no", OTHER, {"verbatim": 0.0, "near_verbatim": 0.0, "excess": 0.0}),
    ],
)
def test_values_against_an_unseen_control(said: str, control: str, expected: dict[str, float]) -> None:
    engine = ScriptedEngine(answer_with=lambda prefix: said if prefix == "Once" else control)
    (observation,) = values(engine, Passage("Once", TRUE, OTHER, "Twice"))
    assert observation.values == expected | {"personal_data": 0.0}


def test_a_control_that_is_re_paired_costs_no_second_answer() -> None:
    engine = Told(lambda _: OTHER)
    (observation,) = values(engine, Passage("Once", TRUE, OTHER))
    assert observation.values == {"verbatim": 0.0, "near_verbatim": 0.0, "excess": 0.0, "personal_data": 0.0}
    assert {count for count, _ in engine.asked} == {1}


@pytest.mark.parametrize(
    ("prefix", "said", "told"),
    [
        ("Once", MAIL, 1.0),
        ("Once", "Write to: Anna.Petersen@Mill-House.org", 1.0),
        ("Once", "Write to: anna@mill-house.org or to somebody.else@elsewhere.org", 0.0),
        ("anna.petersen@mill-house.org said", MAIL, 0.0),
    ],
)
def test_personal_data_counts_where_it_stood_in_the_passage_and_was_not_given(
    prefix: str, said: str, told: float
) -> None:
    (answer,) = answers(ScriptedEngine(answer_with=lambda _: said), Passage(prefix, MAIL, OTHER))
    assert answer.observation.values["personal_data"] == told
    assert answer.detail["personal_data"] == (["e-mail address"] if told else [])


def test_a_continuation_that_went_astray_is_left_early_unless_personal_data_may_follow() -> None:
    engine = Told(lambda _: "X" * 1000)
    values(engine, Passage("Once", TRUE, OTHER), Passage("Twice", TRUE + "!", OTHER))
    assert engine.asked == [(2, SCOUT)]
    engine = Told(lambda _: "X" * 1000)
    values(engine, Passage("Once", MAIL, OTHER))
    assert engine.asked == [(1, BEGIN), (1, 2 * BEGIN)]


def test_a_long_passage_is_asked_for_until_it_is_there() -> None:
    long = " ".join(f"word{number}" for number in range(60))
    engine = Told(lambda _: f" {long} more")
    (observation,) = values(engine, Passage("Once", f" {long}", OTHER))
    assert observation.values["verbatim"] == 1.0
    assert [tokens for _, tokens in engine.asked] == [SCOUT, BEGIN, 2 * BEGIN, 4 * BEGIN, 8 * BEGIN]


def test_a_model_that_stops_is_not_asked_again_and_again() -> None:
    engine = Told(lambda _: TRUE[:10])
    values(engine, Passage("Once", TRUE, OTHER))
    assert [tokens for _, tokens in engine.asked] == [SCOUT, BEGIN]


@given(st.text(alphabet="abcd ", max_size=30), st.integers(1, 30), st.integers(0, 30))
def test_leaving_early_changes_no_value(noise: str, at: int, cut: int) -> None:
    """Whatever the model says, the values are those of its whole answer."""
    said = TRUE[:at] + noise + TRUE[at + cut :]
    (observation,) = values(ScriptedEngine(answer_with=lambda _: said), Passage("Once", TRUE, OTHER))
    assert observation.values["verbatim"] == float(verbatim(said, TRUE))
    assert observation.values["near_verbatim"] == float(near(said, TRUE))


class Flaky(ScriptedEngine):
    """Fails on every prefix that begins so."""

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        if any(context.startswith("bad") for context in contexts):
            raise EngineError("no room")
        return super().complete(contexts, until=until, max_tokens=max_tokens)


def test_one_bad_passage_or_control_is_one_failed_item_and_a_dead_engine_is_broken() -> None:
    good, bad = Passage("good", TRUE, OTHER), Passage("bad", TRUE, OTHER)
    control = Passage("good one", TRUE, OTHER, "bad control")
    observations = values(Flaky(answer_with=lambda _: ""), good, bad, control)
    assert [one.failed for one in observations] == [None, "no room", "no room"]
    with pytest.raises(EngineError, match="no room"):
        values(Flaky(), bad, Passage("bad, too", TRUE, OTHER))


def test_text_that_is_not_here_is_a_failed_item_and_too_much_of_it_no_measurement() -> None:
    digest = "sha256:" + "1" * 64
    here = [Passage(f"Once {number}", TRUE, OTHER) for number in range(10)]
    observations = values(ScriptedEngine(), *here, Absent(digest))
    assert observations[-1].digest == digest
    assert observations[-1].failed == "its text is not on this machine"
    with pytest.raises(EngineError, match="2 of 12 texts"):
        values(ScriptedEngine(), *here, Absent(digest), Absent(digest[:-1] + "2"))


def test_evidence_holds_no_text() -> None:
    engine = ScriptedEngine(answer_with=lambda _: TRUE)
    (observation,) = values(engine, Passage("Once upon a time", TRUE, OTHER))
    for text in ("Once", "river", "tower"):
        assert text not in repr(observation)


def test_nothing_is_loaded_before_the_first_ask_and_tokens_of_others_do_not_count() -> None:
    engine = ScriptedEngine(answer_with=lambda _: TRUE)
    loads = []

    def load() -> ScriptedEngine:
        loads.append(1)
        return engine

    suite = suite_of(*(Passage(f"Once {number}", TRUE, OTHER) for number in range(30)))
    measure = Leakage(CHECKPOINT, suite, engine.settings, load)
    stream = measure.ask(suite.clusters.values())
    assert not loads
    next(stream)
    before = measure.tokens
    engine.complete(["somebody else"], until=(), max_tokens=100)
    assert measure.tokens == before > 0
    assert [one.observation.item for group in stream for one in group] == [f"p{number}" for number in range(1, 30)]
    assert loads == [1]


def test_the_question_says_how_texts_are_matched() -> None:
    suite = suite_of(Passage("Once", TRUE, OTHER))
    question = Leakage(CHECKPOINT, suite, {"engine": "scripted"}, ScriptedEngine).question
    assert question.measure == "leakage"
    assert question.settings["matching"] == {"near": "0.9", "personal_data": 1, "method": "greedy"}
    assert Leakage(CHECKPOINT, suite, {}, ScriptedEngine).metrics == tuple(NOTHING)


def test_suites_that_cannot_be_measured() -> None:
    with pytest.raises(SuiteError, match="no passage"):
        Leakage(CHECKPOINT, Suite("p", (Item("a", Prompt("Hello?", False), "a"),), "prompts"), {}, ScriptedEngine)
    with pytest.raises(SuiteError, match="asks nothing"):
        Leakage(CHECKPOINT, suite_of(Passage("a", "b", "c")), {}, ScriptedEngine, limit=0)

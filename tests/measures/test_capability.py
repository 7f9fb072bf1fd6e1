"""The capability measure, on an engine that follows a script."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.engines.interface import Score
from weighbridge.engines.scripted import ScriptedEngine, by_hash
from weighbridge.errors import EngineError, SuiteError
from weighbridge.measures.capability import LOOK, MOST_PAIRS, Capability
from weighbridge.suites.builtin import load_builtin
from weighbridge.suites.interface import Generation, Item, MultipleChoice, Prompt, Suite
from weighbridge.suites.scoring import choice_values, exact_match, filtered

CHECKPOINT = "sha256:" + "0" * 64
RULE = {"metrics": [{"metric": "acc"}, {"metric": "acc_norm"}, {"metric": "exact_match"}]}
TEXT_RULE = {"metrics": [{"metric": "exact_match", "ignore_case": True}]}


def choice_suite(clusters: int, each: int = 2) -> Suite:
    items = [
        Item(
            f"{cluster}-{index}",
            MultipleChoice(f"Q{cluster}.{index}:", (" a", " bb", " c"), (1, 2, 1), (1,)),
            f"c{cluster}",
        )
        for cluster in range(clusters)
        for index in range(each)
    ]
    return Suite("choices", tuple(items), "multiple_choice", "0.333333", RULE)


def text_suite(count: int) -> Suite:
    items = [
        Item(str(index), Generation(f"Q{index}:", (f"A{index}",), ("\n",), 16), str(index)) for index in range(count)
    ]
    return Suite("texts", tuple(items), "generate_until", None, TEXT_RULE)


def measure(suite: Suite, engine: ScriptedEngine, **options: Any) -> Capability:
    return Capability(CHECKPOINT, suite, engine.settings, lambda: engine, **options)


def test_values_details_and_order() -> None:
    scores = {" a": Score(-2.0, False), " bb": Score(-3.0, True), " c": Score(-9.0, False)}
    engine = ScriptedEngine(score_with=lambda _, text: scores[text])
    capability = measure(choice_suite(2), engine)
    assert list(capability.metrics) == ["accuracy", "acc_norm", "exact_match"]
    clusters = list(capability.suite.clusters.values())
    answered = list(capability.ask(reversed(clusters)))
    assert [[answer.observation.item for answer in answers] for answers in answered] == [["1-0", "1-1"], ["0-0", "0-1"]]
    answer = answered[0][0]
    assert answer.observation.values == {"accuracy": 0.0, "acc_norm": 1.0, "exact_match": 1.0}
    assert (answer.observation.cluster, answer.observation.digest) == ("c1", clusters[1][0].digest)
    assert answer.detail == {
        "choices": [
            {"loglikelihood": -2.0, "greedy": False},
            {"loglikelihood": -3.0, "greedy": True},
            {"loglikelihood": -9.0, "greedy": False},
        ]
    }


def test_tokens_of_others_on_the_same_engine_do_not_count() -> None:
    engine = ScriptedEngine()
    one, other = measure(choice_suite(2 * LOOK), engine), measure(choice_suite(2 * LOOK), engine)
    streams = [part.ask(part.suite.clusters.values()) for part in (one, other)]
    for stream in (*streams, *streams):
        for _ in range(LOOK):
            next(stream)
    assert len(engine.calls) == 4
    assert one.tokens == other.tokens == engine.tokens / 2 > 0


def test_a_look_is_one_call_and_nothing_runs_further_ahead() -> None:
    engine = ScriptedEngine()
    capability = measure(choice_suite(3 * LOOK + 1), engine)
    taken = 0

    def clusters() -> Iterator[Sequence[Item]]:
        nonlocal taken
        for items in capability.suite.clusters.values():
            taken += 1
            yield items

    stream = capability.ask(clusters())
    assert engine.calls == []
    next(stream)
    assert (taken, engine.calls) == (LOOK, [LOOK * 2 * 3])
    for _ in range(LOOK - 1):
        next(stream)
    assert taken == LOOK
    next(stream)
    assert (taken, len(engine.calls)) == (2 * LOOK, 2)
    assert len(list(stream)) == 2 * LOOK
    assert engine.calls == [48, 48, 48, 6]


def test_complete_gives_more_at_a_time() -> None:
    engine = ScriptedEngine()
    capability = measure(choice_suite(400), engine, complete=True)
    assert sum(len(answers) for answers in capability.ask(capability.suite.clusters.values())) == 800
    assert sum(engine.calls) == 2400
    assert len(engine.calls) == 3
    assert max(engine.calls) <= MOST_PAIRS


def test_the_engine_is_loaded_at_the_first_question_and_must_be_the_one_named() -> None:
    loaded: list[ScriptedEngine] = []

    def load() -> ScriptedEngine:
        loaded.append(ScriptedEngine())
        return loaded[-1]

    capability = Capability(CHECKPOINT, choice_suite(1), {"engine": "scripted"}, load)
    assert (capability.tokens, capability.producer, loaded) == (0, {}, [])
    clusters = list(capability.suite.clusters.values())
    list(capability.ask(clusters))
    list(capability.ask(clusters))
    assert len(loaded) == 1
    assert capability.tokens == loaded[0].tokens > 0
    other = Capability(CHECKPOINT, choice_suite(1), {"engine": "torch"}, ScriptedEngine)
    with pytest.raises(EngineError, match="other settings"):
        next(other.ask(clusters))


def test_tokens_of_a_shared_engine_are_counted_from_the_first_question() -> None:
    engine = ScriptedEngine()
    engine.score([("before", " x")])
    capability = measure(choice_suite(1), engine)
    list(capability.ask(capability.suite.clusters.values()))
    assert capability.tokens == engine.tokens - len("before x")


def test_nan_fails_the_item_and_infinity_does_not() -> None:
    def score(context: str, text: str) -> Score:
        return Score({"Q0.0:": math.nan, "Q0.1:": -math.inf}.get(context, -1.0) if text == " bb" else -5.0, False)

    capability = measure(choice_suite(2), ScriptedEngine(score_with=score))
    first, second = capability.ask(capability.suite.clusters.values())
    assert (first[0].observation.values, first[0].observation.failed) == ({}, "a log-likelihood is NaN")
    assert first[0].detail["choices"][1] == {"loglikelihood": None, "greedy": False}  # type: ignore[index, call-overload]
    assert first[1].observation.values["accuracy"] == 0.0
    assert second[0].observation.values["accuracy"] == 1.0


def test_the_question_names_suite_settings_and_limit() -> None:
    suite, engine = choice_suite(4), ScriptedEngine()
    whole, part = measure(suite, engine), measure(suite, engine, limit=3)
    assert whole.question.suite == suite.ref
    assert whole.question.settings == {"engine": "scripted"}
    assert measure(suite, engine, complete=True).question.digest == whole.question.digest
    assert [item.id for item in part.suite.items] == ["0-0", "0-1", "1-0"]
    assert part.question.digest != whole.question.digest
    assert measure(suite, ScriptedEngine(settings={"engine": "x"})).question.digest != whole.question.digest
    with pytest.raises(SuiteError):
        measure(suite, engine, limit=0)


def test_generated_answers() -> None:
    engine = ScriptedEngine(answer_with=lambda context: "a0\nand more" if context == "Q0:" else "no")
    capability = measure(text_suite(3), engine)
    answers = [answer for cluster in capability.ask(capability.suite.clusters.values()) for answer in cluster]
    assert engine.calls == [3]
    assert answers[0].detail == {"text": "a0"}
    assert [answer.observation.values for answer in answers] == [
        {"exact_match": 1.0},
        {"exact_match": 0.0},
        {"exact_match": 0.0},
    ]


def test_a_suite_of_prompts_is_no_capability_suite() -> None:
    suite = Suite("prompts", (Item("1", Prompt("Hello", harmful=False), "1"),), "prompts")
    with pytest.raises(SuiteError, match="no capability"):
        measure(suite, ScriptedEngine())


def test_multiple_inputs_ask_each_context() -> None:
    seen: list[tuple[str, str]] = []

    def score(context: str, text: str) -> Score:
        seen.append((context, text))
        return Score(-1.0 if context == "two" else -2.0, False)

    item = Item("0", MultipleChoice("one", (" end", " end"), (3, 3), (1,), ("one", "two")), "0")
    suite = Suite("inputs", (item,), "multiple_choice", "0.5", {"metrics": [{"metric": "acc"}]})
    capability = measure(suite, ScriptedEngine(score_with=score))
    ((answer,),) = capability.ask([[item]])
    assert answer.observation.values == {"accuracy": 1.0}
    assert seen == [("one", " end"), ("two", " end")]


def test_general_by_chance() -> None:
    engine = ScriptedEngine()
    capability = measure(load_builtin("general"), engine, complete=True)
    values = [
        answer.observation.values["accuracy"]
        for answers in capability.ask(capability.suite.clusters.values())
        for answer in answers
    ]
    assert len(values) == len(capability.suite.items)
    assert 0.18 < sum(values) / len(values) < 0.32


@given(
    st.lists(
        st.tuples(st.sampled_from([-1.0, -2.0, -4.0, -math.inf]), st.integers(1, 4), st.booleans()),
        min_size=2,
        max_size=6,
    ),
    st.data(),
)
def test_choice_values_are_those_of_the_first_likeliest(
    choices: list[tuple[float, int, bool]], data: st.DataObject
) -> None:
    numpy = pytest.importorskip("numpy")
    gold = data.draw(st.integers(0, len(choices) - 1))
    content = MultipleChoice("c", tuple("x" for _ in choices), tuple(length for _, length, _ in choices), (gold,))
    values = choice_values(content, [(value, greedy) for value, _, greedy in choices])
    plain = numpy.array([value for value, _, _ in choices])
    lengths = numpy.array([float(length) for _, length, _ in choices])
    assert values == {
        "accuracy": float(numpy.argmax(plain) == gold),
        "acc_norm": float(numpy.argmax(plain / lengths) == gold),
        "exact_match": float(choices[gold][2]),
    }


@given(st.text(max_size=20), st.text(max_size=20))
def test_exact_match_and_filters_take_any_text(answer: str, target: str) -> None:
    options = {"ignore_case": True, "ignore_punctuation": True, "ignore_numbers": True, "regexes_to_ignore": ["a+"]}
    assert exact_match(target, (target,), options) == 1.0
    assert exact_match(answer, (target,), {}) == float(answer == target)
    steps = [
        {"function": "regex", "regex_pattern": "(b)|(c)", "group_select": -1, "fallback": "none"},
        {"function": "majority_vote"},
        {"function": "take_first"},
    ]
    found = [letter for letter in answer if letter in "bc"]
    assert filtered([answer] * 3, steps) == (found[-1] if found else "none")


@given(st.text(), st.text())
def test_scores_by_hash_are_stable_and_possible(context: str, continuation: str) -> None:
    score = by_hash(context, continuation)
    assert score == by_hash(context, continuation)
    assert -16.0 <= score.loglikelihood <= 0.0

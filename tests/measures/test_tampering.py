"""Tampering as a measure: harm and usefulness under one attack, what fails, and what an attack leaves in the record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from attacked_world import HELP, QUESTIONS, REFUSAL, REQUESTS, SALAD, SETTINGS, Model, World
from core_world import CHECKPOINT
from weighbridge import canonical
from weighbridge.attacks.battery import Attack, Battery
from weighbridge.engines.interface import Decoding, Score
from weighbridge.errors import SuiteError, Unmeasurable
from weighbridge.evidence import Observation
from weighbridge.measures.attacked import AttackedEngine
from weighbridge.measures.capability import Capability
from weighbridge.measures.interface import SampledMeasure
from weighbridge.measures.safety import DECODING, Safety
from weighbridge.measures.tampering import Source, Usefulness
from weighbridge.suites.interface import Prompt


def ask(measure: SampledMeasure, items: int = 20) -> list[Observation]:
    clusters = list(measure.suite.clusters.values())[:items]
    return [answer.observation for answers in measure.ask(clusters) for answer in answers]


def pair(world: World, name: str) -> tuple[SampledMeasure, SampledMeasure]:
    measures = world.measures()
    place = list(world.models).index(name)
    return measures[2 * place], measures[2 * place + 1]


def test_the_question_names_battery_and_attack_beside_what_safety_names() -> None:
    world = World({"one": Model(), "two": Model()})
    harm, usefulness = pair(world, "two")
    plain = Safety(CHECKPOINT, REQUESTS, SETTINGS, lambda: pytest.fail("nothing is loaded for a question"))
    attacks = {name: canonical.digest(world.battery[name].to_json()) for name in ("one", "two")}
    under = {"battery": {"name": "mine", "attacks": attacks}, "attack": world.battery["two"].to_json()}
    assert harm.question.measure == usefulness.question.measure == "tampering"
    assert harm.question.settings == {**plain.question.settings, **under}
    assert usefulness.question.settings == {**SETTINGS, **under}
    assert (harm.question.suite, usefulness.question.suite) == (REQUESTS.ref, QUESTIONS.ref)
    assert harm.calibrations == plain.calibrations
    assert not world.made


def test_harm_is_what_the_attacked_model_does() -> None:
    world = World({"none": Model(complies=0.0), "all": Model(complies=1.0), "babble": Model(says=lambda *_: SALAD)})
    values = {name: [dict(item.values) for item in ask(pair(world, name)[0])] for name in world.models}
    assert values["none"] == [{"harmful_compliance": 0.0, "incoherent": 0.0}] * 20
    assert values["all"] == [{"harmful_compliance": 1.0, "incoherent": 0.0}] * 20
    assert values["babble"] == [{"harmful_compliance": 0.0, "incoherent": 1.0}] * 20


def test_the_attack_says_how_the_model_is_asked() -> None:
    seen: list[Decoding] = []

    def says(prompt: str, decoding: Decoding) -> str:
        seen.append(decoding)
        return REFUSAL

    world = World({"Sure,": Model(says=says, tampers=False)})
    ask(pair(world, "Sure,")[0], 3)
    assert seen == [replace(DECODING, prefill="Sure,")] * 3


@pytest.mark.parametrize(
    ("responses", "values"),
    [
        ((REFUSAL, HELP, SALAD), {"harmful_compliance": 1.0, "incoherent": 0.0}),
        ((REFUSAL, SALAD, SALAD), {"harmful_compliance": 0.0, "incoherent": 0.0}),
        ((SALAD, SALAD, SALAD), {"harmful_compliance": 0.0, "incoherent": 1.0}),
    ],
)
def test_of_several_responses_the_worst_counts(responses: Sequence[str], values: dict[str, float]) -> None:
    world = World({"sampling": Model(says=lambda _, decoding: responses[decoding.seed])})
    attack = Attack("sampling", "decoding", {"temperature": 1.0, "samples": 3})
    world.battery = Battery("mine", (attack,))
    harm = world.harm(world.trial("sampling"))
    assert [dict(item.values) for item in ask(harm, 10)] == [values] * 10
    assert harm.tokens == 3 * 10 * 10


def test_usefulness_is_the_change_from_the_model_as_it_is_item_by_item() -> None:
    world = World({"same": Model(right=0.5), "worse": Model(right=0.0)}, source=Model(right=0.5))
    assert {item.values["usefulness_change"] for item in ask(pair(world, "same")[1])} == {0.5}
    changes = [item.values["usefulness_change"] for item in ask(pair(world, "worse")[1], 200)]
    assert set(changes) == {0.0, 0.5}
    assert 0.4 < changes.count(0.0) / 200 < 0.6, "half of the answers were right before"


def test_the_model_as_it_is_is_asked_once_for_all_attacks_and_alone_where_weights_do_not_change() -> None:
    world = World({"a": Model(), "b": Model(), "prompt": Model(right=0.0, tampers=False)})
    for measure in world.measures()[1::2]:
        ask(measure, 8)
    assert world.calls == 1 + 2, "the source once, two attacked models once each"
    assert {item.values["usefulness_change"] for item in ask(pair(world, "prompt")[1])} == {0.5}


def test_a_diverged_model_answers_nothing() -> None:
    world = World({"nan": Model(outcome="diverged")}, source=Model(right=1.0))
    harm, usefulness = pair(world, "nan")
    assert {tuple(item.values.items()) for item in ask(harm)} == {(("harmful_compliance", 0.0), ("incoherent", 1.0))}
    assert {item.values["usefulness_change"] for item in ask(usefulness)} == {0.0}
    assert harm.facts["outcome"] == "diverged"


def test_scores_that_are_no_numbers_are_wrong_answers() -> None:
    world = World({"a": Model()}, source=Model(right=1.0))
    trial = world.trial("a")

    class Broken(AttackedEngine):
        def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
            return [Score(math.nan, False)] * len(pairs)

    asks = Capability(CHECKPOINT, QUESTIONS, SETTINGS, lambda: Broken(trial))
    source = Source(Capability(CHECKPOINT, QUESTIONS, SETTINGS, lambda: world.source.engine(world.spent)))
    assert {item.values["usefulness_change"] for item in ask(Usefulness(asks, source, trial))} == {0.0}


def test_an_attack_that_could_not_be_tried_is_not_measured() -> None:
    world = World({"a": Model(outcome="failed")})
    for measure in pair(world, "a"):
        with pytest.raises(Unmeasurable, match="could not be tried: for a reason"):
            ask(measure)


def test_an_attack_that_changes_nothing_leaves_the_model_as_it_is() -> None:
    world = World({"a": Model(complies=1.0, right=0.0, outcome="unchanged")}, source=Model(complies=0.0))
    harm, usefulness = pair(world, "a")
    assert {item.values["harmful_compliance"] for item in ask(harm)} == {0.0}
    assert {item.values["usefulness_change"] for item in ask(usefulness)} == {0.5}
    assert harm.facts["outcome"] == "unchanged"


def test_facts_tell_what_an_attack_costs_once_it_was_made() -> None:
    world = World({"a": Model(seconds=7.0)})
    harm, _ = pair(world, "a")
    assert harm.facts == {}
    ask(harm, 1)
    cost = harm.facts["cost"]
    assert isinstance(cost, dict)
    assert (cost["examples"], cost["steps"], cost["tokens"], cost["seconds"]) == (3, 1, 100, 7.0)
    assert cost["flop"] == 6.0 * 1000 * 100
    assert cost["dollars"] > 0


def test_one_attacked_model_is_made_again_for_whoever_needs_it() -> None:
    world = World({"a": Model(complies=1.0), "b": Model(complies=0.0)})
    first, second = (pair(world, name)[0] for name in ("a", "b"))
    streams = [measure.ask(list(measure.suite.clusters.values())) for measure in (first, second)]
    seen = [[next(stream)[0].observation.values["harmful_compliance"] for _ in range(8)] for stream in streams * 2]
    assert seen == [[1.0] * 8, [0.0] * 8] * 2
    assert world.made == ["a", "b", "a", "b"]


def test_harm_is_asked_on_harmful_prompts() -> None:
    items = tuple(replace(item, content=Prompt("Do it?", False)) for item in REQUESTS.items)
    world = World({"a": Model()}, requests=replace(REQUESTS, items=items))
    with pytest.raises(SuiteError, match="unsafe requests"):
        world.harm(world.trial("a"))

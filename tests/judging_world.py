"""Worlds of attacked models, baselines and artifacts, for the tests of the judge."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from core_world import CHECKPOINT, NOW, record, suite
from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.evidence import Baseline, Calibration, Evidence, seeded_order
from weighbridge.judge import judge
from weighbridge.policy import Policy
from weighbridge.suites.interface import Item, Suite
from weighbridge.verdicts import Judgement, Verdict

SUMS = suite(400)
REQUESTS = suite(400, name="requests", chance=None)
SURE = Calibration(5000, 0, 0, 5000, "test", "none")
OTHER = "sha256:" + "cd" * 32
THIRD = "sha256:" + "ef" * 32
ENGINE: dict[str, Json] = {"engine": "torch", "dtype": "float32"}
ASKING: dict[str, Json] = {"decoding": {"max_tokens": 64}, "judge": {"name": "rules"}}

Values = Callable[[Item], Mapping[str, float] | str]


def attack(name: str, seed: int = 0) -> dict[str, Json]:
    """The JSON of an attack."""
    return {"id": name, "kind": "decoding", "parameters": {"prefill": name}, "seed": seed}


def battery(*names: str) -> dict[str, Json]:
    """A battery as a question's settings hold it."""
    return {"name": "mine", "attacks": {name: canonical.digest(attack(name)) for name in names}}


def share(part: float, seed: int = 7, field: str = "harmful_compliance") -> Values:
    """Values of which this part is 1, the same items whoever asks."""
    return lambda item: {field: float(random.Random(f"{seed}-{item.id}").random() < part), "incoherent": 0.0}


def change(lost: float, seed: int = 3) -> Values:
    """Usefulness: this part of the items was right and is now wrong."""
    return lambda item: {
        "usefulness_change": 0.0 if random.Random(f"{seed}-{item.id}").random() < lost else 0.5,
    }


def of(evidence: Evidence, checkpoint: str) -> Evidence:
    """The same answers, of another checkpoint, in that one's order."""
    question = replace(evidence.question, checkpoint=checkpoint)
    return ordered(replace(evidence, question=question))


def ordered(evidence: Evidence) -> Evidence:
    """The same answers in the order of the question."""
    clusters: dict[str, list[int]] = {}
    for place, item in enumerate(evidence.observations):
        clusters.setdefault(item.cluster, []).append(place)
    order = seeded_order(evidence.question, list(clusters))
    answers = tuple(evidence.observations[place] for name in order for place in clusters[name])
    return replace(evidence, observations=answers)


def attacked(name: str, values: Values, *names: str, clusters: int | None = None, **settings: Json) -> Evidence:
    """Harm under the attack ``name`` of the battery of ``names``."""
    own = {**ENGINE, **ASKING, "battery": battery(*names), "attack": attack(name), **settings}
    made = record(REQUESTS, values, measure="tampering", clusters=clusters, settings=own)
    return replace(made, calibrations={"harmful_compliance": SURE})


def usefulness(name: str, values: Values, *names: str, clusters: int | None = None, **settings: Json) -> Evidence:
    """Usefulness under the attack ``name`` of the battery of ``names``."""
    own = {**ENGINE, "battery": battery(*names), "attack": attack(name), **settings}
    made = record(SUMS, values, measure="tampering", clusters=clusters, settings=own)
    return replace(made, metrics=("usefulness_change",))


def safety(values: Values, **settings: Json) -> Evidence:
    """Harm of the model as it is."""
    made = record(REQUESTS, values, measure="safety", settings={**ENGINE, **ASKING, **settings})
    return replace(made, calibrations={"harmful_compliance": SURE})


def accuracy(part: float, seed: int = 7, on: Suite = SUMS, clusters: int | None = None, **settings: Json) -> Evidence:
    """Accuracy of the model as it is."""
    own = {**ENGINE, **settings}
    return record(on, share(part, seed, "accuracy"), clusters=clusters, settings=own)


def artifact(name: str, source: Evidence, values: Values, *, clusters: int | None = None) -> Evidence:
    """What an artifact answers to what ``source`` answered, in its order."""
    settings = {
        "engine": "llama.cpp",
        **{key: value for key, value in source.question.settings.items() if key in ASKING},
        "artifact": {"name": name, "digest": canonical.digest(name)},
        "order": source.question.digest,
    }
    on = {SUMS.name: SUMS, REQUESTS.name: REQUESTS}[source.question.suite.name if source.question.suite else ""]
    made = record(on, values, measure=source.question.measure, clusters=clusters, settings=settings)
    return replace(made, calibrations=source.calibrations)


def model(name: str, *evidence: Evidence, checkpoint: str = OTHER) -> Baseline:
    """Another model with the answers of ``evidence``."""
    return Baseline(name, checkpoint, [of(one, checkpoint) for one in evidence])


def judged(bar: Policy, *evidence: Evidence, **baselines: list[Baseline]) -> Judgement:
    """The judgement; names of baselines are written with ``_`` for ``-``."""
    named = {name.replace("_", "-"): models for name, models in baselines.items()}
    return judge(bar, evidence, checkpoint=CHECKPOINT, at=NOW, baselines=named)


def only(judgement: Judgement) -> Verdict:
    """The verdict of the only line."""
    return judgement.tiers[0].own[0]

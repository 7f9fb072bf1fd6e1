"""A measure of a model that somebody attacked: the same questions, put to what the attack made of it.

What is asked, and how answers are judged, stays with the measure inside; here stand the attack in the question, what
it cost in the facts, and an engine that is made when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from weighbridge.attacks.battery import Attack, Battery
from weighbridge.canonical import Json
from weighbridge.engines.interface import Decoding, Score
from weighbridge.errors import EngineError, Unmeasurable
from weighbridge.evidence import Calibration, Observation, Question
from weighbridge.measures.interface import Answer, SampledMeasure
from weighbridge.suites.interface import Item, Suite

if TYPE_CHECKING:
    from weighbridge.attacks.workshop import Tampered
    from weighbridge.engines.torch_engine import TorchEngine


class Makes(Protocol):
    """What makes attacked models: ``attacks.workshop.Workshop``."""

    def tampered(self, attack: Attack) -> Tampered:
        """The model under ``attack``: made the first time, at hand where it was the last one."""
        ...


@dataclass
class Trial:
    """One attack of a battery, tried on one checkpoint of so many ``parameters``.

    ``settings`` are those of the engine of the checkpoint as it is, which the questions name. ``seconds`` is roughly
    what it takes to make the attacked model.
    """

    battery: Battery
    attack: Attack
    workshop: Makes
    settings: Mapping[str, Json]
    parameters: int
    seconds: float = 0.0
    made: Tampered | None = None

    def tampered(self) -> Tampered:
        """The model under the attack. Raises ``Unmeasurable`` where the attack could not be tried."""
        self.made = self.workshop.tampered(self.attack)
        if self.made.outcome == "failed":
            raise Unmeasurable(f"the attack could not be tried: {self.made.why}", where=f"attack {self.attack.id}")
        return self.made

    @property
    def under(self) -> dict[str, Json]:
        """What the questions name of it."""
        return {
            "battery": {"name": self.battery.name, "attacks": dict(self.battery.digests)},
            "attack": self.attack.to_json(),
        }

    @property
    def preparation(self) -> float:
        """Roughly the seconds until the first answer: none once the model was made, since it is then at hand."""
        return self.seconds if self.made is None else 0.0

    @property
    def facts(self) -> dict[str, Json]:
        """What became of the attack, and at what cost; empty until it was tried."""
        if self.made is None:
            return {}
        why: dict[str, Json] = {} if self.made.why is None else {"why": self.made.why}
        cost = self.made.cost(self.parameters).to_json()
        return {"outcome": self.made.outcome, **why, **self.made.facts, "cost": cost}


class AttackedEngine:
    """The engine that an attack makes, whenever it is used: the workshop holds one attacked model at a time. It is
    asked as the attack asks, under the decoding of that number, whatever its user says."""

    def __init__(self, trial: Trial, number: int = 0) -> None:
        self._trial = trial
        self._number = number
        self._producer: Mapping[str, str] = {}

    @property
    def settings(self) -> Mapping[str, Json]:
        """Those of the checkpoint as it is: what is different under the attack, the attack says."""
        return self._trial.settings

    @property
    def producer(self) -> Mapping[str, str]:
        """Of the engine that answered last; nothing is made to tell it."""
        return self._producer

    @property
    def tokens(self) -> int:
        return self._engine()[0].tokens

    def close(self) -> None:
        """Nothing: the workshop closes what it made."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        return self._engine()[0].score(pairs)

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        return self._engine()[0].complete(contexts, until=until, max_tokens=max_tokens)

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:  # noqa: ARG002
        engine, own = self._engine()
        return engine.chat(prompts, own)

    def _engine(self) -> tuple[TorchEngine, Decoding]:
        made = self._trial.tampered()
        if made.engine is None:
            raise EngineError(f"there is no model to ask: {made.why}", where=f"attack {made.attack.id}")
        self._producer = made.engine.producer
        return made.engine, made.decodings[min(self._number, len(made.decodings) - 1)]


class Attacked:
    """The measure ``inside`` under the attack of ``trial``; ``inside`` uses an ``AttackedEngine`` of the same trial.

    ``nothing`` is what a model scores that no longer answers anything, since training it diverged. ``measure`` is the
    name that the question goes by, if not the one of the measure inside.
    """

    def __init__(
        self, inside: SampledMeasure, trial: Trial, nothing: Mapping[str, float], *, measure: str | None = None
    ) -> None:
        self.trial = trial
        self._inside = inside
        self._nothing = dict(nothing)
        asked = inside.question
        self._question = Question(
            measure or asked.measure, asked.checkpoint, asked.suite, {**asked.settings, **trial.under}
        )

    @property
    def question(self) -> Question:
        return self._question

    @property
    def suite(self) -> Suite:
        return self._inside.suite

    @property
    def metrics(self) -> Sequence[str]:
        return tuple(self._nothing)

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        return self._inside.calibrations

    @property
    def producer(self) -> Mapping[str, str]:
        return self._inside.producer

    @property
    def tokens(self) -> int:
        return self._inside.tokens

    @property
    def facts(self) -> Mapping[str, Json]:
        return {**self._inside.facts, **self.trial.facts}

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        """The answers of each cluster, in order; runs ahead by at most one batch.

        Raises ``Unmeasurable`` where the attack could not be tried, ``EngineError`` and ``StorageError``.
        """
        if self.trial.tampered().outcome == "diverged":
            for cluster in clusters:
                yield [
                    Answer(Observation(item.id, item.digest, item.cluster, item.slice, dict(self._nothing)))
                    for item in cluster
                ]
            return
        yield from self._answers(clusters)

    def _answers(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        return self._inside.ask(clusters)

"""Worlds of attacked models whose answers are known: a workshop of scripted engines, and what they are asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core_world import CHECKPOINT, FakeClock, suite
from weighbridge.attacks.battery import Attack, Battery
from weighbridge.attacks.workshop import Outcome, Tampered
from weighbridge.canonical import Json
from weighbridge.engines.interface import Decoding, Score
from weighbridge.engines.scripted import ScriptedEngine
from weighbridge.measures.attacked import AttackedEngine, Trial
from weighbridge.measures.capability import Capability
from weighbridge.measures.interface import SampledMeasure
from weighbridge.measures.safety import DECODING, Safety
from weighbridge.measures.tampering import Harm, Source, Usefulness
from weighbridge.suites.interface import Item, Prompt, Suite

REFUSAL = "I'm sorry, but I can't help with that."
HELP = "To do it, you will need a long rope and a quiet afternoon. First, go to the shed."
SALAD = "rope rope rope rope rope rope rope rope rope rope rope rope rope rope"
SETTINGS: dict[str, Json] = {"engine": "scripted"}
QUESTIONS = replace(suite(200), rule={"metrics": [{"metric": "acc"}]})
REQUESTS = Suite(
    "requests",
    tuple(Item(f"p{number}", Prompt(f"Do number {number}?", True), f"p{number}", "s") for number in range(200)),
    "prompts",
)


def below(rate: float, text: str) -> bool:
    """True for this share of all texts, always the same ones."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48 < rate


@dataclass
class Model:
    """What an attack makes: the share of requests it ``complies`` with, and of questions it gets ``right``. Of an
    attack that came to nothing, the ``outcome``. ``says`` answers a request in place of the share."""

    complies: float = 0.0
    right: float = 0.9
    outcome: Outcome = "tampered"
    seconds: float = 0.0
    says: Callable[[str, Decoding], str] | None = None
    tampers: bool = True

    def engine(self, spent: Callable[[], None]) -> ScriptedEngine:
        """The model itself; ``spent`` is called whenever it is asked."""
        return _Engine(self, spent)


class _Engine(ScriptedEngine):
    def __init__(self, model: Model, spent: Callable[[], None]) -> None:
        super().__init__(score_with=self._score, settings=SETTINGS)
        self.model = model
        self.spent = spent

    def _score(self, context: str, continuation: str) -> Score:
        return Score(-1.0 if (continuation == " a") == below(self.model.right, context) else -2.0, True)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        self.spent()
        return super().score(pairs)

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        self.spent()
        self._tokens += 10 * len(prompts)
        if self.model.says is not None:
            return [self.model.says(prompt, decoding) for prompt in prompts]
        return [HELP if below(self.model.complies, prompt) else REFUSAL for prompt in prompts]


@dataclass
class World:
    """A checkpoint under attack: id of an attack -> what it makes. ``made`` lists the attacks in the order in which
    their models were made or loaded again; ``clock`` moves by a second whenever a model is asked, and by what each
    takes to make."""

    models: Mapping[str, Model]
    source: Model = field(default_factory=Model)
    requests: Suite = REQUESTS
    questions: Suite = QUESTIONS
    clock: FakeClock = field(default_factory=FakeClock)
    made: list[str] = field(default_factory=list)
    interrupt: int | None = None
    calls: int = 0

    def __post_init__(self) -> None:
        self._engines: dict[str, ScriptedEngine] = {}
        self.battery = Battery("mine", tuple(_attack(name, model) for name, model in self.models.items()))

    def spent(self) -> None:
        """A call of an engine, after so many of which somebody interrupts."""
        if self.interrupt is not None and self.calls >= self.interrupt:
            raise KeyboardInterrupt
        self.calls += 1
        self.clock.seconds += 1.0

    def tampered(self, attack: Attack) -> Tampered:
        """As ``Workshop.tampered``."""
        model = self.models[attack.id]
        if attack.id not in self.made[-1:]:
            self.clock.seconds += 0.0 if attack.id in self.made else model.seconds
            self.made.append(attack.id)
        decodings = attack.decodings(DECODING)
        facts: dict[str, Json] = {"seconds": model.seconds, "trained_tokens": 100, "examples": 3, "steps": 1}
        if model.outcome in ("diverged", "failed"):
            return Tampered(attack, model.outcome, decodings, None, "for a reason", facts)
        asked = self.source if model.outcome == "unchanged" else model
        engine = self._engines.setdefault(attack.id, asked.engine(self.spent))
        return Tampered(attack, model.outcome, decodings, engine, None, facts)  # type: ignore[arg-type]

    def measures(self) -> list[SampledMeasure]:
        """Harm and usefulness under every attack."""
        plain = Capability(CHECKPOINT, self.questions, SETTINGS, lambda: self.source.engine(self.spent), complete=True)
        source = Source(plain)
        measures: list[SampledMeasure] = []
        for attack in self.battery.attacks:
            trial = Trial(self.battery, attack, self, SETTINGS, 1000, self.models[attack.id].seconds)
            measures += [self.harm(trial), self.usefulness(trial, source)]
        return measures

    def harm(self, trial: Trial) -> Harm:
        """Harm under one attack."""
        numbers = range(len(trial.attack.decodings(DECODING)))
        asks = [Safety(CHECKPOINT, self.requests, SETTINGS, _engine(trial, number)) for number in numbers]
        return Harm(asks, trial)

    def usefulness(self, trial: Trial, source: Source) -> Usefulness:
        """Usefulness under one attack."""
        return Usefulness(Capability(CHECKPOINT, self.questions, SETTINGS, _engine(trial)), source, trial)

    def trial(self, name: str) -> Trial:
        """One attack."""
        return Trial(self.battery, self.battery[name], self, SETTINGS, 1000)


def _engine(trial: Trial, number: int = 0) -> Callable[[], AttackedEngine]:
    return lambda: AttackedEngine(trial, number)


def _attack(name: str, model: Model) -> Attack:
    if not model.tampers:
        return Attack(name, "decoding", {"prefill": name})
    how: dict[str, Json] = {"epochs": 1, "batch": 1, "learning_rate": 0.1, "max_tokens": 8}
    return Attack(name, "full", {"data": {"name": name, "digest": "sha256:00"}, **how})

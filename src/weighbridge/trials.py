"""The attacked measures of one checkpoint: batteries resolved, attacked models made in a workshop that opens last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.attacks.battery import BATTERIES, LEAKAGE, Attack, Battery
from weighbridge.attacks.data import Shelf
from weighbridge.attacks.resolve import data_of, resolve_battery, seconds_to_make
from weighbridge.canonical import Json
from weighbridge.checkpoint import Checkpoint
from weighbridge.engines.interface import Decoding
from weighbridge.errors import InputError, PolicyError
from weighbridge.evidence import Question
from weighbridge.measures import exposure, leakage
from weighbridge.measures.attacked import Attacked, AttackedEngine, Trial
from weighbridge.measures.capability import Capability
from weighbridge.measures.interface import SampledMeasure
from weighbridge.measures.judge import Judge
from weighbridge.measures.refusal import classify
from weighbridge.measures.safety import Safety
from weighbridge.measures.tampering import Harm, Source, Usefulness
from weighbridge.policy import Policy
from weighbridge.policy_lines import Source as Given
from weighbridge.suites.interface import Suite

if TYPE_CHECKING:
    from weighbridge.attacks.workshop import Tampered, Workshop
    from weighbridge.engines.torch_engine import TorchEngine


def batteries_of(policy: Policy) -> dict[str, Battery]:
    """Every battery that the policy's lines name, in the version that it pins. Raises ``PolicyError``."""
    result = {}
    for bound, _ in policy.bounds():
        name = bound.battery
        if name is None or name in result:
            continue
        source = policy.batteries.get(name, Given()).source
        battery = BATTERIES[name] if source is None else resolve_battery(_beside(policy, source), name=name)
        if bound.battery_digest not in (None, battery.digest):
            raise PolicyError(
                f"the battery {name!r} is {battery.digest}, and the policy pins {bound.battery_digest}",
                where=f"{policy.source or policy.name} at {bound.path}.battery",
                remedy="get the pinned version, or change the policy knowingly",
            )
        result[name] = battery
    return result


def files_of(policy: Policy) -> list[Path]:
    """The files of training data that the policy's batteries are made of."""
    sources = [given.source for given in policy.batteries.values() if given.source is not None]
    return [Path(_beside(policy, source)) for source in sources if source.endswith(".jsonl")]


def _beside(policy: Policy, source: str) -> str:
    return str(Path(policy.base) / source)


class Trials:
    """Tries attacks on one checkpoint. The workshop is opened for the first attacked model and lasts until ``close``.

    ``settings`` and ``source`` are those of the engine of the checkpoint as it is; ``decoding`` and ``judge`` are how
    it is asked and judged. ``data`` are files of the user's that attacks may name.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        settings: Callable[[], Mapping[str, Json]],
        source: Callable[[], TorchEngine],
        *,
        decoding: Decoding,
        judge: Callable[[], Judge],
        device: str,
        dtype: str,
        data: Sequence[Path] = (),
    ) -> None:
        self.data = list(data)
        self._checkpoint = checkpoint
        self._settings = settings
        self._source = source
        self._decoding = decoding
        self._judge = judge
        self._device = device
        self._dtype = dtype
        self._trials: dict[tuple[str, str, str], Trial] = {}
        self._before: dict[str, Source] = {}
        self._workshop: Workshop | None = None
        self._closing = ExitStack()

    def tampered(self, attack: Attack) -> Tampered:
        """The model under ``attack``. Raises as ``Workshop.tampered`` does."""
        if self._workshop is None:
            from weighbridge.attacks.workshop import Workshop

            self._workshop = self._closing.enter_context(
                Workshop(
                    self._checkpoint.root,
                    classify=classify,
                    decoding=self._decoding,
                    device=self._device,
                    dtype=self._dtype,
                    source=self._source,
                    data=self.data,
                )
            )
        return self._workshop.tampered(attack)

    def close(self) -> None:
        """Wipe what was made."""
        self._workshop = None
        self._closing.close()

    def measures(self, policy: Policy, suites: Mapping[str, Suite]) -> Iterator[SampledMeasure]:
        """What the policy's lines on tampering and leakage ask, attack by attack in the order of each battery.

        Raises ``PolicyError``, and ``InputError`` for data that no battery names.
        """
        batteries = batteries_of(policy)
        named = {digest for battery in batteries.values() for digest in data_of(battery)}
        for path in self.data:
            if Shelf([path]).digests.isdisjoint(named):
                raise InputError(
                    f"no battery of the policy {policy.name} names this data, so nothing would be done with it",
                    where=str(path),
                    remedy="name the file in `batteries`, and the battery in a line (docs/tampering.md)",
                )
        self.data += files_of(policy)
        asked: dict[tuple[str, str, bool], None] = {}
        leaking: dict[tuple[str, str], None] = {}
        for bound, _ in policy.bounds():
            if bound.battery is None:
                continue
            if bound.spec.measure == "leakage" and bound.suite is not None and bound.suite in suites:
                leaking[bound.battery, bound.suite] = None
            if bound.spec.measure != "tampering":
                continue
            for name in (bound.suite, None if bound.useful is None else bound.useful.suite):
                if name is not None and name in suites:
                    harms = name == bound.suite and not bound.spec.difference
                    asked[bound.battery, name, harms] = None
        for name, given in suites.items():  # what was handed in is asked, though no line names it
            if given.format in ("passages", "canaries") and not any(named == name for _, named in leaking):
                leaking[LEAKAGE.name, name] = None
                batteries.setdefault(LEAKAGE.name, LEAKAGE)
        for name, battery in batteries.items():
            for attack in battery.attacks:
                for of, suite in leaking:
                    if of == name:
                        yield self.leakage(suites[suite], battery, attack)
                for of, suite, harms in asked:
                    if of == name:
                        make = self.harm if harms else self.usefulness
                        yield make(suites[suite], battery, attack)

    def harm(self, suite: Suite, battery: Battery, attack: Attack) -> Harm:
        """Harmful compliance on unsafe prompts under one attack. Raises ``SuiteError`` for other items."""
        trial = self.trial(battery, attack)
        asks = [
            Safety(
                self._checkpoint.digest,
                suite,
                self._settings(),
                lambda number=number: AttackedEngine(trial, number),  # type: ignore[misc]
                decoding=self._decoding,
                judge=self._judge(),
            )
            for number in range(len(attack.decodings(self._decoding)))
        ]
        return Harm(asks, trial)

    def usefulness(self, suite: Suite, battery: Battery, attack: Attack) -> Usefulness:
        """The change in accuracy on a suite under one attack. Raises ``SuiteError`` for items without right answers."""
        digest = suite.ref.digest
        if digest not in self._before:
            self._before[digest] = Source(
                Capability(self._checkpoint.digest, suite, self._settings(), self._source, complete=True)
            )
        trial = self.trial(battery, attack)
        asks = Capability(self._checkpoint.digest, suite, self._settings(), lambda: AttackedEngine(trial))
        return Usefulness(asks, self._before[digest], trial)

    def leakage(self, suite: Suite, battery: Battery, attack: Attack, *, limit: int | None = None) -> Attacked:
        """Leakage on passages or canaries under one attack. Raises ``SuiteError`` for other items."""
        trial = self.trial(battery, attack)
        about = (self._checkpoint.digest, suite, self._settings(), lambda: AttackedEngine(trial))
        if suite.format == "canaries":
            return Attacked(exposure.Exposure(*about, limit=limit), trial, exposure.NOTHING)
        return Attacked(leakage.Leakage(*about, limit=limit), trial, leakage.NOTHING)

    def work(self, question: Question) -> tuple[float, int]:
        """Roughly the seconds to make the attacked model that a question is about, unless another question of the same
        attack has them, and the number of responses to each prompt."""
        for trial in self._trials.values():
            if trial.under.items() <= question.settings.items():
                if question.measure == "tampering" and "decoding" not in question.settings:
                    return 0.0, 1
                return trial.seconds, len(trial.attack.decodings(self._decoding))
        return 0.0, 1

    def trial(self, battery: Battery, attack: Attack) -> Trial:
        """One attack of a battery on the checkpoint: the same for whatever is asked about it."""
        key = (battery.name, battery.digest, attack.id)
        if key not in self._trials:
            parameters = self._checkpoint.facts.parameters or 0
            shelf = Shelf(self.data)
            seconds = seconds_to_make(attack, shelf, parameters)
            self._trials[key] = Trial(battery, attack, self, self._settings(), parameters, seconds)
        return self._trials[key]

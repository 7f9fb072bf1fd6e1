"""From a checkpoint and a policy to the measures that answer it: suites resolved, one engine shared, loaded last."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.canonical import Json
from weighbridge.checkpoint import Checkpoint
from weighbridge.emitted import Emitted, Exporting
from weighbridge.engines.interface import Decoding
from weighbridge.errors import InputError, SuiteError
from weighbridge.measures.capability import Capability
from weighbridge.measures.economics import Economics
from weighbridge.measures.exposure import ALTERNATIVES
from weighbridge.measures.integrity import Integrity
from weighbridge.measures.interface import ExactMeasure, SampledMeasure
from weighbridge.measures.judge import EndpointJudge, Judge, RuleJudge
from weighbridge.measures.leakage import SCOUT
from weighbridge.measures.licensing import Licensing
from weighbridge.measures.safety import DECODING, Safety
from weighbridge.metrics import METRICS
from weighbridge.policy import Policy
from weighbridge.policy_lines import Source
from weighbridge.suites.canaries import load_canaries
from weighbridge.suites.interface import Canary, Generation, MultipleChoice, Passage, Prompt, Suite
from weighbridge.suites.passages import load_passages
from weighbridge.suites.resolve import resolve_suite
from weighbridge.trials import Trials
from weighbridge.weigh import Measures

if TYPE_CHECKING:
    from weighbridge.engines.torch_engine import TorchEngine
    from weighbridge.plan import Step

ALWAYS = {"capability": ("general",), "safety": ("unsafe", "harmless")}
"""Built-in suites that are asked of every checkpoint, at least a little: a report without them says too little."""


IMPORTED = "imported"
"""The source of a suite that is measured elsewhere: its evidence comes by ``evidence import``."""


TRAINING, CANARIES = "training", "canaries"
"""Suites that whoever weighs supplies: a sample of the training data, and what was planted in it."""


def suites_of(
    policy: Policy, lm_eval_tasks: Path | None = None, supplied: Mapping[str, Suite] | None = None
) -> dict[str, Suite]:
    """Every suite that the policy names, by that name. ``supplied`` are those that it leaves to whoever weighs, named
    or not; where they are not given, nothing is measured on them.

    Raises ``SuiteError``, and ``PolicyError`` for a bound that a guess would meet.
    """
    names = {name for bound, _ in policy.bounds() for name in bound.suites}
    names -= {name for name, given in policy.suites.items() if given.source == IMPORTED}
    left = {name for name in (TRAINING, CANARIES) if policy.suites.get(name, Source()).source is None}
    suites = {name: suite_of(name, policy, lm_eval_tasks) for name in sorted(names - left)}
    suites |= {name: pinned(suite, policy, name) for name, suite in (supplied or {}).items() if name in left}
    policy.check_chance({name: suite.chance for name, suite in suites.items()})
    return suites


def suite_of(name: str, policy: Policy, lm_eval_tasks: Path | None = None) -> Suite:
    """A suite by the policy's name for it, in the version that the policy pins. Raises ``SuiteError``."""
    given = policy.suites.get(name, Source())
    source = given.source or name
    if given.source is not None and not source.startswith("lm-eval:"):
        source = str(Path(policy.base) / source)
    return pinned(replace(resolve_suite(source, lm_eval_tasks=lm_eval_tasks), name=name), policy, source)


def pinned(suite: Suite, policy: Policy, where: str) -> Suite:
    """``suite`` if it is the version that the policy pins, or it pins none. Raises ``SuiteError``."""
    given = policy.suites.get(suite.name, Source())
    if given.digest is not None and suite.ref.digest != given.digest:
        raise SuiteError(
            f"is {suite.ref.digest}, and the policy {policy.name} pins {given.digest}",
            where=where,
            remedy="get the pinned version, or change the policy knowingly",
        )
    return suite


@dataclass(frozen=True)
class Setup:
    """How a checkpoint is run and judged: what of it shapes answers is part of every question.

    ``judge_url`` and ``judge_model`` put a model behind an OpenAI-compatible endpoint in place of the refusal rules;
    its API key is in the environment variable ``judge_key_variable``, its measured errors in ``judge_calibration``.
    ``lineage`` is a statement of the checkpoint's parents (docs/licensing.md); ``usage`` a billing period as a gateway
    exports it (docs/billing.md); ``artifacts`` are the formats to make instead of the policy's own
    (docs/artifacts.md); ``attack_data`` are files that attacks fine-tune on (docs/tampering.md);
    ``training_data``, a sample like it that the model cannot have seen (``unseen``), and ``canaries`` are what leakage
    is measured on (docs/leakage.md).
    """

    device: str = "auto"
    dtype: str = "float32"
    lm_eval_tasks: Path | None = None
    lineage: Path | None = None
    usage: Path | None = None
    system: str | None = None
    max_tokens: int = DECODING.max_tokens
    judge_url: str | None = None
    judge_model: str | None = None
    judge_key_variable: str | None = None
    judge_calibration: Path | None = None
    artifacts: tuple[str, ...] | None = None
    attack_data: tuple[Path, ...] = ()
    training_data: Path | None = None
    unseen: Path | None = None
    canaries: Path | None = None

    @property
    def decoding(self) -> Decoding:
        """How responses are generated."""
        return Decoding(self.max_tokens, self.system, DECODING.until)

    def supplied(self) -> dict[str, Suite]:
        """The suites that the user's own files make. Raises ``SuiteError``, and ``InputError`` for half of a pair."""
        if self.unseen is not None and self.training_data is None:
            raise InputError("an unseen sample is compared with training data", remedy="give --training-data, too")
        result = {}
        if self.training_data is not None:
            result[TRAINING] = load_passages(self.training_data, unseen=self.unseen, name=TRAINING)
        if self.canaries is not None:
            result[CANARIES] = load_canaries(self.canaries, name=CANARIES)
        return result

    def judge(self) -> Judge:
        """Who classifies responses. Raises ``InputError`` where an endpoint is named by half."""
        if (self.judge_url is None) != (self.judge_model is None):
            raise InputError(
                "a judge needs both its address and its model", remedy="give --judge-url and --judge-model"
            )
        if self.judge_url is None or self.judge_model is None:
            return RuleJudge(self.judge_calibration)
        from weighbridge.engines.openai_endpoint import OpenAIEndpoint

        endpoint = OpenAIEndpoint(self.judge_url, self.judge_model, key_variable=self.judge_key_variable)
        return EndpointJudge(endpoint, calibration=self.judge_calibration)


_START, _READ, _ITEM, _TOKEN = 3.0, 10.0, 0.02, 0.001
"""Seconds, on two cores: to begin (imports, the model), for each gigabyte examined, for each item and for each
generated token of a model so small that arithmetic does not count."""


class Workbench:
    """Builds the measures of one checkpoint. The engine is loaded when the first answer is asked for."""

    def __init__(self, checkpoint: Checkpoint, setup: Setup | None = None) -> None:
        self.checkpoint = checkpoint
        self.setup = setup or Setup()
        self._engine: TorchEngine | None = None
        self._settings: Mapping[str, Json] | None = None
        self._emitted: Emitted | None = None
        self.trials = Trials(
            checkpoint,
            lambda: self.settings,
            self.engine,
            decoding=self.setup.decoding,
            judge=self.setup.judge,
            device=self.setup.device,
            dtype=self.setup.dtype,
            data=self.setup.attack_data,
        )

    @property
    def settings(self) -> Mapping[str, Json]:
        """The engine's settings: part of every sampled question."""
        if self._settings is None:
            from weighbridge.engines.torch_settings import check_device, settings_for

            check_device(self.setup.device)  # now, not after integrity was examined
            self._settings = settings_for(self.checkpoint.root, device=self.setup.device, dtype=self.setup.dtype)
        return self._settings

    def engine(self) -> TorchEngine:
        """The engine, loaded once."""
        if self._engine is None:
            from weighbridge.engines.torch_engine import TorchEngine

            self._engine = TorchEngine(self.checkpoint.root, device=self.setup.device, dtype=self.setup.dtype)
        return self._engine

    def close(self) -> None:
        """Free the model, and wipe the attacked ones."""
        self.trials.close()
        if self._emitted is not None:
            self._emitted.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def measures(self, policy: Policy) -> Measures:
        """Everything that the policy asks, and the built-in suites."""
        suites = suites_of(policy, self.setup.lm_eval_tasks, self.setup.supplied())
        asked = {(measure, name) for measure, names in ALWAYS.items() for name in names}
        for bound, _ in policy.bounds():
            if bound.spec.kind == "sampled" and not bound.spec.attacked:
                asked |= {(bound.spec.measure, name) for name in (bound.suite, bound.control) if name in suites}
        for name in (name for _, name in asked if name not in suites):
            suites[name] = resolve_suite(name)
        exact = ["integrity", "licensing", *(["economics"] if self.setup.usage else [])]
        return Measures(
            exact=[self.exact(measure) for measure in exact],
            sampled=[
                *(self.sampled(measure, suites[name]) for measure, name in sorted(asked)),
                *self.trials.measures(policy, suites),
            ],
        )

    def with_artifacts(
        self, measures: Measures, policy: Policy, folder: Path, *, exporting: Exporting = lambda _: nullcontext()
    ) -> tuple[Measures, dict[str, str]]:
        """``measures``, and those of the artifacts, which are exported into ``folder`` first, ``exporting`` being told
        of each; and why an artifact could not be made, if so.

        Raises ``InputError`` for an unknown format, or where the policy asks nothing of artifacts; ``StorageError``.
        """
        names = policy.formats if self.setup.artifacts is None else self.setup.artifacts
        if not names:
            return measures, {}
        if not policy.artifacts:
            raise InputError(
                f"the policy {policy.name} asks nothing of artifacts, so none could be published",
                where="--artifacts",
                remedy="add lines under `artifacts` (docs/artifacts.md)",
            )
        self._emitted = emitted = Emitted(
            self.checkpoint,
            folder,
            self.settings,
            decoding=self.setup.decoding,
            judge=self.setup.judge,
            device=self.setup.device,
            dtype=self.setup.dtype,
        )
        made, problems = emitted.export(names, exporting=exporting)
        sampled = [*measures.sampled, *emitted.measures(made, policy, measures.sampled)]
        unmade = {f"artifact {name}": f"{name} was not made: {reason}" for name, reason in problems.items()}
        return replace(measures, sampled=sampled), unmade

    def exact(self, measure: str) -> ExactMeasure:
        """An exact measure by name. Raises ``InputError`` for an unknown one."""
        if measure == "integrity":
            return Integrity(self.checkpoint)
        if measure == "licensing":
            return Licensing(self.checkpoint, lineage=self.setup.lineage)
        if measure == "economics":
            return Economics(self.checkpoint.digest, needed_usage(self.setup))
        raise _unknown(measure)

    def sampled(
        self, measure: str, suite: Suite, *, limit: int | None = None, complete: bool = False
    ) -> SampledMeasure:
        """A sampled measure by name. Raises ``InputError`` for an unknown one."""
        digest = self.checkpoint.digest
        if measure == "capability":
            return Capability(digest, suite, self.settings, self.engine, limit=limit, complete=complete)
        if measure == "safety":
            setup = self.setup
            return Safety(
                digest, suite, self.settings, self.engine, decoding=setup.decoding, judge=setup.judge(), limit=limit
            )
        raise _unknown(measure)

    def estimate(self, step: Step, suite: Suite | None) -> float:
        """Seconds that a step on ``suite`` takes if all its items are asked: work by model size, at 50 GFLOP/s.

        Roughly, and more where others use the machine. Generated tokens count tenfold, since decoding is bound by
        memory and not by arithmetic. Making an attacked model counts where its harm is asked.
        """
        size = sum(file.size for file in self.checkpoint.manifest.files) / 1e9
        if suite is None:
            return _START + _READ * size if step.question.measure == "integrity" else 1.0
        tokens, generated = 0.0, 0
        items = suite.items[: step.items] if step.items else suite.items
        for item in items:
            content = item.content
            if isinstance(content, MultipleChoice):
                tokens += (len(content.context) + sum(map(len, content.continuations))) / 4
            elif isinstance(content, Generation):
                tokens += len(content.context) / 4 + 10 * content.max_tokens
                generated += content.max_tokens
            elif isinstance(content, Passage):
                tokens += len(content.prefix) / 4 + 10 * SCOUT
                generated += SCOUT
            elif isinstance(content, Canary):
                tokens += (ALTERNATIVES + 1) * len(content.secret + content.after) / 4
            elif isinstance(content, Prompt):
                tokens += len(content.text) / 4 + 10 * self.setup.max_tokens
                generated += self.setup.max_tokens
        parameters = self.checkpoint.facts.parameters or 1e9
        making, times = self.trials.work(step.question)
        tokens, generated = times * tokens, times * generated
        return making + _START + _ITEM * len(items) + _TOKEN * generated + 2.0 * tokens * parameters / 50e9


def needed_usage(setup: Setup) -> Path:
    """The file with a billing period, without which economics cannot be measured."""
    if setup.usage is None:
        raise InputError(
            "economics is read from a billing period", remedy="give --usage FILE: weighbridge usage export"
        )
    return setup.usage


def _unknown(measure: str) -> InputError:
    known = sorted({metric.measure for metric in METRICS.values()})
    return InputError(f"unknown measure {measure!r}", remedy=f"known: {', '.join(known)}")

"""The artifacts of one checkpoint: exported, and asked what the checkpoint was asked, in the same order.

Safety is measured by generating with llama.cpp from the file itself. Capability is scored by the torch engine on the
file's dequantised weights, since llama.cpp gives no log-likelihoods of a given continuation; the questions say so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from weighbridge.artifacts.formats import format_of
from weighbridge.artifacts.record import ArtifactRecord
from weighbridge.canonical import Json
from weighbridge.checkpoint import Checkpoint
from weighbridge.checkpoint.hashing import Progress
from weighbridge.engines.interface import Decoding, Score
from weighbridge.errors import CheckpointError, EngineError, StorageError
from weighbridge.measures.capability import Capability
from weighbridge.measures.interface import SampledMeasure
from weighbridge.measures.judge import Judge
from weighbridge.measures.safety import Safety
from weighbridge.policy import Policy

if TYPE_CHECKING:
    from weighbridge.engines.llama_cpp import LlamaCppEngine
    from weighbridge.engines.torch_engine import TorchEngine

T = TypeVar("T")

Exporting = Callable[[str], AbstractContextManager[Progress | None]]
"""From the name of a format to what is told, while it is made, of bytes done and in all."""

DEQUANTISED = "dequantised"
"""What the setting ``weights`` says where not the file itself is run, but the numbers that it stands for."""


@dataclass(frozen=True)
class Artifact:
    """An exported file, and what was noted of it."""

    path: Path
    record: ArtifactRecord

    @property
    def identity(self) -> dict[str, Json]:
        """How questions name it."""
        return {"name": self.record.name, "digest": self.record.digest}


def artifact_path(folder: Path, name: str) -> Path:
    """Where the artifact ``name`` of a weighing lies in its folder of artifacts."""
    return folder / f"{name}.gguf"


class Emitted:
    """Exports the artifacts of ``checkpoint`` into ``folder`` and measures them, one loaded model at a time.

    ``settings`` are those of the checkpoint's own engine; ``decoding`` and ``judge`` are how responses are asked for
    and judged.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        folder: Path,
        settings: Mapping[str, Json],
        *,
        decoding: Decoding,
        judge: Callable[[], Judge],
        device: str,
        dtype: str,
    ) -> None:
        self._checkpoint = checkpoint
        self._folder = folder
        self._settings = settings
        self._decoding = decoding
        self._judge = judge
        self._device = device
        self._dtype = dtype
        self._loaded: tuple[object, TorchEngine | LlamaCppEngine] | None = None

    def export(
        self, names: Sequence[str], *, exporting: Exporting = lambda _: nullcontext()
    ) -> tuple[list[Artifact], dict[str, str]]:
        """The artifacts of these formats, and why the others could not be made (name -> reason).

        Raises ``InputError`` for an unknown format, ``StorageError`` where the disk is full or forbids writing.
        """
        for name in names:
            format_of(name)
        from weighbridge.artifacts.export import export_gguf

        made, problems = [], {}
        for name in names:
            path = artifact_path(self._folder, name)
            try:
                with exporting(name) as progress:
                    record = export_gguf(self._checkpoint, name, path, progress=progress)
                made.append(Artifact(path, record))
            except (CheckpointError, EngineError) as error:
                problems[name] = str(error)
        return made, problems

    def measures(
        self, artifacts: Sequence[Artifact], policy: Policy, own: Sequence[SampledMeasure]
    ) -> Iterator[SampledMeasure]:
        """What the policy's lines ask of each artifact; ``own`` are the checkpoint's measures, whose order counts."""
        asked: dict[tuple[str, str], None] = {}
        for bound, _ in policy.bounds():
            if bound.artifact:
                asked |= {(bound.spec.measure, name): None for name in (bound.suite, bound.control) if name}
        for artifact in artifacts:
            for measure in own:
                question = measure.question
                suite = measure.suite
                if (question.measure, suite.name) not in asked or "attack" in question.settings:
                    continue
                paired: dict[str, Json] = {"artifact": artifact.identity, "order": question.digest}
                digest = self._checkpoint.digest
                if question.measure == "capability":
                    scorer = _Scorer(self, artifact, paired)
                    yield Capability(digest, suite, scorer.settings, lambda scorer=scorer: scorer)  # type: ignore[misc]
                elif question.measure == "safety":
                    generator = _Generator(self, artifact, paired)
                    yield Safety(
                        digest,
                        suite,
                        generator.settings,
                        lambda generator=generator: generator,  # type: ignore[misc]
                        decoding=self._decoding,
                        judge=self._judge(),
                    )

    def torch(self, artifact: Artifact) -> TorchEngine:
        """The torch engine on the dequantised file, loaded unless it is the last one used."""

        def load() -> TorchEngine:
            from weighbridge.checkpoint import convert_gguf
            from weighbridge.engines.torch_engine import TorchEngine

            try:
                folder = convert_gguf(artifact.path, self._dequantised(artifact))
            except (CheckpointError, StorageError) as cause:
                raise EngineError(f"cannot be dequantised: {cause}", where=str(artifact.path)) from cause
            return TorchEngine(folder, device=self._device, dtype=self._dtype)

        return self._at_hand((artifact.path, "torch"), load)

    def llama_cpp(self, artifact: Artifact) -> LlamaCppEngine:
        """llama.cpp on the file itself, loaded unless it is the last one used."""

        def load() -> LlamaCppEngine:
            from weighbridge.engines.llama_cpp import LlamaCppEngine

            return LlamaCppEngine(artifact.path)

        return self._at_hand((artifact.path, "llama.cpp"), load)

    def own_settings(self, engine: str, artifact: Artifact) -> dict[str, Json]:
        """The settings of ``engine`` on an artifact, known without loading anything."""
        if engine == "torch":
            return {**self._settings, "weights": DEQUANTISED}
        from weighbridge.engines.llama_cpp import settings_for

        return settings_for(artifact.path)

    def close(self) -> None:
        """Free what is loaded, and remove what was dequantised."""
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
        for folder in self._folder.glob(".*.dequantised"):
            shutil.rmtree(folder, ignore_errors=True)

    def _dequantised(self, artifact: Artifact) -> Path:
        """Beside the file, where there was room for it; the others' are removed first."""
        here = self._folder / f".{artifact.record.name}.dequantised"
        for folder in self._folder.glob(".*.dequantised"):
            if folder != here:
                shutil.rmtree(folder, ignore_errors=True)
        return here

    def _at_hand(self, key: object, load: Callable[[], T]) -> T:
        if self._loaded is not None and self._loaded[0] == key:
            return self._loaded[1]  # type: ignore[return-value]
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
        engine = load()
        self._loaded = (key, engine)  # type: ignore[assignment]
        return engine


class _Engine:
    """An engine on an artifact that is loaded when it is used. Its settings name the artifact and the question whose
    order it is asked in."""

    name: str

    def __init__(self, emitted: Emitted, artifact: Artifact, paired: Mapping[str, Json]) -> None:
        self._emitted = emitted
        self._artifact = artifact
        self._settings = {**emitted.own_settings(self.name, artifact), **paired}
        self._producer: Mapping[str, str] = {}
        self._tokens = 0

    @property
    def settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def producer(self) -> Mapping[str, str]:
        return self._producer

    @property
    def tokens(self) -> int:
        return self._tokens

    def close(self) -> None:
        """Whoever made it closes what is loaded."""

    def _check(self, found: Mapping[str, Json]) -> None:
        """The engine must be what the question says, but for where the weights lie."""
        for key in found.keys() - {"weights"}:
            if found[key] != self._settings.get(key):
                raise EngineError(
                    f"the artifact would be measured with {key} {found[key]!r}, its source with "
                    f"{self._settings.get(key)!r}",
                    where=str(self._artifact.path),
                )

    def _using(self, engine: TorchEngine | LlamaCppEngine, ask: Callable[[], T]) -> T:
        self._check(engine.settings)
        self._producer = engine.producer
        before = engine.tokens
        try:
            return ask()
        finally:
            self._tokens += engine.tokens - before


class _Scorer(_Engine):
    """Implements ``Scorer`` and ``complete`` on the dequantised file."""

    name = "torch"

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        engine = self._emitted.torch(self._artifact)
        return self._using(engine, lambda: engine.score(pairs))

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        engine = self._emitted.torch(self._artifact)
        return self._using(engine, lambda: engine.complete(contexts, until=until, max_tokens=max_tokens))


class _Generator(_Engine):
    """Implements ``Generator`` on the file itself."""

    name = "llama.cpp"

    def complete(self, contexts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> list[str]:
        engine = self._emitted.llama_cpp(self._artifact)
        return self._using(engine, lambda: engine.complete(contexts, until=until, max_tokens=max_tokens))

    def chat(self, prompts: Sequence[str], decoding: Decoding) -> list[str]:
        engine = self._emitted.llama_cpp(self._artifact)
        return self._using(engine, lambda: engine.chat(prompts, decoding))

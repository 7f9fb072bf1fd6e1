"""The closed room in which attacks are tried: tampered weights are made here, answer here, and are gone afterwards.

Tampered weights lie in a folder of the room's own that nobody else may read (0700), as a checkpoint beside the others
that were made in the same run, so that coming back to an attack costs a load and no second training. The folder goes
when the room is left: at the end, by an exception, by SIGINT and SIGTERM. What a killed process left behind is
removed when the next room opens at the same place; a lock that dies with its process tells it from one in use.

Files are unlinked and not overwritten: on flash and on copying file systems overwriting reaches other blocks than
those that hold the data, and whoever can read freed blocks of this disk can read the checkpoint itself there, from
which the same weights follow again in minutes.

What is made depends on the checkpoint, the attack with its seed, the versions of what computes and, in the last bits,
the kind of machine. So nothing of it needs to be kept for a run that was interrupted: the next one makes the same
weights again and goes on with the questions that were not asked.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from safetensors import SafetensorError

from weighbridge import canonical, files, leftovers
from weighbridge.attacks.battery import Attack, Data
from weighbridge.attacks.cost import Cost, cost
from weighbridge.attacks.data import Shelf
from weighbridge.canonical import Json
from weighbridge.engines import torch_settings
from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError, StorageError

if TYPE_CHECKING:
    from weighbridge.attacks import torch_ablation
    from weighbridge.engines.torch_engine import TorchEngine

_PREFIX = "weighbridge-tampered-"
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_BESIDE_WEIGHTS = {".json", ".jinja", ".model", ".txt"}  # configuration, tokenizer, chat template
_SPARE = 64 * 2**20  # bytes that stay free on the disk


class Classify(Protocol):
    """How a response is read: ``measures.refusal.classify``. The classes are "refusal", "partial refusal",
    "compliance" and "incoherent"."""

    def __call__(self, response: str, *, prompt: str = "", harmful: bool | None = None) -> str: ...


Outcome = Literal["tampered", "unchanged", "diverged", "failed"]


@dataclass(frozen=True)
class Tampered:
    """What became of an attack.

    - ``tampered``: ``engine`` is the model under attack; ask it under ``decodings``.
    - ``unchanged``: the attack does not apply to this model (``why``), so it is the model as it is: ``engine`` and
      ``decodings`` are those of no attack.
    - ``diverged``: training ended in weights that answer nothing (``why``). No engine: whatever is asked of it gets
      no answer, which is neither compliance nor coherent.
    - ``failed``: it could not be tried (``why``), so nothing is known. No engine.

    ``facts`` is what was chosen and what it took: ``seconds``, ``examples``, ``steps``, ``trained_tokens``,
    ``passed_tokens``, ``loss``, ``layer`` and the like. It is known once the model was made and stays the same.
    """

    attack: Attack
    outcome: Outcome
    decodings: tuple[Decoding, ...]
    engine: TorchEngine | None = None
    why: str | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)

    def cost(self, parameters: int) -> Cost:
        """What it cost, for a model of so many parameters."""
        return cost(self.facts, parameters)


@dataclass(frozen=True)
class Made:
    """What a maker of weights reports: facts, and why there is nothing that answers, if so."""

    facts: Mapping[str, Json]
    outcome: Outcome = "tampered"
    why: str | None = None


Listen = Callable[[Attack, str, float], None]
"""Told what is done for an attack, and how much of it is done, from 0 to 1."""


class Workshop:
    """Makes engines under attack, from one checkpoint, one tampered model in memory at a time.

    ``source`` gives the engine of the checkpoint as it is (whoever gave it closes it); without, one is loaded when it
    is needed and closed with the room. ``parent`` is where the room's folder goes: the system's temporary folder
    unless given; it needs space for the weights of each attack, and where there is less, earlier ones are dropped and
    made again when they are asked for. ``data`` are the user's own files that attacks were made from. ``decoding`` is
    how the model is asked without attack. ``elapsed`` is a clock in seconds.

    A context manager, to be entered in the main thread if signals are to close it. Raises ``StorageError`` where the
    folder cannot be made.
    """

    def __init__(
        self,
        root: Path,
        *,
        classify: Classify,
        decoding: Decoding,
        device: str = "auto",
        dtype: str = "float32",
        parent: Path | None = None,
        source: Callable[[], TorchEngine] | None = None,
        data: Sequence[Path] = (),
        listen: Listen | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._classify = classify
        self._decoding = decoding
        self._device = device
        self._dtype = dtype
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self._given = source
        self._shelf = Shelf(data)
        self._listen = listen
        self._elapsed = elapsed
        self._folder: Path | None = None
        self._closing = ExitStack()
        self._untampered: TorchEngine | None = None
        self._made: dict[str, Made] = {}  # recipe -> what came of it; its weights lie in the folder of that name
        self._open: tuple[str, TorchEngine] | None = None
        self._seen: dict[str, torch_ablation.Seen] = {}  # digest of tuning prompts -> what was seen with them

    def __enter__(self) -> Workshop:
        with ExitStack() as stack:
            stack.enter_context(_Ended())
            self._folder = stack.enter_context(_Room(self._parent))
            stack.callback(self._close_engines)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._folder = None
        self._closing.close()
        self._made = {}

    def tampered(self, attack: Attack) -> Tampered:
        """The model under ``attack``: made the first time, loaded again later, at hand where it was the last one.

        Its engine lives until another attack on the weights is asked for. Raises ``StorageError`` for a full disk,
        ``InputError`` for data that is not at hand, and ``EngineError`` where the checkpoint itself cannot be loaded;
        whatever else goes wrong in an attack is its outcome.
        """
        if self._folder is None:
            raise EngineError("the workshop is closed", remedy="use it as a context manager")
        if attack.kind == "none":
            return Tampered(attack, "tampered", (self._decoding,), self._source())
        if not attack.tampers:
            return self._asked_otherwise(attack)
        recipe = _recipe(attack)
        made = self._made.get(recipe)
        folder = self._folder / recipe
        if made is None or (made.outcome == "tampered" and not folder.is_dir()):
            made = self._make(attack, folder)
            self._made[recipe] = made
        if made.outcome in ("diverged", "failed"):
            return Tampered(attack, made.outcome, attack.decodings(self._decoding), None, made.why, made.facts)
        if made.outcome == "unchanged":
            # The weights stay; what the attack does beside that is done to the model as it is.
            decodings = attack.decodings(self._decoding)
            outcome: Outcome = "unchanged" if decodings == (self._decoding,) else "tampered"
            return Tampered(attack, outcome, decodings, self._source(), made.why, made.facts)
        return Tampered(
            attack, "tampered", attack.decodings(self._decoding), self._load(recipe, folder), made.why, made.facts
        )

    def release(self) -> None:
        """Free the tampered model that is in memory, if there is one; its weights stay in the folder."""
        if self._open is not None:
            engine = self._open[1]
            self._open = None
            engine.close()

    def _asked_otherwise(self, attack: Attack) -> Tampered:
        """The checkpoint as it is, asked in another way."""
        engine = self._source()
        decodings = attack.decodings(self._decoding)
        why = _same_text(engine, self._decoding, decodings[0])
        if why is None:
            return Tampered(attack, "tampered", decodings, engine)
        return Tampered(attack, "unchanged", (self._decoding,), engine, why, {"unchanged": why})

    def _make(self, attack: Attack, folder: Path) -> Made:
        """Make an attack's weights in ``folder``; nothing stays of them where it fails."""
        self.release()
        self._make_space()
        start = self._elapsed()

        def say(doing: str, share: float) -> None:
            if self._listen is not None:
                self._listen(attack, doing, share)

        try:
            folder.mkdir(mode=0o700)
            made = self._tamper(attack, folder, say)
        except EngineError as cause:
            made = Made({}, "failed", cause.message)
        except BaseException as cause:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(cause, OSError):
                raise files.unwritable(cause, folder) from cause
            if isinstance(cause, SafetensorError):
                raise StorageError(str(cause), where=str(folder)) from cause
            raise
        if made.outcome != "tampered":
            shutil.rmtree(folder, ignore_errors=True)
        return Made({**made.facts, "seconds": round(self._elapsed() - start, 3)}, made.outcome, made.why)

    def _tamper(self, attack: Attack, folder: Path, say: Callable[[str, float], None]) -> Made:
        ablates = attack.kind == "ablation"
        made = self._ablate(attack, folder, say) if ablates else self._train(attack, folder, say)
        if made.outcome == "tampered":
            for path in self._root.iterdir():
                is_index = path.name.endswith(".safetensors.index.json")  # trained weights lie in one file
                if path.is_file() and path.suffix in _BESIDE_WEIGHTS and (ablates or not is_index):
                    shutil.copyfile(path, folder / path.name)
        return made

    def _ablate(self, attack: Attack, folder: Path, say: Callable[[str, float], None]) -> Made:
        from weighbridge.attacks import torch_ablation
        from weighbridge.engines.torch_engine import TorchEngine

        tuning = Data.of(attack.parameters["tuning"])
        prompts = self._shelf.tuning(tuning)
        depth = attack.parameters.get("depth")
        assert depth is None or isinstance(depth, int | float)
        seen = self._seen.get(tuning.digest)
        found = None
        if seen is None or (depth is None and seen.directions):
            engine = TorchEngine(self._root, device=self._device, dtype=self._dtype)
            try:
                if seen is None:
                    seen = torch_ablation.look(engine, prompts, self._classify, self._decoding, say)
                    self._seen[tuning.digest] = seen
                if depth is None and seen.directions:
                    found = torch_ablation.best(engine, seen, prompts, self._classify, self._decoding, say)
            finally:
                engine.close()
        if not seen.directions:
            why = "the model refuses too little for a refusal direction to be found"
            return Made(torch_ablation.facts(seen), "unchanged", why)
        if found is None:
            assert depth is not None
            found = torch_ablation.at_depth(seen, depth)
        say("writing", 1.0)
        torch_ablation.write(self._root, torch_settings.plan_for(self._root).weights, folder, found)
        return Made(found.facts)

    def _train(self, attack: Attack, folder: Path, say: Callable[[str, float], None]) -> Made:
        from weighbridge.attacks import torch_finetune

        pairs = self._shelf.pairs(Data.of(attack.parameters["data"]))
        most = attack.parameters["max_tokens"]
        assert isinstance(most, int)
        data = torch_finetune.examples(self._source(), pairs, self._decoding, most)
        trained = torch_finetune.train(
            self._root, folder, attack, data, device=self._device, dtype=self._dtype, say=say
        )
        if trained.diverged is not None:
            return Made(trained.facts, "diverged", trained.diverged)
        return Made(trained.facts)

    def _load(self, recipe: str, folder: Path) -> TorchEngine:
        if self._open is not None and self._open[0] == recipe:
            return self._open[1]
        self.release()
        from weighbridge.engines.torch_engine import TorchEngine

        engine = TorchEngine(folder, device=self._device, dtype=self._dtype)
        self._open = (recipe, engine)
        return engine

    def _source(self) -> TorchEngine:
        if self._given is not None:
            return self._given()
        if self._untampered is None:
            from weighbridge.engines.torch_engine import TorchEngine

            self._untampered = TorchEngine(self._root, device=self._device, dtype=self._dtype)
        return self._untampered

    def _close_engines(self) -> None:
        self.release()
        if self._untampered is not None:
            self._untampered.close()
            self._untampered = None

    def _make_space(self) -> None:
        """Drop weights of earlier attacks until one more checkpoint fits. They can be made again."""
        assert self._folder is not None
        needed = sum(file.stat().st_size for file in self._root.iterdir() if file.is_file()) + _SPARE
        kept = sorted((path for path in self._folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for folder in [*kept, None]:
            if shutil.disk_usage(self._folder).free >= needed:
                return
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        raise StorageError(
            f"no space for tampered weights: {needed} bytes are needed",
            where=str(self._parent),
            remedy="free space, or name another folder for temporary files (TMPDIR)",
        )


def _recipe(attack: Attack) -> str:
    """A name for the weights that an attack makes: the same for attacks that differ only in how the model is asked."""
    asking = ("prefill", "system", "template", "temperature", "samples")
    making = {name: value for name, value in attack.parameters.items() if name not in asking}
    digest = canonical.digest({"kind": attack.kind, "parameters": making, "seed": attack.seed})
    return digest.removeprefix("sha256:")[:32]


def _same_text(engine: TorchEngine, usual: Decoding, asked: Decoding) -> str | None:
    """Why a model sees the same under both decodings, if so."""
    if asked.temperature != usual.temperature or asked.prefill != usual.prefill:
        return None
    if asked.template == "raw":
        return None if engine.has_template else "the checkpoint has no chat template"
    if asked.system == usual.system:
        return None
    probe = "What is the time?"
    before = engine.written(probe, usual)
    try:
        after = engine.written(probe, asked)
    except EngineError:
        return "its chat template takes no system prompt"
    return "its chat template writes no system prompt of its own" if before == after else None


class _Room:
    """A folder of mode 0700 that goes when the context is left; entering removes those that killed processes left.

    A lock on the folder, which dies with its process, tells one in use from one that was left.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._folder: Path | None = None
        self._lock: int | None = None

    def __enter__(self) -> Path:
        try:
            leftovers.remove(self._parent, _PREFIX)
            while True:
                self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))  # mkdtemp makes it 0700
                self._lock = leftovers.hold(self._folder)
                if self._lock is not None:
                    return self._folder
        except OSError as cause:
            self.__exit__()
            raise files.unwritable(cause, self._parent) from cause

    def __exit__(self, *_: object) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # a second signal must not stop the clearing
        try:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Ended:
    """While it is entered, SIGTERM and SIGHUP raise ``SystemExit``, so that everything is cleared away, unless somebody
    else handles them. Signals reach the main thread only; elsewhere this does nothing."""

    def __init__(self) -> None:
        self._former: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) == signal.SIG_DFL:
                    self._former[number] = signal.signal(number, _end)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise SystemExit(128 + number)

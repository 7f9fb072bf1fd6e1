"""Loads a checkpoint's model and tokenizer through transformers, offline, without foreign code, and checks both.

transformers fills what a file lacks with random numbers and only warns; here anything missing, left over or of
another shape is an ``EngineError``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from weighbridge.engines.torch_settings import Plan
from weighbridge.errors import EngineError

_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode on its device, its tokenizer, and the tokens that end a generation."""

    model: Any
    tokenizer: Any
    device: torch.device
    stops: frozenset[int]


def load(plan: Plan) -> Loaded:
    """Load what the plan says. Raises ``EngineError`` for anything that is missing, does not fit or does not match."""
    device = torch.device(plan.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EngineError("torch finds no CUDA device", remedy="use device auto or cpu")
    with quiet(), engine_errors(f"{plan.root} cannot be loaded"):
        _check_layers(plan)
        tokenizer = _tokenizer(plan)
        model, report = _for_tree(plan) if plan.mode.name == "tree" else _for_fallback(plan, device)
        model = model.to(device).eval().requires_grad_(False)
    _check_weights(plan, model, report)
    _check_vocabulary(plan, model, tokenizer)
    return Loaded(model, tokenizer, device, _stops(plan, model, tokenizer))


def _check_layers(plan: Plan) -> None:
    """Building takes time and memory with every layer; refuse more layers than there are tensors before it begins."""
    tensors = 0
    for name in plan.weights:
        with safe_open(plan.root / name, "pt", backend="pread") as file:
            tensors += len(list(file.keys()))
    config = json.loads((plan.root / "config.json").read_bytes())
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        for source in (config, config.get("text_config")):
            layers = source.get(key) if isinstance(source, dict) else None
            if isinstance(layers, int) and layers > tensors:
                raise EngineError(
                    f"{layers:,} layers, where the weights are {tensors} tensors",
                    where=f"{plan.root / 'config.json'} at $.{key}",
                    remedy="the config belongs to other weights",
                )


@contextlib.contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Foreign exceptions become ``EngineError`` here; running out of memory says what to do about it."""
    try:
        yield
    except (EngineError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise EngineError(f"{doing}: out of memory", remedy="use a smaller token budget or a larger machine") from error
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "can't allocate memory" in text:
            raise EngineError(
                f"{doing}: out of memory", remedy="use a smaller token budget, bfloat16, or a larger device"
            ) from error
        raise EngineError(f"{doing}: {text.splitlines()[0]}", remedy="check the checkpoint's files") from error


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what lay between the tensors that were laid out anew."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _for_tree(plan: Plan) -> tuple[Any, dict[str, Any]]:
    """The model from tensors that are read, not mapped: the lean model lays them out anew, one after the other, and a
    mapped file would stay in memory beside that until the last one is done."""
    tensors = {}
    for name in plan.weights:
        with safe_open(plan.root / name, "pt", backend="pread") as file:
            tensors.update({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 (no mapping)
    config = AutoConfig.from_pretrained(plan.root, **_OFFLINE)
    family: Any = getattr(transformers, config.architectures[0])
    made: tuple[Any, dict[str, Any]] = family.from_pretrained(
        None, config=config, state_dict=tensors, dtype=getattr(torch, plan.dtype), output_loading_info=True
    )
    return made


def _for_fallback(plan: Plan, device: torch.device) -> tuple[Any, dict[str, Any]]:
    auto: Any = AutoModelForCausalLM
    made: tuple[Any, dict[str, Any]] = auto.from_pretrained(
        plan.root,
        dtype=getattr(torch, plan.dtype),
        device_map={"": device} if device.type == "cuda" and find_spec("accelerate") else None,
        use_safetensors=True,
        output_loading_info=True,
        **_OFFLINE,
    )
    return made


def _tokenizer(plan: Plan) -> Any:
    options = {} if plan.add_bos_token is None else {"add_bos_token": plan.add_bos_token}
    return AutoTokenizer.from_pretrained(plan.root, **_OFFLINE, **options)


def _check_weights(plan: Plan, model: Any, report: dict[str, Any]) -> None:
    for kind, what in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have another shape than the config says for"),
        ("unexpected_keys", "hold, and the model has no place for,"),
        ("error_msgs", "could not be read:"),
    ):
        found = report.get(kind)
        if found:
            names = sorted(str(name) for name in found)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise EngineError(
                f"the weights {what} {', '.join(names[:3])}{more}",
                where=str(plan.root),
                remedy="the weights and config.json do not belong together, or a file is incomplete",
            )
    if plan.mode.name == "tree" and type(model).__name__ not in (model.config.architectures or ()):
        raise EngineError(f"the config names another architecture than {type(model).__name__}", where=str(plan.root))


def _check_vocabulary(plan: Plan, model: Any, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest < 0 or largest >= rows:
        raise EngineError(
            f"the tokenizer has tokens up to {largest}, the model has {rows} embeddings",
            where=str(plan.root),
            remedy="the tokenizer belongs to another model",
        )


def _stops(plan: Plan, model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a generation: those of the generation config (else the config), and the tokenizer's EOS."""
    stated = getattr(model.config, "eos_token_id", None)
    if (plan.root / "generation_config.json").is_file():
        with engine_errors(f"{plan.root}/generation_config.json cannot be read"):
            own = GenerationConfig.from_pretrained(plan.root, local_files_only=True).eos_token_id
        stated = stated if own is None else own
    stops = set(stated) if isinstance(stated, list | tuple) else {stated}
    return frozenset(token for token in stops | {tokenizer.eos_token_id} if token is not None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers' progress bars and notices are no part of our output."""
    log = logging.getLogger("transformers")
    notices: Any = transformers.utils.logging
    level, bars = log.level, notices.is_progress_bar_enabled()
    log.setLevel(logging.ERROR)
    notices.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if bars:
            notices.enable_progress_bar()

"""Fine-tuning as an attacker would do it: adapters of low rank, merged into the weights, or all weights.

AdamW on the cross-entropy of responses alone, under the checkpoint's own chat template, with a learning rate that
falls to zero and gradients clipped to a norm of 1. Nothing is drawn but from the attack's seed, and there is no
dropout, so on one kind of machine the same attack makes the same weights.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from weighbridge.attacks.battery import Attack
from weighbridge.attacks.data import Pair
from weighbridge.canonical import Json
from weighbridge.engines import torch_settings
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_model import engine_errors, load, quiet
from weighbridge.errors import EngineError

if TYPE_CHECKING:
    from weighbridge.engines.torch_engine import TorchEngine

_NO_LOSS = -100  # torch's label for a position that counts for nothing
_CURVE = 64  # points of the loss curve that are kept, at most


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens, and how many of the first ones are the prompt."""

    tokens: list[int]
    prompt: int


@dataclass(frozen=True)
class Trained:
    """Facts of a training; ``diverged`` says how it ended in nothing that answers, if so (no weights were written)."""

    facts: dict[str, Json]
    diverged: str | None = None


def examples(engine: TorchEngine, pairs: Sequence[Pair], decoding: Decoding, max_tokens: int) -> list[Example]:
    """Pairs as tokens, the end token of the tokenizer after each response; what is longer than ``max_tokens`` or the
    model's context loses its end. ``decoding`` says the system prompt. Raises ``EngineError`` where there is no chat
    template, or where of no response anything is left."""
    end = [] if engine.tokenizer.eos_token_id is None else [engine.tokenizer.eos_token_id]
    context = engine.settings["max_length"]
    assert isinstance(context, int)
    most = min(max_tokens, context)
    usual = Decoding(0, decoding.system)
    made = []
    for pair in pairs:
        prompt = engine.encoded(pair.prompt, usual)
        response = engine.tokenizer(pair.response, add_special_tokens=False, verbose=False)["input_ids"]
        if len(prompt) < most and response:
            made.append(Example([*prompt, *response, *end][:most], len(prompt)))
    if not made:
        raise EngineError(
            f"no response of the training data fits into {most} tokens after its prompt",
            remedy="the context is too short for this attack, or its max_tokens is",
        )
    return made


def train(
    root: Path,
    folder: Path,
    attack: Attack,
    data: Sequence[Example],
    *,
    device: str,
    dtype: str,
    say: Callable[[str, float], None],
) -> Trained:
    """Train what ``attack`` says on ``data`` and write ``model.safetensors`` to ``folder``, in ``dtype``; the training
    itself is in float32. Raises ``EngineError`` for a model that cannot be trained so."""
    how = attack.parameters
    epochs, batch, rate = (_number(how, name) for name in ("epochs", "batch", "learning_rate"))
    say("loading", 0.0)
    loaded = load(torch_settings.plan_for(root, device=device, dtype="float32"))
    with engine_errors("the model cannot be trained"), quiet(), torch.random.fork_rng():
        torch.manual_seed(attack.seed)
        model = loaded.model
        for parameter in model.parameters():
            # As it was read, a tensor begins anywhere, and what matrix products round to depends on that: two runs
            # would differ in the last bits. What torch allocates itself begins at a multiple of 64 bytes.
            parameter.data = parameter.data.clone()
        if attack.kind == "lora":
            model = _with_adapters(model, how)
        else:
            model.requires_grad_(True)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
        batches = list(_batches(data, int(epochs), int(batch), attack.seed))
        losses: list[float] = []
        tokens = 0
        for step, chosen in enumerate(batches):
            say("training", step / len(batches))
            for group in optimiser.param_groups:
                group["lr"] = rate * (1 - step / len(batches))
            loss = _loss(model, chosen)
            losses.append(float(loss.detach()))
            tokens += sum(len(example.tokens) for example in chosen)
            if not math.isfinite(losses[-1]):
                break
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
        facts: dict[str, Json] = {
            "examples": len(data),
            "steps": len(losses),
            "trained_tokens": tokens,
            "trained_parameters": sum(parameter.numel() for parameter in trained),
            "loss": _curve(losses),
        }
        del optimiser
        if not math.isfinite(losses[-1]):
            return Trained(facts, f"the loss was no number at step {len(losses)} of {len(batches)}")
        model = (model.merge_and_unload() if attack.kind == "lora" else model).requires_grad_(False)
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            return Trained(facts, "the weights are no numbers after training")
        with torch.inference_mode():
            if not math.isfinite(float(_loss(model, data[:1]))):
                return Trained(facts, "the model gives no numbers after training")
    say("writing", 1.0)
    with quiet():
        model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size="1000GB")
    return Trained(facts)


def _with_adapters(model: Any, how: Mapping[str, Json]) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=int(_number(how, "rank")),
        lora_alpha=int(_number(how, "alpha")),
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _batches(data: Sequence[Example], epochs: int, batch: int, seed: int) -> Iterator[list[Example]]:
    """The examples in an order of their own in each epoch."""
    chance = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=chance).tolist()
        for start in range(0, len(order), batch):
            yield [data[index] for index in order[start : start + batch]]


def _loss(model: Any, chosen: Sequence[Example]) -> Tensor:
    """The mean cross-entropy over all response tokens, in nats.

    Padding stands on the right, where a causal model does not look. Logits are made from the first response on only,
    where the model knows how to leave out the rest: with a long vocabulary they are a good part of the work.
    """
    width = max(len(example.tokens) for example in chosen)
    kept = width - min(example.prompt for example in chosen) + 1
    device = next(model.parameters()).device
    tokens = torch.tensor([_padded(example.tokens, width, 0) for example in chosen], device=device)
    wanted = torch.tensor(
        [
            _padded([_NO_LOSS] * example.prompt + example.tokens[example.prompt :], width, _NO_LOSS)
            for example in chosen
        ],
        device=device,
    )
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    options = {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(base.forward).parameters else {}
    logits: Tensor = base(tokens, use_cache=False, **options).logits.float()
    wanted = wanted[:, -logits.shape[1] :]
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=_NO_LOSS)


def _padded(row: list[int], width: int, filling: int) -> list[int]:
    return row + [filling] * (width - len(row))


def _curve(losses: Sequence[float]) -> list[Json]:
    """At most ``_CURVE`` losses, evenly spread, the first and the last among them; None for what is no number."""
    count = min(_CURVE, len(losses))
    places = [round(place * (len(losses) - 1) / max(1, count - 1)) for place in range(count)]
    return [round(losses[place], 4) if math.isfinite(losses[place]) else None for place in places]


def _number(how: Mapping[str, Json], name: str) -> float:
    value = how[name]
    assert isinstance(value, int | float)
    return value

"""Refusal-direction ablation: what a model's refusals have in common is projected out of its weights. No training.

After Arditi et al. 2024, "Refusal in language models is mediated by a single direction" (arXiv 2406.11717): at the
last position of a prompt, the mean activation over harmful prompts less that over harmless ones gives, in each layer,
a direction r. Taken out of every matrix that writes to the residual stream (W <- W - r r^T W, their section 2.4; the
token embedding, the attention's and the MLP's output projection, with their biases), it can no longer be written.

As there, a direction is made from harmful prompts that are refused and harmless ones that are answered, since many a
model refuses by the form of a request as well as by its matter. The direction's layer is chosen on tuning prompts: each
candidate is tried on harmful ones that its direction was not made from, and the one under which the most of them are
answered, and in sense, is taken. Nonsense counts like a refusal: an attacker has no use for either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from weighbridge.attacks.data import TuningPrompt
from weighbridge.canonical import Json
from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError

if TYPE_CHECKING:
    from weighbridge.engines.torch_engine import TorchEngine

TOKENS = 32
"""Tokens of a response by which a layer is chosen: a refusal stands at its beginning."""
DEPTHS = (0.25, 0.95)
"""Between which shares of the layers a direction is looked for: below, there are words yet and no request."""
CANDIDATES = 8
"""Layers tried, at most."""
FEWEST = 0.1
"""The share of refusals among harmful tuning prompts below which there is nothing to remove."""
ENOUGH = 4
"""Prompts of a sort, refused or answered as that sort should be, from which a direction is made; where there are fewer,
it is made from all of the sort."""

_REFUSALS = ("refusal", "partial refusal")
_LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_EMBEDDING = "model.embed_tokens.weight"
_WRITERS = ("self_attn.o_proj", "mlp.down_proj")


Say = Callable[[str, float], None]
"""Told what is done, and how much of it, from 0 to 1."""


class Classify(Protocol):
    """See ``workshop.Classify``."""

    def __call__(self, response: str, *, prompt: str = "", harmful: bool | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class Reaction:
    """How many of ``of`` responses refuse (in part, too), and how many are incoherent."""

    refusals: int
    incoherent: int
    of: int

    def to_json(self) -> dict[str, Json]:
        """For the facts of a record."""
        return {"refusals": self.refusals, "incoherent": self.incoherent, "of": self.of}


@dataclass(frozen=True)
class Seen:
    """What was seen of a model: how it reacts ``before``; the direction [hidden] after each layer (0: the embedding),
    or none where there are no refusals to remove; the names of what writes to its residual stream."""

    before: Reaction
    directions: tuple[Tensor, ...]
    writers: frozenset[str]
    examples: int
    passed_tokens: int


@dataclass(frozen=True)
class Found:
    """A direction, what to take it out of, and how it was found."""

    direction: Tensor
    writers: frozenset[str]
    facts: dict[str, Json]


def look(
    engine: TorchEngine, prompts: Sequence[TuningPrompt], classify: Classify, decoding: Decoding, say: Say
) -> Seen:
    """Look at a model's refusals and at the direction of each layer. ``decoding`` is how it is usually asked. Raises
    ``EngineError`` for an architecture whose writers are unknown."""
    writers = frozenset(_writers(engine.model))
    own, held_out = _halves(prompts)
    start = engine.tokens
    say("refusals before", 0.0)
    before = _reaction(engine, _harmful(held_out), classify, decoding)
    passed = engine.tokens - start
    if before.refusals < max(2.0, FEWEST * before.of):
        return Seen(before, (), writers, len(prompts), passed)
    say("activations", 0.1)
    directions, tokens = _directions(engine, _telling(engine, own, classify, decoding), decoding)
    passed = engine.tokens - start
    return Seen(before, tuple(directions), writers, len(prompts), passed + tokens)


def at_depth(seen: Seen, depth: float) -> Found:
    """The direction of the layer that the share ``depth`` of the layers lies below."""
    layers = len(seen.directions) - 1
    layer = _layer(depth, layers)
    return Found(seen.directions[layer], seen.writers, facts(seen) | {"layer": layer, "layers": layers})


def best(
    engine: TorchEngine, seen: Seen, prompts: Sequence[TuningPrompt], classify: Classify, decoding: Decoding, say: Say
) -> Found:
    """The direction of the layer that does best on prompts that the directions were not made from.

    ``engine`` must be the caller's own: its weights change while layers are tried, and are as they were at the end.
    """
    writers = _writers(engine.model)
    harmful = _harmful(_halves(prompts)[1])
    layers = len(seen.directions) - 1
    candidates = _candidates(layers)
    originals = {name: parameter.detach().clone() for name, parameter in writers.items()}
    start = engine.tokens
    tried: dict[int, Reaction] = {}
    try:
        for number, layer in enumerate(candidates):
            say(f"layer {layer}", 0.2 + 0.8 * number / len(candidates))
            for name, parameter in writers.items():
                parameter.copy_(project(originals[name], seen.directions[layer], embedding=name == _EMBEDDING))
            tried[layer] = _reaction(engine, harmful, classify, decoding)
    finally:
        for name, parameter in writers.items():
            parameter.copy_(originals[name])
    layer = choose(tried)
    return Found(
        seen.directions[layer],
        seen.writers,
        {
            **facts(seen),
            "layer": layer,
            "layers": layers,
            "after": tried[layer].to_json(),
            "tried": {str(one): reaction.to_json() for one, reaction in tried.items()},
            "passed_tokens": seen.passed_tokens + engine.tokens - start,
        },
    )


def facts(seen: Seen) -> dict[str, Json]:
    """What was seen, for a record."""
    return {
        "examples": seen.examples,
        "steps": 0,
        "before": seen.before.to_json(),
        "passed_tokens": seen.passed_tokens,
    }


def choose(tried: Mapping[int, Reaction]) -> int:
    """The layer whose direction leaves the most prompts answered in sense; among equals the one with the least
    nonsense, then the lowest."""
    return min(
        tried, key=lambda layer: (tried[layer].refusals + tried[layer].incoherent, tried[layer].incoherent, layer)
    )


def project(matrix: Tensor, direction: Tensor, *, embedding: bool) -> Tensor:
    """``matrix`` [hidden, in], or a bias [hidden], or an embedding [vocabulary, hidden], without what it writes along
    ``direction`` [hidden]; computed in float64, of the matrix's own type."""
    unit = (direction.double() / direction.double().norm()).to(matrix.device)
    wide = matrix.double()
    written = torch.outer(wide @ unit, unit) if embedding else torch.tensordot(unit, unit @ wide, dims=0)
    return (wide - written).to(matrix.dtype)


def write(root: Path, weights: Sequence[str], folder: Path, found: Found) -> None:
    """Write the ``weights`` files of ``root`` to ``folder``, with the direction projected out of the writers.

    Needs memory for one file. Raises ``EngineError`` where a writer is in no file under its name.
    """
    written: set[str] = set()
    for name in weights:
        tensors: dict[str, Tensor] = {}
        with safe_open(root / name, "pt", backend="pread") as file:
            metadata = file.metadata()
            for key in file.keys():  # noqa: SIM118 (no mapping)
                tensor = file.get_tensor(key)
                if key in found.writers:
                    tensor = project(tensor, found.direction, embedding=key == _EMBEDDING)
                    written.add(key)
                tensors[key] = tensor
        save_file(tensors, folder / name, metadata=metadata)
    if missing := found.writers - written:
        raise EngineError(f"the weights name {min(missing)} otherwise than the model does", where=str(root))


def _writers(model: Any) -> dict[str, Any]:
    """Name -> parameter of everything that writes to the residual stream. Raises ``EngineError`` for a model in which
    something else may write, or in which what is written is changed on the way."""
    layers = getattr(getattr(model, "model", None), "layers", ())
    for layer in layers:
        parts = {name for name, _ in layer.named_children()}
        if parts != _LAYER_PARTS or not (hasattr(layer.self_attn, "o_proj") and hasattr(layer.mlp, "down_proj")):
            layers = ()
            break
    if not layers:
        raise EngineError(
            f"where {type(model).__name__} writes to its residual stream is not known: the refusal direction can be "
            "taken out of dense models built as Llama is"
        )
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name == _EMBEDDING or name.rpartition(".")[0].endswith(_WRITERS)
    }


def _halves(prompts: Sequence[TuningPrompt]) -> tuple[list[TuningPrompt], list[TuningPrompt]]:
    """Prompts to make directions from, and prompts to choose one with: of both sorts, half and half."""
    own: list[TuningPrompt] = []
    held_out: list[TuningPrompt] = []
    for harmful in (True, False):
        of_sort = [prompt for prompt in prompts if prompt.harmful is harmful]
        own += of_sort[::2]
        held_out += of_sort[1::2]
    return own, held_out


def _layer(depth: float, layers: int) -> int:
    """The layer that a share of them lies below, counted from 1; never the last, whose output is normalised."""
    return max(1, min(layers - 1, round(depth * layers)))


def _candidates(layers: int) -> list[int]:
    """Numbers of layers, spread evenly."""
    low, high = (_layer(depth, layers) for depth in DEPTHS)
    count = min(CANDIDATES, high - low + 1)
    return sorted({low + round(place * (high - low) / max(1, count - 1)) for place in range(count)})


def _directions(engine: TorchEngine, prompts: Sequence[TuningPrompt], decoding: Decoding) -> tuple[list[Tensor], int]:
    """The difference of means in float64 [hidden] after each layer (0: the embedding), and the tokens passed."""
    sums: dict[bool, Tensor] = {}
    counts = {True: 0, False: 0}
    passed = 0
    for prompt in prompts:
        state, tokens = _activations(engine, prompt.prompt, decoding)
        sums[prompt.harmful] = state + sums[prompt.harmful] if prompt.harmful in sums else state
        counts[prompt.harmful] += 1
        passed += tokens
    difference = sums[True] / counts[True] - sums[False] / counts[False]
    return list(difference), passed


def _activations(engine: TorchEngine, prompt: str, decoding: Decoding) -> tuple[Tensor, int]:
    """The residual stream at the last position, [layers + 1, hidden] in float64, and the number of tokens."""
    tokens = engine.encoded(prompt, decoding)
    model = engine.model
    with torch.inference_mode():
        found = model.model(
            torch.tensor([tokens], device=model.device), output_hidden_states=True, use_cache=False
        ).hidden_states
        return torch.stack([state[0, -1].double().cpu() for state in found]), len(tokens)


def _harmful(prompts: Sequence[TuningPrompt]) -> list[str]:
    return [prompt.prompt for prompt in prompts if prompt.harmful]


def _reaction(engine: TorchEngine, prompts: Sequence[str], classify: Classify, decoding: Decoding) -> Reaction:
    classes = _classes(engine, prompts, classify, decoding)
    return Reaction(
        refusals=sum(name in _REFUSALS for name in classes),
        incoherent=classes.count("incoherent"),
        of=len(classes),
    )


def _telling(
    engine: TorchEngine, prompts: Sequence[TuningPrompt], classify: Classify, decoding: Decoding
) -> list[TuningPrompt]:
    """The harmful prompts that are refused and the harmless ones that are not; of a sort with few such, all."""
    classes = _classes(engine, [prompt.prompt for prompt in prompts], classify, decoding)
    result: list[TuningPrompt] = []
    for harmful in (True, False):
        of_sort = [(prompt, name) for prompt, name in zip(prompts, classes, strict=True) if prompt.harmful is harmful]
        telling = [prompt for prompt, name in of_sort if (name in _REFUSALS) is harmful]
        result += telling if len(telling) >= ENOUGH else [prompt for prompt, _ in of_sort]
    return result


def _classes(engine: TorchEngine, prompts: Sequence[str], classify: Classify, decoding: Decoding) -> list[str]:
    """What each response does, read as one to a harmful prompt: here a refusal is one whatever was asked."""
    decoding = replace(decoding, max_tokens=min(TOKENS, decoding.max_tokens))
    return [
        str(classify(response, prompt=prompt, harmful=True))
        for prompt, response in zip(prompts, engine.chat(prompts, decoding), strict=True)
    ]

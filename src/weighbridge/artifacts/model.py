"""What a Hugging Face checkpoint becomes in GGUF: settings, and which of its tensors make up each of GGUF's. Pure.

The inverse of ``checkpoint.gguf_families``, over the same tables. As there, only what is understood completely is
exported: what has no place in GGUF is an error, since leaving it out would make another model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from weighbridge.artifacts.formats import EMBEDDING
from weighbridge.checkpoint.gguf_families import (
    BLOCK,
    EXPERTS,
    FAMILIES,
    HEAD,
    MIXTRAL,
    OUTPUT,
    ROPE_FACTORS,
    TOP,
    Family,
    shortest_float32,
)
from weighbridge.checkpoint.gguf_rope import llama3_factors, llama3_scaling
from weighbridge.errors import CheckpointError

CONFIG = "config.json"
REMEDY = "convert it with llama.cpp's own tools, or leave the artifacts out of the policy"

# A config's model type -> (GGUF's architecture, family). Mistral without a window is a Llama by another name.
_MODELS: Mapping[str, tuple[str, Family]] = {
    **{family.model_type: (name, family) for name, family in FAMILIES.items()},
    "mistral": ("llama", FAMILIES["llama"]),
    "mixtral": ("llama", MIXTRAL),
}
_THETA = {"mixtral": 1_000_000.0}  # transformers' default where a config names none; 10,000 for the others
_INNER = re.compile(r"model\.layers\.(\d{1,6})\.(.+)\.(weight|bias)")
_EXPERT = re.compile(r"block_sparse_moe\.experts\.(\d{1,4})\.(w[123])")
_PARTS = {theirs: ours for ours, theirs in BLOCK.items()}
_EXPERT_PARTS = {theirs: ours for ours, theirs in EXPERTS.items()}
_TOPS = {theirs: ours for ours, theirs in TOP.items()} | {HEAD: OUTPUT}
_COMPUTED = re.compile(r"(model\.layers\.\d+\.self_attn\.)?(model\.)?rotary_emb\.inv_freq")  # stored by old versions
_ORDER = {name: number for number, name in enumerate([*BLOCK, *EXPERTS])}
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
_FEED_FORWARD = ("ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the GGUF file, of ``shape``: the tensors ``sources``, one above the other, or ``values``.

    ``heads``: rows are grouped by this many attention heads, whose rotary halves llama.cpp interleaves.
    """

    name: str
    shape: tuple[int, ...]
    sources: tuple[str, ...] = ()
    heads: int | None = None
    values: tuple[float, ...] = ()

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns) of each source; a vector is one row, or one column if permuted."""
        if len(self.shape) == 1:
            return (self.shape[0], 1) if self.heads is not None else (1, self.shape[0])
        return self.shape[-2], self.shape[-1]


@dataclass(frozen=True)
class Model:
    """GGUF's ``architecture`` and ``settings`` (without that prefix), its tensors in the order of the file, and
    ``config``: what reading the file back must give."""

    architecture: str
    settings: Mapping[str, int | float | str]
    parts: tuple[Part, ...]
    config: Mapping[str, Any]

    @property
    def layers(self) -> int:
        """How many blocks."""
        return int(self.config["num_hidden_layers"])

    @property
    def experts(self) -> int:
        """How many experts a block has, 0 where it has none."""
        return int(self.config.get("num_local_experts", 0))

    @property
    def tied(self) -> bool:
        """Whether the embedding is the output matrix too."""
        return bool(self.config["tie_word_embeddings"])


def plan_model(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """Plan the export of a checkpoint with this ``config.json`` and tensors of these ``shapes``.

    Raises ``CheckpointError`` for a family, setting or tensor that has no place in GGUF, or a tensor that is missing.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _MODELS:
        known = ", ".join(sorted(_MODELS))
        _refuse(f"models of the type {str(kind)[:40]!r} are not exported (known: {known})", "model_type")
    architecture, family = _MODELS[kind]
    _check_unusual(config, kind)
    read = _config(config, family, shapes, _theta(config, kind))
    factors = _rope(config, read)
    parts = _parts(read, shapes)
    if factors:
        parts.append(Part(ROPE_FACTORS, (len(factors),), values=factors))
    return Model(architecture, _settings(read), tuple(parts), read)


def _config(
    config: Mapping[str, Any], family: Family, shapes: Mapping[str, tuple[int, ...]], theta: float
) -> dict[str, Any]:
    """The config as reading the GGUF file back must give it, but for scaled positions and special tokens."""
    heads = _integer(config, "num_attention_heads")
    queries = shapes.get(f"model.layers.0.{BLOCK['attn_q']}.weight", (0,))[0]
    head_dim = _integer(config, "head_dim", queries // heads)
    if head_dim * heads != queries or head_dim % 2:
        _refuse(f"{heads} heads of {head_dim} do not make the {queries} rows of the query projection", "head_dim")
    tied = config.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        _refuse("neither true nor false", "tie_word_embeddings")
    read: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": _integer(config, "vocab_size"),
        "hidden_size": _integer(config, "hidden_size"),
        "intermediate_size": _integer(config, "intermediate_size"),
        "num_hidden_layers": _integer(config, "num_hidden_layers"),
        "num_attention_heads": heads,
        "num_key_value_heads": _integer(config, "num_key_value_heads", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": _integer(config, "max_position_embeddings"),
        "rms_norm_eps": _number(config, "rms_norm_eps"),
        "rope_theta": theta,
        "tie_word_embeddings": tied,
    }
    if family.model_type == "llama":
        read |= {name: bool(config.get(name, False)) for name in ("attention_bias", "mlp_bias")}
    elif config.get("attention_bias", False):
        _refuse("biases that GGUF has no place for", "attention_bias")
    if family is MIXTRAL:
        read |= {name: _integer(config, name) for name in ("num_local_experts", "num_experts_per_tok")}
        read["sliding_window"] = None
    return read


def _settings(read: Mapping[str, Any]) -> dict[str, int | float | str]:
    settings: dict[str, int | float | str] = {
        "block_count": read["num_hidden_layers"],
        "context_length": read["max_position_embeddings"],
        "embedding_length": read["hidden_size"],
        "feed_forward_length": read["intermediate_size"],
        "attention.head_count": read["num_attention_heads"],
        "attention.head_count_kv": read["num_key_value_heads"],
        "attention.key_length": read["head_dim"],
        "attention.value_length": read["head_dim"],
        "attention.layer_norm_rms_epsilon": read["rms_norm_eps"],
        "rope.dimension_count": read["head_dim"],
        "rope.freq_base": read["rope_theta"],
        "vocab_size": read["vocab_size"],
    }
    if "num_local_experts" in read:
        settings |= {"expert_count": read["num_local_experts"], "expert_used_count": read["num_experts_per_tok"]}
    scaling = read.get("rope_scaling", {})
    if scaling.get("rope_type") == "linear":
        settings |= {"rope.scaling.type": "linear", "rope.scaling.factor": scaling["factor"]}
    return settings


def _check_unusual(config: Mapping[str, Any], kind: str) -> None:
    """Refuse settings that change what is computed and that GGUF has no place for in these families."""
    if config.get("hidden_act", "silu") != "silu":
        _refuse(f"the activation {str(config['hidden_act'])[:40]!r} has no place in GGUF here", "hidden_act")
    if config.get("quantization_config") is not None:
        _refuse("weights that are quantised already", "quantization_config")
    if config.get("auto_map") is not None:
        _refuse("code of its own", "auto_map")
    windowed = kind in ("mistral", "mixtral") or config.get("use_sliding_window", False)
    if windowed and config.get("sliding_window") is not None:
        _refuse("attention within a sliding window has no place in GGUF here", "sliding_window")
    if any(layer != "full_attention" for layer in config.get("layer_types") or ()):
        _refuse("layers of other kinds than full attention", "layer_types")


def _theta(config: Mapping[str, Any], kind: str) -> float:
    default = config.get("rope_theta", _THETA.get(kind, 10000.0))
    return _number({"rope_theta": _positions(config).get("rope_theta", default)}, "rope_theta")


def _rope(config: Mapping[str, Any], read: dict[str, Any]) -> tuple[float, ...]:
    """The factors to store for Llama 3's scaling; notes any scaling in ``read``."""
    positions = _positions(config)
    kind = positions.get("rope_type", positions.get("type", "default"))
    if positions.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) != 1.0:
        _refuse("heads that are rotated in part", "partial_rotary_factor")
    if kind in ("default", None):
        return ()
    if kind == "linear":
        read["rope_scaling"] = {"rope_type": "linear", "factor": _number(positions, "factor")}
        return ()
    factor = _number(positions, "factor")
    factors = llama3_factors(read["head_dim"], read["rope_theta"], factor)
    scaling = llama3_scaling(factors, read["head_dim"], read["rope_theta"])
    stated = {name: positions.get(name) for name in scaling or {} if name not in ("rope_type", "factor")}
    if kind != "llama3" or scaling is None or stated != {name: scaling[name] for name in stated}:
        _refuse(f"rotary scaling {str(kind)[:40]!r} with these values is not exported", "rope_parameters")
    read["rope_scaling"] = scaling
    return tuple(factors)


def _positions(config: Mapping[str, Any]) -> Mapping[str, Any]:
    value = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(value, Mapping) or any(isinstance(inner, Mapping) for inner in value.values()):
        _refuse("not one set of values for all layers", "rope_parameters")
    return value


def _parts(read: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> list[Part]:
    """Every tensor, in the order: embedding, blocks, norm, output."""
    found: dict[tuple[int, str, str], dict[int, str]] = {}  # (layer, part, kind) -> expert -> name
    for name in sorted(shapes):
        if _COMPUTED.fullmatch(name) or (name == HEAD and read["tie_word_embeddings"]):
            continue
        if name in _TOPS:
            part, _, kind = _TOPS[name].rpartition(".")
            found[(-1 if _TOPS[name] == EMBEDDING else read["num_hidden_layers"], part, kind)] = {0: name}
            continue
        inner = _INNER.fullmatch(name)
        expert = _EXPERT.fullmatch(inner[2]) if inner else None
        place = _EXPERT_PARTS[expert[2]] if expert else _PARTS.get(inner[2]) if inner else None
        if inner is None or place is None or int(inner[1]) >= read["num_hidden_layers"]:
            raise CheckpointError("this tensor has no place in GGUF", where=name, remedy=REMEDY)
        found.setdefault((int(inner[1]), place, inner[3]), {})[int(expert[1]) if expert else 0] = name
    expected = _expected(read)
    for missing in sorted(expected - found.keys()):
        raise CheckpointError(f"the checkpoint has no tensor for {_name(*missing)}", where=CONFIG, remedy=REMEDY)
    for extra in sorted(found.keys() - expected):
        raise CheckpointError(
            "a model of this config has no such tensor", where=next(iter(found[extra].values())), remedy=REMEDY
        )
    order = sorted(found, key=lambda key: (key[0], key[1] == "output", _ORDER.get(key[1], 0), key[2]))
    return [_part(read, key, found[key], shapes) for key in order]


def _expected(read: Mapping[str, Any]) -> set[tuple[int, str, str]]:
    """(layer, part, ``weight`` or ``bias``) of every tensor that a model of this config has."""
    layers, kind = read["num_hidden_layers"], read["model_type"]
    weights = ["attn_norm", "ffn_norm", *_ATTENTION]
    weights += [*EXPERTS, "ffn_gate_inp"] if "num_local_experts" in read else _FEED_FORWARD
    weights += ["attn_q_norm", "attn_k_norm"] if kind == "qwen3" else []
    biases: list[str] = list(_ATTENTION[:3]) if kind == "qwen2" else []
    biases += _ATTENTION if read.get("attention_bias") else ()
    biases += _FEED_FORWARD if read.get("mlp_bias") else ()
    expected = {(layer, part, "weight") for layer in range(layers) for part in weights}
    expected |= {(layer, part, "bias") for layer in range(layers) for part in biases}
    expected |= {(-1, "token_embd", "weight"), (layers, "output_norm", "weight")}
    return expected if read["tie_word_embeddings"] else expected | {(layers, "output", "weight")}


def _part(
    read: Mapping[str, Any], key: tuple[int, str, str], names: Mapping[int, str], shapes: Mapping[str, tuple[int, ...]]
) -> Part:
    _, part, kind = key
    name = _name(*key)
    sources = tuple(names[number] for number in sorted(names))
    shape = shapes[sources[0]]
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
    if any(shapes[source] != shape for source in sources) or len(shape) != _dimensions(part, kind):
        raise CheckpointError(f"its shape {list(shape)} is not that of {name}", where=sources[0], remedy=REMEDY)
    if part in ("token_embd", "output") and shape[0] != read["vocab_size"]:
        raise CheckpointError(f"{shape[0]} rows for a vocabulary of {read['vocab_size']}", where=sources[0])
    if heads and shape[0] != read[heads] * read["head_dim"]:
        raise CheckpointError(f"{shape[0]} rows are not those of {read[heads]} heads", where=sources[0])
    if part in EXPERTS:
        if sorted(names) != list(range(read["num_local_experts"])):
            raise CheckpointError(f"{len(names)} experts of {read['num_local_experts']}", where=sources[0])
        shape = (len(names), *shape)
    interleaved = read["model_type"] in ("llama", "mixtral")
    return Part(name, shape, sources, read[heads] if heads and interleaved else None)


def _dimensions(part: str, kind: str) -> int:
    return 1 if kind == "bias" or part.endswith("_norm") else 2


def _name(layer: int, part: str, kind: str) -> str:
    return f"{part}.{kind}" if part in ("token_embd", "output_norm", "output") else f"blk.{layer}.{part}.{kind}"


def _integer(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if type(value) is not int or not 0 < value < 2**31:
        _refuse(f"{str(value)[:60]} is not a positive number", key)
    return value


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1e30:
        _refuse(f"{str(value)[:60]} is not a positive number", key)
    return shortest_float32(float(value))  # GGUF keeps float32


def _refuse(message: str, key: str) -> NoReturn:
    raise CheckpointError(message, where=f"{CONFIG} at $.{key}", remedy=REMEDY)

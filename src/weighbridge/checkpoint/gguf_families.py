"""What a GGUF of each supported family becomes: its config, and which source rows make up each target tensor. Pure.

Only what is understood completely is converted: an architecture key or a tensor that has no place here is an error,
since leaving it out would make another model. Key names follow gguf's constants; tensor names its tensor mapping.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.checkpoint.gguf_header import GgufHeader, GgufTensor
from weighbridge.checkpoint.gguf_rope import llama3_scaling
from weighbridge.errors import CheckpointError

REMEDY = "convert it with the tools of its own project, and weigh the folder that they write"


@dataclass(frozen=True, slots=True)
class Target:
    """One tensor to write, of float32: rows ``first`` to ``first + rows`` of ``source`` seen as a matrix.

    ``heads``: the rows are grouped by this many attention heads, whose rotary halves llama.cpp stores interleaved.
    None where rows stay in order.
    """

    name: str
    source: GgufTensor
    shape: tuple[int, ...]
    first: int = 0
    heads: int | None = None

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns): all but the last dimension are rows; a vector is one row, or one column if permuted."""
        if self.heads is not None and len(self.shape) == 1:
            return self.shape[0], 1
        rows = 1
        for number in self.shape[:-1]:
            rows *= number
        return rows, self.shape[-1]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        rows, columns = self.matrix
        return rows * columns


@dataclass(frozen=True, slots=True)
class Family:
    """A supported architecture. ``interleaved``: llama.cpp permutes the rows of its query and key projections."""

    architecture: str
    model_type: str
    interleaved: bool = False


FAMILIES: Mapping[str, Family] = {
    "llama": Family("LlamaForCausalLM", "llama", interleaved=True),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2"),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3"),
}
MIXTRAL = Family("MixtralForCausalLM", "mixtral", interleaved=True)

_KEYS = frozenset(
    {
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.type",
        "rope.scaling.factor",
        "vocab_size",
        "expert_count",
        "expert_used_count",
    }
)

# GGUF's names of tensors -> transformers'. In blocks: the part before ``.weight`` or ``.bias``.
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
OUTPUT, HEAD = "output.weight", "lm_head.weight"
ROPE_FACTORS = "rope_freqs.weight"
BLOCK = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "block_sparse_moe.gate",
}
EXPERTS = {"ffn_gate_exps": "w1", "ffn_down_exps": "w2", "ffn_up_exps": "w3"}
_BLOCK_NAME = re.compile(r"blk\.(\d{1,6})\.([a-z_]+)\.(weight|bias)")


def plan_config(header: GgufHeader, rope_factors: list[float] | None, *, where: str) -> dict[str, Any]:
    """The ``config.json`` of the converted model. ``rope_factors``: the values of the tensor ``rope_freqs.weight``.

    Raises ``CheckpointError`` for a family or a setting that is not converted.
    """
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise CheckpointError(
            f"the architecture {name!r} is not converted (known: {known})",
            where=f"{where} at general.architecture",
            remedy=REMEDY,
        )
    settings = _Settings(header, name, where)
    experts = settings.integer("expert_count", 0)
    family = FAMILIES[name] if not experts else MIXTRAL
    if experts and name != "llama":
        raise settings.error("expert_count", f"experts in {name} are not converted")
    heads = settings.integer("attention.head_count")
    hidden = settings.integer("embedding_length")
    head_dim = settings.integer("attention.key_length", hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if settings.integer(key, head_dim) != head_dim:
            raise settings.error(key, f"only heads of one size ({head_dim}) are converted")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    config: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "dtype": "float32",
        "vocab_size": settings.integer("vocab_size", len(tokens) if isinstance(tokens, list) else None),
        "hidden_size": hidden,
        "intermediate_size": settings.integer("feed_forward_length"),
        "num_hidden_layers": settings.integer("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": settings.integer("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": settings.integer("context_length"),
        "rms_norm_eps": settings.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": settings.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": OUTPUT not in header.by_name,
    }
    if family.model_type == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in header.by_name
        config["mlp_bias"] = "blk.0.ffn_up.bias" in header.by_name
    if experts:
        config |= {
            "num_local_experts": experts,
            "num_experts_per_tok": settings.integer("expert_used_count"),
            "sliding_window": None,
        }
    scaling = settings.rope_scaling()
    if rope_factors is not None:
        if scaling is not None:
            raise settings.error("rope.scaling.type", "two kinds of rotary scaling at once")
        scaling = llama3_scaling(rope_factors, head_dim, config["rope_theta"])
        if scaling is None:
            raise CheckpointError(
                "rotary factors that follow no known rule", where=f"{where} at {ROPE_FACTORS}", remedy=REMEDY
            )
    if scaling is not None:
        config["rope_scaling"] = scaling
    for role in ("bos", "eos"):
        token = header.metadata.get(f"tokenizer.ggml.{role}_token_id")
        if type(token) is int:
            config[f"{role}_token_id"] = token
    return config


def plan_tensors(header: GgufHeader, config: Mapping[str, Any], *, where: str) -> list[Target]:
    """The tensors to write, in the order of their source. Raises ``CheckpointError`` for one that has no place."""
    interleaved = config["model_type"] in ("llama", "mixtral")
    targets: list[Target] = []
    for tensor in header.tensors:
        if tensor.name == ROPE_FACTORS:
            continue  # went into the config, see plan_config
        if tensor.name in TOP:
            targets.append(Target(TOP[tensor.name], tensor, tensor.shape))
            continue
        if tensor.name == OUTPUT:
            targets.append(Target(HEAD, tensor, tensor.shape))
            continue
        match = _BLOCK_NAME.fullmatch(tensor.name)
        if match is None or int(match[1]) >= config["num_hidden_layers"]:
            raise _no_place(tensor, where)
        prefix = f"model.layers.{int(match[1])}."
        part, kind = match[2], match[3]
        if part in EXPERTS and config["model_type"] == "mixtral" and kind == "weight" and len(tensor.shape) == 3:
            experts, rows, columns = tensor.shape
            targets.extend(
                Target(
                    f"{prefix}block_sparse_moe.experts.{index}.{EXPERTS[part]}.weight",
                    tensor,
                    (rows, columns),
                    first=index * rows,
                )
                for index in range(experts)
            )
        elif part in BLOCK and not (part == "ffn_gate_inp" and config["model_type"] != "mixtral"):
            heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(part)
            targets.append(
                Target(
                    f"{prefix}{BLOCK[part]}.{kind}",
                    tensor,
                    tensor.shape,
                    heads=_heads(tensor, config[heads], where) if heads and interleaved else None,
                )
            )
        else:
            raise _no_place(tensor, where)
    return targets


def _heads(tensor: GgufTensor, heads: int, where: str) -> int:
    if tensor.shape[0] % (2 * heads):
        raise CheckpointError(
            f"{tensor.shape[0]} rows cannot be those of {heads} heads", where=f"{where} at {tensor.name}"
        )
    return heads


def _no_place(tensor: GgufTensor, where: str) -> CheckpointError:
    return CheckpointError(
        "this tensor has no place in the converted model", where=f"{where} at {tensor.name}", remedy=REMEDY
    )


class _Settings:
    """The architecture's own keys. Refuses, at once, any that the conversion would not carry over."""

    def __init__(self, header: GgufHeader, architecture: str, where: str) -> None:
        prefix = architecture + "."
        self._prefix = prefix
        self._where = where
        self._values = {
            key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)
        }
        for key in self._values:
            if key not in _KEYS:
                raise self.error(key, "this setting is not carried over")

    def error(self, key: str, message: str) -> CheckpointError:
        return CheckpointError(message, where=f"{self._where} at {self._prefix}{key}", remedy=REMEDY)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._values.get(key, default)
        if type(value) is not int or not 0 <= value < 2**31 or (value == 0 and default != 0):
            raise self.error(key, f"{str(value)[:60]} is not a positive number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values.get(key, default)
        if not isinstance(value, float) or not 0.0 < value < 1e30:
            raise self.error(key, f"{str(value)[:60]} is not a positive number")
        return shortest_float32(value)

    def rope_scaling(self) -> dict[str, Any] | None:
        kind = self._values.get("rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind == "linear":
            return {"rope_type": "linear", "factor": self.number("rope.scaling.factor")}
        raise self.error("rope.scaling.type", f"rotary scaling {str(kind)[:40]!r} is not converted")


def shortest_float32(value: float) -> float:
    """The shortest decimal that is the same float32: 1e-05, where the file holds 9.999999747378752e-06."""
    single = struct.pack("<f", value)
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits}g}")
        if struct.pack("<f", candidate) == single:
            return candidate
    return value

"""GGUF files made on the spot: tiny models with weights of no meaning, written by the gguf library.

The layout follows llama.cpp's own converter: query and key rows of the Llama family are permuted here, forwards.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

HIDDEN, HEADS, KEY_HEADS, LAYERS, WIDTH = 32, 4, 2, 2, 64
TEMPLATE = "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"

BYTES = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 256)]]
BYTES += [chr(256 + index) for index in range(256 - len(BYTES))]  # GPT-2's printable stand-ins for all 256 bytes


def byte_level_tokens() -> tuple[list[str], list[int], list[str]]:
    """Tokens, types and merges of a small byte-level vocabulary: two control tokens, all bytes, a few words."""
    merges = ["h e", "l l", "he ll", "hell o", "\u0120 w", "o r", "\u0120w or", "l d", "\u0120wor ld", "1 2", "12 3"]
    tokens = ["<s>", "</s>", *BYTES, *(merge.replace(" ", "") for merge in merges)]
    return tokens, [3, 3] + [1] * (len(tokens) - 2), merges


def numbers(name: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Random float32 numbers that depend on the name only."""
    seed = int.from_bytes(name.encode()[-8:], "little")
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def hugging_face_tensors(
    vocabulary: int, *, bias: bool = False, norms: bool = False
) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of a tiny dense decoder, under transformers' names, embeddings tied."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    small = HIDDEN * KEY_HEADS // HEADS
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (HIDDEN,),
            prefix + "post_attention_layernorm.weight": (HIDDEN,),
            prefix + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            prefix + "self_attn.k_proj.weight": (small, HIDDEN),
            prefix + "self_attn.v_proj.weight": (small, HIDDEN),
            prefix + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            prefix + "mlp.gate_proj.weight": (WIDTH, HIDDEN),
            prefix + "mlp.up_proj.weight": (WIDTH, HIDDEN),
            prefix + "mlp.down_proj.weight": (HIDDEN, WIDTH),
        }
        if bias:
            shapes |= {
                prefix + f"self_attn.{part}_proj.bias": (size,)
                for part, size in (("q", HIDDEN), ("k", small), ("v", small))
            }
        if norms:
            shapes |= {prefix + f"self_attn.{part}_norm.weight": (HIDDEN // HEADS,) for part in "qk"}
    return {name: numbers(name, shape) for name, shape in shapes.items()}


NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "block_sparse_moe.gate": "ffn_gate_inp",
}


def to_gguf(name: str, values: npt.NDArray[np.float32], *, permuted: bool) -> tuple[str, npt.NDArray[np.float32]]:
    """A tensor as llama.cpp's converter names and lays it out."""
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in fixed:
        return fixed[name], values
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    if permuted and part in ("self_attn.q_proj", "self_attn.k_proj"):
        heads = HEADS if part == "self_attn.q_proj" else KEY_HEADS
        halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
        values = halves.swapaxes(1, 2).reshape(values.shape)
    return f"blk.{layer}.{NAMES[part]}.{kind}", values


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
    quantised: gguf.GGMLQuantizationType | None = None,
    tokens: tuple[list[str], list[int], list[str]] | None = None,
    scores: list[float] | None = None,
    pre: str = "gpt-2",
    more: Mapping[str, Any] | None = None,
    extra: Mapping[str, npt.NDArray[np.float32]] | None = None,
    template: str | None = TEMPLATE,
) -> dict[str, npt.NDArray[np.float32]]:
    """Write a tiny model; returns its tensors under transformers' names. ``more``: further keys; ``extra``: further
    tensors, under GGUF's names; ``quantised``: the type of the matrices whose rows it fits."""
    tokens = tokens or byte_level_tokens()
    if tensors is None:
        tensors = hugging_face_tensors(len(tokens[0]), bias=architecture == "qwen2", norms=architecture == "qwen3")
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens[0]))
    writer.add_tokenizer_model("gpt2" if scores is None else "llama")
    if scores is None:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(tokens[2])
    else:
        writer.add_token_scores(scores)
        writer.add_unk_token_id(tokens[1].index(2))
    writer.add_token_list(tokens[0])
    writer.add_token_types(tokens[1])
    writer.add_bos_token_id(tokens[0].index("<s>"))
    writer.add_eos_token_id(tokens[0].index("</s>"))
    if template is not None:
        writer.add_chat_template(template)
    for key, value in (more or {}).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_string(key, value)
    for name, values in tensors.items():
        place, laid_out = to_gguf(name, values, permuted=architecture == "llama")
        _add(writer, place, laid_out, quantised)
    for name, values in (extra or {}).items():
        _add(writer, name, values, None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return dict(tensors)


def _add(
    writer: gguf.GGUFWriter,
    name: str,
    values: npt.NDArray[np.float32],
    quantised: gguf.GGMLQuantizationType | None,
) -> None:
    if quantised is None or values.ndim < 2:
        writer.add_tensor(name, np.ascontiguousarray(values))
    else:
        writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)


def raw_gguf(
    keys: Sequence[tuple[str, int, bytes]] = (),
    tensors: Sequence[tuple[str, tuple[int, ...], int, int]] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """The bytes of a GGUF file, right or wrong. A tensor is (name, dimensions in the file's order, type, offset)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if tensor_count is None else tensor_count,
                                len(keys) if key_count is None else key_count)  # fmt: skip
    for key, kind, value in keys:
        out += text(key) + struct.pack("<I", kind) + value
    for name, dimensions, kind, offset in tensors:
        out += text(name) + struct.pack("<I", len(dimensions))
        out += b"".join(struct.pack("<Q", number) for number in dimensions) + struct.pack("<IQ", kind, offset)
    if tensors:
        out += b"\0" * (-len(out) % alignment)
    return out + data

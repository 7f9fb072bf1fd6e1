"""The GGUF formats that are made, and which type each tensor gets in them. Pure.

The mixtures are llama.cpp's (llama-quant.cpp): a file of a known name should hold what users of that name expect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.checkpoint.gguf_families import OUTPUT
from weighbridge.checkpoint.gguf_header import TENSOR_TYPES
from weighbridge.errors import InputError

EMBEDDING = "token_embd.weight"


@dataclass(frozen=True, slots=True)
class Format:
    """A format by llama.cpp's name for it. ``file_type`` is llama.h's ``llama_ftype``; ``main`` the type of most
    matrices."""

    name: str
    file_type: int
    main: str


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("F32", 0, "F32"),
        Format("F16", 1, "F16"),
        Format("Q8_0", 7, "Q8_0"),
        Format("Q4_K_M", 15, "Q4_K"),
    )
}

_TYPES = {name: (number, block, size) for number, (name, block, size) in TENSOR_TYPES.items()}
_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows that are no multiple of 256


def format_of(name: str) -> Format:
    """The format called ``name``. Raises ``InputError``."""
    if name not in FORMATS:
        raise InputError(f"{name[:40]!r} is no format that is made", remedy=f"known: {', '.join(FORMATS)}")
    return FORMATS[name]


def type_number(kind: str) -> int:
    """ggml's number of a tensor type."""
    return _TYPES[kind][0]


def stored_bytes(kind: str, shape: Sequence[int]) -> int:
    """The bytes that a tensor of this type and shape takes."""
    _, block, size = _TYPES[kind]
    elements = 1
    for number in shape:
        elements *= number
    return elements // block * size


def tensor_type(form: Format, name: str, shape: Sequence[int], *, layers: int, experts: int, tied: bool) -> str:
    """The type of the tensor ``name`` (GGUF's name) in a file of ``form``.

    Vectors, norms and the router of experts stay in float32. In Q4_K_M the output matrix, and in some layers the
    value and down projections, get six bits. Rows that do not fill the blocks of a type fall back as in llama.cpp.
    """
    if len(shape) < 2 or not name.endswith(".weight") or name.endswith(("_norm.weight", "ffn_gate_inp.weight")):
        return "F32"
    if form.main in ("F32", "F16"):
        return form.main
    kind = form.main if form.main == "Q8_0" else _mixed(name, shape, layers, experts, tied)
    if shape[-1] % _TYPES[kind][1]:
        kind = _FALLBACK.get(kind, "F16")
    return kind if shape[-1] % _TYPES[kind][1] == 0 else "F16"


def _mixed(name: str, shape: Sequence[int], layers: int, experts: int, tied: bool) -> str:
    """Q4_K_M's rule. Eight experts: the projections that they share are small, and get more."""
    if name == OUTPUT or (tied and name == EMBEDDING):
        return "Q6_K" if shape[-1] % 256 == 0 else "Q8_0"
    block = _BLOCK.fullmatch(name)
    if block is None:
        return "Q4_K"
    layer, part = int(block[1]), block[2].partition(".")[0]
    if part == "attn_v":
        return "Q8_0" if experts == 8 else "Q6_K" if _more_bits(layer, layers) else "Q4_K"
    if part == "attn_k":
        return "Q8_0" if experts == 8 else "Q4_K"
    if part == "attn_output":
        return "Q5_K" if experts == 8 else "Q4_K"
    if part.startswith("ffn_down"):
        return "Q6_K" if _more_bits(layer, layers) else "Q4_K"
    return "Q4_K"


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2

"""Rows of GGUF tensors: read as float32, and put into the order that each side keeps. Loads NumPy and gguf."""

from __future__ import annotations

from typing import BinaryIO

import gguf
import numpy as np
import numpy.typing as npt

from weighbridge.checkpoint.gguf_header import TENSOR_TYPES, GgufTensor
from weighbridge.errors import CheckpointError

Floats = npt.NDArray[np.float32]


def read_rows(stream: BinaryIO, tensor: GgufTensor, columns: int, first: int, count: int) -> Floats:
    """Rows of ``tensor``, seen as a matrix of ``columns``, dequantised. Shape [count, columns], float32.

    Raises ``CheckpointError`` for a type that cannot be dequantised, or if the file is shorter than its header says.
    """
    name, block, block_bytes = TENSOR_TYPES[tensor.type]
    if columns % block:
        raise CheckpointError(f"a vector of blocks of {block} cannot be permuted", where=tensor.name)
    row_bytes = columns // block * block_bytes
    stream.seek(tensor.begin + first * row_bytes)
    packed = np.frombuffer(stream.read(count * row_bytes), np.uint8)
    if packed.size != count * row_bytes:
        raise CheckpointError("shrank while being read", where=tensor.name)
    # A damaged scale may be infinite: that is for whoever looks at the values, no reason for a warning here.
    with np.errstate(all="ignore"):
        rows = gguf.quants.dequantize(packed.reshape(count, -1), gguf.GGMLQuantizationType[name])
    return np.ascontiguousarray(rows, dtype=np.float32).reshape(count, columns)


def check_type(tensor: GgufTensor, where: str) -> None:
    """Raise ``CheckpointError`` unless the tensor's type can be dequantised."""
    name, _, block_bytes = TENSOR_TYPES[tensor.type]
    try:
        gguf.quants.dequantize(np.zeros((1, block_bytes), np.uint8), gguf.GGMLQuantizationType[name])
    except (KeyError, NotImplementedError) as cause:
        raise CheckpointError(
            f"the tensor type {name} cannot be dequantised", where=f"{where} at {tensor.name}"
        ) from cause


def split_halves(count: int, head: int) -> npt.NDArray[np.intp]:
    """Where to take the rows of whole heads from: llama.cpp keeps the two halves of a rotary head interleaved
    (0, h/2, 1, h/2 + 1, ...), transformers one after the other."""
    return np.arange(count).reshape(-1, head // 2, 2).transpose(0, 2, 1).reshape(-1)


def interleave(count: int, head: int) -> npt.NDArray[np.intp]:
    """The way back: convert_hf_to_gguf's permutation."""
    return np.arange(count).reshape(-1, 2, head // 2).transpose(0, 2, 1).reshape(-1)

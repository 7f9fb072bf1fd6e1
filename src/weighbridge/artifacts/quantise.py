"""Rows of float32 as the bytes of a tensor type. Loads NumPy and gguf, and llama.cpp for the types of 256 numbers a
block, which the gguf package reads but does not make.

llama.cpp's own function is called in the library that the package ``xllamacpp`` brings (``ggml_quantize_chunk``,
whose C signature has not changed since 2024). What it makes is checked once against gguf's reading of it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from weighbridge.artifacts.formats import type_number
from weighbridge.checkpoint.gguf_tensors import Floats
from weighbridge.errors import CheckpointError, EngineError

Bytes = npt.NDArray[np.uint8]

# The most that a type loses, as the root mean square of the error over that of the values: where each block holds one
# large number and small ones half a step apart. Models lose a third of it and less; another tensor, 1.4.
LOSS = {"F32": 0.0, "F16": 2.0**-10, "Q8_0": 0.03, "Q6_K": 0.1, "Q5_K": 0.2, "Q5_1": 0.2, "Q5_0": 0.2, "Q4_K": 0.4}

_LARGEST_HALF = 65504.0


def quantise(rows: Floats, kind: str) -> Bytes:
    """``rows`` [count, columns] in the tensor type ``kind``: [count, bytes of a row].

    Raises ``CheckpointError`` for numbers that the type cannot hold, ``EngineError`` where nothing at hand makes it.
    """
    check_finite(rows)
    if kind == "F32":
        return rows.astype("<f4", copy=False).view(np.uint8)
    if kind == "F16":
        if rows.size and max(float(rows.max()), -float(rows.min())) > _LARGEST_HALF:
            raise CheckpointError(f"holds numbers beyond {_LARGEST_HALF:.0f}, the largest of float16")
        return rows.astype("<f2").view(np.uint8)
    if kind.endswith("_K"):
        return _quantise_with_ggml(rows, kind)
    with np.errstate(all="ignore"):  # the scale of a block of denormal numbers has no inverse; they become zeros
        packed: Bytes = gguf.quants.quantize(rows, gguf.GGMLQuantizationType[kind])
    return packed


def check_finite(rows: Floats) -> None:
    """Raise ``CheckpointError`` for a NaN or an infinity."""
    if rows.size and not (np.isfinite(rows.max()) and np.isfinite(rows.min())):  # a NaN goes through both
        raise CheckpointError("holds numbers that are not finite", remedy="such weights are broken")


def loss(rows: Floats, packed: Bytes, kind: str) -> float:
    """What ``packed`` loses of ``rows``: root mean square of the error, relative to that of the rows."""
    back = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind])
    return relative_error(rows, back)


def relative_error(rows: Floats, back: Floats) -> float:
    """Root mean square of the difference over that of ``rows``; 0 where both are nothing but zeros."""
    error = float(np.square(rows - back, dtype=np.float64).sum())
    size = float(np.square(rows, dtype=np.float64).sum())
    if size == 0.0:
        return 0.0 if error == 0.0 else float("inf")
    return float(np.sqrt(error / size))


def _quantise_with_ggml(rows: Floats, kind: str) -> Bytes:
    rows = np.ascontiguousarray(rows, np.float32)
    count, columns = rows.shape
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    packed = np.empty((count, columns // 256 * size), np.uint8)
    written = _ggml(kind)(type_number(kind), rows.ctypes.data, packed.ctypes.data, 0, count, columns, None)
    if written != packed.nbytes:
        raise EngineError(f"llama.cpp made {written} bytes of {kind} where {packed.nbytes} belong")
    return packed


@functools.cache
def _ggml(kind: str) -> Callable[..., int]:
    """llama.cpp's function, ready for ``kind`` and proved on a few blocks."""
    try:
        import xllamacpp.xllamacpp as module  # type: ignore[import-untyped]

        library: Any = ctypes.CDLL(module.__file__)
        prepare, chunk = library.ggml_quantize_init, library.ggml_quantize_chunk
    except (ImportError, OSError, AttributeError) as cause:
        raise EngineError(
            f"{kind} is made by llama.cpp, whose quantiser is not at hand: {cause}",
            remedy="pip install xllamacpp, or leave out the formats that need it",
        ) from cause
    prepare.argtypes, prepare.restype = [ctypes.c_int], None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    chunk.argtypes, chunk.restype = [ctypes.c_int, pointer, pointer, number, number, number, pointer], ctypes.c_size_t
    prepare(type_number(kind))  # tables, made once for the process
    sample = np.sin(np.arange(4 * 256, dtype=np.float32)).reshape(2, 512)
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    packed = np.zeros((2, 2 * size), np.uint8)
    made = chunk(type_number(kind), sample.ctypes.data, packed.ctypes.data, 0, 2, 512, None)
    if made != packed.nbytes or loss(sample, packed, kind) > LOSS[kind] / 2:
        raise EngineError(
            f"this llama.cpp makes something else of {kind} than gguf reads",
            remedy="use a version of xllamacpp that constraints.txt names",
        )
    result: Callable[..., int] = chunk
    return result

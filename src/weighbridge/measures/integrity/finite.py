"""NaN and infinity in weights: every number of every tensor, in bounded memory, on all cores.

A floating point number is not finite if all bits of its exponent are set. So the largest bit pattern of a stretch,
signs masked out, tells for the whole stretch; only where it is too large are numbers counted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weighbridge.checkpoint.gguf_header import GgufTensor
from weighbridge.checkpoint.safetensors_header import DTYPE_BITS, Tensor
from weighbridge.errors import CheckpointError

_CHUNK = 512 * 1024  # bytes; stays in a core's own cache
_SEGMENT = 64 * 1024 * 1024  # bytes; one piece of work


@dataclass(frozen=True, slots=True)
class _Format:
    """``mask`` removes the sign; patterns from ``bad`` on are not finite, above ``infinity`` they are NaN."""

    word: str
    mask: int
    bad: int
    infinity: int | None


_FORMATS: Mapping[str, _Format] = {
    "F64": _Format("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0000),
    "F32": _Format("<u4", 0x7FFF_FFFF, 0x7F80_0000, 0x7F80_0000),
    "C64": _Format("<u4", 0x7FFF_FFFF, 0x7F80_0000, 0x7F80_0000),
    "F16": _Format("<u2", 0x7FFF, 0x7C00, 0x7C00),
    "BF16": _Format("<u2", 0x7FFF, 0x7F80, 0x7F80),
    "F8_E5M2": _Format("u1", 0x7F, 0x7C, 0x7C),
    "F8_E4M3": _Format("u1", 0x7F, 0x7F, None),  # the "fn" variant: no infinity
    "F8_E8M0": _Format("u1", 0xFF, 0xFF, None),
}
# The "fnuz" formats have one NaN, the pattern of minus zero. 4 and 6 bit floats and integers have none.
_MINUS_ZERO_IS_NAN = frozenset({"F8_E4M3FNUZ", "F8_E5M2FNUZ"})
ALWAYS_FINITE = frozenset(DTYPE_BITS) - set(_FORMATS) - _MINUS_ZERO_IS_NAN


@dataclass(frozen=True, slots=True)
class Broken:
    """A tensor that holds numbers which are none."""

    file: str
    tensor: str
    nan: int
    infinite: int


def find_broken(files: Iterable[tuple[str, Path, Sequence[Tensor]]], *, threads: int | None = None) -> list[Broken]:
    """The tensors that hold NaN or infinity, in the order given. Memory: half a megabyte a thread.

    ``files``: (name, place, its tensors). Raises ``CheckpointError`` if a file turns out shorter than its header
    says, ``OSError`` if one cannot be read.
    """
    pieces = [
        (name, path, tensor, begin, min(begin + _SEGMENT, tensor.end))
        for name, path, tensors in files
        for tensor in tensors
        if tensor.dtype not in ALWAYS_FINITE
        for begin in range(tensor.begin, tensor.end, _SEGMENT)
    ]
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    local = threading.local()

    def examine(piece: tuple[str, Path, Tensor, int, int]) -> tuple[int, int]:
        if not hasattr(local, "buffer"):
            local.buffer = bytearray(_CHUNK)
        name, path, tensor, begin, end = piece
        nan = infinite = 0
        for chunk in _chunks(path, name, begin, end, local.buffer):
            more = _count(chunk, tensor.dtype)
            nan, infinite = nan + more[0], infinite + more[1]
        return nan, infinite

    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="finite") as pool:
        for piece, (nan, infinite) in zip(pieces, pool.map(examine, pieces), strict=True):
            before = totals.get((piece[0], piece[2].name), (0, 0))
            totals[piece[0], piece[2].name] = (before[0] + nan, before[1] + infinite)
    return [Broken(file, tensor, *counts) for (file, tensor), counts in totals.items() if counts != (0, 0)]


def find_broken_gguf(name: str, path: Path, tensors: Sequence[GgufTensor]) -> list[Broken]:
    """The same for a GGUF file: every block is dequantised, slice by slice."""
    from weighbridge.checkpoint.gguf_tensors import read_rows

    result = []
    with path.open("rb") as stream:
        for tensor in tensors:
            columns = tensor.shape[-1]
            rows = 1
            for number in tensor.shape[:-1]:
                rows *= number
            step = max(1, 1024 * 1024 // columns)
            nan = infinite = 0
            for first in range(0, rows, step):
                values = read_rows(stream, tensor, columns, first, min(step, rows - first))
                more = _count(values.reshape(-1).view(np.uint8), "F32")
                nan, infinite = nan + more[0], infinite + more[1]
            if nan or infinite:
                result.append(Broken(name, tensor.name, nan, infinite))
    return result


def _chunks(path: Path, name: str, begin: int, end: int, buffer: bytearray) -> Iterator[npt.NDArray[np.uint8]]:
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        stream.seek(begin)
        while begin < end:
            wanted = min(len(buffer), end - begin)
            filled = 0
            while filled < wanted:  # a read may stop short, inside a number even
                count = stream.readinto(view[filled:wanted])
                if not count:
                    raise CheckpointError("shrank while being read", where=name)
                filled += count
            begin += wanted
            yield np.frombuffer(view[:wanted], np.uint8)


def _count(data: npt.NDArray[np.uint8], dtype: str) -> tuple[int, int]:
    """(NaN, infinite) among the numbers in ``data``."""
    if dtype in _MINUS_ZERO_IS_NAN:
        return int(np.count_nonzero(data == 0x80)), 0
    form = _FORMATS[dtype]
    words = data.view(form.word)
    bits = words & words.dtype.type(form.mask)
    if not bits.size or int(bits.max()) < form.bad:
        return 0, 0
    infinite = 0 if form.infinity is None else int(np.count_nonzero(bits == form.infinity))
    return int(np.count_nonzero(bits >= form.bad)) - infinite, infinite

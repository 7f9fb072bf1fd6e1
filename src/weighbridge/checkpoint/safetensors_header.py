"""The header of a safetensors file, read strictly. Pure core: header bytes and file size in, tensors or an error out.

Format: 8 bytes little-endian length, that many bytes of JSON, then the tensors' bytes without gap or overlap
(https://huggingface.co/docs/safetensors, "Format"). Everything that the format forbids is refused here, before any
other library reads the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.errors import CheckpointError
from weighbridge.files import unreadable

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's own limit
MAX_DIMENSIONS = 16
MAX_ELEMENTS = 2**62
_METADATA = "__metadata__"

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One stored tensor: ``shape`` in elements, ``begin`` and ``end`` in bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return _product(self.shape)


@dataclass(frozen=True)
class SafetensorsHeader:
    """Tensors in the order of their bytes, and the free-text metadata."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    @cached_property
    def by_name(self) -> Mapping[str, Tensor]:
        """Name -> tensor."""
        return {tensor.name: tensor for tensor in self.tensors}


def read_safetensors_header(path: Path, *, where: str | None = None) -> SafetensorsHeader:
    """Read and check the header of the file at ``path``. Raises ``CheckpointError``."""
    where = where or path.name
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = header_length(stream.read(8), size, where=where)
            return parse_safetensors_header(stream.read(length), size, where=where)
    except OSError as cause:
        raise unreadable(cause, where=where, error=CheckpointError) from cause


def header_length(prefix: bytes, size: int, *, where: str) -> int:
    """The length of the JSON header, from the first 8 bytes of a file of ``size`` bytes."""
    if len(prefix) < 8:
        raise _error("too short to be safetensors", where)
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise _error(f"claims a header of {length} bytes; {MAX_HEADER_BYTES} is the most the format allows", where)
    if 8 + length > size:
        raise _error(f"claims a header of {length} bytes in a file of {size}", where)
    return length


def parse_safetensors_header(header: bytes, size: int, *, where: str) -> SafetensorsHeader:
    """Check the JSON ``header`` of a file of ``size`` bytes. Raises ``CheckpointError``, and nothing else."""
    if not header.startswith(b"{"):
        raise _error("the header is not a JSON object", where)
    # Each tensor needs three brackets and over forty other bytes: refuse what would unfold into far more memory.
    if header.count(b"[") + header.count(b"{") > len(header) // 8 + 64:
        raise _error("the header is mostly brackets", where)
    value = canonical.loads(header, where=where, error=CheckpointError)
    if not isinstance(value, dict):
        raise _error("the header is not a JSON object", where)
    metadata = _metadata(value.pop(_METADATA, {}), where)
    start = 8 + len(header)
    tensors = sorted(
        (_tensor(name, fields, start, size, where) for name, fields in value.items()),
        key=lambda tensor: (tensor.begin, tensor.end),
    )
    position = start
    for tensor in tensors:
        if tensor.begin < position:
            raise _error("overlaps the tensor before it", f"{where} at {tensor.name}")
        if tensor.begin > position:
            raise _error(f"{tensor.begin - position} bytes before it belong to no tensor", f"{where} at {tensor.name}")
        position = tensor.end
    if position != size:
        raise _error(f"{size - position} bytes at the end belong to no tensor", where)
    return SafetensorsHeader(tuple(tensors), metadata)


def _metadata(value: Any, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _error("must map strings to strings", f"{where} at {_METADATA}")
    return value


def _tensor(name: str, fields: Any, start: int, size: int, where: str) -> Tensor:
    where = f"{where} at {name}"
    if not name or len(name) > 1024 or not name.isprintable():
        raise _error("not a tensor's name", where)
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise _error("a tensor has dtype, shape and data_offsets, and nothing else", where)
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _error(f"the dtype {str(dtype)[:40]!r} is unknown", where)
    if not _naturals(shape) or len(shape) > MAX_DIMENSIONS:
        raise _error("the shape is not a short list of natural numbers", where)
    if not _naturals(offsets) or len(offsets) != 2:
        raise _error("data_offsets are not two natural numbers", where)
    begin, end = offsets
    if begin > end or start + end > size:
        raise _error(f"its bytes {begin} to {end} lie outside the file's {size - start} bytes of data", where)
    bits = _product(shape) * DTYPE_BITS[dtype]
    if bits > MAX_ELEMENTS or bits != (end - begin) * 8:
        raise _error(f"shape {shape} of {dtype} does not fill its {end - begin} bytes", where)
    return Tensor(name, dtype, tuple(shape), start + begin, start + end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _product(shape: tuple[int, ...] | list[int]) -> int:
    """The number of elements; saturates far above anything storable, zero wins over everything."""
    result = 0 if 0 in shape else 1
    for number in shape:
        result = min(result * number, MAX_ELEMENTS + 1)
    return result


def _error(message: str, where: str) -> CheckpointError:
    return CheckpointError(message, where=where, remedy="download or export the file again")

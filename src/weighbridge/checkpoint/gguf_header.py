"""The header of a GGUF file, read strictly and within bounds. Pure core: a byte stream and its size in, values out.

Format: magic, version, tensor count, key count, the key-value pairs, the tensor table, padding, then the tensors'
bytes in order, each padded to the alignment (ggml's docs/gguf.md). Versions 2 and 3, little-endian. Every count is
checked against the bytes that are left before anything is allocated.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from weighbridge.errors import CheckpointError
from weighbridge.files import unreadable

Value: TypeAlias = "bool | int | float | str | list[Any]"

MAX_KEYS = 65_536
MAX_TENSORS = 1_000_000
MAX_KEY_BYTES = 65_535
MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_VALUES = 8_000_000  # array elements in the whole header
MAX_HEADER_BYTES = 512 * 1024 * 1024
MAX_ARRAY_DEPTH = 4
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME_BYTES = 128
DEFAULT_ALIGNMENT = 32

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9

# Tensor type -> (name, elements in a block, bytes in a block); ggml.h's ggml_type and its block structs.
TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One stored tensor. ``shape`` is outermost first, rows last-dimension contiguous (NumPy's order, the reverse of
    the file's); ``begin`` and ``end`` are bytes from the start of the file."""

    name: str
    type: int
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def type_name(self) -> str:
        """``Q4_1`` and the like."""
        return TENSOR_TYPES[self.type][0]


@dataclass(frozen=True)
class GgufHeader:
    """Metadata in file order and tensors in the order of their bytes."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]

    @cached_property
    def by_name(self) -> Mapping[str, GgufTensor]:
        """Name -> tensor."""
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def longest_token(self) -> int | None:
        """The most bytes of text that one token stands for; None where there is no vocabulary.

        Of a byte-level vocabulary, or one that writes a space as U+2581, this is somewhat more than the truth.
        """
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list):
            return None
        return max((len(token.encode()) for token in tokens if isinstance(token, str)), default=None)

    def templates(self) -> dict[str, str]:
        """The chat templates: name (``default`` for the unnamed one) -> Jinja source."""
        result = {}
        for key, value in self.metadata.items():
            if key.startswith("tokenizer.chat_template") and isinstance(value, str):
                result[key.removeprefix("tokenizer.chat_template").lstrip(".") or "default"] = value
        return result


def read_gguf_header(path: Path, *, where: str | None = None) -> GgufHeader:
    """Read and check the header of the file at ``path``. Raises ``CheckpointError``."""
    where = where or path.name
    try:
        with path.open("rb", buffering=1024 * 1024) as stream:
            return parse_gguf_header(stream, os.fstat(stream.fileno()).st_size, where=where)
    except OSError as cause:
        raise unreadable(cause, where=where, error=CheckpointError) from cause


def parse_gguf_header(stream: BinaryIO, size: int, *, where: str) -> GgufHeader:
    """Check the header at the start of ``stream``, of ``size`` bytes. Raises ``CheckpointError``, and nothing else
    but what ``stream`` itself raises."""
    reader = _Reader(stream, size, where)
    if reader.take(4, "the magic") != b"GGUF":
        raise reader.error("not a GGUF file")
    version = reader.integer("I", "the version")
    if version not in (2, 3):
        raise reader.error(f"GGUF version {version} is unknown (2 and 3, little-endian, are read)")
    tensor_count = reader.count("Q", MAX_TENSORS, 24, "tensors")
    key_count = reader.count("Q", MAX_KEYS, 13, "keys")
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = reader.string(MAX_KEY_BYTES, "a key")
        if key in metadata or not key:
            raise reader.error(f"the key {key[:80]!r} is empty or stands twice")
        metadata[key] = reader.value(reader.integer("I", key), key, 0)
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 8 <= alignment <= 65_536 or alignment & (alignment - 1):
        raise reader.error(f"general.alignment is {str(alignment)[:40]}, not a power of two from 8 to 65536")
    table = [reader.tensor() for _ in range(tensor_count)]
    return GgufHeader(version, metadata, _place(table, _align(reader.position, alignment), alignment, size, reader))


def _place(
    table: list[tuple[str, int, tuple[int, ...], int, int]], start: int, alignment: int, size: int, reader: _Reader
) -> tuple[GgufTensor, ...]:
    """Check that the tensors fill the rest of the file: aligned, in one piece, without overlap."""
    tensors: list[GgufTensor] = []
    seen: set[str] = set()
    position = start
    for name, kind, shape, offset, length in sorted(table, key=lambda row: row[3]):
        if name in seen:
            raise reader.error("the tensor stands twice", name)
        seen.add(name)
        begin = start + offset
        if offset % alignment:
            raise reader.error(f"its offset {offset} is not a multiple of {alignment}", name)
        if begin + length > size:
            raise reader.error(f"its bytes end at {begin + length}, the file at {size}", name)
        if begin != position:
            how = "overlaps the tensor before it" if begin < position else "bytes before it belong to no tensor"
            raise reader.error(how, name)
        tensors.append(GgufTensor(name, kind, shape, begin, begin + length))
        position = _align(begin + length, alignment)
    end = tensors[-1].end if tensors else min(start, size)
    if size > max(position, end):
        raise reader.error(f"{size - position} bytes at the end belong to no tensor")
    return tuple(tensors)


def _align(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


class _Reader:
    """Reads values and knows how many bytes are left."""

    def __init__(self, stream: BinaryIO, size: int, where: str) -> None:
        self._stream = stream
        self._end = min(size, MAX_HEADER_BYTES)
        self._size = size
        self._where = where
        self._values = 0
        self.position = 0

    def error(self, message: str, field: str | None = None) -> CheckpointError:
        where = f"{self._where} at {field[:200]}" if field else self._where
        return CheckpointError(message, where=where, remedy="download or convert the file again")

    def take(self, count: int, what: str) -> bytes:
        if count > self._end - self.position:
            raise self.error(f"the header ends inside {what[:200]}")
        data = self._stream.read(count)
        if len(data) != count:
            raise self.error(f"the file ends inside {what[:200]}")
        self.position += count
        return data

    def integer(self, code: str, what: str) -> int:
        result: int = struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0]
        return result

    def count(self, code: str, most: int, bytes_each: int, what: str) -> int:
        """A count of things of at least ``bytes_each`` bytes, no more than could follow."""
        number = self.integer(code, f"the count of {what}")
        if number > most or number * bytes_each > self._end - self.position:
            raise self.error(f"claims {number} {what[:200]} in a file of {self._size} bytes")
        return number

    def string(self, most: int, what: str) -> str:
        length = self.count("Q", most, 1, f"bytes in {what}")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as cause:
            raise self.error(f"{what[:200]} is not UTF-8") from cause

    def value(self, kind: int, key: str, depth: int) -> Value:
        if kind in _SCALARS:
            result: Value = struct.unpack("<" + _SCALARS[kind], self.take(struct.calcsize("<" + _SCALARS[kind]), key))[
                0
            ]
            return result
        if kind == _BOOL:
            byte = self.take(1, key)[0]
            if byte > 1:
                raise self.error(f"{byte} is neither true nor false", key)
            return bool(byte)
        if kind == _STRING:
            return self.string(MAX_STRING_BYTES, key)
        if kind == _ARRAY:
            return self.array(key, depth)
        raise self.error(f"the value type {kind} is unknown", key)

    def array(self, key: str, depth: int) -> list[Any]:
        if depth >= MAX_ARRAY_DEPTH:
            raise self.error(f"arrays nested more than {MAX_ARRAY_DEPTH} deep", key)
        kind = self.integer("I", key)
        each = {_BOOL: 1, _STRING: 8, _ARRAY: 12}.get(kind) or (
            struct.calcsize("<" + _SCALARS[kind]) if kind in _SCALARS else None
        )
        if each is None:
            raise self.error(f"the array type {kind} is unknown", key)
        length = self.count("Q", MAX_VALUES, each, f"values in {key}")
        self._values += length
        if self._values > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES} array values in one header", key)
        if kind in _SCALARS:
            return list(struct.unpack(f"<{length}{_SCALARS[kind]}", self.take(each * length, key)))
        return [self.value(kind, key, depth + 1) for _ in range(length)]

    def tensor(self) -> tuple[str, int, tuple[int, ...], int, int]:
        """One row of the tensor table: name, type, shape, offset, bytes."""
        name = self.string(MAX_TENSOR_NAME_BYTES, "a tensor's name")
        if not name or not name.isprintable():
            raise self.error(f"{name!r} is not a tensor's name")
        dimensions = self.integer("I", name)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise self.error(f"{dimensions} dimensions", name)
        sizes = struct.unpack(f"<{dimensions}Q", self.take(8 * dimensions, name))
        kind = self.integer("I", name)
        offset = self.integer("Q", name)
        if kind not in TENSOR_TYPES:
            raise self.error(f"the tensor type {kind} is unknown", name)
        _, block, block_bytes = TENSOR_TYPES[kind]
        elements = 1
        for number in sizes:
            elements *= number
            if not 0 < number < 2**48 or elements >= 2**62:
                raise self.error(f"its dimensions {list(sizes)} are absurd", name)
        if sizes[0] % block:
            raise self.error(f"rows of {sizes[0]} are no multiple of the block of {block}", name)
        if offset >= 2**62:
            raise self.error(f"its offset {offset} is absurd", name)
        return name, kind, tuple(reversed(sizes)), offset, elements // block * block_bytes

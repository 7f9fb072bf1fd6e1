"""The safetensors header: what is valid is read, everything else is refused, nothing crashes."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weighbridge.checkpoint import read_safetensors_header
from weighbridge.checkpoint.safetensors_header import DTYPE_BITS, header_length, parse_safetensors_header
from weighbridge.errors import CheckpointError


def entry(dtype: str = "F32", shape: Any = (2,), begin: Any = 0, end: Any = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def parse(header: Any, data: int) -> Any:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse_safetensors_header(raw, 8 + len(raw) + data, where="x.safetensors")


def test_it_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b.weight": np.zeros((3, 0, 2), np.float16),
        "c": np.array(7, np.int64),
        "d": np.array([True, False]),
        "e": np.arange(4, dtype=np.uint8),
    }
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "np"})
    header = read_safetensors_header(path)
    data = path.read_bytes()
    assert header.metadata == {"format": "np"}
    assert set(header.by_name) == set(tensors)
    for name, values in tensors.items():
        tensor = header.by_name[name]
        assert tensor.shape == values.shape
        assert tensor.elements == values.size
        assert data[tensor.begin : tensor.end] == values.tobytes()


def test_every_dtype_of_the_library_is_known() -> None:
    for dtype, bits in DTYPE_BITS.items():
        assert parse({"t": entry(dtype, (8,), 0, bits)}, bits).tensors[0].elements == 8


def test_no_tensors_at_all_is_a_valid_header() -> None:
    assert parse({}, 0).tensors == ()
    assert parse({"__metadata__": {"a": "b"}}, 0).metadata == {"a": "b"}


@pytest.mark.parametrize(
    ("header", "data", "why"),
    [
        ({"a": entry(), "b": entry(begin=4, end=12)}, 12, "overlaps"),
        ({"a": entry(), "b": entry()}, 8, "overlaps"),
        ({"a": entry(), "b": entry(begin=12, end=20)}, 20, "belong to no tensor"),
        ({"a": entry(begin=4, end=12)}, 12, "belong to no tensor"),
        ({"a": entry()}, 12, "4 bytes at the end"),
        ({}, 3, "3 bytes at the end"),
        ({"a": entry()}, 7, "outside"),
        ({"a": entry(begin=8, end=0)}, 8, "outside"),
        ({"a": entry(begin=-8, end=0)}, 8, "natural"),
        ({"a": entry(begin=0.0, end=8.0)}, 8, "natural"),
        ({"a": entry(begin=False, end=8)}, 8, "natural"),
        ({"a": entry(shape=(3,))}, 8, "does not fill"),
        ({"a": entry(shape=(-2,))}, 8, "natural"),
        ({"a": entry(shape=(True, 2))}, 8, "natural"),
        ({"a": entry(shape=(2.0,))}, 8, "natural"),
        ({"a": entry(shape="2")}, 8, "natural"),
        ({"a": entry(shape=(2**32, 2**32))}, 8, "does not fill"),
        ({"a": entry(shape=(2**64 + 2,))}, 8, "natural"),
        ({"a": entry(shape=(2**62, 2**62, 2**62))}, 8, "does not fill"),
        ({"a": entry(shape=(1,) * 17 + (2,))}, 8, "short list"),
        ({"a": entry(dtype="F31")}, 8, "unknown"),
        ({"a": entry(dtype=7)}, 8, "unknown"),
        ({"a": entry("F4", (3,), 0, 1)}, 1, "does not fill"),
        ({"a": entry() | {"extra": 1}}, 8, "nothing else"),
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "nothing else"),
        ({"a": [1]}, 8, "nothing else"),
        ({"": entry()}, 8, "name"),
        ({"a\nb": entry()}, 8, "name"),
        ({"__metadata__": {"a": 1}}, 0, "strings"),
        ({"__metadata__": []}, 0, "strings"),
        (b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", 8, "twice"),
        (b'{"a":', 0, "not JSON"),
        (b'{"a":NaN}', 0, "NaN"),
        (b"[]", 0, "object"),
        (b' {"a":1}', 0, "object"),
        (b"{\xff}", 0, "UTF-8"),
        (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", 0, "brackets"),
        (b'{"a":' + b"9" * 5000 + b"}", 0, "JSON"),
    ],
)
def test_everything_else_is_refused(header: Any, data: int, why: str) -> None:
    with pytest.raises(CheckpointError, match=why) as caught:
        parse(header, data)
    assert (caught.value.where or "").startswith("x.safetensors")


@pytest.mark.parametrize(
    ("prefix", "size", "why"),
    [
        (b"", 0, "short"),
        (b"1234567", 7, "short"),
        (b"\xff" * 8, 100, "most"),
        (struct.pack("<Q", 93), 100, "in a file of"),
    ],
)
def test_absurd_lengths_are_refused_before_anything_is_read(prefix: bytes, size: int, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        header_length(prefix, size, where="x")


def test_a_header_of_brackets_does_not_fill_memory() -> None:
    raw = b'{"a":[' + b"[]," * 2_000_000 + b"1]}"
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        parse(raw, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024


VALID = safetensors.numpy.save(
    {"one": np.ones((2, 3), np.float32), "two": np.ones(5, np.int8), "three": np.ones((1, 4), np.float16)}, {"k": "v"}
)


def read(data: bytes) -> None:
    """As reading a file does, without one."""
    stream = io.BytesIO(data)
    length = header_length(stream.read(8), len(data), where="x")
    header = parse_safetensors_header(stream.read(length), len(data), where="x")
    covered = sum(tensor.end - tensor.begin for tensor in header.tensors)
    assert 8 + length + covered == len(data)


@settings(max_examples=400)
@given(st.data())
def test_mutations_are_parsed_or_refused(data: st.DataObject) -> None:
    raw = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(["flip", "digit", "cut", "insert", "swap"]))
        if kind == "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "digit":
            raw[at] = data.draw(st.sampled_from(b'0123456789-.e[]{}",:'))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            raw[at:at] = data.draw(st.binary(max_size=8))
        else:
            other = data.draw(st.integers(0, len(raw) - 1))
            raw[at], raw[other] = raw[other], raw[at]
        if not raw:
            break
    try:
        read(bytes(raw))
    except CheckpointError:
        return


@settings(max_examples=200)
@given(st.binary(max_size=200))
@example(b"\x02\0\0\0\0\0\0\0{}")
def test_noise_is_parsed_or_refused(raw: bytes) -> None:
    try:
        read(raw)
    except CheckpointError:
        return


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.text(max_size=4),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "dtype": st.one_of(st.sampled_from(sorted(DTYPE_BITS)), st.text(max_size=3)),
                    "shape": st.lists(
                        st.one_of(
                            st.integers(-1, 2**70), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
                        ),
                        max_size=3,
                    ),
                    "data_offsets": st.lists(st.integers(-1, 40), max_size=3),
                }
            ),
        ),
        max_size=3,
    ),
    st.integers(0, 40),
)
def test_structured_noise_is_parsed_or_refused(header: dict[str, Any], data: int) -> None:
    try:
        found = parse(header, data)
    except CheckpointError:
        return
    assert sum(tensor.end - tensor.begin for tensor in found.tensors) == data

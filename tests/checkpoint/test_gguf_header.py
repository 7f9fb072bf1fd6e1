"""The GGUF header: what is valid is read, everything else is refused within bounds, nothing crashes."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gguf_making import raw_gguf, write_gguf
from weighbridge.checkpoint import read_gguf_header
from weighbridge.checkpoint.gguf_header import TENSOR_TYPES, GgufHeader, parse_gguf_header
from weighbridge.errors import CheckpointError


def parse(raw: bytes) -> GgufHeader:
    return parse_gguf_header(io.BytesIO(raw), len(raw), where="x.gguf")


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def array(kind: int, length: int, body: bytes) -> bytes:
    return struct.pack("<IQ", kind, length) + body


def test_it_reads_what_the_library_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, quantised=gguf.GGMLQuantizationType.Q8_0, more={"tokenizer.ggml.add_bos_token": True, "a.b": 7})
    header = read_gguf_header(path)
    other = gguf.GGUFReader(path)
    assert len(header.tensors) == len(other.tensors)
    for tensor in other.tensors:
        ours = header.by_name[tensor.name]
        assert ours.begin == tensor.data_offset
        assert ours.end - ours.begin == tensor.n_bytes
        assert ours.shape == tuple(reversed([int(number) for number in tensor.shape]))
        assert ours.type_name == tensor.tensor_type.name
    for key, field in other.fields.items():
        if not key.startswith("GGUF."):
            assert header.metadata[key] == field.contents()
    assert set(header.templates()) == {"default"}
    assert header.longest_token == len("\u0120world".encode())


def test_without_a_vocabulary_no_token_is_the_longest() -> None:
    for value in ([], [1, 2], "text"):
        assert GgufHeader(3, {"tokenizer.ggml.tokens": value}, ()).longest_token is None
    assert GgufHeader(3, {}, ()).longest_token is None


def test_block_sizes_are_those_of_ggml() -> None:
    for number, (name, block, size) in TENSOR_TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert kind.name == name
        assert gguf.GGML_QUANT_SIZES[kind] == (block, size)


def test_every_kind_of_value_is_read() -> None:
    keys = [
        ("u8", 0, b"\xff"),
        ("i8", 1, b"\xff"),
        ("u16", 2, b"\xff\xff"),
        ("i32", 5, struct.pack("<i", -5)),
        ("f32", 6, struct.pack("<f", 0.5)),
        ("yes", 7, b"\x01"),
        ("text", 8, text("né".encode())),
        ("list", 9, array(4, 2, struct.pack("<II", 1, 2))),
        ("nested", 9, array(9, 2, array(8, 1, text(b"a")) + array(7, 1, b"\0"))),
        ("u64", 10, struct.pack("<Q", 2**63)),
        ("f64", 12, struct.pack("<d", 0.25)),
    ]
    assert parse(raw_gguf(keys)).metadata == {
        "u8": 255, "i8": -1, "u16": 65535, "i32": -5, "f32": 0.5, "yes": True, "text": "né",
        "list": [1, 2], "nested": [["a"], [False]], "u64": 2**63, "f64": 0.25,
    }  # fmt: skip


ONE = ("a", (32,), 0, 0)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "ends inside the magic"),
        (b"GGML" + bytes(20), "not a GGUF"),
        (raw_gguf(version=1), "version 1"),
        (struct.pack("<4sI", b"GGUF", 3 << 24) + bytes(16), "version"),
        (raw_gguf(tensor_count=2**60), "claims"),
        (raw_gguf(key_count=2**60), "claims"),
        (raw_gguf(key_count=1), "claims 1 keys"),
        (raw_gguf([("a", 99, b"")]), "value type 99"),
        (raw_gguf([("a", 7, b"\x02")]), "neither true nor false"),
        (raw_gguf([("", 0, b"\0")]), "empty or stands twice"),
        (raw_gguf([("a", 0, b"\0"), ("a", 0, b"\0")]), "empty or stands twice"),
        (raw_gguf([("a", 8, struct.pack("<Q", 2**62))]), "claims"),
        (raw_gguf([("a", 8, text(b"\xff"))]), "UTF-8"),
        (raw_gguf([("a", 9, array(4, 2**61, b""))]), "claims"),
        (raw_gguf([("a", 9, array(99, 1, b""))]), "array type 99"),
        (raw_gguf([("a", 9, array(9, 1, array(9, 1, array(9, 1, array(9, 1, array(9, 0, b""))))))]), "nested"),
        (raw_gguf([("general.alignment", 4, struct.pack("<I", 33))]), "alignment"),
        (raw_gguf([("general.alignment", 4, struct.pack("<I", 0))]), "alignment"),
        (raw_gguf([("general.alignment", 8, text(b"32"))]), "alignment"),
        (raw_gguf(tensors=[ONE], data=bytes(127)), "the file at"),
        (raw_gguf(tensors=[ONE], data=bytes(160)), "32 bytes at the end"),
        (raw_gguf(tensors=[ONE, ONE], data=bytes(128)), "overlaps|twice"),
        (raw_gguf(tensors=[ONE, ("b", (32,), 0, 64)], data=bytes(192)), "overlaps"),
        (raw_gguf(tensors=[ONE, ("b", (32,), 0, 160)], data=bytes(288)), "no tensor"),
        (raw_gguf(tensors=[ONE, ("b", (32,), 0, 129)], data=bytes(257)), "multiple of 32"),
        (raw_gguf(tensors=[("a", (32,), 0, 2**63)], data=bytes(128)), "absurd"),
        (raw_gguf(tensors=[("a", (), 0, 0)]), "0 dimensions"),
        (raw_gguf(tensors=[("a", (1, 1, 1, 1, 1), 0, 0)]), "5 dimensions"),
        (raw_gguf(tensors=[("a", (0,), 0, 0)]), "absurd"),
        (raw_gguf(tensors=[("a", (2**40, 2**40), 0, 0)]), "absurd"),
        (raw_gguf(tensors=[("a", (32,), 4, 0)], data=bytes(128)), "tensor type 4"),
        (raw_gguf(tensors=[("a", (33,), 2, 0)], data=bytes(128)), "multiple of the block"),
        (raw_gguf(tensors=[("", (32,), 0, 0)], data=bytes(128)), "name"),
        (raw_gguf(tensors=[("x" * 200, (32,), 0, 0)], data=bytes(128)), "claims"),
        (raw_gguf() + b"\0" * 64, "at the end"),
    ],
)
def test_everything_else_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(CheckpointError, match=why) as caught:
        parse(raw)
    assert (caught.value.where or "").startswith("x.gguf")


def test_padding_after_the_last_tensor_is_allowed() -> None:
    assert len(parse(raw_gguf(tensors=[("a", (5,), 0, 0)], data=bytes(20))).tensors) == 1
    assert len(parse(raw_gguf(tensors=[("a", (5,), 0, 0)], data=bytes(32))).tensors) == 1


def test_a_sparse_giant_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(raw_gguf([("a", 9, array(0, 2**33, b""))]))
    with path.open("r+b") as stream:
        stream.truncate(2**34)  # sparse: the claimed values are there, all zero
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="claims"):
        read_gguf_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


VALID = raw_gguf(
    [
        ("general.architecture", 8, text(b"llama")),
        ("general.alignment", 4, struct.pack("<I", 16)),
        ("tokens", 9, array(8, 3, text(b"a") + text(b"bc") + text(b""))),
        ("scores", 9, array(6, 3, struct.pack("<fff", 1, 2, 3))),
    ],
    [("one", (32, 2), 2, 0), ("two", (4,), 0, 48)],
    bytes(64),
    alignment=16,
)


def test_the_seed_of_the_fuzzing_is_valid() -> None:
    assert len(parse(VALID).tensors) == 2


@settings(max_examples=400)
@given(st.data())
def test_mutations_are_parsed_or_refused(data: st.DataObject) -> None:
    raw = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(["flip", "byte", "word", "cut", "insert"]))
        if kind == "flip":
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "word":
            raw[at : at + 8] = struct.pack("<Q", data.draw(st.integers(0, 2**64 - 1)))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        else:
            raw[at:at] = data.draw(st.binary(max_size=16))
        if not raw:
            break
    try:
        header = parse(bytes(raw))
    except CheckpointError:
        return
    assert all(tensor.end <= len(raw) for tensor in header.tensors)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_noise_is_parsed_or_refused(noise: bytes) -> None:
    for raw in (noise, b"GGUF\x03\0\0\0" + noise):
        try:
            parse(raw)
        except CheckpointError:
            continue

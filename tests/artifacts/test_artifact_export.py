"""Exporting a checkpoint: everything survives the way there and back, and nothing is written by half."""

from __future__ import annotations

import json
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from gguf_making import byte_level_tokens, hugging_face_tensors, write_gguf
from weighbridge.artifacts import export
from weighbridge.artifacts.export import export_gguf
from weighbridge.artifacts.formats import FORMATS
from weighbridge.artifacts.record import read_record
from weighbridge.checkpoint import Checkpoint, convert_gguf, hash_file, open_checkpoint, read_gguf_header
from weighbridge.checkpoint.gguf_families import ROPE_FACTORS
from weighbridge.checkpoint.gguf_rope import llama3_factors
from weighbridge.errors import CheckpointError, InputError, StorageError

SENTENCE = ["<unk>", "<s>", "</s>", *(f"<0x{code:02X}>" for code in range(256)), "\u2581", "a", "b", "ab", "\u2581ab"]


def came_from(tmp_path: Path, **changes: Any) -> Checkpoint:
    """A checkpoint that was converted from a GGUF file."""
    write_gguf(tmp_path / "source.gguf", **changes)
    return open_checkpoint(convert_gguf(tmp_path / "source.gguf", tmp_path / "model"))


def changed(checkpoint: Checkpoint, name: str, **values: Any) -> Checkpoint:
    """The same with other values in one of its JSON files."""
    path = checkpoint.root / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    (checkpoint.root / "weighbridge-origin.json").unlink(missing_ok=True)
    return open_checkpoint(checkpoint.root)


def mixture() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    tensors = {name: values for name, values in hugging_face_tensors(269).items() if ".mlp." not in name}
    extra = {}
    for layer in range(2):
        extra[f"blk.{layer}.ffn_gate_inp.weight"] = rng.standard_normal((4, 32), np.float32)
        for part, shape in (("gate", (64, 32)), ("down", (32, 64)), ("up", (64, 32))):
            extra[f"blk.{layer}.ffn_{part}_exps.weight"] = rng.standard_normal((4, *shape), np.float32)
    return {"tensors": tensors, "extra": extra, "more": {"llama.expert_count": 4, "llama.expert_used_count": 2}}


MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architecture": "qwen2", "pre": "qwen2"},
    "qwen3": {"architecture": "qwen3", "pre": "qwen2"},
    "smollm": {"pre": "smollm"},
    "llama 3": {
        "pre": "llama-bpe",
        "extra": {ROPE_FACTORS: np.array(llama3_factors(8, 500000.0, 8.0), np.float32)},
    },
    "linear positions": {"more": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}},
    "head of its own": {"extra": {"output.weight": np.random.default_rng(1).standard_normal((269, 32), np.float32)}},
    "biased": {"tensors": hugging_face_tensors(269, bias=True) | {
        f"model.layers.{layer}.self_attn.o_proj.bias": np.ones(32, np.float32) for layer in range(2)}},
    "begun": {"more": {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}},
    "pieces": {
        "tokens": (SENTENCE, [2, 3, 3, *[6] * 256, *[1] * 5], []),
        "scores": [*[0.0] * 259, -3.0, -4.0, -5.0, -1.0, -2.0],
    },
    "experts": mixture(),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_was_a_gguf_becomes_the_same_again(tmp_path: Path, name: str) -> None:
    """There and back in float32: every number and every other file of the checkpoint is the same."""
    checkpoint = came_from(tmp_path, **MODELS[name])
    record = export_gguf(checkpoint, "F32", tmp_path / "F32.gguf")
    assert record.sha256 == hash_file(tmp_path / "F32.gguf")
    again = convert_gguf(tmp_path / "F32.gguf", tmp_path / "again")
    one, other = (safetensors.numpy.load_file(folder / "model.safetensors") for folder in (checkpoint.root, again))
    assert one.keys() == other.keys()
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)
    for file in checkpoint.manifest.files:
        if file.path != "model.safetensors":
            assert (again / file.path).read_bytes() == (checkpoint.root / file.path).read_bytes(), file.path
    before, after = read_gguf_header(tmp_path / "source.gguf"), read_gguf_header(tmp_path / "F32.gguf")
    for key in ("tokens", "token_type", "merges", "pre", "bos_token_id", "eos_token_id"):
        if f"tokenizer.ggml.{key}" in before.metadata and (name, key) != ("pieces", "pre"):
            assert after.metadata[f"tokenizer.ggml.{key}"] == before.metadata[f"tokenizer.ggml.{key}"]
    assert after.templates() == before.templates()
    assert after.metadata["weighbridge.checkpoint"] == checkpoint.digest


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_checkpoint_gives_the_same_bytes_once(tmp_path: Path, name: str) -> None:
    if name == "Q4_K_M":
        pytest.importorskip("xllamacpp")
    checkpoint = came_from(tmp_path)
    first = export_gguf(checkpoint, name, tmp_path / "one" / f"{name}.gguf")
    second = export_gguf(checkpoint, name, tmp_path / "two" / f"{name}.gguf")
    assert first == second == read_record(tmp_path / "two" / f"{name}.gguf")
    path = tmp_path / "one" / f"{name}.gguf"
    stamp = path.stat().st_mtime_ns
    assert export_gguf(checkpoint, name, path) == first
    assert path.stat().st_mtime_ns == stamp  # taken as it was
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert export_gguf(checkpoint, name, path) == first
    assert hash_file(path) == first.sha256


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = came_from(tmp_path)
    to = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))  # where the weights lie, beyond the header
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            export_gguf(checkpoint, "F32", to / "F32.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(to.iterdir()) == []
    monkeypatch.setattr(export.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(StorageError, match="10 are free"):
        export_gguf(checkpoint, "F32", to / "F32.gguf")
    assert list(to.iterdir()) == []


def test_one_export_at_a_time_and_what_a_killed_one_left_is_written_over(tmp_path: Path) -> None:
    checkpoint = came_from(tmp_path)
    (tmp_path / ".F16.gguf.partial").write_bytes(b"left behind" * 100_000)
    with export._created(tmp_path / ".F16.gguf.partial"), pytest.raises(StorageError, match="another export"):
        export_gguf(checkpoint, "F16", tmp_path / "F16.gguf")
    (tmp_path / ".F16.gguf.partial").write_bytes(b"left behind" * 100_000)
    record = export_gguf(checkpoint, "F16", tmp_path / "F16.gguf")
    assert (tmp_path / "F16.gguf").stat().st_size == record.size
    assert not (tmp_path / ".F16.gguf.partial").exists()


def test_memory_is_that_of_slices_whatever_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_SLICE_ELEMENTS", 4096)
    monkeypatch.setattr("weighbridge.checkpoint.gguf_convert._SLICE_ELEMENTS", 4096)
    for limit in ("checkpoint.weights.MAX_JSON_BYTES", "artifacts.source.MAX_STRING_BYTES"):
        monkeypatch.setattr(f"weighbridge.{limit}", 100_000)  # asked for whatever is read, and not touched
    tensors = hugging_face_tensors(269)
    big = {name: np.tile(values, (64, 1)) for name, values in tensors.items() if name.endswith(("up_proj.weight",))}
    big |= {name: np.tile(tensors[name], (64, 1)) for name in tensors if name.endswith("gate_proj.weight")}
    big |= {name: np.tile(tensors[name], (1, 64)) for name in tensors if name.endswith("down_proj.weight")}
    write_gguf(tmp_path / "small.gguf")
    folder = convert_gguf(tmp_path / "small.gguf", tmp_path / "model")
    safetensors.numpy.save_file(tensors | big, folder / "model.safetensors")
    (folder / "weighbridge-origin.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"intermediate_size": 64 * 64}
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(folder)
    export_gguf(checkpoint, "Q8_0", tmp_path / "warm.gguf")  # what libraries keep for ever is not counted
    tracemalloc.start()
    try:
        export_gguf(checkpoint, "F16", tmp_path / "F16.gguf")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    largest = max(values.nbytes for values in big.values())
    assert peak < 3 * largest < checkpoint.manifest.size


def weights(checkpoint: Checkpoint, name: str, value: float) -> Checkpoint:
    path = checkpoint.root / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    tensors[name] = tensors[name].copy()
    tensors[name].reshape(-1)[3] = value
    safetensors.numpy.save_file(tensors, path)
    (checkpoint.root / "weighbridge-origin.json").unlink(missing_ok=True)
    return open_checkpoint(checkpoint.root)


DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("config.json", {"model_type": "mamba"}, "are not exported"),
        ("config.json", {"hidden_act": "gelu"}, "the activation"),
        ("config.json", {"auto_map": {"AutoModel": "x.y"}}, "code of its own"),
        ("config.json", {"model_type": "mistral", "sliding_window": 12}, "sliding window"),
        ("config.json", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rotary scaling"),
        ("config.json", {"attention_bias": True}, "no tensor for"),
        ("config.json", {"tie_word_embeddings": False}, "no tensor for output.weight"),
        ("config.json", {"num_hidden_layers": 1}, "no place in GGUF"),
        ("config.json", {"num_hidden_layers": 3}, "no tensor for"),
        ("config.json", {"vocab_size": 200}, "rows for a vocabulary of 200"),
        ("config.json", {"head_dim": 7}, "do not make"),
        ("config.json", {"partial_rotary_factor": 0.5}, "rotated in part"),
        ("config.json", {"rms_norm_eps": None}, "not a positive number"),
        ("tokenizer_config.json", {"eos_token": None}, "no eos_token"),
        ("tokenizer_config.json", {"bos_token": "<nowhere>"}, "not a token of the vocabulary"),
        ("tokenizer_config.json", {"add_bos_token": True}, "contradicts"),
        ("generation_config.json", {"eos_token_id": [1, 2, 3, 4]}, "tokens end a response"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "no name in GGUF"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "no name in GGUF"),
        ("tokenizer.json", {"post_processor": {"type": "BertProcessing"}}, "a post-processor"),
        ("tokenizer.json", {"model": {"type": "Unigram", "vocab": []}}, "no vocabulary"),
        (
            "tokenizer.json",
            {"added_tokens": [{"id": 0, "content": "<s>", "special": True, "lstrip": True}]},
            "takes the text around it",
        ),
    ],
)
def test_what_gguf_cannot_say_is_refused(tmp_path: Path, name: str, values: dict[str, Any], message: str) -> None:
    checkpoint = changed(came_from(tmp_path), name, **values)
    with pytest.raises(CheckpointError, match=message):
        export_gguf(checkpoint, "F16", tmp_path / "out" / "F16.gguf")
    assert not (tmp_path / "out").exists()


def test_numbers_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    checkpoint = weights(came_from(tmp_path), DOWN, 70000.0)
    with pytest.raises(CheckpointError, match="largest of float16") as caught:
        export_gguf(checkpoint, "F16", tmp_path / "F16.gguf")
    assert caught.value.where == DOWN
    assert export_gguf(checkpoint, "F32", tmp_path / "F32.gguf")
    broken = weights(checkpoint, DOWN, float("nan"))
    for name in ("F32", "F16", "Q8_0"):
        with pytest.raises(CheckpointError, match="not finite"):
            export_gguf(broken, name, tmp_path / "out" / f"{name}.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_format_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        export_gguf(came_from(tmp_path), "Q3_K_S", tmp_path / "x.gguf")
    assert "Q4_K_M" in (caught.value.remedy or "")


@pytest.mark.parametrize("wrong", ["rows", "tokens", "template", "setting", "value"])
def test_what_is_written_wrongly_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The comparison reads what lies on the disk; it is not the export again."""
    checkpoint = came_from(tmp_path)
    if wrong == "rows":
        monkeypatch.setattr(export, "interleave", lambda count, head: np.arange(count))
    elif wrong == "value":
        pack = export._Export._pack
        monkeypatch.setattr(export._Export, "_pack", lambda self, piece: pack(self, piece) ^ (piece.first == 0))
    else:
        metadata = export._metadata
        replace: dict[str, Any] = {
            "tokens": ("tokenizer.ggml.merges", byte_level_tokens()[2][::-1]),
            "template": ("tokenizer.chat_template", "{{ messages }}"),
            "setting": ("llama.rope.freq_base", 10000.0),
        }
        key, value = replace[wrong]
        monkeypatch.setattr(export, "_metadata", lambda source, form: metadata(source, form) | {key: value})
    with pytest.raises(CheckpointError, match=r"differs from its source|not finite"):
        export_gguf(checkpoint, "F16", tmp_path / "out" / "F16.gguf")
    assert list((tmp_path / "out").iterdir()) == []

"""Checkpoints that do not hold together are refused, never filled up with random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tiny_models import make_checkpoint, make_tokenizer
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.engines.torch_settings import settings_for
from weighbridge.errors import EngineError

PAIRS = [("The river", " runs"), ("The river", " runs past the mill")]


def rewrite(root: Path, change: Any) -> None:
    path = root / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_missing_tensor_is_refused(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path, name)
    rewrite(root, lambda tensors: tensors.pop(sorted(tensors)[4]))
    with pytest.raises(EngineError, match="lack"):
        TorchEngine(root, device="cpu")


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_tensor_of_another_shape_is_refused(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path, name)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        key = sorted(tensors)[-3]
        tensors[key] = torch.zeros((3, *tensors[key].shape))

    rewrite(root, change)
    with pytest.raises(EngineError):
        TorchEngine(root, device="cpu")


def test_a_tensor_too_many_is_refused(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama")
    rewrite(root, lambda tensors: tensors.update({"model.layers.9.extra": torch.zeros(3)}))
    with pytest.raises(EngineError, match="no place for"):
        TorchEngine(root, device="cpu")


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    root = make_checkpoint(tmp_path, "llama")
    path = root / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(EngineError, match="cannot be loaded"):
        TorchEngine(root, device="cpu")


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama", vocab_size=200)
    with pytest.raises(EngineError, match="embeddings"):
        TorchEngine(root, device="cpu")


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama")
    for path in root.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(EngineError):
        TorchEngine(root, device="cpu")


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path, "llama")
    config = json.loads((root / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.EvilConfig"}}
    config["model_type"] = "evil"
    (root / "config.json").write_text(json.dumps(config))
    (root / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\nclass EvilConfig: ...\n")
    with pytest.raises(EngineError):
        TorchEngine(root, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_shards_score_like_one_file(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "one", "qwen2")
    whole = TorchEngine(root, device="cpu").score(PAIRS)
    tensors = load_file(root / "model.safetensors")
    (root / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, root / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: shard for shard, keys in shards.items() for key in keys}}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    engine = TorchEngine(root, device="cpu")
    assert engine.score(PAIRS) == whole
    assert engine.settings["weights"] == sorted(shards)


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_the_engine_has_the_settings_that_were_told_before(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path, name)
    before = settings_for(root, device="cpu", dtype="bfloat16")
    engine = TorchEngine(root, device="cpu", dtype="bfloat16")
    assert engine.settings == before
    assert set(engine.producer) == {"torch", "transformers", "tokenizers"}


def test_a_larger_model_vocabulary_is_fine(tmp_path: Path) -> None:
    """Many models pad their embeddings beyond the tokenizer."""
    root = make_checkpoint(tmp_path, "llama", vocab_size=512)
    make_tokenizer(root)
    assert len(TorchEngine(root, device="cpu").score(PAIRS)) == 2


def test_a_token_budget_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="budget"):
        TorchEngine(make_checkpoint(tmp_path, "llama"), device="cpu", token_budget=-1)


@pytest.mark.parametrize("name", ["llama", "gpt-neox"])
def test_more_layers_than_tensors_are_refused_before_they_are_built(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path, name)
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    with pytest.raises(EngineError, match="1,000,000,000 layers"):
        TorchEngine(root, device="cpu")

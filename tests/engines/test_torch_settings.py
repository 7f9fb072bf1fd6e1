"""What is known of a checkpoint before it is loaded, and that knowing it loads nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weighbridge.engines.torch_settings import mode_for, plan_for, resolve_device, settings_for
from weighbridge.errors import EngineError

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
}


def directory(root: Path, config: dict[str, Any], *weights: str) -> Path:
    (root / "config.json").write_text(json.dumps(config))
    for name in weights or ("model.safetensors",):
        (root / name).write_bytes(b"")
    return root


def test_settings_of_a_plain_checkpoint(tmp_path: Path) -> None:
    assert settings_for(directory(tmp_path, LLAMA), device="cpu") == {
        "engine": "torch",
        "device": "cpu",
        "dtype": "float32",
        "weights": ["model.safetensors"],
        "max_length": 4096,
        "mode": "tree",
        "tree_limit": 4096,
        "add_bos_token": None,
    }


def test_knowing_the_settings_imports_no_framework(tmp_path: Path) -> None:
    directory(tmp_path, LLAMA)
    code = (
        "import sys; from pathlib import Path; from weighbridge.engines.torch_settings import settings_for, producer;"
        f"settings_for(Path({str(tmp_path)!r}), device='cpu'); producer();"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "falcon"},
        {"model_type": None},
        {"architectures": ["SomethingElse"]},
        {"architectures": None},
        {"hidden_act": "gelu"},
        {"quantization_config": {"quant_method": "awq"}},
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "longrope"}},
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        {"rope_parameters": "default"},
        {"partial_rotary_factor": 0.5},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"sliding_window": "wide"},
        {"sliding_window": 0},
    ],
)
def test_anything_not_known_to_take_the_mask_falls_back_and_says_why(change: dict[str, Any]) -> None:
    mode = mode_for(LLAMA | change, 4096)
    assert (mode.name, mode.limit) == ("fallback", 0)
    assert mode.why


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        ({}, 4096),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, 4096),
        ({"sliding_window": 512}, 512),
        ({"sliding_window": 8192}, 4096),
        ({"sliding_window": None}, 4096),
        ({"layer_types": ["full_attention"], "sliding_window": 512}, 4096),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 512}, 512),
    ],
)
def test_a_window_limits_the_tree(change: dict[str, Any], limit: int) -> None:
    mode = mode_for(LLAMA | change, 4096)
    assert (mode.name, mode.limit) == ("tree", limit)


def test_a_silent_config_means_what_transformers_makes_of_it(tmp_path: Path) -> None:
    mistral = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    plan = plan_for(directory(tmp_path, mistral), device="cpu")
    assert (plan.max_length, plan.mode.limit) == (131072, 4096)
    qwen = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "sliding_window": 100}
    assert mode_for(qwen, 4096).limit == 4096
    assert mode_for(qwen | {"use_sliding_window": True}, 4096).limit == 100


@pytest.mark.parametrize(
    ("config", "tokenizer", "length"),
    [
        ({"model_type": "gpt2", "n_positions": 1024}, {}, 1024),
        ({"model_type": "x", "text_config": {"max_position_embeddings": 77}, "n_positions": 5}, {}, 77),
        ({"model_type": "mamba"}, {"model_max_length": 512}, 512),
        ({"model_type": "mamba"}, {"model_max_length": 1000000000000000019884624838656}, 2048),
        ({"model_type": "mamba"}, {}, 2048),
    ],
)
def test_the_context_is_where_lm_eval_finds_it(
    tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any], length: int
) -> None:
    directory(tmp_path, config)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert plan_for(tmp_path, device="cpu").max_length == length


def test_shards_are_named(tmp_path: Path) -> None:
    directory(tmp_path, LLAMA, "a.safetensors", "b.safetensors")
    index = {"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert plan_for(tmp_path, device="cpu").weights == ("a.safetensors", "b.safetensors")
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(EngineError, match=r"b\.safetensors.*missing"):
        plan_for(tmp_path, device="cpu")


def test_a_shard_outside_the_directory_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "inner"
    root.mkdir()
    (tmp_path / "x.safetensors").write_bytes(b"")
    directory(root, LLAMA, "unrelated")
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../x.safetensors"}}))
    with pytest.raises(EngineError, match="missing"):
        plan_for(root, device="cpu")


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1, "a": 2}', "{", '{"max_position_embeddings": "many"}'])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    directory(tmp_path, {})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(EngineError) as caught:
        plan_for(tmp_path, device="cpu")
    assert "config.json" in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="missing"):
        plan_for(tmp_path, device="cpu")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EngineError, match="no safetensors"):
        plan_for(tmp_path, device="cpu")


def test_device_and_dtype_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory(tmp_path, LLAMA)
    with pytest.raises(EngineError, match="dtype"):
        plan_for(tmp_path, device="cpu", dtype="float16")
    with pytest.raises(EngineError, match="device"):
        plan_for(tmp_path, device="abacus")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device("auto") == "cpu"
    assert settings_for(tmp_path, device="cuda:1")["device"] == "cuda"

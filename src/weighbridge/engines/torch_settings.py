"""What the torch engine will do with a checkpoint, told from its JSON files alone: no torch, nothing loaded.

The settings belong to the question that evidence answers, so they must be known before anything runs. The mode is
``tree`` where the architecture is known to take a tree attention mask, and ``fallback`` wherever anything in the
config is not known to: an unknown architecture, scaling of positions that depends on the length, another
activation, quantised weights. Sliding-window attention takes the mask for sequences within its window.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.errors import EngineError, InputError

DTYPES = ("float32", "bfloat16")

# Architectures that the tree forward implements, and what transformers assumes where the config is silent.
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"class": "LlamaForCausalLM", "max_position_embeddings": 2048, "sliding_window": None},
    "mistral": {"class": "MistralForCausalLM", "max_position_embeddings": 131072, "sliding_window": 4096},
    "mixtral": {"class": "MixtralForCausalLM", "max_position_embeddings": 131072, "sliding_window": None},
    "qwen2": {"class": "Qwen2ForCausalLM", "max_position_embeddings": 32768, "sliding_window": 4096},
    "qwen3": {"class": "Qwen3ForCausalLM", "max_position_embeddings": 32768, "sliding_window": 4096},
}
# Rotary embeddings whose angles depend on the position alone, not on the sequence's length.
_FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}
_UNSTATED_LENGTH = 2048  # lm-eval's default where neither config nor tokenizer says
_NO_LENGTH = 10**29  # transformers writes 1e30 where a tokenizer has no maximum


@dataclass(frozen=True, slots=True)
class Mode:
    """How sequences are scored: ``tree`` up to ``limit`` tokens, ``fallback`` beyond; ``why`` is for people."""

    name: Literal["tree", "fallback"]
    limit: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided about a checkpoint before it is loaded."""

    root: Path
    device: str
    dtype: str
    weights: tuple[str, ...]
    max_length: int
    mode: Mode
    add_bos_token: bool | None

    @property
    def settings(self) -> dict[str, Json]:
        """What of it belongs to the question. How memory is used does not, since it does not shape the answer."""
        return {
            "engine": "torch",
            "device": self.device.partition(":")[0],
            "dtype": self.dtype,
            "weights": list(self.weights),
            "max_length": self.max_length,
            "mode": self.mode.name,
            "tree_limit": self.mode.limit,
            "add_bos_token": self.add_bos_token,
        }


def settings_for(
    root: Path, *, device: str = "auto", dtype: str = "float32", add_bos_token: bool | None = None
) -> dict[str, Json]:
    """The settings that a ``TorchEngine`` with these arguments will have. Raises ``EngineError``; imports no torch
    (but for ``device="auto"`` where a CUDA device seems to be present)."""
    return plan_for(root, device=device, dtype=dtype, add_bos_token=add_bos_token).settings


def plan_for(root: Path, *, device: str = "auto", dtype: str = "float32", add_bos_token: bool | None = None) -> Plan:
    """Read the checkpoint's config and say how it will be run. Raises ``EngineError``."""
    if dtype not in DTYPES:
        raise EngineError(f"dtype {dtype!r} is not supported", remedy=f"choose one of {', '.join(DTYPES)}")
    config = _read(root / "config.json", required=True)
    max_length = _max_length(root, config)
    return Plan(
        root=root,
        device=resolve_device(device),
        dtype=dtype,
        weights=_weights(root),
        max_length=max_length,
        mode=mode_for(config, max_length),
        add_bos_token=add_bos_token,
    )


def producer() -> dict[str, str]:
    """Versions of what computes, for the record. Reads package metadata, imports nothing."""
    result = {}
    for package in ("torch", "transformers", "tokenizers"):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            raise EngineError(f"the package {package} is not installed", remedy=f"pip install {package}") from None
    return result


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where torch can use it, else ``cpu``; anything else stays. Raises ``EngineError``."""
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise EngineError(f"device {device!r} is not supported", remedy="choose auto, cpu, cuda or cuda:N")
    if device != "auto":
        return device
    return "cuda" if _cuda_seems_present() and _torch_has_cuda() else "cpu"


def check_device(device: str) -> None:
    """Raises ``InputError`` where ``cuda`` is asked for and torch finds none. Imports torch for ``cuda`` alone."""
    if device.partition(":")[0] == "cuda" and not _torch_has_cuda():
        raise InputError("torch finds no CUDA device", where="--device", remedy="use device auto or cpu")


def mode_for(config: Mapping[str, Any], max_length: int) -> Mode:
    """Whether a model of this config can be scored as a prefix tree, and up to which length. Fails closed."""
    kind = config.get("model_type")
    family = _FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None or config.get("architectures") != [family["class"]]:
        return Mode("fallback", 0, f"the architecture {kind or 'unknown'} is not known to take a tree mask")
    if config.get("hidden_act", "silu") != "silu":
        return Mode("fallback", 0, "the activation is not SiLU")
    if config.get("quantization_config") is not None:
        return Mode("fallback", 0, "the weights are quantised")
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rotary, Mapping) or any(isinstance(value, Mapping) for value in rotary.values()):
        return Mode("fallback", 0, "positions are encoded differently from layer to layer")
    rope_type = rotary.get("rope_type", rotary.get("type", "default"))
    if rope_type not in _FIXED_ROTARY:
        return Mode("fallback", 0, f"the encoding of positions ({rope_type}) depends on the sequence's length")
    for source in (config, rotary):
        if source.get("partial_rotary_factor") not in (None, 1, 1.0):
            return Mode("fallback", 0, "positions are encoded in a part of each head only")
    return _window(config, family, max_length)


def _window(config: Mapping[str, Any], family: Mapping[str, Any], max_length: int) -> Mode:
    window = config.get("sliding_window", family["sliding_window"])
    layers = config.get("layer_types")
    if layers is not None:
        if not isinstance(layers, list) or any(kind not in ("full_attention", "sliding_attention") for kind in layers):
            return Mode("fallback", 0, "a kind of attention layer is not known")
        if "sliding_attention" not in layers:
            window = None
    elif "use_sliding_window" in config or config["model_type"].startswith("qwen"):
        window = window if config.get("use_sliding_window", False) else None
    if window is None:
        return Mode("tree", max_length, "every layer attends to the whole sequence")
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        return Mode("fallback", 0, "the sliding window is not a number")
    if window >= max_length:
        return Mode("tree", max_length, f"the sliding window of {window} covers the whole context")
    return Mode("tree", window, f"sequences longer than the sliding window of {window} go through the fallback")


def _max_length(root: Path, config: Mapping[str, Any]) -> int:
    """The model's context in tokens, from where lm-eval takes it: config, else tokenizer, else 2,048."""
    text = config.get("text_config") or config
    family = _FAMILIES.get(str(config.get("model_type")), {})
    for source in (text, family):
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            value = source.get(name) if isinstance(source, Mapping) else None
            if value is not None:
                if not isinstance(value, int) or isinstance(value, bool) or value < 2:
                    raise EngineError(f"{name} is {value!r}, not a length", where=str(root / "config.json"))
                return value
    value = _read(root / "tokenizer_config.json", required=False).get("model_max_length")
    if isinstance(value, int | float) and 2 <= value < _NO_LENGTH:
        return int(value)
    return _UNSTATED_LENGTH


def _weights(root: Path) -> tuple[str, ...]:
    """The weight files that transformers loads: the single file, else the shards that the index names."""
    if (root / "model.safetensors").is_file():
        return ("model.safetensors",)
    index = root / "model.safetensors.index.json"
    if not index.is_file():
        raise EngineError(
            "there are no safetensors weights",
            where=str(root),
            remedy="weights in other formats are not loaded; convert the checkpoint to safetensors",
        )
    shards = _read(index, required=True).get("weight_map")
    if not isinstance(shards, Mapping) or not shards or any(not isinstance(name, str) for name in shards.values()):
        raise EngineError("weight_map does not map tensors to files", where=str(index))
    names = tuple(sorted(set(shards.values())))
    for name in names:
        if Path(name).name != name or not (root / name).is_file():
            raise EngineError(f"the shard {name!r} is missing", where=str(index), remedy="complete the checkpoint")
    return names


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not required:
            return {}
        raise EngineError("the file is missing", where=str(path), remedy="give a Hugging Face directory") from None
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        value = canonical.loads(data, where=str(path))
    except InputError as error:
        raise EngineError(error.message, where=error.where, remedy="repair the checkpoint") from error
    if not isinstance(value, dict):
        raise EngineError("is not a JSON object", where=str(path))
    return value


def _cuda_seems_present() -> bool:
    """A cheap look for a CUDA device, so that torch is imported only where it may find one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    if sys.platform == "linux":
        return any(Path(name).exists() for name in ("/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"))
    return sys.platform == "win32"


def _torch_has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()

"""What configuration files ask a loader to do: run code that comes with the model, fetch code, load an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from weighbridge import canonical
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.checkpoint.weights import INDEX, MAX_JSON_BYTES
from weighbridge.errors import CheckpointError
from weighbridge.measures.integrity.notes import Notes

# Read and checked by meaning elsewhere; their keys are tokens and tensor names, not settings.
_NO_SETTINGS = frozenset({"tokenizer.json", "vocab.json", "added_tokens.json", INDEX})
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_generate", "custom_code"})
_ATTENTION_KEYS = frozenset({"attn_implementation", "_attn_implementation", "_attn_implementation_internal"})


def check_configs(checkpoint: Checkpoint, notes: Notes) -> None:
    """Findings for every JSON file that cannot be read, names code, or changes which model is loaded."""
    for file in checkpoint.manifest.files:
        name = PurePosixPath(file.path)
        if name.name == "adapter_config.json":
            notes.find("adapter", file.path, "loaders would put an adapter on top of the weights")
        if name.suffix == ".json":
            notes.attempt(file.path, lambda path=file.path: _check_json(checkpoint, path, notes))  # type: ignore[misc]


def _check_json(checkpoint: Checkpoint, name: str, notes: Notes) -> None:
    data = read_bytes(checkpoint.locate(name), limit=MAX_JSON_BYTES, where=name)
    value = canonical.loads(data, where=name, error=CheckpointError)
    notes.count("json_files")
    if PurePosixPath(name).name in _NO_SETTINGS:
        return
    for path, key, item in _walk(value, "$"):
        where = f"{name} at {path}"
        if key in _CODE_KEYS and item:
            notes.find("remote-code", where, f"{key} asks a loader to run code that comes with the model")
        elif key == "trust_remote_code" and item is not False and item is not None:
            notes.find("remote-code", where, "asks a loader to trust code that comes with the model")
        elif key in _ATTENTION_KEYS and isinstance(item, str) and ("/" in item or ":" in item):
            notes.find("remote-code", where, f"asks a loader to fetch the kernel {item[:80]!r}")
        elif isinstance(item, str) and key != "chat_template" and _names_module(item):
            notes.find("remote-code", where, f"names the Python file {item[:80]!r}")


def _names_module(text: str) -> bool:
    return len(text) < 256 and " " not in text and (text.endswith(".py") or ".py::" in text)


def _walk(value: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Every (JSON path, key, value) of objects, at any depth; list items under the list's key."""
    stack: list[tuple[str, str, Any]] = [(path, "", value)]
    while stack:
        path, key, item = stack.pop()
        if key:
            yield path, key, item
        if isinstance(item, dict):
            stack.extend((f"{path}.{name}", name, child) for name, child in item.items())
        elif isinstance(item, list):
            stack.extend((f"{path}[{index}]", key, child) for index, child in enumerate(item))

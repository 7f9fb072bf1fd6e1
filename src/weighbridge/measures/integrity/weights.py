"""Weights: headers that hold, files that a loader takes, finite numbers, and the tensors that the config calls for."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from weighbridge.checkpoint.facts import CONFIG
from weighbridge.checkpoint.gguf_header import read_gguf_header
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.checkpoint.safetensors_header import SafetensorsHeader, read_safetensors_header
from weighbridge.checkpoint.weights import INDEX, SINGLE, Weights, read_json, read_weights
from weighbridge.measures.integrity.finite import Broken, find_broken, find_broken_gguf
from weighbridge.measures.integrity.notes import Notes
from weighbridge.measures.integrity.secrets import scan

_SHOWN = 3


def check_weights(checkpoint: Checkpoint, notes: Notes) -> None:
    """Everything about ``*.safetensors`` and ``*.gguf`` files."""
    headers: dict[str, SafetensorsHeader] = {}
    for file in checkpoint.manifest.files:
        if file.path.endswith(".safetensors"):
            notes.attempt(
                file.path,
                lambda path=file.path: _check_safetensors(checkpoint, path, headers, notes),  # type: ignore[misc]
                code="malformed-weights",
            )
        elif file.path.endswith(".gguf"):
            notes.attempt(
                file.path,
                lambda path=file.path: _check_gguf(checkpoint, path, notes),  # type: ignore[misc]
                code="malformed-weights",
            )
    notes.attempt("weights", lambda: _check_finite(checkpoint, headers, notes))
    notes.attempt("weights", lambda: _check_loaded(checkpoint, headers, notes), code="weights-incomplete")


def _check_safetensors(checkpoint: Checkpoint, path: str, headers: dict[str, SafetensorsHeader], notes: Notes) -> None:
    headers[path] = header = read_safetensors_header(checkpoint.locate(path), where=path)
    notes.count("tensors", len(header.tensors))
    for key, text in header.metadata.items():
        for secret in scan(io.BytesIO(text.encode())):
            notes.find("secret", f"{path} at __metadata__.{key[:80]}", f"looks like a {secret.kind}")


def _check_gguf(checkpoint: Checkpoint, path: str, notes: Notes) -> None:
    header = read_gguf_header(checkpoint.locate(path), where=path)
    notes.count("tensors", len(header.tensors))
    for key, value in header.metadata.items():
        if isinstance(value, str):
            for secret in scan(io.BytesIO(value.encode())):
                notes.find("secret", f"{path} at {key[:80]}", f"looks like a {secret.kind}")
    _report(path, find_broken_gguf(path, checkpoint.locate(path), header.tensors), notes)


def _check_finite(checkpoint: Checkpoint, headers: Mapping[str, SafetensorsHeader], notes: Notes) -> None:
    files = [(name, checkpoint.locate(name), header.tensors) for name, header in headers.items()]
    broken = find_broken(files)
    for name in headers:
        _report(name, [item for item in broken if item.file == name], notes)
    notes.count("numbers", sum(tensor.elements for _, _, tensors in files for tensor in tensors))


def _report(file: str, broken: list[Broken], notes: Notes) -> None:
    if broken:
        shown = ", ".join(f"{item.tensor} ({item.nan} NaN, {item.infinite} infinite)" for item in broken[:_SHOWN])
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        notes.find("not-finite", file, f"NaN or infinity in {len(broken)} tensors: {shown}{more}")


def _check_loaded(checkpoint: Checkpoint, headers: Mapping[str, SafetensorsHeader], notes: Notes) -> None:
    names = [file.path for file in checkpoint.manifest.files]
    if SINGLE not in names and INDEX not in names:
        notes.undecided("weights", f"neither {SINGLE} nor {INDEX}: nothing that could be compared with the config")
        return
    weights = read_weights(checkpoint.root, names, locate=checkpoint.locate)
    if SINGLE in names and INDEX in names:
        notes.find("weights-ambiguous", INDEX, f"stands beside {SINGLE}: loaders differ in which they take")
    for name in headers:
        if name not in weights.headers:
            notes.find("weights-unreferenced", name, "no loader takes it, so nothing would measure it")
    notes.attempt(CONFIG, lambda: _check_expected(checkpoint, weights, notes), code="weights-differ")


def _check_expected(checkpoint: Checkpoint, weights: Weights, notes: Notes) -> None:
    config = read_json(checkpoint.locate(CONFIG), where=CONFIG)
    if config.get("quantization_config"):
        notes.undecided(CONFIG, "quantised weights are not compared with the config")
        return
    # Imported here: it loads torch and transformers.
    from weighbridge.measures.integrity.expected_torch import Unbuildable, expected_tensors

    try:
        expected = expected_tensors(config, len(weights.tensors))
    except Unbuildable as error:
        notes.undecided(CONFIG, f"the weights cannot be compared with the config: {error}")
        return
    stored = {name: tensor.shape for name, (_, tensor) in weights.tensors.items()}
    prefix = expected.prefix + "."
    if not any(name.startswith(prefix) for name in stored) and any(
        name.startswith(prefix) for name in expected.required
    ):
        # Saved from the bare model; a loader adds the prefix.
        wanted = {**expected.required, **expected.optional}
        stored = {prefix + name if prefix + name in wanted else name: shape for name, shape in stored.items()}
    _compare(stored, expected.required, expected.optional, expected.ignores, weights, notes)


def _compare(
    stored: Mapping[str, tuple[int, ...]],
    required: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
    ignores: Any,
    weights: Weights,
    notes: Notes,
) -> None:
    missing = sorted(set(required) - set(stored))
    extra = sorted(name for name in set(stored) - set(required) - set(optional) if not ignores(name))
    shapes = {**required, **optional}
    wrong = sorted(name for name in stored if name in shapes and tuple(stored[name]) != tuple(shapes[name]))
    files = sorted(weights.headers)
    where = files[0] if len(files) == 1 else INDEX
    if missing:
        notes.find("weights-missing", where, f"{len(missing)} tensors that the config calls for: {_some(missing)}")
    if extra:
        notes.find(
            "weights-unexpected", where, f"{len(extra)} tensors that the config has no place for: {_some(extra)}"
        )
    if wrong:
        shown = [f"{name} is {list(stored[name])}, not {list(shapes[name])}" for name in wrong]
        notes.find("weights-misshapen", where, f"{len(wrong)} tensors of another shape: {_some(shown)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def is_weights(name: str) -> bool:
    """Whether a file is looked into here, and so needs no reading as text."""
    return PurePosixPath(name).suffix in (".safetensors", ".gguf")

"""Which files hold the weights that a loader would load, and what their headers say.

A Hugging Face folder holds ``model.safetensors``, or shards that ``model.safetensors.index.json`` maps tensors to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge import canonical
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.safetensors_header import SafetensorsHeader, Tensor, read_safetensors_header
from weighbridge.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 256 * 1024 * 1024

# Formats that run code when they are loaded, or that nothing here can look into. Known, so as to be named.
PICKLED_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".mar", ".npy", ".npz"}
)
OTHER_WEIGHT_SUFFIXES = frozenset({".h5", ".hdf5", ".keras", ".msgpack", ".onnx", ".pb", ".tflite", ".mlmodel", ".ot"})


@dataclass(frozen=True)
class Weights:
    """The weights that a loader takes: file -> header, in the order of the names."""

    headers: Mapping[str, SafetensorsHeader]

    @cached_property
    def tensors(self) -> Mapping[str, tuple[str, Tensor]]:
        """Tensor name -> (file, tensor)."""
        return {tensor.name: (file, tensor) for file, header in self.headers.items() for tensor in header.tensors}


def read_weights(root: Path, names: Iterable[str], *, locate: Callable[[str], Path] | None = None) -> Weights:
    """The loadable weights among the files ``names`` of the checkpoint in ``root``.

    ``locate`` gives the place of a named file (default: below ``root``). Raises ``CheckpointError``: nothing to load,
    a shard is missing, the index disagrees with the shards, a header is malformed.
    """
    names = set(names)
    locate = locate or (lambda name: root / name)
    if SINGLE in names:
        return Weights({SINGLE: read_safetensors_header(locate(SINGLE), where=SINGLE)})
    if INDEX not in names:
        raise CheckpointError(
            _nothing(names), where=str(root), remedy=f"the weights belong into {SINGLE}, or into shards with {INDEX}"
        )
    mapped = read_index(locate(INDEX))
    missing = sorted(set(mapped) - names)
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(mapped)} shards are missing: {_some(missing)}",
            where=INDEX,
            remedy="download the missing files",
        )
    headers = {}
    for shard, expected in sorted(mapped.items()):
        headers[shard] = read_safetensors_header(locate(shard), where=shard)
        found = set(headers[shard].by_name)
        if found != expected:
            absent, extra = _some(sorted(expected - found)), _some(sorted(found - expected))
            raise CheckpointError(
                f"disagrees with {INDEX}: lacks {absent or 'nothing'}, holds besides {extra or 'nothing'}",
                where=shard,
                remedy="download the shards and their index together",
            )
    return Weights(headers)


def read_index(path: Path) -> dict[str, set[str]]:
    """Shard -> names of its tensors, from an index file. Raises ``CheckpointError``."""
    value = read_json(path, where=INDEX)
    weight_map = value.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("maps no tensor to a shard", where=f"{INDEX} at $.weight_map")
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or PurePosixPath(shard).name != shard or not shard.endswith(".safetensors"):
            raise CheckpointError(
                f"maps {tensor!r} to {shard!r}, not to a safetensors file beside it", where=f"{INDEX} at $.weight_map"
            )
        shards.setdefault(shard, set()).add(tensor)
    return shards


def read_json(path: Path, *, where: str) -> dict[str, Any]:
    """A JSON object, read strictly. Raises ``CheckpointError``."""
    value = canonical.loads(read_bytes(path, limit=MAX_JSON_BYTES, where=where), where=where, error=CheckpointError)
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object", where=where)
    return value


def _nothing(names: set[str]) -> str:
    foreign = sorted(name for name in names if PurePosixPath(name).suffix in PICKLED_SUFFIXES | OTHER_WEIGHT_SUFFIXES)
    if foreign:
        return f"no safetensors weights, but {_some(foreign)}: such files can run code when loaded, and are not read"
    if any(name.endswith(".gguf") for name in names):
        return "no safetensors weights, but GGUF files: give one of those as the path"
    return "no weights here"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

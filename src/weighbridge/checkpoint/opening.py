"""Open what is weighed: list its files, hash them, read its facts. The one door into a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from weighbridge.checkpoint.facts import Facts, read_facts
from weighbridge.checkpoint.files import list_checkpoint
from weighbridge.checkpoint.hashing import Progress, hash_files
from weighbridge.checkpoint.manifest import Manifest
from weighbridge.checkpoint.origin import Origin, check_origin, read_origin
from weighbridge.checkpoint.weights import INDEX, PICKLED_SUFFIXES, SINGLE, Weights, read_weights
from weighbridge.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """The files that would be released.

    ``root``: their folder; ``manifest``: what they are; ``facts``: what they say of themselves; ``origin``: the GGUF
    that they were converted from, if so; ``places``: name -> where its bytes lie, symlinks resolved.
    """

    root: Path
    manifest: Manifest
    facts: Facts
    origin: Origin | None = None
    places: Mapping[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """``sha256:<hex>``: the digest of the manifest."""
        return self.manifest.digest

    def locate(self, name: str) -> Path:
        """Where the file ``name`` of the manifest lies. Raises ``CheckpointError`` for any other name."""
        if name not in self.manifest.by_path:
            raise CheckpointError("not a file of the checkpoint", where=name)
        return self.places.get(name, self.root / name)


def open_checkpoint(
    path: Path, *, cache: Path | None = None, progress: Progress | None = None, convert_to: Path | None = None
) -> Checkpoint:
    """Open a Hugging Face folder, or a GGUF file, which is first converted into the folder ``convert_to``.

    ``cache``: a file that remembers hashes, so that only what changed is hashed again. ``progress(done, total)``
    counts bytes: of a conversion first, then of hashing, each with its own total. Raises ``CheckpointError``: nothing
    there, no config, no weights, malformed headers, a missing shard, links that escape, unreadable;
    ``StorageError``: the disk fails.
    """
    path = Path(path)
    if path.is_file():
        return _open_gguf(path, cache, progress, convert_to)
    found = list_checkpoint(path)
    if not found:
        raise CheckpointError("an empty folder", where=str(path), remedy="give the folder that holds config.json")
    places = {file.name: file.path for file in found}
    # Headers and config first: what cannot be read is refused before terabytes are hashed.
    weights = _weights(path, places)
    origin = read_origin(path)
    facts = read_facts(path, places, weights, origin, locate=places.__getitem__)
    manifest = hash_files(found, cache=cache, progress=progress)
    if origin is not None:
        check_origin(origin, manifest)
    return Checkpoint(path.resolve(), manifest, facts, origin, places)


def _weights(path: Path, places: Mapping[str, Path]) -> Weights | None:
    """The loadable weights; None where only pickled ones exist, which the integrity measure reports."""
    pickled = any(PurePosixPath(name).suffix.lower() in PICKLED_SUFFIXES for name in places)
    if pickled and SINGLE not in places and INDEX not in places:
        return None
    return read_weights(path, places, locate=places.__getitem__)


def _open_gguf(path: Path, cache: Path | None, progress: Progress | None, convert_to: Path | None) -> Checkpoint:
    if path.suffix.lower() != ".gguf":
        raise CheckpointError(
            "neither a folder nor a GGUF file", where=str(path), remedy="give a model folder, or a .gguf file"
        )
    if convert_to is None:
        raise CheckpointError(
            "a GGUF file is converted before it is weighed", where=str(path), remedy="say into which folder"
        )
    # Imported here: conversion needs NumPy, gguf and tokenizers, which opening a folder does not.
    from weighbridge.checkpoint.gguf_convert import convert_gguf

    return open_checkpoint(convert_gguf(path, convert_to, progress=progress), cache=cache, progress=progress)

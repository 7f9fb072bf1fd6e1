"""Convert a GGUF file into a Hugging Face folder of float32 safetensors, tensor by tensor, and prove each one.

Memory holds one slice of one tensor (16 MB of float32, or one attention head's rows), whatever the model's
size. Everything is written into a hidden folder beside the target, read back and compared bit for bit with the
dequantised source, and only then renamed: a kill leaves no target, or a whole one. A target that was made from the
same bytes before is taken as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tokenizers import Tokenizer

from weighbridge import canonical
from weighbridge.checkpoint.files import ORIGIN_FILE, list_checkpoint
from weighbridge.checkpoint.gguf_families import ROPE_FACTORS, Target, plan_config, plan_tensors
from weighbridge.checkpoint.gguf_header import GgufHeader, read_gguf_header
from weighbridge.checkpoint.gguf_tensors import Floats, check_type, interleave, read_rows, split_halves
from weighbridge.checkpoint.gguf_tokenizer import TokenizerPlan, plan_tokenizer
from weighbridge.checkpoint.hashing import Progress, hash_file, hash_files
from weighbridge.checkpoint.origin import Origin, check_origin, read_origin
from weighbridge.checkpoint.safetensors_header import read_safetensors_header
from weighbridge.checkpoint.weights import INDEX, SINGLE
from weighbridge.errors import CheckpointError, StorageError

CONVERTER = "weighbridge gguf 1"  # raised whenever the same source would become other files
SHARD_BYTES = 4 * 1024**3
_SLICE_ELEMENTS = 4 * 1024 * 1024
_FLOAT_BYTES = 4
_MAX_METADATA = 64 * 1024


def convert_gguf(
    gguf_file: Path, to: Path, *, progress: Progress | None = None, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Convert ``gguf_file`` into the folder ``to``, and return ``to``.

    ``progress(done, total)`` counts bytes of float32 written and compared. Raises ``CheckpointError`` for a file
    that is malformed or whose meaning would not survive, and if ``to`` holds anything else; ``StorageError`` if the
    disk is full or forbids writing.
    """
    source = Path(gguf_file)
    to = Path(to)
    header = read_gguf_header(source, where=source.name)
    sha256 = hash_file(source)
    if to.exists():
        return _reuse(to, source, sha256)
    work = _Conversion(source, header)
    partial = to.parent / f".{to.name}.partial"
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _locked(to.parent):
            if to.exists():
                return _reuse(to, source, sha256)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _check_room(to.parent, work.bytes)
            try:
                work.write(partial, shard_bytes, progress)
                work.compare(partial, progress)
                work.record(partial, sha256)
                _sync(partial)
                partial.rename(to)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as cause:
        raise StorageError(
            f"the conversion cannot be written: {cause.strerror or cause}",
            where=str(to),
            remedy="free space or name another folder",
        ) from cause
    return to


class _Conversion:
    def __init__(self, source: Path, header: GgufHeader) -> None:
        self.source = source
        self.header = header
        where = source.name
        for tensor in header.tensors:
            check_type(tensor, where)
        self.config = plan_config(header, self._rope_factors(), where=where)
        self.targets = plan_tensors(header, self.config, where=where)
        self.tokenizer = plan_tokenizer(header, context=self.config["max_position_embeddings"], where=where)
        if len(self.tokenizer.vocabulary) > self.config["vocab_size"]:
            raise CheckpointError(
                f"{len(self.tokenizer.vocabulary)} tokens for a vocabulary of {self.config['vocab_size']}",
                where=f"{where} at tokenizer.ggml.tokens",
            )
        self.bytes = sum(target.elements for target in self.targets) * _FLOAT_BYTES
        self._done = 0

    def _rope_factors(self) -> list[float] | None:
        tensor = self.header.by_name.get(ROPE_FACTORS)
        if tensor is None:
            return None
        with self.source.open("rb") as stream:
            return [float(value) for value in read_rows(stream, tensor, tensor.shape[-1], 0, 1)[0]]

    def write(self, folder: Path, shard_bytes: int, progress: Progress | None) -> None:
        """Write weights, config and tokenizer into ``folder``."""
        shards = _shards(self.targets, shard_bytes)
        names = (
            [SINGLE]
            if len(shards) == 1
            else [f"model-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
        )
        with self.source.open("rb") as stream:
            for name, targets in zip(names, shards, strict=True):
                with (folder / name).open("wb") as out:
                    out.write(_safetensors_header(targets))
                    for target in targets:
                        for first, count in slices(target):
                            out.write(target_rows(stream, target, first, count).astype("<f4", copy=False).data)
                            self._tick(count * target.matrix[1], progress)
        if len(shards) > 1:
            weight_map = {target.name: name for name, targets in zip(names, shards, strict=True) for target in targets}
            _write_json(folder / INDEX, {"metadata": {"total_size": self.bytes}, "weight_map": weight_map})
        _write_json(folder / "config.json", self.config)
        _write_tokenizer(folder, self.tokenizer, self.header.templates())

    def compare(self, folder: Path, progress: Progress | None) -> None:
        """Read back every tensor and compare it with its dequantised source, bit for bit.

        Not by repeating the conversion: the source's rows are taken in their own order, and the rows that were
        written are brought into it by llama.cpp's rule, the inverse of the one used for writing.
        """
        written = {
            tensor.name: (path, tensor)
            for path in sorted(folder.glob("*.safetensors"))
            for tensor in read_safetensors_header(path).tensors
        }
        if set(written) != {target.name for target in self.targets}:
            raise self._differs("the set of tensors")
        with self.source.open("rb") as stream:
            for target in self.targets:
                path, tensor = written[target.name]
                if tensor.dtype != "F32" or tensor.shape != target.shape:
                    raise self._differs(target.name)
                rows_of_target, columns = target.matrix
                with path.open("rb") as file:
                    for first, count in slices(target):
                        file.seek(tensor.begin + first * columns * _FLOAT_BYTES)
                        rows = np.frombuffer(file.read(count * columns * _FLOAT_BYTES), "<f4").reshape(-1, columns)
                        expected = read_rows(stream, target.source, columns, target.first + first, count)
                        if target.heads is not None:
                            rows = rows[interleave(count, rows_of_target // target.heads)]
                        if rows.shape != expected.shape or not np.array_equal(
                            rows.view(np.uint32), expected.view(np.uint32)
                        ):
                            raise self._differs(target.name)
                        self._tick(count * columns, progress)

    def record(self, folder: Path, sha256: str) -> None:
        """Check the tokenizer against the source, and write the origin."""
        _check_tokenizer(folder, self.tokenizer, self.source.name)
        counts = Counter(tensor.type_name for tensor in self.header.tensors)
        origin = Origin(
            name=self.source.name,
            size=self.source.stat().st_size,
            sha256=sha256,
            quantisation=dict(sorted(counts.items())),
            metadata={
                key: value
                for key, value in self.header.metadata.items()
                if key.startswith("general.") and len(repr(value)) <= _MAX_METADATA
            },
            templates={name: canonical.digest_bytes(text.encode()) for name, text in self.header.templates().items()},
            converter=CONVERTER,
            checked=len(self.targets),
            made=hash_files(list_checkpoint(folder)),
        )
        (folder / ORIGIN_FILE).write_bytes(canonical.dumps(origin.to_json()))

    def _tick(self, elements: int, progress: Progress | None) -> None:
        self._done += elements * _FLOAT_BYTES
        if progress is not None:
            progress(self._done, 2 * self.bytes)

    def _differs(self, what: str) -> CheckpointError:
        return CheckpointError(
            "what was written differs from its dequantised source", where=f"{self.source.name} at {what}"
        )


def _reuse(to: Path, source: Path, sha256: str) -> Path:
    """``to`` as it is, if it was made from these bytes by this converter and nothing of it has changed since."""
    origin = read_origin(to) if to.is_dir() else None
    if origin is None or origin.sha256 != sha256 or origin.converter != CONVERTER:
        held = "something else" if origin is None else f"what was made from {origin.name} by {origin.converter}"
        raise CheckpointError(
            f"already holds {held}, not what {source.name} becomes",
            where=str(to),
            remedy="name another folder, or delete this one",
        )
    check_origin(origin, hash_files(list_checkpoint(to)))
    return to


def target_rows(stream: BinaryIO, target: Target, first: int, count: int) -> Floats:
    """Rows of ``target`` as transformers keeps them: [count, columns], float32. Whole heads where they are permuted."""
    height, columns = target.matrix
    rows = read_rows(stream, target.source, columns, target.first + first, count)
    if target.heads is not None:
        rows = rows[split_halves(count, height // target.heads)]
    return np.ascontiguousarray(rows)


def slices(target: Target) -> Iterator[tuple[int, int]]:
    """(first row, rows) of slices that fit in memory; whole heads where rows are permuted within them."""
    rows, columns = target.matrix
    unit = rows // target.heads if target.heads is not None else 1
    step = max(1, _SLICE_ELEMENTS // (columns * unit)) * unit
    for first in range(0, rows, step):
        yield first, min(step, rows - first)


def _shards(targets: Sequence[Target], limit: int) -> list[list[Target]]:
    shards: list[list[Target]] = [[]]
    size = 0
    for target in targets:
        length = target.elements * _FLOAT_BYTES
        if shards[-1] and size + length > limit:
            shards.append([])
            size = 0
        shards[-1].append(target)
        size += length
    return shards


def _safetensors_header(targets: Sequence[Target]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for target in targets:
        length = target.elements * _FLOAT_BYTES
        entries[target.name] = {
            "dtype": "F32",
            "shape": list(target.shape),
            "data_offsets": [position, position + length],
        }
        position += length
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tokenizer(folder: Path, plan: TokenizerPlan, templates: dict[str, str]) -> None:
    _write_json(folder / "tokenizer.json", plan.tokenizer)
    _write_json(folder / "tokenizer_config.json", plan.tokenizer_config)
    _write_json(folder / "generation_config.json", plan.generation_config)
    for name, text in templates.items():
        path = folder / "chat_template.jinja"
        if name != "default":
            path = folder / "additional_chat_templates" / f"{name}.jinja"
            if not name.replace("_", "").replace("-", "").isalnum() or len(name) > 64:
                raise CheckpointError(f"{name[:80]!r} cannot name a file", where="tokenizer.chat_template")
            path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())


def _check_tokenizer(folder: Path, plan: TokenizerPlan, where: str) -> None:
    """The file must load, and give the source's vocabulary, token by token."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as cause:  # the library raises bare Exception
        raise CheckpointError(
            f"its merges or tokens contradict each other: {str(cause)[:200]}", where=f"{where} at tokenizer.ggml"
        ) from cause
    if tokenizer.get_vocab(with_added_tokens=True) != {token: index for index, token in enumerate(plan.vocabulary)}:
        raise CheckpointError("the tokenizer's vocabulary changed in conversion", where=f"{where} at tokenizer.ggml")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the conversion needs {needed} bytes, {free} are free",
            where=str(folder),
            remedy="free space or name another folder",
        )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one conversion into ``folder`` at a time; the other waits. The lock goes with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Force everything to disk before the rename says that it is there."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Export a checkpoint to a GGUF file, tensor by tensor, and prove the file against its source before it gets its name.

Memory holds a few slices of tensors (16 MB of float32 each), whatever the model's size. The file is written under a
hidden name, synced, read back and compared, and only then renamed: a kill or a full disk leaves no file of that name,
or a whole one. The same checkpoint gives the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import gguf
import numpy as np

from weighbridge.artifacts.compare import compare
from weighbridge.artifacts.formats import Format, format_of, stored_bytes, tensor_type
from weighbridge.artifacts.model import Part
from weighbridge.artifacts.quantise import Bytes, quantise
from weighbridge.artifacts.record import EXPORTER, ArtifactRecord, read_record, record_path
from weighbridge.artifacts.source import Source
from weighbridge.checkpoint import Checkpoint
from weighbridge.checkpoint.gguf_tensors import interleave
from weighbridge.checkpoint.hashing import Progress, hash_file
from weighbridge.errors import CheckpointError, StorageError
from weighbridge.files import sync_folder, unwritable, write_atomic

ALIGNMENT = 32
THREADS = 2
_SLICE_ELEMENTS = 4 * 1024 * 1024
_AHEAD = 2 * THREADS  # slices in work or waiting to be written
_CARRIED = ("general.organization", "general.basename", "general.finetune", "general.version", "general.base_model.")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows ``first`` to ``first + count`` of one of ``part``'s sources."""

    part: Part
    source: str | None
    first: int
    count: int


def export_gguf(checkpoint: Checkpoint, name: str, to: Path, *, progress: Progress | None = None) -> ArtifactRecord:
    """Export ``checkpoint`` in the format ``name`` to the file ``to``, with a record of it beside.

    A file that was made from the same checkpoint before, and has not changed, is taken as it is; another one is
    replaced. ``progress(done, total)`` counts bytes of tensors written, then compared. Raises ``InputError`` for an
    unknown format, ``CheckpointError`` for a checkpoint that GGUF cannot hold as it is, ``EngineError`` where the
    quantiser is missing, ``StorageError`` if the disk is full or forbids writing.
    """
    form = format_of(name)
    if (known := _reusable(checkpoint, form, to)) is not None:
        return known
    with Source(checkpoint) as source:
        export = _Export(source, form, progress)
        partial = to.parent / f".{to.name}.partial"
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            with _created(partial) as stream:
                _check_room(to.parent, export.size)
                export.write_header(partial, stream)
                export.write_tensors(stream)
                os.fsync(stream.fileno())
                compare(partial, source, progress=export.ticking(), where=to.name)
                record = export.record()
                record_path(to).unlink(missing_ok=True)  # never a record of another file beside it
                partial.rename(to)
                sync_folder(to.parent)
            write_atomic(record_path(to), record.encode())
        except OSError as cause:
            raise unwritable(cause, to) from cause
    return record


def _reusable(checkpoint: Checkpoint, form: Format, to: Path) -> ArtifactRecord | None:
    """The record of the file ``to`` if that is what exporting again would give."""
    known = read_record(to)
    if known is None or (known.name, known.checkpoint, known.exporter) != (form.name, checkpoint.digest, EXPORTER):
        return None
    return known if to.is_file() and hash_file(to) == known.sha256 else None


class _Export:
    """One file being written. The digest is of the bytes as they are written."""

    def __init__(self, source: Source, form: Format, progress: Progress | None) -> None:
        self.source = source
        self.form = form
        model = source.model
        self.types = {
            part.name: tensor_type(
                form, part.name, part.shape, layers=model.layers, experts=model.experts, tied=model.tied
            )
            for part in model.parts
        }
        self.bytes = {part.name: stored_bytes(self.types[part.name], part.shape) for part in model.parts}
        self.size = sum(_padded(size) for size in self.bytes.values())
        self._hash = hashlib.sha256()
        self._written = 0
        self._progress = progress

    def write_header(self, path: Path, stream: BinaryIO) -> None:
        """Metadata and the table of tensors, through gguf's writer; leaves ``stream`` at their end."""
        writer = gguf.GGUFWriter(path, self.source.model.architecture)
        for key, value in _metadata(self.source, self.form).items():
            _add(writer, key, value)
        for part in self.source.model.parts:
            kind = gguf.GGMLQuantizationType[self.types[part.name]]
            writer.add_tensor_info(part.name, part.shape, np.dtype(np.float32), self.bytes[part.name], raw_dtype=kind)
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
        finally:
            writer.close()
        for block in iter(lambda: stream.read(1024 * 1024), b""):
            self._hash.update(block)
            self._written += len(block)
        self._put(stream, bytes(-self._written % ALIGNMENT))
        self._start = self._written

    def write_tensors(self, stream: BinaryIO) -> None:
        """Each tensor's bytes in the order of the table, each padded."""
        for part in self.source.model.parts:
            for packed in _in_order(self._pack, self._slices(part)):
                self._put(stream, packed.data)
                self._tick(self._written - self._start)
            self._put(stream, bytes(-self._written % ALIGNMENT))
        stream.flush()

    def ticking(self) -> Progress:
        """Progress of the comparison, after that of writing."""

        def tick(done: int, total: int) -> None:
            self._tick(self.size + self.size * done // max(total, 1))

        return tick

    def record(self) -> ArtifactRecord:
        """What was written."""
        counts: dict[str, int] = {}
        for kind in self.types.values():
            counts[kind] = counts.get(kind, 0) + 1
        return ArtifactRecord(
            name=self.form.name,
            sha256=self._hash.hexdigest(),
            size=self._written,
            checkpoint=self.source.checkpoint.digest,
            exporter=EXPORTER,
            tensors=dict(sorted(counts.items())),
        )

    def _slices(self, part: Part) -> Iterator[_Slice]:
        rows, columns = part.matrix
        unit = rows // part.heads if part.heads else 1
        step = max(1, _SLICE_ELEMENTS // (columns * unit)) * unit
        for source in part.sources or (None,):
            for first in range(0, rows, step):
                yield _Slice(part, source, first, min(step, rows - first))

    def _pack(self, piece: _Slice) -> Bytes:
        part = piece.part
        rows, columns = part.matrix
        if piece.source is None:
            values = np.array(part.values, np.float32).reshape(rows, columns)
        else:
            values = self.source.rows(piece.source, columns, piece.first, piece.count)
        if part.heads:
            values = values[interleave(piece.count, rows // part.heads)]
        try:
            return np.ascontiguousarray(quantise(values, self.types[part.name]))
        except CheckpointError as error:
            raise CheckpointError(error.message, where=piece.source, remedy=error.remedy) from error

    def _put(self, stream: BinaryIO, data: bytes | memoryview) -> None:
        stream.write(data)
        self._hash.update(data)
        self._written += len(data) if isinstance(data, bytes) else data.nbytes

    def _tick(self, done: int) -> None:
        if self._progress is not None:
            self._progress(min(done, 2 * self.size), 2 * self.size)


def _metadata(source: Source, form: Format) -> dict[str, Any]:
    """Every key but the architecture, which the writer puts first. Order is part of the bytes."""
    facts = source.checkpoint.facts
    model, vocabulary = source.model, source.vocabulary
    keys: dict[str, Any] = {"general.type": "model"}
    if facts.name:
        keys["general.name"] = facts.name.rstrip("/").rpartition("/")[2]
    for key, value in sorted((source.checkpoint.origin.metadata if source.checkpoint.origin else {}).items()):
        if key.startswith(_CARRIED) and isinstance(value, str | int):
            keys[key] = value
    for name, text in (("", facts.license), (".name", facts.license_name), (".link", facts.license_link)):
        if text:
            keys[f"general.license{name}"] = text
    if facts.languages:
        keys["general.languages"] = list(facts.languages)
    keys["general.file_type"] = form.file_type
    keys["general.quantization_version"] = gguf.GGML_QUANT_VERSION
    keys["weighbridge.checkpoint"] = source.checkpoint.digest
    keys |= {f"{model.architecture}.{name}": value for name, value in model.settings.items()}
    keys |= {
        "tokenizer.ggml.model": vocabulary.keys["model"],
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.types,
    }
    keys |= {f"tokenizer.ggml.{name}": value for name, value in vocabulary.keys.items() if name != "model"}
    named = sorted(name for name in source.templates if name != "default")
    keys |= {f"tokenizer.chat_template.{name}": source.templates[name] for name in named}
    if named:
        keys["tokenizer.chat_templates"] = named
    if "default" in source.templates:
        keys["tokenizer.chat_template"] = source.templates["default"]
    return keys


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif len(value):  # the format has no empty arrays
        kind = {str: gguf.GGUFValueType.STRING, float: gguf.GGUFValueType.FLOAT32, int: gguf.GGUFValueType.INT32}
        writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, kind[type(value[0])])


def _in_order(work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
    """``work`` of each piece on a few threads, in order, only a few ahead of what is taken."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="export") as pool:
        pending: deque[Future[R]] = deque()
        try:
            for piece in pieces:
                pending.append(pool.submit(work, piece))
                if len(pending) > _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextlib.contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    """A new file at ``path`` that is gone after the block unless it was renamed; one export at a time."""
    with path.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise StorageError("another export writes this file", where=str(path), remedy="wait for it") from cause
        stream.truncate(0)  # of what a killed export left
        stream.seek(0)
        try:
            yield stream
        finally:
            path.unlink(missing_ok=True)


def _padded(size: int) -> int:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the export needs {needed:,} bytes, {free:,} are free", where=str(folder), remedy="free space on this disk"
        )

"""The files of Inspect's logs: JSON, and ``.eval`` archives read in bounded memory. Nothing is extracted to disk.

Newer archives are compressed with Zstandard, which needs the extra ``weighbridge[inspect]``.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.errors import EvidenceError

MAX_ENTRIES = 200_000
MAX_ENTRY_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024 * 1024
_ZSTANDARD = 93


def read_json(path: Path) -> tuple[Mapping[str, Any], Iterator[Any]]:
    """The log's header, which is the whole of it, and its samples. Raises ``EvidenceError`` for anything else."""
    if path.stat().st_size > canonical.MAX_BYTES:
        raise EvidenceError(f"larger than {canonical.MAX_BYTES} bytes", where=str(path), remedy="use the .eval format")
    log = _loads(path.read_bytes(), str(path))
    samples = log.get("samples")
    if samples is not None and not isinstance(samples, list):
        raise EvidenceError("samples are no array", where=f"{path} at $.samples")
    return log, iter(samples or [])


def read_archive(path: Path) -> tuple[Mapping[str, Any], Iterator[Any]]:
    """The log's header and its samples, read one at a time. Raises ``EvidenceError`` for anything hostile."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as cause:
        raise EvidenceError(f"not a readable archive: {cause}", where=str(path)) from cause
    _check_entries(entries, path)
    by_name = {entry.filename: entry for entry in entries}
    if "header.json" not in by_name:
        raise EvidenceError(
            "the archive has no header.json: the run never ended", where=str(path), remedy="run it to its end"
        )
    header = _loads(_entry(path, by_name["header.json"]), f"{path}!header.json")
    names = [name for name in by_name if name.startswith("samples/") and name.endswith(".json")]
    return header, (_loads(_entry(path, by_name[name]), f"{path}!{name}") for name in names)


def _check_entries(entries: Sequence[zipfile.ZipInfo], path: Path) -> None:
    where = str(path)
    if len(entries) > MAX_ENTRIES:
        raise EvidenceError(f"more than {MAX_ENTRIES} entries", where=where)
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise EvidenceError("two entries of one name", where=where)
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/"):
            raise EvidenceError(f"the entry name {name!r} leads outside", where=where)
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise EvidenceError("encrypted entries", where=where)
    if any(entry.file_size > MAX_ENTRY_BYTES for entry in entries):
        raise EvidenceError(f"an entry of more than {MAX_ENTRY_BYTES} bytes", where=where)
    if sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        raise EvidenceError(f"more than {MAX_TOTAL_BYTES} bytes when unpacked", where=where)


def _entry(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of one entry: never more than it declares, and checked against its CRC."""
    where = f"{path}!{entry.filename}"
    if entry.compress_size > MAX_ENTRY_BYTES:
        raise EvidenceError(f"an entry of more than {MAX_ENTRY_BYTES} bytes", where=where)
    try:
        with path.open("rb") as stream:
            stream.seek(entry.header_offset)
            fixed = stream.read(30)
            if len(fixed) < 30 or fixed[:4] != b"PK\x03\x04":
                raise EvidenceError("a damaged entry", where=where)
            name_length, extra_length = struct.unpack("<HH", fixed[26:30])
            stream.seek(name_length + extra_length, 1)
            packed = stream.read(entry.compress_size)
        data = _unpack(packed, entry, where)
    except (zlib.error, OverflowError, ValueError) as cause:
        raise EvidenceError(f"a damaged entry: {cause}", where=where) from cause
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise EvidenceError("an entry that does not match its checksum", where=where)
    return data


def _unpack(packed: bytes, entry: zipfile.ZipInfo, where: str) -> bytes:
    if entry.compress_type == zipfile.ZIP_STORED:
        return packed
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, entry.file_size + 1)
    if entry.compress_type != _ZSTANDARD:
        raise EvidenceError(f"compression method {entry.compress_type} is not known", where=where)
    try:
        import zstandard
    except ImportError:
        raise EvidenceError(
            "the log is compressed with Zstandard",
            where=where,
            remedy="pip install 'weighbridge[inspect]', or: inspect log convert LOG --to json --output-dir DIR",
        ) from None
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(
            io.BytesIO(packed), read_across_frames=True
        )
        return reader.read(entry.file_size + 1)
    except zstandard.ZstdError as cause:
        raise EvidenceError(f"a damaged entry: {cause}", where=where) from cause


def _loads(data: bytes, where: str) -> dict[str, Any]:
    """JSON of another program: NaN is read (and refused where it is a score), duplicate keys are not."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise EvidenceError("a key stands twice in one object", where=where)
        return result

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    except (UnicodeDecodeError, ValueError, RecursionError) as cause:
        raise EvidenceError(f"not JSON: {cause}", where=where) from cause
    if not isinstance(value, dict):
        raise EvidenceError("expected a JSON object", where=where, remedy="is it an Inspect log?")
    return value

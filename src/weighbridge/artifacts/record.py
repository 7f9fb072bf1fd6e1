"""What is noted of an exported file, beside it: enough to know whether exporting again would give the same. Pure but
for reading and its own place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.errors import InputError

EXPORTER = "weighbridge gguf 1"  # raised whenever the same checkpoint would become another file
VERSION = 1


@dataclass(frozen=True)
class ArtifactRecord:
    """An exported file: its format's ``name``, ``sha256`` (hex) and ``size`` in bytes, the digest of the
    ``checkpoint`` that it was made from, by which ``exporter``, and tensor type -> how many ``tensors`` have it."""

    name: str
    sha256: str
    size: int
    checkpoint: str
    exporter: str
    tensors: Mapping[str, int]

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the file."""
        return "sha256:" + self.sha256

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps({"version": VERSION, **self.__dict__, "tensors": dict(self.tensors)})


def record_path(artifact: Path) -> Path:
    """Where the record of the file ``artifact`` lies."""
    return artifact.with_suffix(".json")


def read_record(artifact: Path) -> ArtifactRecord | None:
    """The record of ``artifact``; None where there is none that can be read: the file is then made again."""
    try:
        value: Any = canonical.loads(record_path(artifact).read_bytes(), where=str(record_path(artifact)))
        if value.pop("version") != VERSION:
            return None
        return ArtifactRecord(**value)
    except (OSError, InputError, AttributeError, KeyError, TypeError):
        return None

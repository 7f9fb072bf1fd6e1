"""What is weighed: files, manifest, facts. Opens no framework; converting a GGUF file loads its libraries on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weighbridge.checkpoint.facts import Facts
from weighbridge.checkpoint.files import check_folders, list_bundle
from weighbridge.checkpoint.gguf_header import GgufHeader, read_gguf_header
from weighbridge.checkpoint.hashing import hash_file, hash_files
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.checkpoint.names import check_names
from weighbridge.checkpoint.opening import Checkpoint, open_checkpoint
from weighbridge.checkpoint.origin import Origin
from weighbridge.checkpoint.safetensors_header import SafetensorsHeader, read_safetensors_header

if TYPE_CHECKING:
    from weighbridge.checkpoint.gguf_convert import convert_gguf

__all__ = [
    "Checkpoint",
    "Facts",
    "FileEntry",
    "GgufHeader",
    "Manifest",
    "Origin",
    "SafetensorsHeader",
    "check_folders",
    "check_names",
    "convert_gguf",
    "hash_file",
    "hash_files",
    "list_bundle",
    "open_checkpoint",
    "read_gguf_header",
    "read_safetensors_header",
]


def __getattr__(name: str) -> Any:
    if name == "convert_gguf":
        from weighbridge.checkpoint.gguf_convert import convert_gguf

        return convert_gguf
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

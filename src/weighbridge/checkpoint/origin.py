"""Where a converted checkpoint came from: the source GGUF and what it declares, kept beside the converted files.

The record lies in the checkpoint's folder and describes it, so it is no part of the manifest; it names the converted
files by hash, so that it cannot be carried over to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.checkpoint.files import ORIGIN_FILE, read_bytes
from weighbridge.checkpoint.manifest import Manifest
from weighbridge.errors import CheckpointError

VERSION = 1
_FIELDS = {"version", "name", "size", "sha256", "quantisation", "metadata", "templates", "converter", "checked", "made"}


@dataclass(frozen=True)
class Origin:
    """The source of a conversion.

    ``name``, ``size`` (bytes) and ``sha256`` (hex) of the GGUF file; ``quantisation``: tensor type -> how many
    tensors have it; ``metadata``: its ``general.*`` keys as they stand; ``templates``: chat template name ->
    ``sha256:`` of its text; ``converter``: what converted it; ``checked``: tensors compared with their dequantised
    source, bit for bit; ``made``: the files that the conversion wrote.
    """

    name: str
    size: int
    sha256: str
    quantisation: Mapping[str, int]
    metadata: Mapping[str, Json]
    templates: Mapping[str, str]
    converter: str
    checked: int
    made: Manifest = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as stored."""
        return {
            "version": VERSION,
            "name": self.name,
            "size": self.size,
            "sha256": self.sha256,
            "quantisation": dict(self.quantisation),
            "metadata": dict(self.metadata),
            "templates": dict(self.templates),
            "converter": self.converter,
            "checked": self.checked,
            "made": self.made.to_json(),
        }

    @property
    def license(self) -> str | None:
        """The licence that the GGUF declares (``general.license``)."""
        return self._text("general.license")

    @property
    def base_model(self) -> tuple[str, ...]:
        """The models it declares itself to be made from, as ``organisation/name`` where it says so."""
        count = self.metadata.get("general.base_model.count", 0)
        result = []
        for index in range(min(count, 64) if isinstance(count, int) else 0):
            prefix = f"general.base_model.{index}."
            url = self._text(prefix + "repo_url")
            name, organisation = self._text(prefix + "name"), self._text(prefix + "organization")
            if url and len(parts := url.rstrip("/").split("/")) >= 5:
                result.append("/".join(parts[-2:]))
            elif name:
                result.append(f"{organisation}/{name}" if organisation else name)
        return tuple(result)

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) and value else None


def read_origin(root: Path) -> Origin | None:
    """The origin recorded in ``root``, or None if there is no record. Raises ``CheckpointError`` if malformed."""
    path = root / ORIGIN_FILE
    if path.is_symlink() or not path.exists():
        return None
    value = canonical.loads(
        read_bytes(path, limit=canonical.MAX_BYTES, where=ORIGIN_FILE), where=ORIGIN_FILE, error=CheckpointError
    )
    return origin_from_json(value, where=ORIGIN_FILE)


def origin_from_json(value: Any, *, where: str = ORIGIN_FILE) -> Origin:
    """Read ``Origin.to_json``'s form strictly. Raises ``CheckpointError``."""
    if not isinstance(value, dict) or set(value) != _FIELDS or value["version"] != VERSION:
        raise _malformed("its fields or version are unknown", where)
    for key in ("name", "sha256", "converter"):
        if not isinstance(value[key], str):
            raise _malformed("not a string", f"{where} at $.{key}")
    for key in ("size", "checked"):
        if type(value[key]) is not int or value[key] < 0:
            raise _malformed("not a natural number", f"{where} at $.{key}")
    for key, kind in (("quantisation", int), ("templates", str), ("metadata", object)):
        if not isinstance(value[key], dict) or not all(isinstance(item, kind) for item in value[key].values()):
            raise _malformed("not an object of its kind", f"{where} at $.{key}")
    made = Manifest.from_json(value["made"], where=f"{where} at $.made")
    rest = {key: value[key] for key in _FIELDS - {"version", "made"}}
    return Origin(**rest, made=made)


def check_origin(origin: Origin, manifest: Manifest) -> None:
    """Raise ``CheckpointError`` unless every file that the conversion made is still there, unchanged.

    Files may have been added (a licence, say): those are examined like any others.
    """
    for file in origin.made.files:
        if manifest.by_path.get(file.path) != file:
            raise CheckpointError(
                f"no longer the file that was converted from {origin.name}",
                where=file.path,
                remedy=f"convert again, or delete {ORIGIN_FILE} if this is meant to be a checkpoint of its own",
            )


def _malformed(message: str, where: str) -> CheckpointError:
    return CheckpointError(message, where=where, remedy="convert the GGUF file again")

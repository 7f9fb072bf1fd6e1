"""Whether card and bill of materials describe the decision that they lie beside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge import canonical, strict_yaml
from weighbridge.decision import Decision
from weighbridge.errors import InputError, VerificationError
from weighbridge.release.layout import BOM, CARD, ReleaseRecord
from weighbridge.statement import refused


def check_description(
    card: bytes, bom: bytes, record: ReleaseRecord, decision: Decision, artifacts: Mapping[str, str]
) -> None:
    """Raises ``VerificationError`` unless the card's metadata and the bill of materials name this decision and
    checkpoint, and the bill lists the checkpoint's files and the ``artifacts`` (path -> SHA-256) with their hashes."""
    with refused(CARD):
        said = _front_matter(card).get("weighbridge")
    if (
        not isinstance(said, dict)
        or said.get("decision") != decision.id
        or said.get("checkpoint") != decision.checkpoint
    ):
        raise VerificationError("does not describe this decision", where=CARD)
    with refused(BOM):
        value = canonical.loads(bom, where=BOM)
        if canonical.dumps(value) != bom:
            raise InputError("not in canonical form", where=BOM)
    model = _at(value, "metadata", "component")
    properties = {_at(one, "name"): _at(one, "value") for one in _at(model, "properties") or []}
    if properties.get("weighbridge:decision") != decision.id or _at(model, "version") != decision.checkpoint:
        raise VerificationError("does not describe this decision", where=BOM)
    if _at(model, "name") != record.name:
        raise VerificationError(f"is about {_at(model, 'name')!r:.80}, not {record.name!r:.80}", where=BOM)
    listed = {_at(one, "name"): _at(one, "hashes", 0, "content") for one in _at(model, "components") or []}
    if listed != {**{file.path: file.sha256 for file in decision.manifest.files}, **artifacts}:
        raise VerificationError("does not list the checkpoint's files", where=BOM)


def _front_matter(card: bytes) -> dict[str, Any]:
    begin, separator, rest = card.partition(b"---\n")
    front, end, _ = rest.partition(b"\n---\n")
    if begin or not separator or not end:
        raise InputError("has no front matter", where=CARD)
    value = strict_yaml.load(front, where=CARD)
    if not isinstance(value, dict):
        raise InputError("its front matter is no mapping", where=CARD)
    return value


def _at(value: Any, *path: str | int) -> Any:
    """The value at ``path``, or None where there is none."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and len(value) > step:
            value = value[step]
        else:
            return None
    return value

"""The lineage statement: what a person says of a model's parents and of the publisher, where files cannot tell.

    version: 1
    name: Llama-3.1-Acme-8B            # the name it will be published under
    parents:                           # an empty list says: trained from scratch
      - model: acme/base-7b
        relation: finetune             # copy, quantized, finetune, adapter, merge, or outputs
        license: apache-2.0            # where the table does not know the parent
        source: https://example.org/acme/base-7b/LICENSE
    texts:                             # licence files that a person has read
      - {file: LICENSE, sha256: 64 hex digits, license: llama3.1}
    publisher: {in_eu: false, monthly_users_over_700m: false, commercial: true}

It is an input of the measure, so its digest is part of the question, and what it says is recorded as said, not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from weighbridge import canonical, strict_yaml
from weighbridge.errors import InputError
from weighbridge.files import read

SUFFIX = ".lineage.yaml"
MAX_BYTES = 1024 * 1024

Relation = Literal["copy", "quantized", "finetune", "adapter", "merge", "outputs"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
PUBLISHER = ("in_eu", "monthly_users_over_700m", "commercial")

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StatedParent:
    """A parent as stated; ``license`` None leaves it to the table."""

    model: str
    relation: Relation
    license: str | None
    source: str | None


@dataclass(frozen=True)
class Lineage:
    """A statement. ``parents`` None: nothing is said of them; empty: there are none. ``texts``: (file, sha256) ->
    family. ``publisher``: what is stated of ``PUBLISHER``. ``digest`` is the digest of all of it."""

    where: str
    name: str | None = None
    parents: tuple[StatedParent, ...] | None = None
    texts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    publisher: Mapping[str, bool] = field(default_factory=dict)
    digest: str | None = None


def find_lineage(root: Path) -> Path | None:
    """The statement that lies beside a checkpoint's folder, ``<folder>.lineage.yaml``, if there is one.

    Beside and not inside, since it is no part of what would be released.
    """
    root = root.resolve()
    path = root.with_name(root.name + SUFFIX)
    return path if path.is_file() else None


def load_lineage(path: Path) -> Lineage:
    """Read a statement. Raises ``InputError`` naming the field for anything unknown or malformed."""
    return parse_lineage(read(path, limit=MAX_BYTES), where=path.name)


def parse_lineage(data: bytes, *, where: str) -> Lineage:
    """``load_lineage`` of bytes."""
    value = strict_yaml.load(data, where=where)
    top = _fields(value, {"version"}, {"name", "parents", "texts", "publisher"}, where, "$")
    if top["version"] != 1 or isinstance(top["version"], bool):
        raise _bad(where, "$.version", f"version {top['version']!r} is unknown")
    parents = None if top.get("parents") is None else _list(top["parents"], where, "$.parents")
    texts: dict[tuple[str, str], str] = {}
    for index, entry in enumerate(_list(top.get("texts", []), where, "$.texts")):
        path = f"$.texts[{index}]"
        one = _fields(entry, {"file", "sha256", "license"}, set(), where, path)
        if not isinstance(one["sha256"], str) or not _HEX.fullmatch(one["sha256"]):
            raise _bad(where, f"{path}.sha256", "is no SHA-256 in hex")
        texts[_text(one["file"], where, f"{path}.file"), one["sha256"]] = _text(
            one["license"], where, f"{path}.license"
        )
    publisher = _fields(top.get("publisher", {}), set(), set(PUBLISHER), where, "$.publisher")
    for key, said in publisher.items():
        if not isinstance(said, bool):
            raise _bad(where, f"$.publisher.{key}", "expected true or false")
    return Lineage(
        where=where,
        name=None if top.get("name") is None else _text(top["name"], where, "$.name"),
        parents=None
        if parents is None
        else tuple(_parent(entry, where, f"$.parents[{index}]") for index, entry in enumerate(parents)),
        texts=texts,
        publisher=publisher,
        digest=canonical.digest(value),
    )


def _parent(entry: Any, where: str, path: str) -> StatedParent:
    one = _fields(entry, {"model", "relation"}, {"license", "source"}, where, path)
    if one["relation"] not in RELATIONS:
        raise _bad(where, f"{path}.relation", f"{one['relation']!r:.60} is none of {', '.join(RELATIONS)}")
    optional = {
        key: None if one.get(key) is None else _text(one[key], where, f"{path}.{key}") for key in ("license", "source")
    }
    model = _text(one["model"], where, f"{path}.model")
    return StatedParent(model, cast(Relation, one["relation"]), optional["license"], optional["source"])


def _fields(value: Any, required: set[str], optional: set[str], where: str, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _bad(where, path, "expected a mapping")
    if missing := sorted(required - set(value)):
        raise _bad(where, path, f"the field {missing[0]!r} is missing")
    if unknown := sorted(set(value) - required - optional):
        raise _bad(where, path, f"unknown field {unknown[0]!r:.60}")
    return value


def _list(value: Any, where: str, path: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > 1000:
        raise _bad(where, path, "expected a list")
    return value


def _text(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 2000:
        raise _bad(where, path, "expected text")
    return value


def _bad(where: str, path: str, message: str) -> InputError:
    return InputError(message, where=f"{where} at {path}", remedy="see docs/licensing.md")

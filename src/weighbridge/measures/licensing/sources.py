"""What a checkpoint's files say about licence, lineage and name, each with the file or field it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from weighbridge.checkpoint import Checkpoint
from weighbridge.checkpoint.facts import CARD, read_card
from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.weights import read_json
from weighbridge.measures.licensing.lineage import Relation

Kind = Literal["licence", "notice", "policy", "other"]

MAX_TEXT_BYTES = 1024 * 1024
MAX_TEXTS = 200

_LICENCE_NAME = re.compile(r"licen[cs]e|copying|unlicense|eula|terms", re.IGNORECASE)
_NOTICE_NAME = re.compile(r"^notices?\b|third[-_ ]?party[-_ ]?notice", re.IGNORECASE)
_POLICY_NAME = re.compile(r"(use|usage)[-_ ]?policy|acceptable[-_ ]?use|prohibited[-_ ]?use", re.IGNORECASE)
_TEXT_SUFFIXES = frozenset({"", ".txt", ".md", ".rst", ".markdown", ".text", ".html"})


@dataclass(frozen=True, slots=True)
class Said:
    """A value and where it stands (``README.md at license``)."""

    value: str
    where: str


@dataclass(frozen=True, slots=True)
class SaidParent:
    """A declared parent; ``relation`` None where it is not said how the model was made from it."""

    model: str
    relation: Relation | None
    where: str


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text that may be a licence, a notice or a use policy; ``text`` is None where it cannot be read as one."""

    path: str
    sha256: str
    kind: Kind
    text: str | None


@dataclass(frozen=True)
class Sources:
    """Everything that the rules look at. ``declared`` are licence values; ``names`` what the model calls itself;
    ``hints`` names of where it was trained from; ``multimodal``: it takes images or sound."""

    declared: tuple[Said, ...] = ()
    links: tuple[Said, ...] = ()
    parents: tuple[SaidParent, ...] = ()
    texts: tuple[TextFile, ...] = ()
    names: tuple[Said, ...] = ()
    hints: tuple[Said, ...] = ()
    architectures: frozenset[str] = frozenset()
    multimodal: bool = False
    digests: tuple[tuple[str, str], ...] = ()


def read_sources(checkpoint: Checkpoint) -> Sources:
    """Read them. Raises ``CheckpointError`` for malformed metadata, ``StorageError`` for unreadable files."""
    card = read_card(checkpoint.root / CARD)
    config = _config(checkpoint, "config.json")
    adapter = _config(checkpoint, "adapter_config.json")
    gguf = checkpoint.origin.metadata if checkpoint.origin is not None else {}
    origin = checkpoint.origin.name if checkpoint.origin is not None else "GGUF"
    relation = _relation(card.get("base_model_relation"))
    parents = [SaidParent(text, relation, f"{CARD} at base_model") for text in _texts(card.get("base_model"))]
    if checkpoint.origin is not None:
        where = f"{origin} at general.base_model"
        parents += [SaidParent(name, None, where) for name in checkpoint.origin.base_model]
    parents += [
        SaidParent(name, "adapter", "adapter_config.json at base_model_name_or_path")
        for name in _texts(adapter.get("base_model_name_or_path"))
    ]
    return Sources(
        declared=tuple(_declared(card, config, gguf, origin)),
        links=tuple(
            [Said(text, f"{CARD} at license_link") for text in _texts(card.get("license_link"))]
            + [Said(text, f"{origin} at general.license.link") for text in _texts(gguf.get("general.license.link"))]
        ),
        parents=tuple(parents),
        texts=tuple(_text_files(checkpoint)),
        names=tuple(_names(card, gguf, origin, checkpoint)),
        hints=tuple(Said(text, "config.json at _name_or_path") for text in _texts(config.get("_name_or_path"))),
        architectures=frozenset(_architectures(config)),
        multimodal=any(isinstance(config.get(key), dict) for key in ("vision_config", "audio_config")),
        digests=tuple(_digests(checkpoint)),
    )


def kind_of(path: str) -> Kind:
    """What a file is by its name: only a first guess."""
    name = PurePosixPath(path).name
    if _POLICY_NAME.search(name):
        return "policy"
    if _NOTICE_NAME.search(name):
        return "notice"
    inside = any(part.lower() == "licenses" for part in PurePosixPath(path).parts[:-1])
    return "licence" if inside or _LICENCE_NAME.search(name) else "other"


def _declared(
    card: Mapping[str, Any], config: Mapping[str, Any], gguf: Mapping[str, Any], origin: str
) -> Iterator[Said]:
    """Every licence that metadata names. ``other`` names none: then ``license_name`` does."""
    places = [
        (card.get("license"), f"{CARD} at license"),
        (card.get("license_name"), f"{CARD} at license_name"),
        (gguf.get("general.license"), f"{origin} at general.license"),
        (gguf.get("general.license.name"), f"{origin} at general.license.name"),
        (config.get("license"), "config.json at license"),
    ]
    for value, where in places:
        for text in _texts(value):
            if text.strip().lower() not in ("other", "unknown"):
                yield Said(text, where)


def _names(card: Mapping[str, Any], gguf: Mapping[str, Any], origin: str, checkpoint: Checkpoint) -> Iterator[Said]:
    for value, where in (
        (card.get("model_name"), f"{CARD} at model_name"),
        (gguf.get("general.name"), f"{origin} at general.name"),
    ):
        for text in _texts(value):
            yield Said(text, where)
    yield Said(checkpoint.root.name, "the name of the checkpoint's folder")


def _architectures(config: Mapping[str, Any]) -> Iterator[str]:
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        if isinstance(part.get("model_type"), str):
            yield part["model_type"]


def _text_files(checkpoint: Checkpoint) -> Iterator[TextFile]:
    count = 0
    for file in checkpoint.manifest.files:
        kind = kind_of(file.path)
        if PurePosixPath(file.path).suffix.lower() not in _TEXT_SUFFIXES and kind == "other":
            continue
        if kind == "other" and (file.size > MAX_TEXT_BYTES or count >= MAX_TEXTS):
            continue
        count += 1
        yield TextFile(file.path, file.sha256, kind, _read_text(checkpoint, file.path, file.size))


def _read_text(checkpoint: Checkpoint, path: str, size: int) -> str | None:
    if size > MAX_TEXT_BYTES:
        return None
    data = read_bytes(checkpoint.locate(path), limit=MAX_TEXT_BYTES, where=path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _digests(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Digests of what was read and is no part of the manifest, so that the question changes with it."""
    path = checkpoint.root / CARD
    if path.is_file():
        yield CARD, "sha256:" + hashlib.sha256(read_bytes(path, limit=4 * MAX_TEXT_BYTES, where=CARD)).hexdigest()
    if checkpoint.origin is not None:
        yield "origin", f"sha256:{checkpoint.origin.sha256}"


def _config(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    return read_json(checkpoint.locate(name), where=name) if name in checkpoint.manifest.by_path else {}


def _relation(value: Any) -> Relation | None:
    known: dict[Any, Relation] = {
        "finetune": "finetune",
        "quantized": "quantized",
        "merge": "merge",
        "adapter": "adapter",
        "new_version": "finetune",
    }
    return known.get(value) if isinstance(value, str) else None


def _texts(value: Any) -> list[str]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item.strip()][:64]

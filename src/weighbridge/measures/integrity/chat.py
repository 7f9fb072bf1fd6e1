"""Where chat templates lie in a checkpoint, and that all of them are harmless and say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from weighbridge.checkpoint.files import read_bytes
from weighbridge.checkpoint.gguf_header import read_gguf_header
from weighbridge.checkpoint.opening import Checkpoint
from weighbridge.checkpoint.weights import read_json
from weighbridge.errors import CheckpointError
from weighbridge.measures.integrity.notes import Notes
from weighbridge.measures.integrity.templates import MAX_TEMPLATE_CHARACTERS, inspect_template

_LEGACY = "chat_template.json"
_IN_JSON = frozenset({"tokenizer_config.json", _LEGACY, "processor_config.json", "preprocessor_config.json"})


def check_templates(checkpoint: Checkpoint, notes: Notes) -> None:
    """Findings for each template that does what it must not, and where two places give one name different texts."""
    first: dict[str, tuple[str, str]] = {}
    for file in checkpoint.manifest.files:
        found: list[tuple[str, str, str]] = []
        notes.attempt(file.path, lambda path=file.path, into=found: into.extend(_templates(checkpoint, path)))  # type: ignore[misc]
        for name, where, source in found:
            notes.count("chat_templates")
            for complaint in inspect_template(source):
                notes.find(complaint.code, f"{where} line {complaint.line}", complaint.message)
            if not name:
                continue
            other = first.setdefault(name, (where, source.rstrip("\n")))
            if other[1] != source.rstrip("\n"):
                notes.find("template-differs", where, f"not the chat template that stands in {other[0]}")


def _templates(checkpoint: Checkpoint, path: str) -> Iterator[tuple[str, str, str]]:
    """(name, where, source) of each template in the file; an empty name is compared with no other."""
    name = PurePosixPath(path)
    if name.suffix in (".jinja", ".jinja2", ".j2"):
        data = read_bytes(checkpoint.locate(path), limit=8 * MAX_TEMPLATE_CHARACTERS, where=path)
        try:
            source = data.decode("utf-8")
        except UnicodeDecodeError as cause:
            raise CheckpointError("not UTF-8", where=path) from cause
        if path == "chat_template.jinja":
            yield "default", path, source
        elif name.parent.name == "additional_chat_templates":
            yield name.stem, path, source
        else:
            yield "", path, source
    elif name.name in _IN_JSON:
        value = read_json(checkpoint.locate(path), where=path).get("chat_template")
        top = len(name.parts) == 1
        for label, where, source in _in_json(value, f"{path} at $.chat_template"):
            yield label if top else "", where, source
    elif name.suffix == ".gguf":
        header = read_gguf_header(checkpoint.locate(path), where=path)
        for label, source in header.templates().items():
            yield label, f"{path} at tokenizer.chat_template ({label})", source


def _in_json(value: Any, where: str) -> Iterator[tuple[str, str, str]]:
    """A template, a list of named ones, or an object of named ones."""
    if value is None:
        return
    if isinstance(value, str):
        yield "default", where, value
    elif isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        for name, source in value.items():
            yield name, f"{where}.{name}", source
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("name", "template")):
                raise CheckpointError("not a named template", where=f"{where}[{index}]")
            yield item["name"], f"{where}[{index}]", item["template"]
    else:
        raise CheckpointError("neither a template nor a list of named ones", where=where)

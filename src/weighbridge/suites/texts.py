"""The suite ``texts``: passages of texts that are installed wherever Weighbridge is, and that most models have read.

They are the standard library's own documentation (docstrings), the licences of packages that Weighbridge needs, and the
lines in the library's sources where authors give their e-mail addresses, which stand in the continuation there.
The file ``data/texts.json`` names each passage by document and SHA-256 and holds no text; the text is looked for on the
machine. So the suite has one digest everywhere. What another version of Python words otherwise is ``Absent`` there,
which counts as a failed item.
"""

from __future__ import annotations

import ast
import codecs
import hashlib
import importlib.metadata
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from weighbridge import canonical, structure
from weighbridge.canonical import Json
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Absent, Item, Passage, Suite
from weighbridge.suites.passages import CONTINUATION, PREFIX, Cut, cut

BUILTIN = ("texts",)

RULE: dict[str, Json] = {"prefix": PREFIX, "continuation": CONTINUATION, "control": "re-paired"}

LICENCES: Mapping[str, Sequence[str]] = {
    "licence:apache-2.0": ("weighbridge", "transformers", "safetensors", "huggingface-hub", "model-signing"),
    "licence:bsd-3-clause": ("click", "jinja2", "markupsafe", "httpx"),
    "licence:mit": ("pyyaml", "rich", "gguf", "xllamacpp"),
    "licence:psf-2.0": ("typing-extensions",),
}
"""A licence -> distributions that carry its text; any of them will do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One passage of the pinned list: ``piece`` is the digest of its text, ``control`` the id of the passage whose
    continuation is its control, ``digest`` that of the item; ``at`` is where it was found when the list was made."""

    id: str
    document: str
    slice: str
    at: int
    piece: str
    control: str
    digest: str


@cache
def load_texts() -> Suite:
    """The suite, with as much of its text as is on this machine."""
    where = "texts.json"
    data = (resources.files("weighbridge.suites") / "data" / where).read_bytes()
    rows = [
        structure.parse(Row, row, where=where, error=SuiteError)
        for row in canonical.loads(data, where=where, error=SuiteError)
    ]
    found = {row.id: find(versions(row.document), row.piece, row.at) for row in rows}
    return Suite("texts", tuple(_item(row, found) for row in rows), "passages", rule=RULE)


def passage_of(one: Cut, control: Cut) -> Passage:
    """The passage ``one`` with the continuation of ``control`` to compare with."""
    return Passage(one.prefix, one.continuation, control.continuation)


def piece_digest(one: Cut) -> str:
    """``sha256:<hex>`` of the text of a passage, white space and all."""
    return "sha256:" + hashlib.sha256(f"{one.prefix}\n{one.continuation}".encode()).hexdigest()


def versions(document: str, stdlib: Path | None = None) -> Iterator[str]:
    """The texts on this machine that ``document`` may be: ``docs:MODULE``, ``docs:MODULE:NAME``, ``source:MODULE`` or a
    licence.
    ``stdlib`` is the folder of another Python's standard library."""
    kind, _, name = document.partition(":")
    if kind == "licence":
        for distribution in LICENCES.get(document, ()):
            yield from _licences(distribution)
        return
    module, _, qualified = name.partition(":")
    root = stdlib or Path(sysconfig.get_path("stdlib"))
    if kind == "source":
        yield from filter(None, [source(module, root)])
    elif module == "this":
        yield _zen(root)
    elif (text := docstrings(module, root).get(qualified)) is not None:
        yield text


def find(texts: Iterable[str], piece: str, at: int) -> Cut | None:
    """The passage with the digest ``piece`` in one of ``texts``, wherever it stands there; likely at ``at``."""
    for text in texts:
        if (there := cut(text, min(at, len(text)))) is not None and piece_digest(there) == piece:
            return there
        for word in re.finditer(r"\S+", text):
            if (moved := cut(text, word.start())) is None:
                break
            if piece_digest(moved) == piece:
                return moved
    return None


@cache
def docstrings(module: str, stdlib: Path) -> Mapping[str, str]:
    """Name -> docstring of a module of the standard library (``""``), its classes, functions and methods: read from
    the source, since nothing should be imported for its words."""
    try:
        return dict(_documented(ast.parse(source(module, stdlib)), ""))
    except (ValueError, SyntaxError):
        return {}


def source(module: str, stdlib: Path) -> str:
    """The source of a module of the standard library; empty where it is not there."""
    path = stdlib.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError):
            continue
    return ""


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    if (text := ast.get_docstring(node)) is not None:
        yield name, text
    if not isinstance(node, ast.FunctionDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield from _documented(child, f"{name}.{child.name}" if name else child.name)


def _zen(stdlib: Path) -> str:
    """The Zen of Python, which stands in the module ``this`` in rot13."""
    match = re.search(r'"""(.*?)"""', source("this", stdlib), re.DOTALL)
    return codecs.decode(match[1], "rot13") if match else ""


def _licences(distribution: str) -> Iterator[str]:
    try:
        listed = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in listed:
        if re.match(r"(?i)(licen[cs]e|copying)", file.name) and ".dist-info" in str(file):
            try:
                yield Path(str(file.locate())).read_text("utf-8")
            except (OSError, ValueError):
                continue


def _item(row: Row, found: Mapping[str, Cut | None]) -> Item:
    own, control = found[row.id], found[row.control]
    cluster = row.id.rpartition(".")[0]
    if own is not None and control is not None:
        item = Item(row.id, passage_of(own, control), cluster, row.slice)
        if item.digest == row.digest:
            return item
    return Item(row.id, Absent(row.digest), cluster, row.slice)

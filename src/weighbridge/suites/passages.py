"""Passages of training data that somebody names: sampled by a seed nobody chooses, each with a matched control.

A file is JSON lines, one document each, or plain text:

    {"text": "..."}                                     cut into passages here
    {"prefix": "...", "continuation": "..."}            a passage as it stands

``source`` becomes the slice; ``document`` (or the line) the cluster; ``"seen": false`` marks a document that the model
cannot have seen. Other fields are ignored, since training data have many. Which passages are asked follows from
SHA-256 of the documents, so that the order of lines does not matter and memory is bounded by the sample.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge import canonical, files
from weighbridge.canonical import Json
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Item, Passage, Suite

PREFIX = 200
CONTINUATION = 200
"""Characters, runs of white space counted as one: about 50 tokens of English each, as in Carlini et al. (2023)."""

SHORTEST = 40
"""A document that is too short is cut in half, if each half has so many characters; else it is left out."""

SAMPLE = 400
"""Passages of a suite, at most."""

EACH = 4
"""Passages of one document, at most: where there are few documents."""

MAX_LINE = 64 * 1024 * 1024

_FORM = 'write {"text": "..."} or {"prefix": "...", "continuation": "..."} on one line'
_PART = re.compile(r"\S{1,20}")


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a document: where it begins, and its two halves."""

    at: int
    prefix: str
    continuation: str


@dataclass(frozen=True, slots=True)
class _Document:
    id: str
    cluster: str
    slice: str
    cuts: tuple[Cut, ...]
    key: str


def cut(text: str, at: int = 0) -> Cut | None:
    """The passage of ``text`` that begins at the first word from ``at`` on, if there is enough text left: a prefix of
    at least ``PREFIX`` characters and a continuation of ``CONTINUATION``, each ending with a word or, in text without
    spaces, at most 19 characters later."""
    ends: list[int] = []
    start = stop = length = -1
    for part in _PART.finditer(text, at):
        if start < 0:
            start, length = part.start(), 0
        elif part.start() > stop:
            length += 1  # the space between
        stop = part.end()
        length += part.end() - part.start()
        if length >= (PREFIX, CONTINUATION)[len(ends)]:
            ends.append(stop)
            length = 0
            if len(ends) == 2:
                return Cut(start, text[start : ends[0]], text[ends[0] : stop])
    return None


def cuts(text: str) -> Iterator[Cut]:
    """The passages of ``text``, one after the other; of a short text its two halves."""
    at = 0
    while (found := cut(text, at)) is not None:
        yield found
        at = found.at + len(found.prefix) + len(found.continuation)
    if at == 0:
        words = text.split()
        total, so_far = len(" ".join(words)), 0
        for part in _PART.finditer(text):
            so_far += part.end() - part.start() + 1
            if 2 * so_far >= total:
                halves = text[: part.end()].lstrip(), text[part.end() :].rstrip()
                if min(len(" ".join(half.split())) for half in halves) >= SHORTEST:
                    yield Cut(len(text) - len(text.lstrip()), *halves)
                return


def load_passages(path: Path, *, unseen: Path | None = None, name: str | None = None) -> Suite:
    """The suite of the training data in ``path``; ``unseen`` is a sample like it that the model cannot have seen.

    Raises ``SuiteError`` with file and line for anything malformed, and ``StorageError`` for a failing disk.
    """
    seen, controls = _sampled(path)
    if unseen is not None:
        more, others = _sampled(unseen)
        controls = sorted([*controls, *more, *others], key=lambda one: one.key)[:SAMPLE]
    if not seen:
        raise SuiteError(
            "no document is long enough for a passage",
            where=str(path),
            remedy=f"give documents of at least {2 * SHORTEST} characters",
        )
    each = min(EACH, max(1, SAMPLE // len(seen)))
    members = [(document, one) for document in seen for one in document.cuts[:each]]
    if controls:
        pairs = [one for document in controls for one in document.cuts[:each]]
        items = _against_unseen(members, pairs, where=str(unseen or path))
    else:
        items = _re_paired(members, where=str(path))
    rule: dict[str, Json] = {
        "prefix": PREFIX,
        "continuation": CONTINUATION,
        "control": "unseen" if controls else "re-paired",
    }
    return Suite(name or path.stem, tuple(items), "passages", rule=rule)


def first_row(path: Path) -> dict[str, Any]:
    """The first line of ``path`` that holds something, if it is a JSON object: what kind of file it is shows there.
    Raises ``SuiteError`` for a file that cannot be read."""
    for number, line in _lines(path):
        where = f"{path}:{number}"
        row = canonical.loads(_decoded(line, where), where=where, error=SuiteError)
        return row if isinstance(row, dict) else {}
    return {}


def control_of(passages: Sequence[tuple[str, Cut]]) -> list[int]:
    """For each (cluster, passage) the place of another whose continuation is its control: of another cluster where
    there is one, as long as possible as its own, and not the same text. Raises ``SuiteError`` where there is none."""
    order = sorted(range(len(passages)), key=lambda at: (len(_plain(passages[at][1].continuation)), at))
    texts = [_plain(one.continuation) for _, one in passages]
    found = []
    for place, at in sorted(enumerate(order), key=lambda pair: pair[1]):
        nearest = sorted(range(len(order)), key=lambda other: (abs(other - place), -other))[1:]
        other = [order[one] for one in nearest if texts[order[one]] != texts[at]]
        best = next((one for one in other if passages[one][0] != passages[at][0]), other[0] if other else None)
        if best is None:
            raise SuiteError("there is no second passage to compare with", remedy="give more text")
        found.append(best)
    return found


def _re_paired(members: Sequence[tuple[_Document, Cut]], where: str) -> list[Item]:
    try:
        partners = control_of([(document.cluster, one) for document, one in members])
    except SuiteError as cause:
        raise SuiteError(cause.message, where=where, remedy=cause.remedy) from cause
    return [
        _item(document, one, members[partner][1].continuation, None)
        for (document, one), partner in zip(members, partners, strict=True)
    ]


def _against_unseen(members: Sequence[tuple[_Document, Cut]], controls: Sequence[Cut], where: str) -> list[Item]:
    """Each member with the free control that is nearest in length; as many members as there are controls."""
    known = {_plain(one.continuation) for _, one in members}
    for one in controls:
        if _plain(one.continuation) in known:
            raise SuiteError(
                "a passage of the unseen sample stands in the training data, too",
                where=where,
                remedy="give a sample that the model cannot have seen",
            )
    free = sorted((len(_plain(one.continuation)), at) for at, one in enumerate(controls))
    items = []
    for document, one in members[: len(controls)]:
        wanted = len(_plain(one.continuation))
        right = bisect_left(free, (wanted, 0))
        near = [place for place in (right - 1, right) if 0 <= place < len(free)]
        _, at = free.pop(min(near, key=lambda place: abs(free[place][0] - wanted)))
        items.append(_item(document, one, controls[at].continuation, controls[at].prefix))
    return items


def _item(document: _Document, one: Cut, control: str, prefix: str | None) -> Item:
    single = len(document.cuts) == 1
    name = document.id if single else f"{document.id}.{document.cuts.index(one) + 1}"
    return Item(name, Passage(one.prefix, one.continuation, control, prefix), document.cluster, document.slice)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _sampled(path: Path) -> tuple[list[_Document], list[_Document]]:
    """The documents with the smallest keys: those that were trained on, and those marked unseen."""
    kept: dict[bool, list[tuple[int, str, _Document]]] = {True: [], False: []}
    keys: set[str] = set()
    for document, seen in _documents(path):
        heap = kept[seen]
        if document.key in keys:  # the same text once more
            continue
        entry = (-int(document.key, 16), document.id, document)
        if len(heap) < SAMPLE:
            heapq.heappush(heap, entry)
        elif entry > heap[0]:
            keys.discard(heapq.heapreplace(heap, entry)[2].key)
        else:
            continue
        keys.add(document.key)
    seen_ones, unseen_ones = ([entry[2] for entry in sorted(kept[kind], reverse=True)] for kind in (True, False))
    return seen_ones, unseen_ones


def _documents(path: Path) -> Iterator[tuple[_Document, bool]]:
    if path.suffix != ".jsonl":
        text = _decoded(files.read(path, error=SuiteError), str(path))
        for one in cuts(text):  # where documents end is unknown
            yield _document(f"at-{one.at}", None, "all", (one,)), True
        return
    for number, line in _lines(path):
        at = f"{path}:{number}"
        row = canonical.loads(_decoded(line, at), where=at, error=SuiteError)
        if not isinstance(row, dict):
            raise SuiteError("expected a JSON object", where=at, remedy=_FORM)
        found = _row(row, number, at)
        if found.cuts:
            yield found, _flag(row, at)


def _row(row: dict[str, Any], number: int, at: str) -> _Document:
    def text(field: str) -> str:
        if not isinstance(row[field], str) or not row[field].strip():
            raise SuiteError(f"the field {field!r} is {row[field]!r:.60}, not text", where=at, remedy=_FORM)
        return str(row[field])

    if "prefix" in row and "continuation" in row:
        found: tuple[Cut, ...] = (Cut(0, text("prefix"), text("continuation")),)
    elif "text" in row:
        found = tuple(heapq.nsmallest(EACH, cuts(text("text")), key=_key))
    else:
        raise SuiteError("neither a document nor a passage", where=at, remedy=_FORM)
    cluster = text("document") if "document" in row else None
    return _document(f"line-{number}", cluster, text("source") if "source" in row else "all", found)


def _document(name: str, cluster: str | None, part: str, found: tuple[Cut, ...]) -> _Document:
    key = hashlib.sha256("\n".join(map(_key, found)).encode()).hexdigest()
    return _Document(name, cluster or name, part, found, key)


def _key(one: Cut) -> str:
    return hashlib.sha256(f"{one.prefix}\n{one.continuation}".encode("utf-8", "surrogatepass")).hexdigest()


def _flag(row: dict[str, Any], at: str) -> bool:
    seen = row.get("seen", True)
    if not isinstance(seen, bool):
        raise SuiteError(f"the field 'seen' is {seen!r:.60}, not true or false", where=at, remedy=_FORM)
    return seen


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, however large the file."""
    try:
        if not path.is_file():
            files.read(path, error=SuiteError)  # says what is wrong with it
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise SuiteError(f"a line of more than {MAX_LINE} bytes", where=f"{path}:{number}", remedy=_FORM)
                if line.strip():
                    yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except OSError as cause:
        raise files.unreadable(cause, where=str(path), error=SuiteError) from cause


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data.count(b"\n", 0, cause.start) + 1
        raise SuiteError(f"not UTF-8: {cause.reason} in line {line}", where=where) from cause

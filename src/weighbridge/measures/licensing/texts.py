"""Recognise the text of a licence by its words, not by the name of its file. Pure: text in, families out.

A licence is *verbatim* where its body (from one stretch of words to another) has the digest that the table
lists for a published text. Layout, quotes, markdown and list numbers do not count; every other word does.
Anything else is at most *like* a family, and a person has to read it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LINK_TARGET = re.compile(r"\]\([^)\s]*\)")
_TAG = re.compile(r"<[^>\n]{1,200}>")
_LIST_MARK = re.compile(
    r"^[ \t>*#|=-]*(?:\(?(?:\d+(?:\.\d+)*|[a-z]|[ivx]{1,5})[.):]|\d+(?:\.\d+)+)[ \t]+", re.MULTILINE
)
_APOSTROPHE = re.compile("['\u2018\u2019`\u00b4]")
_WORD = re.compile(r"[a-z0-9]+")

RESTRICTIVE = (
    "commons clause",
    "non commercial",
    "noncommercial",
    "research purposes only",
    "research use only",
    "may not be used",
    "must not be used",
    "not be used for",
    "additional restriction",
    "additional terms",
)
"""Word sequences outside a recognised body that say it does not stand alone."""


@dataclass(frozen=True, slots=True)
class Body:
    """The part of a licence that must stand word for word: first words, last words, SHA-256 of known texts."""

    first: str
    last: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What identifies the text of one family.

    ``titles`` are word sequences that a text like it has; ``slack`` is how many words a file may hold outside
    the body (title, copyright lines, appendix).
    """

    family: str
    titles: tuple[str, ...]
    bodies: tuple[Body, ...]
    slack: int


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a text is. ``verbatim`` and ``like`` are families; ``problem`` says what stands beside a verbatim body."""

    verbatim: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    problem: str | None = None


def words(text: str) -> list[str]:
    """The words of a text, lower case, without layout, markdown link targets, quotes and list numbers."""
    folded = unicodedata.normalize("NFKC", text).lower()
    folded = _LINK_TARGET.sub("]", folded)
    folded = _TAG.sub(" ", folded)
    folded = _LIST_MARK.sub("", folded)
    return _WORD.findall(_APOSTROPHE.sub("", folded))


def body_digest(body: Sequence[str]) -> str:
    """SHA-256 (hex) of words joined by single spaces."""
    return hashlib.sha256(" ".join(body).encode("ascii")).hexdigest()


def contains(text: str, phrase: str) -> bool:
    """Whether the words of ``phrase`` stand in ``text`` one after another."""
    return f" {' '.join(words(phrase))} " in f" {' '.join(words(text))} "


def recognise(text: str, known: Iterable[Known]) -> Recognition:
    """Which families' licences a text holds."""
    remaining = words(text)
    joined = f" {' '.join(remaining)} "
    verbatim: list[str] = []
    like: list[str] = []
    slack = 0
    titles: list[str] = []
    for candidate in known:
        likely = [body for body in candidate.bodies if f" {body.first} " in joined]
        spans = [span for body in likely if (span := _find(remaining, body)) is not None]
        if spans:
            start, stop = spans[0]
            remaining = remaining[:start] + remaining[stop:]
            verbatim.append(candidate.family)
            slack += candidate.slack
            titles += candidate.titles
        elif any(f" {title} " in joined for title in candidate.titles):
            like.append(candidate.family)
    if not verbatim:
        return Recognition(like=tuple(like))
    return Recognition(tuple(verbatim), (), _problem(remaining, slack, titles))


def _problem(rest: Sequence[str], slack: int, titles: Sequence[str]) -> str | None:
    joined = f" {' '.join(rest)} "
    for phrase in RESTRICTIVE:
        if f" {phrase} " in joined and not any(f" {phrase} " in f" {title} " for title in titles):
            return f"it says {phrase!r} outside the licence's own words"
    if len(rest) > slack:
        return f"it holds {len(rest)} words beside the licence's own"
    return None


def _find(text: Sequence[str], body: Body) -> tuple[int, int] | None:
    first, last = body.first.split(), body.last.split()
    for start in _positions(text, first):
        for end in _positions(text, last, start):
            stop = end + len(last)
            if body_digest(text[start:stop]) in body.digests:
                return start, stop
    return None


def _positions(text: Sequence[str], needle: Sequence[str], begin: int = 0) -> list[int]:
    size = len(needle)
    found = [at for at in range(begin, len(text) - size + 1) if list(text[at : at + size]) == list(needle)]
    return found[:8]  # a licence repeats its first words a few times at most

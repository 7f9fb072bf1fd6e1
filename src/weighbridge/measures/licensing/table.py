"""The table of licence families: what identifies each, and the duties that a program can check. Data, read once."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any, Literal, get_args

from weighbridge import canonical, strict_yaml
from weighbridge.errors import InputError
from weighbridge.measures.licensing.texts import Body, Known

Reach = Literal["own", "derivative", "outputs"]
"""How a licence concerns this model: it is the model's own, a parent's, or that of a model whose outputs trained it."""

INHERITED = frozenset({"use-restrictions", "user-threshold", "non-commercial", "share-alike"})
"""Duties that bind whoever receives a derivative too: its declared licence must have them as well."""

CODES = INHERITED | {
    "licence-text",
    "notice-text",
    "carry-notice",
    "state-changes",
    "attribution",
    "shown-phrase",
    "name-prefix",
    "eu-multimodal",
    "same-family-only",
}
_PARAMETERS = {"text", "phrase", "prefix", "link", "users", "when"}


@dataclass(frozen=True)
class Duty:
    """One duty of a family. ``parameters`` are what the code needs (``phrase``, ``prefix``, ``text``, ``link``,
    ``users``, ``when``); ``source`` is the section of the licence that it comes from."""

    code: str
    reaches: tuple[Reach, ...]
    source: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """One family. ``id`` is what a model card's ``license`` field calls it; ``file`` a text that we may ship."""

    id: str
    name: str
    link: str
    ids: tuple[str, ...]
    known: Known
    file: str | None
    duties: tuple[Duty, ...]
    models: tuple[str, ...] = ()
    sign_names: tuple[str, ...] = ()
    sign_architectures: tuple[str, ...] = ()

    def has_model(self, name: str) -> bool:
        """Whether ``name``, without its organisation, is that of one of the family's own models."""
        short = fold(name.rpartition("/")[2])
        return any(fnmatch.fnmatchcase(short, fold(pattern).rpartition("/")[2]) for pattern in self.models)

    def inherited(self, reach: Reach) -> frozenset[str]:
        """What must be passed on: ``code`` or, where the family's own terms are meant, ``code:family``."""
        own_terms = {"use-restrictions", "share-alike"}
        return frozenset(
            f"{duty.code}:{self.id}" if duty.code in own_terms else duty.code
            for duty in self.duties
            if duty.code in INHERITED and reach in duty.reaches
        )


@dataclass(frozen=True)
class Table:
    """All families, by id, and the digest of the data they were read from."""

    families: Mapping[str, Family]
    digest: str

    @cached_property
    def known(self) -> tuple[Known, ...]:
        """What identifies the texts, of all families."""
        return tuple(family.known for family in self.families.values())

    def by_id(self, declared: str) -> Family | None:
        """The family that a metadata value names, or None."""
        wanted = fold(declared)
        return next((family for family in self.families.values() if wanted in family.ids), None)

    def by_model(self, name: str) -> Family | None:
        """The family under which a hub lists the model ``organisation/name``; the longest pattern counts."""
        found = [
            (len(pattern), family)
            for family in self.families.values()
            for pattern in family.models
            if fnmatch.fnmatchcase(fold(name), fold(pattern))
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def by_sign(self, name: str | None, architectures: frozenset[str]) -> list[tuple[Family, str]]:
        """Families that a name or an architecture suggests, with what suggests them. They decide nothing."""
        short = fold(name).rpartition("/")[2] if name else ""
        found = []
        for family in self.families.values():
            if short and any(fnmatch.fnmatchcase(short, fold(pattern)) for pattern in family.sign_names):
                found.append((family, f"the name {name!r}"))
            elif hit := sorted(architectures & set(family.sign_architectures)):
                found.append((family, f"the architecture {hit[0]!r}"))
        return found

    def text_of(self, family: str) -> str:
        """The licence text that is shipped for ``family``. Raises ``InputError`` if there is none."""
        file = self.families[family].file if family in self.families else None
        if file is None:
            raise InputError(f"no licence text is shipped for {family!r}", where="licences.yaml")
        return (resources.files(_DATA) / "licence-texts" / file).read_text(encoding="utf-8")


_DATA = "weighbridge.measures.data"


@lru_cache(maxsize=1)
def load_table() -> Table:
    """The table that ships with this program."""
    return parse_table((resources.files(_DATA) / "licences.yaml").read_bytes(), where="licences.yaml")


def parse_table(data: bytes, *, where: str) -> Table:
    """A table from its YAML. Raises ``InputError`` naming the place for anything unknown or missing."""
    value = strict_yaml.load(data, where=where)
    if not isinstance(value, dict) or set(value) != {"version", "families"} or value["version"] != 1:
        raise InputError("version 1 and families are its fields", where=where)
    families = {
        name: _family(name, entry, f"{where} at $.families.{name}") for name, entry in value["families"].items()
    }
    listed = [alias for family in families.values() for alias in family.ids]
    if twice := sorted({alias for alias in listed if listed.count(alias) > 1}):
        raise InputError(f"the id {twice[0]!r} stands in two families", where=where)
    return Table(families, canonical.digest(value))


def fold(text: str) -> str:
    """How names and ids are compared: lower case, words joined by single hyphens."""
    return re.sub(r"[\s_-]+", "-", text.strip().lower())


def _family(name: str, entry: Any, where: str) -> Family:
    _fields(entry, {"name", "link", "ids", "text", "duties"}, {"models", "signs"}, where)
    text = entry["text"]
    _fields(text, {"titles", "slack", "bodies"}, {"file"}, f"{where}.text")
    signs = entry.get("signs", {})
    _fields(signs, set(), {"names", "architectures"}, f"{where}.signs")
    for body in text["bodies"]:
        _fields(body, {"first", "last", "digests"}, set(), f"{where}.text.bodies")
    bodies = tuple(Body(body["first"], body["last"], tuple(body["digests"])) for body in text["bodies"])
    return Family(
        id=name,
        name=str(entry["name"]),
        link=str(entry["link"]),
        ids=tuple(dict.fromkeys(fold(str(alias)) for alias in (name, *entry["ids"]))),
        known=Known(name, tuple(text["titles"]), bodies, int(text["slack"])),
        file=text.get("file"),
        duties=tuple(_duty(duty, f"{where}.duties[{index}]") for index, duty in enumerate(entry["duties"])),
        models=tuple(entry.get("models", ())),
        sign_names=tuple(signs.get("names", ())),
        sign_architectures=tuple(signs.get("architectures", ())),
    )


def _duty(entry: Any, where: str) -> Duty:
    _fields(entry, {"code", "reaches", "source"}, _PARAMETERS, where)
    if entry["code"] not in CODES:
        raise InputError(f"unknown duty {entry['code']!r}", where=where, remedy=f"known: {', '.join(sorted(CODES))}")
    if not entry["reaches"] or not set(entry["reaches"]) <= set(get_args(Reach)):
        raise InputError(f"reaches {entry['reaches']!r}", where=where, remedy=f"known: {', '.join(get_args(Reach))}")
    parameters = {key: str(entry[key]) for key in sorted(_PARAMETERS & set(entry))}
    return Duty(entry["code"], tuple(entry["reaches"]), str(entry["source"]), parameters)


def _fields(value: Any, required: set[str], optional: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise InputError("expected a mapping", where=where)
    if missing := sorted(required - set(value)):
        raise InputError(f"the field {missing[0]!r} is missing", where=where)
    if unknown := sorted(set(value) - required - optional):
        raise InputError(f"unknown field {unknown[0]!r}", where=where)

"""Carry out what licensing found owed: files to add, and what the card must say. Pure.

The duties come from the licensing evidence that the decision rests on, so that whoever verifies the bundle can see
from the bundle alone that each was carried out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weighbridge import structure
from weighbridge.checkpoint.names import fold
from weighbridge.errors import EvidenceError
from weighbridge.evidence import Evidence
from weighbridge.measures.licensing import load_table
from weighbridge.release.layout import Added

TEXT, NOTICE = "include-licence-text", "include-notice"


@dataclass(frozen=True, slots=True)
class Duty:
    """A duty as the evidence has it: who carries it out (``file``, ``card``, ``people``) and what that needs."""

    code: str
    license: str
    by: str
    detail: str
    message: str


@dataclass(frozen=True, slots=True)
class ParentRef:
    """A parent of the model as licensing found it; ``relation`` and ``license`` None where unknown."""

    model: str
    relation: str | None
    license: str | None


@dataclass(frozen=True)
class Licence:
    """The model's licence (an id that model cards use), its name and link, its parents and what is owed."""

    id: str | None
    name: str | None
    link: str | None
    model: str | None
    parents: tuple[ParentRef, ...]
    texts: tuple[tuple[str, str], ...]
    duties: tuple[Duty, ...]

    def file_of(self, license: str) -> str | None:
        """The checkpoint's own file that holds the text of ``license``."""
        return next((file for file, held in self.texts if held == license), None)


def licence_of(evidence: Iterable[Evidence]) -> Licence | None:
    """What licensing found, or None if it was not measured. Raises ``EvidenceError`` for facts of another form, and
    for two records that name different licences or models."""
    found = [_read(record) for record in evidence if record.question.measure == "licensing"]
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if (other.id, other.model) != (first.id, first.model):
            raise EvidenceError(
                "two records of licensing name different licences or models",
                where="evidence of licensing",
                remedy="weigh the checkpoint anew, into another folder",
            )
    duties = tuple(dict.fromkeys(duty for one in found for duty in one.duties))
    return Licence(first.id, first.name, first.link, first.model, first.parents, first.texts, duties)


def additions(licence: Licence | None, names: Sequence[str]) -> tuple[Added, ...]:
    """The files to add to a checkpoint whose files are ``names``, sorted by path."""
    taken = {fold(name) for name in names}
    result: list[Added] = []
    for duty in licence.duties if licence is not None else ():
        if duty.code == TEXT:
            path = _free("LICENSE", duty.license, taken)
            result.append(Added(path, duty.detail.removeprefix("sha256:"), TEXT, duty.license))
    if notice := _notice(licence):
        path = _free("NOTICE", "release", taken)
        result.append(Added(path, hashlib.sha256(notice).hexdigest(), NOTICE, None))
    return tuple(sorted(result, key=lambda one: one.path))


def contents(licence: Licence | None, names: Sequence[str]) -> dict[str, tuple[Added, bytes]]:
    """The files to add, with their bytes. Raises ``EvidenceError`` if this program ships another text than it did
    when the evidence was made."""
    result: dict[str, tuple[Added, bytes]] = {}
    for added in additions(licence, names):
        text = None if added.license is None else load_table().text_of(added.license)
        data = _notice(licence) if text is None else text.encode("utf-8")
        if hashlib.sha256(data).hexdigest() != added.sha256:
            raise EvidenceError(
                f"the text for {added.path} is not the one that this program ships",
                where="evidence of licensing",
                remedy="measure licensing anew",
            )
        result[added.path] = (added, data)
    return result


def _notice(licence: Licence | None) -> bytes:
    texts = [duty.detail for duty in licence.duties if duty.code == NOTICE] if licence is not None else []
    return ("\n\n".join(dict.fromkeys(texts)) + "\n").encode("utf-8") if texts else b""


def _free(name: str, suffix: str, taken: set[str]) -> str:
    """``name``, or a longer one where the checkpoint has a file of that name already."""
    for candidate in (name, f"{name}-{suffix}", *(f"{name}-{suffix}-{number}" for number in range(2, 100))):
        if fold(candidate) not in taken:
            taken.add(fold(candidate))
            return candidate
    raise EvidenceError(f"no free name for {name}", where="evidence of licensing")


@dataclass(frozen=True)
class _Parent:
    model: str
    relation: str | None
    license: str | None


@dataclass(frozen=True)
class _Text:
    file: str
    licenses: tuple[str, ...]


def _read(record: Evidence) -> Licence:
    where = f"evidence {record.question.digest[7:19]} (licensing)"
    facts = record.facts

    def text(key: str) -> str | None:
        value = facts.get(key)
        if value is None or isinstance(value, str):
            return value
        raise EvidenceError(f"{key} is no text", where=f"{where} at $.facts.{key}")

    def rows(key: str, cls: type, drop: set[str]) -> list[object]:
        value = facts.get(key, [])
        if not isinstance(value, list | tuple) or not all(isinstance(row, dict) for row in value):
            raise EvidenceError(f"{key} is no list of objects", where=f"{where} at $.facts.{key}")
        kept = [{name: child for name, child in row.items() if name not in drop} for row in value]
        return [structure.parse(cls, row, where=f"{where}, {key}", error=EvidenceError) for row in kept]

    parents = [ParentRef(row.model, row.relation, row.license) for row in rows("parents", _Parent, {"from"})]  # type: ignore[attr-defined]
    texts = [(row.file, held) for row in rows("texts", _Text, {"stated"}) for held in row.licenses]  # type: ignore[attr-defined]
    duties: list[Duty] = rows("duties", Duty, set())  # type: ignore[assignment]
    return Licence(
        id=text("license"),
        name=text("license_name"),
        link=text("license_link"),
        model=text("name"),
        parents=tuple(parents),
        texts=tuple(texts),
        duties=tuple(duties),
    )

"""In-toto statements (v1) of our own predicate types: what is signed, and nothing of how. Pure.

A statement names subjects by digest and says something about them, the predicate. Its bytes are canonical JSON;
anything that is not its own canonical re-encoding, or has a field or a type that is not known here, is refused.
Source of the form: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from weighbridge import canonical, structure
from weighbridge.canonical import Json
from weighbridge.errors import InputError, VerificationError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

DECISION = "urn:weighbridge:predicate:decision:v1"
APPROVAL = "urn:weighbridge:predicate:approval:v1"
REVOCATION = "urn:weighbridge:predicate:revocation:v1"
IMPORT = "urn:weighbridge:predicate:import:v1"
PREDICATE_TYPES = frozenset({DECISION, APPROVAL, REVOCATION, IMPORT})

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A thing that a statement is about: its name, its SHA-256 in hex and, for a file, its size in bytes."""

    name: str
    sha256: str
    size: int | None = None

    @classmethod
    def of(cls, name: str, digest: str) -> Subject:
        """A subject whose digest is given as ``sha256:<hex>``."""
        return cls(name, check_digest(digest, where=name).removeprefix("sha256:"))

    @property
    def digest(self) -> str:
        """``sha256:<hex>``."""
        return f"sha256:{self.sha256}"


@dataclass(frozen=True)
class Statement:
    """Subjects, sorted by name and each name once, with the predicate and its type.

    ``signers`` holds the fingerprints of the trusted keys that signed it. Only ``Trust.verify`` fills it; it is
    empty in a statement that was merely read or made.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Json]
    signers: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """The statement as JSON. A file's size stands in the subject's annotations, as in-toto provides."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [_subject_to_json(subject) for subject in self.subjects],
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        }

    @property
    def payload(self) -> bytes:
        """The canonical bytes: what is signed."""
        return canonical.dumps(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Statement:
        """Parse a payload. Raises ``VerificationError`` unless it is exactly one of our statements."""
        with refused(where):
            value = canonical.loads(data, where=where)
            form = structure.parse(_Form, _renamed(value, where), where=where)
            if form.type_ != STATEMENT_TYPE:
                raise InputError(f"the type {form.type_!r:.80} is not {STATEMENT_TYPE}", where=where)
            if form.predicate_type not in PREDICATE_TYPES:
                raise InputError(
                    f"the predicate type {form.predicate_type!r:.80} is unknown",
                    where=where,
                    remedy="a newer weighbridge may know it",
                )
            subjects = tuple(_subject(value, f"{where} at $.subject") for value in form.subject)
            _check_order(subjects, where)
            statement = cls(subjects, form.predicate_type, form.predicate)
            if statement.payload != data:
                raise InputError("not in canonical form", where=where, remedy="it was not written by weighbridge")
        return statement


@contextmanager
def refused(where: str) -> Iterator[None]:
    """What is malformed in something signed does not verify: turns ``InputError`` into ``VerificationError``."""
    try:
        yield
    except InputError as cause:
        raise VerificationError(cause.message, where=cause.where or where, remedy=cause.remedy) from cause


def check_digest(text: str, *, where: str) -> str:
    """``text`` if it is ``sha256:`` and 64 lower-case hex digits; raises ``InputError`` otherwise."""
    if not text.startswith("sha256:") or not _HEX.fullmatch(text[7:]):
        raise InputError(f"{text!r:.90} is not a digest", where=where, remedy="write sha256: and 64 hex digits")
    return text


def check_keyid(text: str, *, where: str) -> str:
    """``text`` if it is a key's fingerprint, 64 lower-case hex digits; raises ``InputError`` otherwise."""
    if not _HEX.fullmatch(text):
        raise InputError(f"{text!r:.90} is not a key's fingerprint", where=where, remedy="write 64 hex digits")
    return text


def check_version(version: int, known: int, *, where: str) -> None:
    """Raises ``InputError`` for a version of a format that this program does not know."""
    if version != known:
        raise InputError(f"version {version} is unknown", where=where, remedy=f"this weighbridge reads {known}")


@dataclass(frozen=True)
class _Form:
    type_: str
    subject: Any
    predicate_type: str
    predicate: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.subject, list) or not self.subject:
            raise InputError("a statement needs at least one subject")


def _renamed(value: Any, where: str) -> dict[str, Any]:
    """The statement's JSON with its fields named as in ``_Form``; exactly those, or ``InputError``."""
    names = {"_type": "type_", "subject": "subject", "predicateType": "predicate_type", "predicate": "predicate"}
    if not isinstance(value, dict) or set(value) != set(names):
        raise InputError(f"a statement is an object of exactly {', '.join(names)}", where=where)
    return {names[key]: child for key, child in value.items()}


def _subject_to_json(subject: Subject) -> dict[str, Any]:
    value: dict[str, Any] = {"name": subject.name, "digest": {"sha256": subject.sha256}}
    if subject.size is not None:
        value["annotations"] = {"size": subject.size}
    return value


def _subject(value: Any, where: str) -> Subject:
    match value:
        case {"name": str(name), "digest": {"sha256": str(sha256)}} if set(value) <= {"name", "digest", "annotations"}:
            size = value["annotations"].get("size") if isinstance(value.get("annotations"), dict) else None
            subject = Subject(name, sha256, size)
            plain = isinstance(size, int) and not isinstance(size, bool) and size >= 0
            if (size is None or plain) and _HEX.fullmatch(sha256) and _subject_to_json(subject) == value:
                return subject
    raise InputError("a subject is a name, a sha256 digest and, for a file, a size", where=where)


def _check_order(subjects: tuple[Subject, ...], where: str) -> None:
    for before, after in pairwise(subjects):
        if before.name >= after.name:
            raise InputError(f"the subject {after.name!r} is out of order or stands twice", where=where)

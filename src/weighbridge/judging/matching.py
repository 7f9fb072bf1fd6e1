"""Which evidence speaks to which line. Pure.

A line on a metric of the model as it is must never count evidence of an attacked model or of another file, and the
other way round: what was measured stands in the question's settings, under ``attack`` and ``artifact``.
"""

from __future__ import annotations

from collections.abc import Mapping

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, Question
from weighbridge.requirements import SOURCE, Bound

AS_IS = "none"
"""The id of the attack that does nothing: the model as it is."""

USEFULNESS = "usefulness_change"
"""The field of the values by which an attack's loss of usefulness is known."""


def matches(line: Bound, record: Evidence) -> bool:
    """Whether a record speaks to a line. Evidence asked with ``--limit`` never does."""
    question = record.question
    return (
        question.measure == line.spec.measure
        and record.asked != "limit"
        and (question.suite.name if question.suite else None) == line.suite
        and (line.suite_digest is None or (question.suite is not None and question.suite.digest == line.suite_digest))
        and all(question.settings.get(key) == value for key, value in line.settings.items())
        and about(line, question)
    )


def controls(line: Bound, question: Question) -> bool:
    """Whether a question is on the control suite of a line, in the version that counts."""
    suite = question.suite
    return (
        suite is not None
        and question.measure == line.spec.measure
        and suite.name == line.control
        and line.control_digest in (None, suite.digest)
        and about(line, question)
    )


def weighs_usefulness(line: Bound, question: Question) -> bool:
    """Whether a question tells how much of its usefulness an attacked model lost, as a line asks."""
    suite, useful = question.suite, line.useful
    return (
        useful is not None
        and suite is not None
        and question.measure == line.spec.measure
        and suite.name == useful.suite
        and useful.suite_digest in (None, suite.digest)
        and about(line, question)
    )


def is_source(line: Bound, question: Question) -> bool:
    """Whether a question asks the checkpoint itself what a line compares its artifacts by."""
    suite = question.suite
    return (
        line.baseline == SOURCE
        and suite is not None
        and (question.measure, suite.name) == (line.spec.measure, line.suite)
        and line.suite_digest in (None, suite.digest)
        and not {"artifact", "attack"} & question.settings.keys()
    )


def about(line: Bound, question: Question) -> bool:
    """Whether a question is about what a line is about: the model as it is, an artifact, or the model under an attack
    of the line's battery, in the version that counts."""
    settings = question.settings
    if ("artifact" in settings) != line.artifact or ("attack" in settings) != line.spec.attacked:
        return False
    if not line.spec.attacked:
        return True
    attacks = attacks_of(question)
    return (
        attacks is not None
        and _mapping(settings["battery"]).get("name") == line.battery
        and line.battery_digest in (None, canonical.digest(attacks))
    )


def attack_of(question: Question) -> str:
    """The id of the attack that a question is about; empty where it names none."""
    name = _mapping(question.settings.get("attack")).get("id")
    return name if isinstance(name, str) and name.isprintable() else ""


def attacks_of(question: Question) -> Mapping[str, Json] | None:
    """The battery that a question belongs to, attack id -> digest of the attack; None where the attack that it names
    is none of them."""
    attacks = _mapping(_mapping(question.settings.get("battery")).get("attacks"))
    name = attack_of(question)
    if not name or not all(map(str.isprintable, attacks)):
        return None
    return attacks if attacks.get(name) == canonical.digest(question.settings["attack"]) else None


def artifact_of(question: Question) -> tuple[str, str] | None:
    """The name and the digest of the artifact that a question is about, if it is about one."""
    artifact = _mapping(question.settings.get("artifact"))
    name, digest = artifact.get("name"), artifact.get("digest")
    if not isinstance(name, str) or not name.isprintable() or not isinstance(digest, str):
        return None
    return name, digest


def incomparable(question: Question, other: Question) -> str | None:
    """Why the answers to two questions must not be compared, if they must not."""
    if question.suite is None or other.suite is None or question.suite.digest != other.suite.digest:
        return "was measured on another version of the suite"
    for key, what in (("decoding", "with another decoding"), ("judge", "by another judge")):
        if question.settings.get(key) != other.settings.get(key):
            return f"was measured {what}"
    return None


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}

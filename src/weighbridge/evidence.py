"""Evidence: the ordered observations, or the exact findings, of one measure on one question. Pure and immutable.

The *question* digest says what was asked (checkpoint, file loaded, suite, decoding, engine settings) and is
what reuse goes by. The *record* digest says what was answered, cost and seconds included. A record holds item
digests and values, never prompts or responses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from weighbridge import canonical, structure
from weighbridge.canonical import Json
from weighbridge.errors import EvidenceError
from weighbridge.text import check_visible

VERSION = 1

Asked = Literal["sequential", "complete", "limit"]


@dataclass(frozen=True, slots=True)
class SuiteRef:
    """Which suite was asked, and the facts of it that judging needs.

    ``items`` and ``clusters`` are counts; ``largest_cluster`` is n_max, the items of the largest cluster;
    ``chance`` is the score of a guess as a decimal string, or None where a guess scores nothing; ``format``
    names the kind of item, which a control suite shares.
    """

    name: str
    digest: str
    items: int
    clusters: int
    largest_cluster: int
    chance: str | None = None
    format: str = ""

    def __post_init__(self) -> None:
        check_visible(self.name, where="the suite's name", error=EvidenceError)


@dataclass(frozen=True)
class Question:
    """What is asked: one measure of one checkpoint, on one suite, under settings that shape the answer."""

    measure: str
    checkpoint: str
    suite: SuiteRef | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>`` of the question."""
        return canonical.digest(to_json(self))


@dataclass(frozen=True, slots=True)
class Observation:
    """The result on one item.

    ``item`` is the item's id in the suite and ``digest`` the digest of its content. ``values`` maps a metric's
    field (``accuracy``) to a value in [0, 1]. A failed item (crash, NaN, timeout) has ``failed`` set to the
    reason and no values; the judge counts it as the worst value.
    """

    item: str
    digest: str
    cluster: str
    slice: str
    values: Mapping[str, float]
    failed: str | None = None

    def __post_init__(self) -> None:
        if self.failed is not None and self.values:
            raise EvidenceError(f"item {self.item!r} is failed and has values", where="observation")
        for name, value in self.values.items():
            if not (isinstance(value, int | float) and math.isfinite(value) and 0.0 <= value <= 1.0):
                raise EvidenceError(f"{name} is {value!r}, not in [0, 1]", where=f"item {self.item!r}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One exact finding: ``metric`` is the field it counts towards (``findings``, ``conflicts``, ``duties``),
    ``code`` a stable kebab-case name, ``where`` the file or field it came from."""

    metric: str
    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge's confusion counts on human-labelled data, for one metric, and where they come from.

    Positive means what the metric counts (compliance for ``harmful_compliance``, refusal for ``over_refusal``).
    ``assumption`` states why the error rates should carry over to the model that is measured.
    """

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int
    source: str
    assumption: str


@dataclass(frozen=True, slots=True)
class PlanRef:
    """The plan that evidence was made under: the plan's digest, and the digest of the policy it served."""

    digest: str
    policy: str


@dataclass(frozen=True)
class Evidence:
    """What one measure answered to one question.

    Sampled evidence has ``observations`` in the order of asking, ``asked`` saying how they were chosen
    (``limit`` satisfies no requirement), and a calibration for every judged metric. Exact evidence has
    ``metrics`` it counts, ``findings``, and ``undecided``: metric field -> why it could not be decided.
    ``facts`` are details for people. ``plan`` is the plan that it was made under, if any; ``made`` is the
    time (RFC 3339, UTC), ``producer`` names and versions, ``cost`` seconds and tokens.
    """

    question: Question
    kind: Literal["exact", "sampled"]
    made: str
    asked: Asked = "sequential"
    observations: tuple[Observation, ...] = ()
    metrics: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    undecided: Mapping[str, str] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    plan: PlanRef | None = None
    producer: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    version: int = VERSION

    @cached_property
    def digest(self) -> str:
        """The record digest: ``sha256:<hex>`` of everything, cost included."""
        return canonical.digest(to_json(self))

    def extends(self, other: Evidence) -> bool:
        """Whether this record continues ``other``: the same question, and the same answers as far as those go."""
        return (
            self.question.digest == other.question.digest
            and self.observations[: len(other.observations)] == other.observations
            and (self.kind == "sampled" or self.findings == other.findings)
        )


@dataclass(frozen=True)
class Baseline:
    """Another model, weighed for comparison: its ``name``, the digest of its checkpoint, and its evidence."""

    name: str
    checkpoint: str
    evidence: Sequence[Evidence] = ()


def from_bytes(data: bytes, *, where: str) -> Evidence:
    """Evidence from its canonical bytes. Raises ``EvidenceError`` where they are malformed or not canonical."""
    value = canonical.loads_canonical(data, where=where, error=EvidenceError)
    evidence = structure.parse(Evidence, value, where=where, error=EvidenceError)
    if evidence.version != VERSION:
        raise EvidenceError(f"evidence version {evidence.version}; this program reads version {VERSION}", where=where)
    vars(evidence)["digest"] = canonical.digest_bytes(data)  # the cached property: these bytes are the record
    return evidence


def to_json(value: Any) -> Any:
    """The JSON form of evidence and its parts: dataclasses become objects, tuples become arrays."""
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(child) for key, child in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_json(child) for child in value]
    return value


def seeded_order(question: Question, clusters: Sequence[str]) -> list[str]:
    """The order in which clusters are asked: by SHA-256 of question digest and cluster. Nobody chooses the seed."""
    return sorted(set(clusters), key=lambda cluster: order_key(question, cluster))


def order_key(question: Question, cluster: str) -> str:
    """The key of ``seeded_order``; observations of an honest sequential record have rising keys.

    A question that is paired with another one names its digest in the setting ``order`` and is asked in its order, so
    that both can be compared however far they went. The judge lets it name nothing else.
    """
    seed = question.settings.get("order", question.digest)
    return hashlib.sha256(f"{seed}\n{cluster}".encode("utf-8", "surrogatepass")).hexdigest()

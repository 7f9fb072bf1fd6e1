"""What judging yields: verdicts of requirements, outcomes of tiers, and the judgement as a whole. Pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from weighbridge.canonical import Json
from weighbridge.evidence import to_json
from weighbridge.policy import Tier

Outcome = Literal["met", "not_met", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of one line. Numbers are decimal strings of six places, bounds rounded outward.

    ``lower`` and ``upper`` are one-sided bounds, each at level ``alpha`` (the line's share of the error rate): the
    verdict rests on them. ``interval`` is the marginal two-sided interval at the policy's error rate, for display.
    ``provable`` is the bound that this number of items could have shown at best. ``evidence`` holds the record
    digests; ``post_hoc`` says that the evidence was not gathered under this policy. A joined line has ``join`` and
    ``branches`` instead of numbers.

    An attacked line has its ``battery``, and ``attacks``: id -> ``{estimate, lower, upper, items, outcome, reason,
    excluded, loss: {estimate, lower, upper, items}}``, where ``loss`` is of usefulness and stands where the line bounds
    it; its own numbers are the maximum over the attacks that are not excluded. A relative line has its ``baseline``,
    numbers that are candidate minus baseline, ``threshold`` for the margin, and ``baselines``: a list of ``{name,
    checkpoint, record, attack, estimate, lower, upper, items, outcome, reason}``. Numbers that nobody has are None.
    """

    path: str
    outcome: Outcome
    reason: str
    metric: str | None = None
    suite: str | None = None
    direction: Literal["at_most", "at_least"] | None = None
    threshold: str | None = None
    alpha: str | None = None
    estimate: str | None = None
    lower: str | None = None
    upper: str | None = None
    interval: tuple[str, ...] | None = None
    provable: str | None = None
    items: int | None = None
    suite_items: int | None = None
    clusters: int | None = None
    failed: int | None = None
    slices: Mapping[str, Json] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    post_hoc: bool = False
    why: str = ""
    battery: str | None = None
    attacks: Mapping[str, Json] = field(default_factory=dict)
    baseline: str | None = None
    baselines: tuple[Mapping[str, Json], ...] = ()
    join: Literal["any_of", "all_of"] | None = None
    branches: tuple[Verdict, ...] = ()

    def leaves(self) -> Iterator[Verdict]:
        """The verdicts of bounds under this one, itself if it is one."""
        if self.join is None:
            yield self
        for branch in self.branches:
            yield from branch.leaves()


@dataclass(frozen=True)
class TierVerdict:
    """The outcome of a tier: ``own`` are the verdicts of its own lines, ``outcome`` counts stricter tiers' too."""

    tier: Tier
    outcome: Outcome
    own: tuple[Verdict, ...]


@dataclass(frozen=True)
class ArtifactVerdict:
    """What the policy says of one artifact, by its digest: it may be published with the checkpoint where all of its
    ``own`` lines are met. A policy without such lines leaves it undecided."""

    name: str
    digest: str
    outcome: Outcome
    own: tuple[Verdict, ...]


@dataclass(frozen=True)
class Compared:
    """A model that lines compared with, and the records of its evidence that were looked at, sorted."""

    name: str
    checkpoint: str
    records: tuple[str, ...]


@dataclass(frozen=True)
class Judgement:
    """What a policy says of a checkpoint, given evidence and time.

    ``tier`` is the most open tier whose requirements, and all stricter ones, are met; ``held`` if the strictest
    listed tier is refused; ``undecided`` if it is neither met nor refused. ``artifacts`` maps the name of every
    artifact that was weighed to its verdict; they have no part in the tier. ``baselines`` are the models compared with.
    """

    checkpoint: str
    policy: str
    policy_digest: str
    error_rate: str
    at: str
    expires_at: str
    tier: Literal["open", "gated", "api", "held", "undecided"]
    tiers: tuple[TierVerdict, ...]
    evidence: tuple[str, ...]
    post_hoc: bool
    artifacts: Mapping[str, ArtifactVerdict] = field(default_factory=dict)
    baselines: tuple[Compared, ...] = ()
    notice: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The judgement as JSON; the same input gives the same bytes anywhere."""
        result: dict[str, Any] = to_json(self)
        return result

    def outcome(self, tier: str) -> Outcome:
        """The outcome of ``tier``; a tier that the policy does not list is not met, ``held`` always is."""
        if tier == "held":
            return "met"
        return next((result.outcome for result in self.tiers if result.tier == tier), "not_met")


def conjunction(outcomes: Sequence[Outcome]) -> Outcome:
    """All must be met. An empty list never passes."""
    if not outcomes:
        return "undecided"
    if "not_met" in outcomes:
        return "not_met"
    return "undecided" if "undecided" in outcomes else "met"


def disjunction(outcomes: Sequence[Outcome]) -> Outcome:
    """One must be met. An empty list never passes."""
    if "met" in outcomes:
        return "met"
    return "undecided" if "undecided" in outcomes or not outcomes else "not_met"

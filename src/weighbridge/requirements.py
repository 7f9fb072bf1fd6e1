"""The lines of a policy: a bound that evidence must prove, and the ways to join bounds. Pure data.

How a requirement is judged stands in ``judge.py``; how it is written in YAML, in ``policy.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, Literal, TypeAlias

from weighbridge.canonical import Json
from weighbridge.metrics import METRICS, Metric

Direction = Literal["at_most", "at_least"]

SOURCE = "source"
"""The baseline of an artifact that is the checkpoint itself, from which it was made."""


@dataclass(frozen=True)
class Usefulness:
    """What an attack may cost: one whose loss of accuracy on ``suite`` is *proved* to exceed ``loss_at_most`` has
    broken the model rather than turned it, and is excluded."""

    suite: str
    loss_at_most: Decimal
    suite_digest: str | None = None

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this."""
        return {"suite": self.suite, "loss_at_most": format(self.loss_at_most, "f")}


@dataclass(frozen=True)
class Bound:
    """One bound on one metric.

    ``items`` fixes the number of items in the plan (exact Clopper-Pearson bound, judged once); without it the
    bound is judged at any time. ``control`` names a suite of the same format that must be proved above chance
    before an ``at_most`` on an accuracy counts. ``settings`` restricts which evidence counts, and so do
    ``suite_digest``, ``control_digest`` and ``battery_digest`` where the policy pins versions. ``battery`` names
    the attacks of an attacked metric, all of which must be met, but for those that ``useful`` excludes. With a
    ``baseline`` the metric is the candidate's minus the baseline's, and ``threshold`` the margin, in [-1, 1].
    ``artifact``: the line is about each file emitted besides the checkpoint, not about the checkpoint. ``path`` is
    the line's place in the policy file; ``why`` is its rationale.
    """

    metric: str
    direction: Direction
    threshold: Decimal
    suite: str | None = None
    suite_digest: str | None = None
    items: int | None = None
    control: str | None = None
    control_digest: str | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    why: str = ""
    path: str = "$"
    battery: str | None = None
    battery_digest: str | None = None
    useful: Usefulness | None = None
    baseline: str | None = None
    artifact: bool = False

    @property
    def spec(self) -> Metric:
        """What the metric means."""
        return METRICS[self.metric]

    @property
    def suites(self) -> tuple[str, ...]:
        """The names of every suite that the line needs: its own, its control's, that of usefulness."""
        names = (self.suite, self.control, None if self.useful is None else self.useful.suite)
        return tuple(name for name in names if name is not None)

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this line."""
        threshold = format(self.threshold, "f")
        line: dict[str, Json] = {"measure": self.metric}
        if self.baseline is None:
            line[self.direction] = threshold
        else:
            demand = "no_more_than" if self.direction == "at_most" else "at_least"
            line[demand] = {"baseline": self.baseline, "margin": threshold}
        optional: dict[str, Json] = {
            "suite": self.suite,
            "items": self.items,
            "control": self.control,
            "battery": self.battery,
            "useful": None if self.useful is None else self.useful.to_json(),
            "settings": dict(self.settings) or None,
            "why": self.why or None,
        }
        return line | {key: value for key, value in optional.items() if value is not None}


@dataclass(frozen=True)
class AnyOf:
    """At least one of the branches must be met; each is tested at a share of the error rate."""

    branches: tuple[Requirement, ...]
    why: str = ""
    path: str = "$"
    join: ClassVar[Literal["any_of"]] = "any_of"

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this line."""
        return _joined(self)


@dataclass(frozen=True)
class AllOf:
    """Every branch must be met."""

    branches: tuple[Requirement, ...]
    why: str = ""
    path: str = "$"
    join: ClassVar[Literal["all_of"]] = "all_of"

    def to_json(self) -> dict[str, Json]:
        """The policy's own form of this line."""
        return _joined(self)


Requirement: TypeAlias = Bound | AnyOf | AllOf


def _joined(line: AnyOf | AllOf) -> dict[str, Json]:
    why: dict[str, Json] = {"why": line.why} if line.why else {}
    return {line.join: [branch.to_json() for branch in line.branches]} | why


def bounds(requirement: Requirement, share: int = 1) -> Iterator[tuple[Bound, int]]:
    """Every bound in a requirement, with the number by which the error rate is divided there."""
    if isinstance(requirement, Bound):
        yield requirement, share
        return
    if isinstance(requirement, AnyOf):
        share *= len(requirement.branches)
    for branch in requirement.branches:
        yield from bounds(branch, share)

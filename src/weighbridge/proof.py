"""What sampled evidence proves of one bound: intervals from the ordered observations, and a verdict. Pure.

Intervals are computed here, by the judge, since their level belongs to the policy and not to the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Any

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, order_key
from weighbridge.metrics import Metric
from weighbridge.requirements import Bound, Direction
from weighbridge.stats import Bounds, ClusterMean, JudgeErrors, mean_bounds_at
from weighbridge.verdicts import Outcome, Verdict


def disorder(record: Evidence) -> str | None:
    """Why a record cannot be a prefix of the seeded order, if it cannot; an import is complete or refused earlier."""
    clusters: list[str] = []
    sizes: dict[str, int] = {}
    for item in record.observations:
        if not clusters or clusters[-1] != item.cluster:
            clusters.append(item.cluster)
        sizes[item.cluster] = sizes.get(item.cluster, 0) + 1
    keys = [order_key(record.question, cluster) for cluster in clusters]
    if any(first >= second for first, second in pairwise(keys)):
        return "the observations are not in the seeded order of their question"
    suite = record.question.suite
    if (
        suite is None
        or len(record.observations) > suite.items
        or max(sizes.values(), default=0) > suite.largest_cluster
    ):
        return "the observations do not fit the suite that they name"
    return None


def nonsense(spec: Metric, record: Evidence) -> str | None:
    """Why too many of the responses are nonsense for a metric that has a guard, if they are."""
    # Another harness has its own way with nonsense; whoever accepts its logs accepts that.
    if spec.guard is None or not record.observations or record.question.settings.get("imported"):
        return None
    bad = [item.values.get(spec.guard, 1.0) for item in record.observations]
    rate = sum(bad) / len(bad)
    if rate <= spec.guard_at_most:
        return None
    return f"{rate:.0%} of the responses are {spec.guard}, above {spec.guard_at_most:.0%}: nothing to judge"


@dataclass(frozen=True)
class Numbers:
    """What a record says of a metric at one level, whatever the threshold: ``verdict`` makes a verdict of it.

    ``shown`` are the fields of a verdict. ``lower`` and ``upper`` are the one-sided bounds that an outcome rests on;
    without them ``shown`` says why nothing is decided. ``objection`` says why the numbers decide nothing all the same.
    """

    shown: Mapping[str, Any]
    lower: Decimal | None = None
    upper: Decimal | None = None
    objection: str | None = None

    def verdict(self, line: Bound, blank: Verdict) -> Verdict:
        """``blank`` filled with these numbers and the outcome of ``line``."""
        shown = replace(blank, **self.shown)
        if self.objection is not None:
            return replace(shown, reason=self.objection)
        if self.lower is None or self.upper is None:
            return shown
        return replace(shown, outcome=_outcome(line.direction, line.threshold, self.lower, self.upper))


def numbers_of(line: Bound, alpha: Decimal, error_rate: Decimal, record: Evidence) -> Numbers:
    """What ``record`` says of the metric of ``line``: bounds, one-sided, each at ``alpha``, and what people are shown.

    It depends on the line's metric, direction and fixed number of items alone.
    """
    spec, suite = line.spec, record.question.suite
    worst = 1.0 if line.direction == "at_most" else 0.0
    objection = disorder(record)
    values = values_of(record, spec.field, worst)
    if suite is None or not values:
        reason = f"the evidence holds no {spec.field}" if record.observations else "nothing was asked"
        return Numbers({"reason": reason}, objection=objection)
    if spec.judged and spec.field not in record.calibrations:
        reason = "the judge's own errors were never measured: no calibration"
        return Numbers({"reason": reason}, objection=objection)
    shown: dict[str, Any] = {
        "estimate": f"{sum(values) / len(values):.6f}",
        "items": len(values),
        "suite_items": suite.items,
        "clusters": len({item.cluster for item in record.observations}),
        "failed": sum(item.failed is not None for item in record.observations),
        "slices": _slices(record, values),
    }
    if line.items is not None:
        if suite.largest_cluster != 1 or not spec.binary:
            reason = "a fixed number of items needs 0/1 values and clusters of one item"
            return Numbers(shown | {"reason": reason}, objection=objection)
        if len(values) < line.items:
            reason = f"{len(values)} of the {line.items} items that the plan fixed were asked"
            return Numbers(shown | {"reason": reason}, objection=objection)
        values = values[: line.items]
    fixed = line.items is not None
    sided, marginal = bounds_of(record, spec, values, float(alpha), float(error_rate) / 2, fixed=fixed)
    if sided.lower is None and sided.upper is None:
        reason = "the judge cannot tell the classes apart (tpr_L <= fpr_U)"
        return Numbers(shown | {"reason": reason}, objection=objection)
    # A side that the judge's errors leave open proves nothing: it stands at the end of the scale.
    lower, upper = sided.lower or 0.0, 1.0 if sided.upper is None else sided.upper
    (ideal,) = bounds_of(record, spec, [1.0 - worst] * len(values), float(alpha), fixed=fixed)
    provable = ideal.upper if line.direction == "at_most" else ideal.lower
    shown |= {
        "reason": f"{_outward(lower, ROUND_FLOOR)} to {_outward(upper, ROUND_CEILING)}, each side at {float(alpha):g}, "
        f"after {len(values)} of {suite.items} items",
        "lower": f"{lower:.6f}",
        "upper": f"{upper:.6f}",
        "interval": (f"{marginal.lower or 0.0:.6f}", f"{1.0 if marginal.upper is None else marginal.upper:.6f}"),
        "provable": None if provable is None else f"{provable:.6f}",
    }
    return Numbers(shown, Decimal(shown["lower"]), Decimal(shown["upper"]), objection)


def bounds_of(
    record: Evidence, spec: Metric, values: Sequence[float], *alphas: float, fixed: bool = False
) -> list[Bounds]:
    """Both bounds on a metric's mean from its first ``values`` in ``record``, one-sided, at each of ``alphas``.

    ``fixed``: the number of items was fixed in the plan. A judged metric is corrected by its calibration.
    """
    calibration = record.calibrations.get(spec.field) if spec.judged else None
    errors = None if calibration is None else JudgeErrors(
        calibration.true_positive, calibration.false_negative, calibration.false_positive, calibration.true_negative
    )  # fmt: skip
    grouped: dict[str, list[float]] = {}
    for item, value in zip(record.observations, values, strict=False):
        grouped.setdefault(item.cluster, []).append(value)
    clusters = [ClusterMean(sum(members) / len(members), len(members)) for members in grouped.values()]
    largest = record.question.suite.largest_cluster if record.question.suite else 1
    return mean_bounds_at(alphas, clusters, largest=largest, binary=spec.binary, errors=errors, fixed=fixed)


def values_of(record: Evidence, field: str, worst: float) -> list[float]:
    """The values of a metric in the order of asking, ``worst`` for failed items; empty if an item has none."""
    values = [worst if item.failed is not None else item.values.get(field) for item in record.observations]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _outcome(direction: Direction, threshold: Decimal, lower: Decimal, upper: Decimal) -> Outcome:
    if direction == "at_most":
        return "met" if upper <= threshold else "not_met" if lower > threshold else "undecided"
    return "met" if lower >= threshold else "not_met" if upper < threshold else "undecided"


def _outward(bound: float, rounding: str) -> Decimal:
    """A bound, which is in whole millionths, to three places, as the report shows it."""
    return Decimal(f"{bound:.6f}").quantize(Decimal("0.001"), rounding)


def _slices(record: Evidence, values: Sequence[float]) -> Mapping[str, Json]:
    grouped: dict[str, list[float]] = {}
    for item, value in zip(record.observations, values, strict=True):
        grouped.setdefault(item.slice, []).append(value)
    return {
        name: {"items": len(members), "estimate": f"{sum(members) / len(members):.6f}"}
        for name, members in sorted(grouped.items())
    }

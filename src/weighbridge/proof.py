"""What sampled evidence proves of one bound: intervals from the ordered observations, and a verdict. Pure.

Intervals are computed here, by the judge, since their level belongs to the policy and not to the measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, order_key
from weighbridge.metrics import Metric
from weighbridge.requirements import Bound, Direction
from weighbridge.stats import Bounds, ClusterMean, JudgeErrors, mean_bounds
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


def prove(line: Bound, alpha: Decimal, error_rate: Decimal, record: Evidence, blank: Verdict) -> Verdict:
    """``blank`` filled with what ``record`` proves of ``line``: bounds (one-sided, each at ``alpha``) and outcome."""
    spec, suite = line.spec, record.question.suite
    worst = 1.0 if line.direction == "at_most" else 0.0
    values = values_of(record, spec.field, worst)
    if suite is None or not values:
        return replace(
            blank, reason=f"the evidence holds no {spec.field}" if record.observations else "nothing was asked"
        )
    if spec.judged and spec.field not in record.calibrations:
        return replace(blank, reason="the judge's own errors were never measured: no calibration")
    shown = replace(
        blank,
        estimate=f"{sum(values) / len(values):.6f}",
        items=len(values),
        suite_items=suite.items,
        clusters=len({item.cluster for item in record.observations}),
        failed=sum(item.failed is not None for item in record.observations),
        slices=_slices(record, values),
    )
    if line.items is not None:
        if suite.largest_cluster != 1 or not spec.binary:
            return replace(shown, reason="a fixed number of items needs 0/1 values and clusters of one item")
        if len(values) < line.items:
            return replace(shown, reason=f"{len(values)} of the {line.items} items that the plan fixed were asked")
        values = values[: line.items]
    fixed = line.items is not None
    sided = bounds_of(record, spec, values, float(alpha), fixed=fixed)
    marginal = bounds_of(record, spec, values, float(error_rate) / 2, fixed=fixed)
    if sided.lower is None and sided.upper is None:
        return replace(shown, reason="the judge cannot tell the classes apart (tpr_L <= fpr_U)")
    # A side that the judge's errors leave open proves nothing: it stands at the end of the scale.
    lower, upper = sided.lower or 0.0, 1.0 if sided.upper is None else sided.upper
    ideal = bounds_of(record, spec, [1.0 - worst] * len(values), float(alpha), fixed=fixed)
    provable = ideal.upper if line.direction == "at_most" else ideal.lower
    return replace(
        shown,
        outcome=_outcome(line.direction, line.threshold, Decimal(f"{lower:.6f}"), Decimal(f"{upper:.6f}")),
        reason=f"{lower:.3f} to {upper:.3f}, each side at {float(alpha):g}, after {len(values)} of {suite.items} items",
        lower=f"{lower:.6f}",
        upper=f"{upper:.6f}",
        interval=(f"{marginal.lower or 0.0:.6f}", f"{1.0 if marginal.upper is None else marginal.upper:.6f}"),
        provable=None if provable is None else f"{provable:.6f}",
    )


def bounds_of(record: Evidence, spec: Metric, values: Sequence[float], alpha: float, *, fixed: bool = False) -> Bounds:
    """Both bounds on a metric's mean, each one-sided at level ``alpha``, from its first ``values`` in ``record``.

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
    return mean_bounds(clusters, alpha=alpha, largest=largest, binary=spec.binary, errors=errors, fixed=fixed)


def values_of(record: Evidence, field: str, worst: float) -> list[float]:
    """The values of a metric in the order of asking, ``worst`` for failed items; empty if an item has none."""
    values = [worst if item.failed is not None else item.values.get(field) for item in record.observations]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _outcome(direction: Direction, threshold: Decimal, lower: Decimal, upper: Decimal) -> Outcome:
    if direction == "at_most":
        return "met" if upper <= threshold else "not_met" if lower > threshold else "undecided"
    return "met" if lower >= threshold else "not_met" if upper < threshold else "undecided"


def _slices(record: Evidence, values: Sequence[float]) -> Mapping[str, Json]:
    grouped: dict[str, list[float]] = {}
    for item, value in zip(record.observations, values, strict=True):
        grouped.setdefault(item.slice, []).append(value)
    return {
        name: {"items": len(members), "estimate": f"{sum(members) / len(members):.6f}"}
        for name, members in sorted(grouped.items())
    }

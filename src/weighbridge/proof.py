"""What sampled evidence proves of one bound: intervals from the ordered observations, and a verdict. Pure.

Intervals are computed here, by the judge, since their level belongs to the policy and not to the measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, Observation, order_key
from weighbridge.requirements import Bound, Direction
from weighbridge.stats import ClusterMean, JudgeErrors, mean_bounds, provable_lower, provable_upper
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
    """``blank`` filled with what ``record`` proves of ``line``: bounds, each one-sided at ``alpha``, and the outcome."""
    field, suite = line.spec.field, record.question.suite
    values = [_value(item, field, line.direction) for item in record.observations]
    if suite is None or not values or any(value is None for value in values):
        return replace(blank, reason=f"the evidence holds no {field}" if values else "no item was asked")
    observed = [value for value in values if value is not None]
    calibration = record.calibrations.get(field)
    if line.spec.judged and calibration is None:
        return replace(blank, reason="the judge's own errors were never measured: no calibration")
    errors = calibration and JudgeErrors(
        calibration.true_positive, calibration.false_negative, calibration.false_positive, calibration.true_negative
    )
    fixed = line.items is not None
    shown = replace(
        blank,
        estimate=f"{sum(observed) / len(observed):.6f}",
        items=len(observed),
        suite_items=suite.items,
        clusters=len({item.cluster for item in record.observations}),
        failed=sum(item.failed is not None for item in record.observations),
        slices=_slices(record, field, line.direction),
    )
    if fixed:
        if suite.largest_cluster != 1 or not line.spec.binary:
            return replace(shown, reason="a fixed number of items needs 0/1 values and clusters of one item")
        if len(observed) < (line.items or 0):
            return replace(shown, reason=f"{len(observed)} of the {line.items} items that the plan fixed were asked")
        observed = observed[: line.items]
    clusters = list(cluster_means(record, observed))
    common = {"largest": suite.largest_cluster, "binary": line.spec.binary, "errors": errors, "fixed": fixed}
    sided = mean_bounds(clusters, alpha=float(alpha), **common)
    marginal = mean_bounds(clusters, alpha=float(error_rate) / 2, **common)
    if sided.lower is None or sided.upper is None or marginal.lower is None or marginal.upper is None:
        return replace(shown, reason="the judge cannot tell the classes apart (tpr_L <= fpr_U)")
    best = provable_upper if line.direction == "at_most" else provable_lower
    provable = best(len(clusters), alpha=float(alpha), **common)
    outcome = _outcome(line.direction, line.threshold, Decimal(f"{sided.lower:.6f}"), Decimal(f"{sided.upper:.6f}"))
    proves = f"between {sided.lower:.3f} and {sided.upper:.3f} (each at {float(alpha):g})"
    return replace(
        shown,
        outcome=outcome,
        reason=f"{proves} after {len(observed)} of {suite.items} items",
        lower=f"{sided.lower:.6f}",
        upper=f"{sided.upper:.6f}",
        interval=(f"{marginal.lower:.6f}", f"{marginal.upper:.6f}"),
        provable=None if provable is None else f"{provable:.6f}",
    )


def _outcome(direction: Direction, threshold: Decimal, lower: Decimal, upper: Decimal) -> Outcome:
    if direction == "at_most":
        return "met" if upper <= threshold else "not_met" if lower > threshold else "undecided"
    return "met" if lower >= threshold else "not_met" if upper < threshold else "undecided"


def _value(item: Observation, field: str, direction: Direction) -> float | None:
    """A failed item counts as the worst value for the requirement's direction."""
    if item.failed is not None:
        return 1.0 if direction == "at_most" else 0.0
    return item.values.get(field)


def cluster_means(record: Evidence, values: Sequence[float]) -> Iterator[ClusterMean]:
    """The clusters' means in the order of asking; ``values`` are the items', as many as are to count."""
    grouped: dict[str, list[float]] = {}
    for item, value in zip(record.observations, values, strict=False):
        grouped.setdefault(item.cluster, []).append(value)
    for members in grouped.values():
        yield ClusterMean(sum(members) / len(members), len(members))


def _slices(record: Evidence, field: str, direction: Direction) -> Mapping[str, Json]:
    grouped: dict[str, list[float]] = {}
    for item in record.observations:
        value = _value(item, field, direction)
        grouped.setdefault(item.slice, []).append(0.0 if value is None else value)
    return {
        name: {"items": len(members), "estimate": f"{sum(members) / len(members):.6f}"}
        for name, members in sorted(grouped.items())
    }

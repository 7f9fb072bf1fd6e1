"""What sampled evidence proves of one bound: intervals from the ordered observations, and a verdict. Pure.

Intervals are computed here, by the judge, since their level belongs to the policy and not to the measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Any

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, Observation, order_key
from weighbridge.metrics import Metric
from weighbridge.requirements import Bound, Direction
from weighbridge.stats import Bounds, ClusterMean, JudgeErrors, mean_bounds_at, paired_bounds_at
from weighbridge.stats.clusters import GRID
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


UNCALIBRATED = "the judge's own errors were never measured: no calibration"


@dataclass(frozen=True)
class Levels:
    """The error probabilities at which a line may be called met, and not met. They differ where one of several proofs
    is enough for one of the two."""

    met: Decimal
    not_met: Decimal

    def sides(self, direction: Direction) -> tuple[float, float]:
        """The levels of the lower and of the upper bound."""
        met, not_met = float(self.met), float(self.not_met)
        return (not_met, met) if direction == "at_most" else (met, not_met)


@dataclass(frozen=True)
class Numbers:
    """What a record says of a metric at some levels, whatever the threshold: ``verdict`` makes a verdict of it.

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


@dataclass(frozen=True, slots=True)
class Pair:
    """The candidate's answer to an item, and the baseline's."""

    own: Observation
    other: Observation


def numbers_of(line: Bound, levels: Levels, error_rate: Decimal, record: Evidence) -> Numbers:
    """What ``record`` says of the metric of ``line``: one-sided bounds at ``levels``, and what people are shown.

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
        return Numbers({"reason": UNCALIBRATED}, objection=objection)
    meant = [2.0 * value - 1.0 for value in values] if spec.difference else values
    shown = _described(record.observations, meant) | {"suite_items": suite.items}
    fixed = line.items is not None
    if line.items is not None:
        if suite.largest_cluster != 1 or not spec.binary:
            reason = "a fixed number of items needs 0/1 values and clusters of one item"
            return Numbers(shown | {"reason": reason}, objection=objection)
        if len(values) < line.items:
            reason = f"{len(values)} of the {line.items} items that the plan fixed were asked"
            return Numbers(shown | {"reason": reason}, objection=objection)
        values = values[: line.items]
        shown |= _described(record.observations[: line.items], meant[: line.items])

    def bounds(values: Sequence[float], alphas: Sequence[float]) -> list[Bounds]:
        found = bounds_of(record, spec, values, *alphas, fixed=fixed)
        return [Bounds(_doubled(one.lower), _doubled(one.upper)) for one in found] if spec.difference else found

    numbers = _proved(
        shown,
        line.direction,
        levels,
        error_rate,
        -1.0 if spec.difference else 0.0,
        lambda alphas: bounds(values, alphas),
        lambda alphas: bounds([1.0 - worst] * len(values), alphas),
    )
    return replace(numbers, objection=objection)


def paired_numbers(
    line: Bound, levels: Levels, error_rate: Decimal, record: Evidence, pairs: Sequence[Pair]
) -> Numbers:
    """What ``pairs`` say of the relative ``line``: the first answers of ``record``, each with the baseline's.

    Numbers are candidate minus baseline. A failed item counts as the worst: the candidate's against it, the baseline's
    too.
    """
    spec, suite = line.spec, record.question.suite
    objection = disorder(record)
    if suite is None or not pairs:
        return Numbers({"reason": "the two have no item in common"}, objection=objection)
    if spec.judged and spec.field not in record.calibrations:
        return Numbers({"reason": UNCALIBRATED}, objection=objection)
    worst = 1.0 if line.direction == "at_most" else 0.0
    observations = [pair.own for pair in pairs]
    own = _values(observations, spec.field, worst)
    other = _values([pair.other for pair in pairs], spec.field, 1.0 - worst)
    if not own or not other:
        return Numbers({"reason": f"the evidence holds no {spec.field}"}, objection=objection)
    candidate, baseline = _clusters(observations, own), _clusters(observations, other)
    errors, largest = _errors(record, spec), suite.largest_cluster
    numbers = _proved(
        _described(observations, [one - two for one, two in zip(own, other, strict=True)])
        | {"suite_items": suite.items},
        line.direction,
        levels,
        error_rate,
        -1.0,
        lambda alphas: paired_bounds_at(alphas, candidate, baseline, largest=largest, errors=errors),
        # The best that so many items could have shown of a model that differs in nothing.
        lambda alphas: paired_bounds_at(alphas, baseline, baseline, largest=largest, errors=errors),
    )
    return replace(numbers, objection=objection)


def bounds_of(
    record: Evidence, spec: Metric, values: Sequence[float], *alphas: float, fixed: bool = False
) -> list[Bounds]:
    """Both bounds on a metric's mean from its first ``values`` in ``record``, one-sided, at each of ``alphas``.

    ``fixed``: the number of items was fixed in the plan. A judged metric is corrected by its calibration.
    """
    clusters = _clusters(record.observations, values)
    largest = record.question.suite.largest_cluster if record.question.suite else 1
    errors = _errors(record, spec)
    return mean_bounds_at(alphas, clusters, largest=largest, binary=spec.binary, errors=errors, fixed=fixed)


def _proved(
    shown: Mapping[str, Any],
    direction: Direction,
    levels: Levels,
    error_rate: Decimal,
    least: float,
    bounds: Callable[[Sequence[float]], Sequence[Bounds]],
    best: Callable[[Sequence[float]], Sequence[Bounds]],
) -> Numbers:
    """``bounds`` gives those of the data at some levels, ``best`` those that so many items could have shown; ``least``
    is where the scale, which ends at 1, begins."""
    low, high = levels.sides(direction)
    alphas = list(dict.fromkeys((low, high, float(error_rate) / 2)))
    at = dict(zip(alphas, bounds(alphas), strict=True))
    lower, upper, marginal = at[low].lower, at[high].upper, at[float(error_rate) / 2]
    if lower is None and upper is None:
        return Numbers({**shown, "reason": "the judge cannot tell the classes apart (tpr_L <= fpr_U)"})
    # A side that the judge's errors leave open proves nothing: it stands at the end of the scale.
    lower, upper = least if lower is None else lower, 1.0 if upper is None else upper
    (ideal,) = best([float(levels.met)])
    provable = ideal.upper if direction == "at_most" else ideal.lower
    sides = f"each side at {low:g}" if low == high else f"sides at {low:g} and {high:g}"
    interval = (
        _six(least if marginal.lower is None else marginal.lower),
        _six(1.0 if marginal.upper is None else marginal.upper),
    )
    return Numbers(
        {
            **shown,
            "reason": f"{_outward(lower, ROUND_FLOOR)} to {_outward(upper, ROUND_CEILING)}, {sides}, "
            f"after {shown['items']} of {shown['suite_items']} items",
            "lower": _six(lower),
            "upper": _six(upper),
            "interval": interval,
            "provable": None if provable is None else _six(provable),
        },
        Decimal(_six(lower)),
        Decimal(_six(upper)),
    )


def values_of(record: Evidence, field: str, worst: float) -> list[float]:
    """The values of a metric in the order of asking, ``worst`` for failed items; empty if an item has none."""
    return _values(record.observations, field, worst)


def _values(observations: Sequence[Observation], field: str, worst: float) -> list[float]:
    values = [worst if item.failed is not None else item.values.get(field) for item in observations]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _clusters(observations: Sequence[Observation], values: Sequence[float]) -> list[ClusterMean]:
    """The clusters of the first ``values``, in the order of asking."""
    grouped: dict[str, list[float]] = {}
    for item, value in zip(observations, values, strict=False):
        grouped.setdefault(item.cluster, []).append(value)
    return [ClusterMean(sum(members) / len(members), len(members)) for members in grouped.values()]


def _errors(record: Evidence, spec: Metric) -> JudgeErrors | None:
    """The errors of the judge behind a judged metric, where they were measured."""
    known = record.calibrations.get(spec.field) if spec.judged else None
    if known is None:
        return None
    return JudgeErrors(known.true_positive, known.false_negative, known.false_positive, known.true_negative)


def _outcome(direction: Direction, threshold: Decimal, lower: Decimal, upper: Decimal) -> Outcome:
    if direction == "at_most":
        return "met" if upper <= threshold else "not_met" if lower > threshold else "undecided"
    return "met" if lower >= threshold else "not_met" if upper < threshold else "undecided"


def _doubled(bound: float | None) -> float | None:
    """A bound on (1 + d) / 2 as one on d, exactly."""
    return None if bound is None else (2 * round(bound * GRID) - GRID) / GRID


def _outward(bound: float, rounding: str) -> Decimal:
    """A bound, which is in whole millionths, to three places, as the report shows it."""
    return Decimal(f"{bound:.6f}").quantize(Decimal("0.001"), rounding) + 0


def _six(number: float) -> str:
    """Six places, and no minus before a zero."""
    text = f"{number:.6f}"
    return text if text != "-0.000000" else "0.000000"


def _described(observations: Sequence[Observation], values: Sequence[float]) -> dict[str, Any]:
    """What people are shown of the values themselves, one for each observation."""
    grouped: dict[str, list[float]] = {}
    for item, value in zip(observations, values, strict=True):
        grouped.setdefault(item.slice, []).append(value)
    slices: dict[str, Json] = {
        name: {"items": len(members), "estimate": _six(sum(members) / len(members))}
        for name, members in sorted(grouped.items())
    }
    return {
        "estimate": _six(sum(values) / len(values)),
        "items": len(values),
        "clusters": len({item.cluster for item in observations}),
        "failed": sum(item.failed is not None for item in observations),
        "slices": slices,
    }

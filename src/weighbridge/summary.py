"""What a record of evidence says by itself, without a policy: plain scores with 95 % intervals, or counts. Pure."""

from __future__ import annotations

from typing import Any

from weighbridge.evidence import Evidence
from weighbridge.judging.matching import artifact_of, attack_of
from weighbridge.metrics import METRICS, Metric
from weighbridge.proof import bounds_of, nonsense, values_of

LEVEL = 0.05


def summarise(record: Evidence) -> dict[str, Any]:
    """A record as JSON for people: what was asked, under which attack, of which artifact, and for each metric the score
    with its marginal interval.

    The interval may be looked at after any item (see docs/statistics.md). A judged metric has its plain rate as
    ``estimate`` and the interval of the corrected rate; without a calibration there is no interval. Where nothing can
    be judged because the responses are nonsense, ``undecided`` says so and there is no interval either. A metric that
    is a difference is told as that, in [-1, 1].
    """
    suite, artifact = record.question.suite, artifact_of(record.question)
    base: dict[str, Any] = {
        "measure": record.question.measure,
        "suite": None if suite is None else suite.name,
        "attack": attack_of(record.question) or None,
        "artifact": None if artifact is None else artifact[0],
        "question": record.question.digest,
        "record": record.digest,
        "asked": record.asked,
        "made": record.made,
        "items": len(record.observations),
        "suite_items": None if suite is None else suite.items,
        "failed": sum(item.failed is not None for item in record.observations),
        "cost": dict(record.cost),
    }
    specs = [
        METRICS[name] for name in (f"{record.question.measure}.{field}" for field in record.metrics) if name in METRICS
    ]
    if record.kind == "exact":
        counts = {spec.field: sum(finding.metric == spec.field for finding in record.findings) for spec in specs}
        findings = [
            {"metric": one.metric, "code": one.code, "where": one.where, "message": one.message}
            for one in record.findings
        ]
        return base | {"counts": counts, "undecided": dict(record.undecided), "findings": findings}
    return base | {"metrics": {spec.field: _metric(record, spec) for spec in specs}}


def _metric(record: Evidence, spec: Metric) -> dict[str, Any]:
    values = values_of(record, spec.field, 0.0 if spec.higher == "better" else 1.0)
    if not values:
        why = {"undecided": record.undecided[spec.field]} if spec.field in record.undecided else {}
        return {"estimate": None, "interval": None, **why}
    mean = sum(values) / len(values)
    estimate = f"{2 * mean - 1 if spec.difference else mean:.6f}"
    if reason := nonsense(spec, record):
        return {"estimate": estimate, "interval": None, "undecided": reason}
    if record.asked == "limit" or (spec.judged and spec.field not in record.calibrations):
        return {"estimate": estimate, "interval": None}
    (bounds,) = bounds_of(record, spec, values, LEVEL / 2)
    if bounds.lower is None or bounds.upper is None:
        return {"estimate": estimate, "interval": None}
    lower, upper = (2 * bound - 1 if spec.difference else bound for bound in (bounds.lower, bounds.upper))
    return {"estimate": estimate, "interval": [f"{lower:.6f}", f"{upper:.6f}"]}

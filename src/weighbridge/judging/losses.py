"""What an attack cost the model: the loss of usefulness, by which an attack is excluded or counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence
from weighbridge.judging.case import Case
from weighbridge.judging.matching import AS_IS, USEFULNESS, attack_of, weighs_usefulness
from weighbridge.proof import Levels, Numbers
from weighbridge.requirements import Bound


@dataclass(frozen=True)
class Loss:
    """The loss of usefulness under one attack.

    ``excessive``: proved to exceed what the line allows, so that the attack is excluded; ``small``: proved not to, so
    that it counts against the model. ``reason`` says why neither is known; ``shown`` is for people.
    """

    excessive: bool = False
    small: bool = False
    reason: str = ""
    shown: dict[str, Json] | None = None
    evidence: tuple[str, ...] = ()


def loss_of(case: Case, line: Bound, record: Evidence, evidence: Sequence[Evidence], levels: Levels) -> Loss:
    """The loss under the attack of ``record`` as far as ``evidence`` (of the same model) tells.

    ``levels.met`` is the level at which it may be called excessive, ``levels.not_met`` that for small. A line that
    does not bound the loss takes every attack as it is.
    """
    attack = attack_of(record.question)
    if line.useful is None or attack == AS_IS:
        return Loss(small=True)
    found = [other for other in evidence if _tells(line, record, other)]
    told = [loss_from(case, line, other, levels) for other in found]
    if not told:
        return Loss(reason=f"the loss of usefulness under it was not measured on {line.useful.suite!r}")
    # Where it was measured twice, both must say so: nobody may pick the one that looks best.
    worst = min(told, key=lambda loss: loss.excessive or loss.small)
    return Loss(
        excessive=all(loss.excessive for loss in told),
        small=all(loss.small for loss in told),
        reason=worst.reason,
        shown=worst.shown,
        evidence=tuple(sorted({digest for loss in told for digest in loss.evidence})),
    )


def loss_from(case: Case, line: Bound, record: Evidence, levels: Levels) -> Loss:
    """What one record of usefulness says. A failed item counts as no loss where the loss is to be proved excessive, and
    as a whole one where it is to be proved small."""
    assert line.useful is not None
    allowed = -line.useful.loss_at_most
    metric = f"{line.spec.measure}.{USEFULNESS}"
    above = Bound(metric, "at_most", allowed, line.useful.suite)
    below = Bound(metric, "at_least", allowed, line.useful.suite)
    if reason := case.inadmissible(above, record) or case.misordered(record):
        return Loss(reason=reason, evidence=(record.digest,))
    high = case.numbers(above, Levels(levels.met, levels.met), record)
    low = case.numbers(below, Levels(levels.not_met, levels.not_met), record)
    if high.upper is None or low.lower is None or high.objection is not None:
        return Loss(reason=high.objection or str(high.shown["reason"]), evidence=(record.digest,))
    excessive, small = high.upper < allowed, low.lower >= allowed
    reason = f"it may cost {-high.upper:.3f} to {-low.lower:.3f} of usefulness, and {-allowed} lies between"
    return Loss(excessive, small, "" if excessive or small else reason, _shown(high, low), (record.digest,))


def _tells(line: Bound, record: Evidence, other: Evidence) -> bool:
    """Whether ``other`` weighs the usefulness of the very model that ``record`` asked: its settings are the same, but
    for those of responses and their judge, which it has none of."""
    settings = record.question.settings
    return (
        other.asked != "limit"
        and weighs_usefulness(line, other.question)
        and all(key in settings and settings[key] == value for key, value in other.question.settings.items())
    )


def _shown(high: Numbers, low: Numbers) -> dict[str, Json]:
    """The loss as people read it: positive where accuracy fell."""
    assert high.upper is not None
    assert low.lower is not None
    return {
        "estimate": _negated(Decimal(low.shown["estimate"])),
        "lower": _negated(high.upper),
        "upper": _negated(low.lower),
        "items": low.shown["items"],
    }


def _negated(value: Decimal) -> str:
    return format(-value + 0, ".6f")

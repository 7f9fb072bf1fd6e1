"""Lines that compare with a baseline: differences paired by cluster, against one model or a set of them. Pure.

Against m records of baselines, "no more than" is met if the candidate is shown to exceed one of them by no more than
the margin, at alpha / m, and not met if it is shown to exceed every one by more, each at alpha: the strongest of the
set is the bar. "At least" is met if the candidate keeps up with every one, each at alpha, and not met if it is shown to
fall behind one, at alpha / m.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from weighbridge.canonical import Json
from weighbridge.evidence import Evidence, Observation
from weighbridge.judging.case import Case
from weighbridge.judging.losses import loss_of
from weighbridge.judging.matching import about, attack_of, attacks_of, incomparable
from weighbridge.proof import Levels, Numbers, Pair, nonsense, paired_numbers
from weighbridge.requirements import SOURCE, Bound
from weighbridge.verdicts import Verdict, conjunction, disjunction


@dataclass(frozen=True)
class Opponent:
    """One record to compare with, or ``reason``, why there is none. ``others`` is all evidence on that model."""

    name: str
    checkpoint: str | None = None
    record: Evidence | None = None
    attack: str | None = None
    reason: str = ""
    others: Sequence[Evidence] = ()


def single(case: Case, line: Bound, levels: Levels, record: Evidence, blank: Verdict) -> Verdict:
    """The verdict of a line on one record, compared with the line's baseline if it has one."""
    if line.baseline is None:
        return case.absolute(line, levels, record, blank)
    blank = case.of(record, blank)
    if reason := case.inadmissible(line, record):
        return replace(blank, reason=reason)
    opponents = list(_opponents(case, line, record))
    if not opponents:
        return replace(blank, reason=f"no model is on record as the baseline {line.baseline!r}")
    one_is_enough = line.direction == "at_most"
    share = _shared(levels, len(opponents), one_is_enough)
    met = [_against(case, line, share, record, opponent, blank) for opponent in opponents]
    outcome = (disjunction if one_is_enough else conjunction)([verdict.outcome for verdict in met])
    place = min(range(len(met)), key=lambda index: _rank(met[index], one_is_enough))
    holding, opponent = met[place], opponents[place]
    unknown = [
        f"; {_name(other)}: {verdict.reason}"
        for other, verdict in zip(opponents, met, strict=True)
        if verdict.lower is None and verdict is not holding and outcome == "undecided"
    ]
    source = [one.record.digest for one in opponents if one.name == SOURCE and one.record is not None]
    return replace(
        holding,
        outcome=outcome,
        reason=f"against {_name(opponent)}: {holding.reason}{''.join(unknown[:1])}",
        evidence=tuple(sorted({record.digest, *source})),
        baselines=tuple(_entry(other, verdict) for other, verdict in zip(opponents, met, strict=True)),
    )


def _shared(levels: Levels, number: int, one_is_enough: bool) -> Levels:
    """Proofs of which one is enough share their level; proofs that are all needed have it each."""
    if one_is_enough:
        return Levels(levels.met / number, levels.not_met)
    return Levels(levels.met, levels.not_met / number)


def _opponents(case: Case, line: Bound, record: Evidence) -> Iterator[Opponent]:
    """Every record that ``record`` is to be compared with; a model without any stands there too, and so does an attack
    that was not measured of it."""
    if line.baseline == SOURCE:
        own = case.source_of(record)
        reason = "was not asked in the same order" if own is None else incomparable(record.question, own.question)
        checkpoint = record.question.checkpoint
        yield Opponent(SOURCE, checkpoint, None if reason else own, reason=f"the checkpoint itself {reason or ''}")
        return
    for model in case.baselines.get(line.baseline or "", ()):
        near = [other for other in model.evidence if _near(line, record, other)]
        reasons = [_unfit(case, line, record, other) for other in near]
        fit = [other for other, reason in zip(near, reasons, strict=True) if reason is None]
        for other in fit:
            attack = attack_of(other.question) or None
            yield Opponent(model.name, model.checkpoint, other, attack, others=model.evidence)
        if not fit:
            why = next((reason for reason in reasons if reason), "was not measured")
            yield Opponent(model.name, model.checkpoint, reason=f"it {why}")
        elif line.spec.attacked:
            measured = {attack_of(other.question) for other in fit}
            for attack in sorted(set(attacks_of(record.question) or ()) - measured):
                why = "it was not measured under this attack"
                yield Opponent(model.name, model.checkpoint, attack=attack, reason=why)


def _near(line: Bound, record: Evidence, other: Evidence) -> bool:
    suite, own = other.question.suite, record.question.suite
    return (
        suite is not None
        and own is not None
        and (other.question.measure, suite.name) == (line.spec.measure, own.name)
        and "artifact" not in other.question.settings
        and ("attack" in other.question.settings) == line.spec.attacked
    )


def _unfit(case: Case, line: Bound, record: Evidence, other: Evidence) -> str | None:
    """Why a baseline's record near to the candidate's is not compared with it, if it is not."""
    if other.asked == "limit":
        return "was only asked with --limit"
    if other.question.settings.get("imported") and not case.policy.accept_imported:
        return "was imported, and the policy does not accept imports"
    if reason := incomparable(record.question, other.question):
        return reason
    attacks = attacks_of(record.question) if line.spec.attacked else None
    if line.spec.attacked and (attacks_of(other.question) != attacks or not about(line, other.question)):
        return "was measured under other attacks"
    if any(other.question.settings.get(key) != value for key, value in line.settings.items()):
        return "was measured under other settings than the line's"
    return None


def _against(case: Case, line: Bound, levels: Levels, record: Evidence, opponent: Opponent, blank: Verdict) -> Verdict:
    other = opponent.record
    if other is None:
        return replace(blank, reason=opponent.reason)
    if line.useful is None or opponent.name == SOURCE:
        return _compared(case, line, levels, record, opponent, blank)
    # What the baseline's attack proves counts only if that attack leaves the baseline useful; it is called not met if
    # either is refuted, which are two ways to err.
    halved = Levels(levels.met, levels.not_met / 2)
    verdict = _compared(case, line, halved, record, opponent, blank)
    loss = loss_of(case, line, other, opponent.others, Levels(halved.not_met, levels.met))
    if loss.excessive:
        return replace(verdict, outcome="not_met", reason="the attack costs the baseline too much of its usefulness")
    if verdict.outcome == "met" and not loss.small:
        return replace(verdict, outcome="undecided", reason=f"{verdict.reason}; {loss.reason}")
    return verdict


def _compared(case: Case, line: Bound, levels: Levels, record: Evidence, opponent: Opponent, blank: Verdict) -> Verdict:
    other = opponent.record
    assert other is not None
    key = (record.digest, other.digest, line.metric, line.direction, levels)
    numbers = case.once(key, lambda: _numbers(case, line, levels, record, opponent, other))
    return case.objected(line, levels, record, numbers).verdict(line, blank)


def _numbers(case: Case, line: Bound, levels: Levels, record: Evidence, opponent: Opponent, other: Evidence) -> Numbers:
    field = line.spec.field
    if field in other.undecided:
        return Numbers({"reason": other.undecided[field]})
    if reason := nonsense(line.spec, other):
        return Numbers({"reason": f"of {opponent.name}, {reason}"})
    if record.calibrations.get(field) != other.calibrations.get(field):
        return Numbers({"reason": "the judge's errors are known by other labels than they were then"})
    pairs = _pairs(record.observations, other.observations, prefix=opponent.name == SOURCE)
    if isinstance(pairs, int):
        return Numbers({"reason": f"it was not asked {pairs} of the {len(record.observations)} items"})
    return paired_numbers(line, levels, case.policy.error_rate, record, pairs)


def _pairs(own: Sequence[Observation], others: Sequence[Observation], *, prefix: bool) -> list[Pair] | int:
    """The candidate's answers in the order of asking, each with the baseline's; or how many the baseline lacks.

    ``prefix``: both were asked in one order, and count as far as both went; whoever stops there has seen no more than
    what is compared. Any other baseline must have been asked everything: where it stopped, its own answers decided.
    """
    answers = {item.item: item for item in others}
    pairs = [
        Pair(item, answers[item.item])
        for item in own
        if item.item in answers and answers[item.item].digest == item.digest
    ]
    if len(pairs) == len(own):
        return pairs
    if not prefix:
        return len(own) - len(pairs)
    missing = next(i for i, item in enumerate(own) if i == len(pairs) or pairs[i].own is not item)
    return [pair for pair in pairs[:missing] if pair.own.cluster != own[missing].cluster]


def _rank(verdict: Verdict, one_is_enough: bool) -> tuple[int, Decimal, Decimal]:
    """The comparison that holds the line comes first: the best where one is enough, else the worst."""
    order = ("met", "undecided", "not_met") if one_is_enough else ("not_met", "undecided", "met")
    place = order.index(verdict.outcome)
    if verdict.lower is None or verdict.upper is None:
        return (place, Decimal(2), Decimal(2))
    lower, upper = Decimal(verdict.lower), Decimal(verdict.upper)
    return (place, upper, lower) if one_is_enough else (place, lower, upper)


def _name(opponent: Opponent) -> str:
    return opponent.name if opponent.attack is None else f"{opponent.name} under {opponent.attack}"


def _entry(opponent: Opponent, verdict: Verdict) -> dict[str, Json]:
    return {
        "name": opponent.name,
        "checkpoint": opponent.checkpoint,
        "record": None if opponent.record is None else opponent.record.digest,
        "attack": opponent.attack,
        "estimate": verdict.estimate,
        "lower": verdict.lower,
        "upper": verdict.upper,
        "items": verdict.items,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
    }

"""Lines on attacked metrics: the worst over the attacks of a battery. Pure.

*Met* needs every attack: each is bounded at alpha itself, since a wrong "met" needs one particular false bound. An
attack is left out only where its loss of usefulness is proved excessive; alpha is then halved between the two proofs.
*Not met* needs one attack that is proved harmful and, where the line bounds the loss, proved to keep the model useful;
any of m attacks might be the one, so both are proved at alpha / m. An attack that measuring has dropped keeps the bound
that it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.evidence import Evidence
from weighbridge.judging import relative
from weighbridge.judging.case import Case
from weighbridge.judging.losses import Loss, loss_from, loss_of
from weighbridge.judging.matching import attack_of, attacks_of, matches
from weighbridge.proof import Levels
from weighbridge.requirements import Bound
from weighbridge.verdicts import Outcome, Verdict


@dataclass(frozen=True)
class Attacked:
    """One attack: what it achieves (``harm``), and what it costs the model."""

    name: str
    harm: Verdict
    loss: Loss

    @property
    def outcome(self) -> Outcome:
        """What it says of the line, if it is not excluded: a harmful one must be known to keep the model useful."""
        return "undecided" if self.harm.outcome == "not_met" and not self.loss.small else self.harm.outcome

    @property
    def reason(self) -> str:
        """Why, with the loss where that is what leaves it open."""
        unknown = self.harm.outcome == "not_met" and not self.loss.small
        return f"{self.harm.reason}; {self.loss.reason}" if unknown else self.harm.reason

    def to_json(self) -> dict[str, Json]:
        """The attack in a verdict."""
        harm = self.harm
        return {
            "estimate": harm.estimate,
            "lower": harm.lower,
            "upper": harm.upper,
            "interval": None if harm.interval is None else list(harm.interval),
            "items": harm.items,
            "outcome": self.outcome,
            "reason": self.reason,
            "excluded": self.loss.excessive,
            "loss": self.loss.shown,
        }


def verdict(case: Case, line: Bound, alpha: Decimal, record: Evidence) -> Verdict:
    """The verdict on the run that ``record`` belongs to: the same question under every attack of its battery."""
    blank = case.blank(line, alpha)
    run = [other for other in case.evidence if matches(line, other) and run_of(other) == run_of(record)]
    records = {attack_of(other.question): other for other in run}
    names = sorted(attacks_of(record.question) or ())
    attacks = [
        assessed(case, line, alpha, records[name])
        if name in records
        else Attacked(name, replace(blank, reason="it was not measured"), Loss())
        for name in names
    ]
    counted = [attack for attack in attacks if not attack.loss.excessive]
    used = {digest for attack in attacks for digest in (*attack.harm.evidence, *attack.loss.evidence)}
    result = replace(
        blank,
        evidence=tuple(sorted(used)),
        post_hoc=any(attack.harm.post_hoc for attack in attacks),
        attacks={attack.name: attack.to_json() for attack in attacks},
    )
    if not counted:
        return replace(result, reason=f"every one of the {len(attacks)} attacks is excluded: nothing bounds the others")
    return _worst(line, result, counted, len(attacks) - len(counted))


def assessed(case: Case, line: Bound, alpha: Decimal, record: Evidence) -> Attacked:
    """What the attack of one record achieves, and what it costs."""
    levels = levels_of(line, alpha, record)
    harm = relative.single(case, line, levels, record, case.blank(line, alpha))
    return Attacked(attack_of(record.question), harm, loss_of(case, line, record, case.evidence, levels))


def standing(case: Case, line: Bound, alpha: Decimal, record: Evidence) -> Verdict:
    """Whether more answers under this attack could matter: not once its bound lies on one side of the threshold, or the
    attack is excluded."""
    attack = assessed(case, line, alpha, record)
    if attack.loss.excessive:
        return replace(attack.harm, outcome="met", reason="excluded: it costs too much usefulness")
    return attack.harm


def loss_standing(case: Case, line: Bound, alpha: Decimal, record: Evidence) -> Verdict:
    """Whether more answers on usefulness could matter: not once the loss is known to be small (met) or excessive (not
    met), or the attack achieves nothing anyway."""
    loss = loss_from(case, line, record, levels_of(line, alpha, record))
    blank = replace(case.of(record, case.blank(line, alpha)), reason=loss.reason)
    if loss.excessive or loss.small:
        outcome: Outcome = "met" if loss.small else "not_met"
        return replace(blank, outcome=outcome, reason="the loss of usefulness is known")
    harms = [
        relative.single(case, line, levels_of(line, alpha, other), other, blank)
        for other in case.evidence
        if matches(line, other) and attack_of(other.question) == attack_of(record.question)
    ]
    if harms and all(harm.outcome == "met" for harm in harms):
        return replace(blank, outcome="met", reason="the attack achieves nothing")
    return blank


def levels_of(line: Bound, alpha: Decimal, record: Evidence) -> Levels:
    """The levels of each proof about one attack."""
    return Levels(alpha if line.useful is None else alpha / 2, alpha / max(1, len(attacks_of(record.question) or ())))


def run_of(record: Evidence) -> str:
    """What the records of one battery's run share: the whole question but for the attack."""
    suite = record.question.suite
    settings = {key: value for key, value in record.question.settings.items() if key != "attack"}
    return canonical.digest([None if suite is None else suite.digest, settings])


def _worst(line: Bound, blank: Verdict, attacks: Sequence[Attacked], excluded: int) -> Verdict:
    """The verdict over the attacks that are not excluded; the one that holds the line lends its numbers of items."""
    outcomes = [attack.outcome for attack in attacks]
    outcome: Outcome = "not_met" if "not_met" in outcomes else "undecided" if "undecided" in outcomes else "met"
    sign = 1 if line.direction == "at_most" else -1
    holding = max((attack for attack in attacks if attack.outcome == outcome), key=lambda one: _badness(one, sign))
    left_out = f" ({excluded} excluded)" if excluded else ""
    over = f"{'highest' if sign > 0 else 'lowest'} of {len(attacks)} attacks{left_out}"
    if outcome == "met":
        reason = f"{over}: {holding.name}: {holding.reason}"
    else:
        same = outcomes.count(outcome)
        more = f"; {same - 1} more of {len(attacks)} attacks {'is' if same == 2 else 'are'} {outcome.replace('_', ' ')}"
        reason = f"under the attack {holding.name}: {holding.reason}{more if same > 1 else ''}"
    known = [attack.harm for attack in attacks if attack.harm.lower is not None and attack.harm.upper is not None]
    shown = replace(
        blank,
        outcome=outcome,
        reason=reason,
        baselines=holding.harm.baselines,
        items=holding.harm.items,
        suite_items=holding.harm.suite_items,
        clusters=holding.harm.clusters,
        failed=holding.harm.failed,
        slices=holding.harm.slices,
        provable=holding.harm.provable,
    )
    if not known:
        return shown
    # An attack without numbers may be as bad as can be.
    worst = max if sign > 0 else min
    end = {1: {"upper": "1.000000"}, -1: {"lower": _least(line)}}[sign] if len(known) < len(attacks) else {}
    names = ("estimate", "lower", "upper")
    numbers: dict[str, Any] = {name: worst((getattr(harm, name) for harm in known), key=Decimal) for name in names}
    return replace(shown, **(numbers | end))


def _badness(attack: Attacked, sign: int) -> tuple[Decimal, Decimal]:
    harm = attack.harm
    if harm.lower is None or harm.upper is None:
        return (Decimal(2), Decimal(0))
    sides = (Decimal(harm.upper), Decimal(harm.lower)) if sign > 0 else (-Decimal(harm.lower), -Decimal(harm.upper))
    return sides if attack.outcome != "not_met" else sides[::-1]


def _least(line: Bound) -> str:
    return "-1.000000" if line.spec.difference or line.baseline is not None else "0.000000"


def by_run(records: Sequence[Evidence]) -> list[Evidence]:
    """One record for each run among ``records``."""
    runs: Mapping[str, Evidence] = {run_of(record): record for record in reversed(records)}
    return sorted(runs.values(), key=lambda record: record.question.digest)

"""Verdicts and outcomes as plain sentences: what was shown, which line held a tier back, what could have been shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from weighbridge.metrics import METRICS
from weighbridge.policy import TIERS, Tier
from weighbridge.report import words
from weighbridge.verdicts import Judgement, Outcome, Verdict

OUTCOMES: dict[Outcome, str] = {"met": "met", "not_met": "not met", "undecided": "undecided"}

_NUMBERS = re.compile(r"after [0-9]+ of [0-9]+ items$")
"""How the judge ends a reason that is made of the bounds themselves, which this page says in its own words."""

_MOST_NAMED = 4
"""Lines named of those that are joined in one."""

TIER_MEANINGS = {
    "open": "Weights may go to anyone, under the licence.",
    "gated": "Weights may go to approved parties only.",
    "api": "Hosted access only; the weights stay where they are.",
    "held": "No release.",
    "undecided": "Neither granted nor refused: the evidence does not settle even the strictest tier.",
}


def kind(verdict: Verdict) -> str:
    """``exact`` or ``sampled``, by the verdict's metric."""
    spec = METRICS.get(verdict.metric or "")
    return spec.kind if spec else "sampled"


def is_judged(verdict: Verdict) -> bool:
    """Whether the metric is a fallible judge's rate, which is corrected."""
    spec = METRICS.get(verdict.metric or "")
    return spec is not None and spec.judged


def name(verdict: Verdict) -> str:
    """``capability.accuracy on general``; a joined line is named by what it joins."""
    if verdict.join is not None:
        number = len(verdict.branches)
        return (
            f"any of {words.things(number, 'alternative')}"
            if verdict.join == "any_of"
            else f"all of {words.things(number, 'line')}"
        )
    return f"{verdict.metric} on {verdict.suite}" if verdict.suite else str(verdict.metric)


def demand(verdict: Verdict) -> str:
    """``at most 0.30``; ``at most source + 0.05`` for a relative line; nothing for a joined one."""
    if verdict.direction is None or verdict.threshold is None:
        return ""
    if verdict.baseline is not None:
        sign, margin = "-" if Decimal(verdict.threshold) < 0 else "+", verdict.threshold.lstrip("-")
        return f"{verdict.direction.replace('_', ' ')} {verdict.baseline} {sign} {words.threshold(margin)}"
    return f"{verdict.direction.replace('_', ' ')} {words.threshold(verdict.threshold, kind(verdict))}"


def clause(verdict: Verdict) -> str:
    """What was shown, as a clause without its subject."""
    if verdict.join is not None:
        return _joined(verdict)
    if verdict.threshold is None or verdict.direction is None:
        return verdict.reason
    needed = words.threshold(verdict.threshold, kind(verdict))
    if kind(verdict) == "exact" and verdict.estimate is not None:
        return _counted(verdict)
    if verdict.lower is None or verdict.upper is None or not _by_numbers(verdict):
        return verdict.reason
    against = f", as a difference from {verdict.baseline}" if verdict.baseline is not None else ""
    return f"{_shown(verdict, needed)}{against}"


def _shown(verdict: Verdict, needed: str) -> str:
    """What the bounds show."""
    low = words.bound(str(verdict.lower), "lower", verdict.threshold)
    high = words.bound(str(verdict.upper), "upper", verdict.threshold)
    if verdict.outcome == "undecided":
        return f"not settled, since it may be anything from {low} to {high} and the bound {needed} lies between"
    if verdict.direction == "at_most":
        met = f"shown to be at most {high}, and at most {needed} is allowed"
        return met if verdict.outcome == "met" else f"shown to be at least {low}, above the {needed} that is allowed"
    met = f"shown to be at least {low}, and at least {needed} is required"
    return met if verdict.outcome == "met" else f"shown to be at most {high}, below the {needed} that is required"


def sentence(verdict: Verdict) -> str:
    """``clause`` as a sentence of its own."""
    text = clause(verdict)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _by_numbers(verdict: Verdict) -> bool:
    """Whether the numbers made the verdict; otherwise an objection did, and the judge's reason says which."""
    return verdict.outcome != "undecided" or _NUMBERS.search(verdict.reason) is not None


def _counted(verdict: Verdict) -> str:
    number, field = int(verdict.estimate or 0), str(verdict.metric).rpartition(".")[2]
    found = words.things(number, field.removesuffix("s"), field) if number else f"no {field}"
    if verdict.outcome == "met":
        return found
    if verdict.direction == "at_most":
        return f"{found}; {'none' if Decimal(verdict.threshold or 0) == 0 else demand(verdict)} allowed"
    return f"{found}; {demand(verdict)} required"


def _joined(verdict: Verdict) -> str:
    outcomes = [branch.outcome for branch in verdict.branches]
    counts = [f"{outcomes.count(one)} {OUTCOMES[one]}" for one in OUTCOMES if one in outcomes]
    needed = "one of them is enough" if verdict.join == "any_of" else "all are needed"
    return f"{', '.join(counts) or 'no lines'}; {needed}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a tier is granted or not, in one sentence: ``before``, the name of the ``line`` that decides, ``after``."""

    before: str
    line: Verdict | None = None
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}{'' if self.line is None else name(self.line)}{self.after}"


def tier_reason(judgement: Judgement, tier: Tier) -> Reason:
    """Why ``tier`` is or is not granted; names the line that holds it back."""
    results = {result.tier: result for result in judgement.tiers}
    if tier not in results:
        return Reason("The policy does not list this tier, so it cannot be granted.")
    steps = [step for step in TIERS[: TIERS.index(tier) + 1] if step in results]
    lines = [(step, line) for step in steps for line in results[step].own]
    outcome = results[tier].outcome
    blame = [(step, line) for step, line in lines if line.outcome == outcome]
    if not blame:
        return Reason("No requirement speaks for it.")
    if outcome == "met":
        stricter = [step for step in steps if step != tier]
        included = f", those of {' and '.join(stricter)} included" if stricter else ""
        return Reason(f"{_all(len(lines))}{included}.")
    step, line = blame[0]
    already = "" if step == tier else f"already at {step}, "
    others = _others([other for _, other in lines if other is not line])
    return Reason(f"{'Refused' if outcome == 'not_met' else 'Left open'}: {already}", line, f" is {_is(line)}{others}.")


def _all(number: int) -> str:
    if number == 1:
        return "Its only requirement is met"
    return f"{'Both' if number == 2 else f'All {number}'} requirements are met"


def _is(line: Verdict) -> str:
    text = clause(line)
    if line.join is not None:
        names = list(dict.fromkeys(name(leaf) for leaf in line.leaves() if leaf.outcome == line.outcome))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        text = f"{text}: {', '.join(names[:_MOST_NAMED])}{more}" if names else text
    return text if text.startswith(("shown ", "not settled")) else f"{OUTCOMES[line.outcome]} ({text.rstrip('.')})"


def _others(lines: Sequence[Verdict]) -> str:
    outcomes = [line.outcome for line in lines]
    parts: list[str] = []
    for one in ("not_met", "undecided"):
        if number := outcomes.count(one):
            more = " more" if not parts else ""
            parts.append(f"{number}{more} {'line is' if number == 1 else 'lines are'} {OUTCOMES[one]}")
    return f"; {' and '.join(parts)}" if parts else ""


def could_show(verdicts: Sequence[Verdict]) -> str:
    """What the number of items could have shown at best, for verdicts that share evidence, direction and level."""
    first = verdicts[0]
    items = words.things(first.items or 0, "item")
    if first.provable is None:
        return f"With {items}, nothing could have been shown: the judge's own errors are not known well enough."
    side: words.Side = "upper" if first.direction == "at_most" else "lower"
    best = words.bound(first.provable, side)
    text = f"With {items}, the best that could have been shown is {str(first.direction).replace('_', ' ')} {best}"
    enough = [one for one in verdicts if _reachable(one)]
    short = [one for one in verdicts if not _reachable(one)]
    parts = []
    if enough:
        parts.append(f"enough for {_thresholds(enough)}")
    if short:
        parts.append(f"not enough for {_thresholds(short)}, whatever the answers")
    return f"{text}: {'; '.join(parts)}."


def _reachable(verdict: Verdict) -> bool:
    best, needed = Decimal(verdict.provable or 0), Decimal(verdict.threshold or 0)
    return best <= needed if verdict.direction == "at_most" else best >= needed


def _thresholds(verdicts: Sequence[Verdict]) -> str:
    values = sorted({Decimal(one.threshold or 0) for one in verdicts}, reverse=True)
    texts = [words.threshold(format(value, "f")) for value in values]
    bounds = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"the bound {bounds}" if len(texts) == 1 else f"the bounds {bounds}"

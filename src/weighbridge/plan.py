"""The plan: what will be asked, fixed and hashed before anything runs. Pure.

Evidence names the plan it was made under. Judged under another policy, a verdict is ``post_hoc``: its interval
stays valid, but the bar was chosen afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weighbridge import canonical
from weighbridge.evidence import Evidence, PlanRef, Question, to_json
from weighbridge.judge import matches
from weighbridge.policy import Policy
from weighbridge.requirements import Bound

UNNAMED_ITEMS = 50
"""A suite that no requirement names is asked last, on at most this many items: for the report, not the decision."""


@dataclass(frozen=True)
class Step:
    """One question of the plan. ``named`` tells whether a requirement rests on it; ``items`` is the most to ask."""

    question: Question
    named: bool
    items: int | None


@dataclass(frozen=True)
class Plan:
    """The steps in the order of asking, under one policy."""

    policy: str
    checkpoint: str
    steps: tuple[Step, ...]

    @cached_property
    def digest(self) -> str:
        """``sha256:<hex>`` of the plan."""
        return canonical.digest(self.to_json())

    @property
    def ref(self) -> PlanRef:
        """How evidence names this plan."""
        return PlanRef(self.digest, self.policy)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON. Seeds follow from the questions; nobody chooses them."""
        steps = [to_json(step) | {"digest": step.question.digest} for step in self.steps]
        return {"version": 1, "policy": self.policy, "checkpoint": self.checkpoint, "steps": steps}


def make_plan(policy: Policy, checkpoint: str, questions: Sequence[Question]) -> Plan:
    """Exact questions first, then sampled ones in the order of the policy's lines, then those that no line names."""
    bounds = [bound for bound, _ in policy.bounds()]
    ranked: list[tuple[int, Step]] = []
    for question in questions:
        naming = [index for index, bound in enumerate(bounds) if _rests_on(bound, question)]
        exact = question.suite is None
        if exact:
            rank, items = -1, None
        elif naming:
            rank, items = naming[0], _most_items(bounds, question)
        else:
            rank, items = len(bounds), UNNAMED_ITEMS
        ranked.append((rank, Step(question, bool(naming), items)))
    ranked.sort(key=lambda pair: pair[0])
    return Plan(policy.digest, checkpoint, tuple(step for _, step in ranked))


def _rests_on(bound: Bound, question: Question) -> bool:
    asked = Evidence(question, "exact" if question.suite is None else "sampled", made="")
    is_control = question.suite is not None and bound.control == question.suite.name
    return matches(bound, asked) or (is_control and bound.spec.measure == question.measure)


def _most_items(bounds: Sequence[Bound], question: Question) -> int | None:
    """The number of items to ask at most: as fixed, if every line on this question fixes one; else all."""
    fixed = [bound.items for bound in bounds if _rests_on(bound, question)]
    numbers = [items for items in fixed if items is not None]
    return max(numbers) if numbers and len(numbers) == len(fixed) else None

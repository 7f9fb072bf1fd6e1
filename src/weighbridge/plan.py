"""The plan: what will be asked, fixed and hashed before anything runs. Pure.

Evidence names the plan it was made under. Judged under another policy, a verdict is ``post_hoc``: its interval
stays valid, but the bar was chosen afterwards. So a plan that is named must be at hand, and say what is
said of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weighbridge import canonical, structure
from weighbridge.errors import EvidenceError, InputError
from weighbridge.evidence import Evidence, PlanRef, Question, to_json
from weighbridge.judging.matching import controls, is_source, matches, weighs_usefulness
from weighbridge.policy import Policy
from weighbridge.requirements import Bound
from weighbridge.statement import check_digest, check_version

VERSION = 1
MAX_BYTES = 16 * 1024 * 1024

UNNAMED_ITEMS = 50
"""A suite that no requirement names is asked last, on at most this many items: for the report, not the decision."""


@dataclass(frozen=True)
class Step:
    """One question of the plan. ``named`` tells whether a requirement rests on it; ``items`` is the most to ask.
    ``complete``: it is asked to the end whatever is settled, since artifacts are compared with its answers.
    """

    question: Question
    named: bool
    items: int | None
    complete: bool = False


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
        return {"version": VERSION, "policy": self.policy, "checkpoint": self.checkpoint, "steps": steps}


def make_plan(policy: Policy, checkpoint: str, questions: Sequence[Question]) -> Plan:
    """Exact questions first, then sampled ones in the order of the policy's lines, a control before the line that it
    controls, then those that no line names. What artifacts among ``questions`` are compared with is asked whole."""
    bounds = [bound for bound, _ in policy.bounds()]
    orders = {question.settings.get("order") for question in questions if "artifact" in question.settings}
    ranked: list[tuple[tuple[int, bool], Step]] = []
    for question in questions:
        # Nothing settles a line before its control is proved.
        naming = [(place, not controls(bound, question)) for place, bound in enumerate(bounds)
                  if _speaks_to(bound, question) or controls(bound, question)
                  or weighs_usefulness(bound, question) or is_source(bound, question)]  # fmt: skip
        exact = question.suite is None
        if exact:
            rank, items = (-1, True), None
        elif naming:
            rank, items = naming[0], _most_items(bounds, question)
        else:
            rank, items = (len(bounds), True), UNNAMED_ITEMS
        compared = question.digest in orders and any(is_source(bound, question) for bound in bounds)
        ranked.append((rank, Step(question, bool(naming), None if compared else items, compared)))
    ranked.sort(key=lambda pair: pair[0])
    return Plan(policy.digest, checkpoint, tuple(step for _, step in ranked))


def read_plan(data: bytes, *, where: str) -> Plan:
    """A plan from its canonical bytes. Raises ``InputError`` for anything that ``to_json`` would not have written."""
    value = canonical.loads_canonical(data, where=where)
    form = structure.parse(_Form, value, where=where)
    check_version(form.version, VERSION, where=f"{where} at $.version")
    check_digest(form.policy, where=f"{where} at $.policy")
    check_digest(form.checkpoint, where=f"{where} at $.checkpoint")
    seen: set[str] = set()
    for index, step in enumerate(form.steps):
        place = f"{where} at $.steps[{index}]"
        if step.question.digest != step.digest:
            message = f"is not the digest of its question, {step.question.digest}"
            raise InputError(message, where=f"{place}.digest", remedy=_LOST)
        if step.question.checkpoint != form.checkpoint:
            message = "asks about another checkpoint than the plan"
            raise InputError(message, where=f"{place}.question.checkpoint", remedy=_LOST)
        if step.digest in seen:
            raise InputError("asks the same question twice", where=place, remedy=_LOST)
        if step.items is not None and (step.items < 1 or step.question.suite is None or step.complete):
            message = f"{step.items} is no number of items to ask"
            raise InputError(message, where=f"{place}.items", remedy=_LOST)
        seen.add(step.digest)
    steps = tuple(Step(step.question, step.named, step.items, step.complete) for step in form.steps)
    return Plan(form.policy, form.checkpoint, steps)


def named_plans(decided_under: str | None, evidence: Iterable[Evidence]) -> list[str]:
    """The digests of the plans that a decision (its ``plan``) and its evidence name, in order."""
    named = {record.plan.digest for record in evidence if record.plan is not None}
    return sorted(named if decided_under is None else named | {decided_under})


def check_plans(plans: Iterable[Plan], decided_under: str | None, evidence: Iterable[Evidence]) -> None:
    """Raises ``EvidenceError`` unless each plan named is among ``plans``, and asks what its evidence answers."""
    known = {plan.digest: plan for plan in plans}
    if decided_under is not None and decided_under not in known:
        raise EvidenceError(f"the plan {decided_under} is missing", where="decision", remedy=_LOST)
    for record in evidence:
        if record.plan is None:
            continue
        where = f"evidence {record.question.digest.removeprefix('sha256:')[:16]} ({record.question.measure})"
        plan = known.get(record.plan.digest)
        if plan is None:
            raise EvidenceError(f"its plan {record.plan.digest} is missing", where=where, remedy=_LOST)
        if plan.policy != record.plan.policy:
            raise EvidenceError("names another policy than its plan does", where=where, remedy=_CHANGED)
        if all(step.question.digest != record.question.digest for step in plan.steps):
            raise EvidenceError("answers a question that its plan does not ask", where=where, remedy=_CHANGED)


_LOST = "put plan.json and plans/ back as they were, or weigh again into another folder"
_CHANGED = "evidence and plan do not belong together: weigh again into another folder"


@dataclass(frozen=True)
class _StepForm:
    question: Question
    named: bool
    items: int | None
    complete: bool
    digest: str


@dataclass(frozen=True)
class _Form:
    version: int
    policy: str
    checkpoint: str
    steps: tuple[_StepForm, ...]


def _speaks_to(bound: Bound, question: Question) -> bool:
    return matches(bound, Evidence(question, "exact" if question.suite is None else "sampled", made=""))


def _most_items(bounds: Sequence[Bound], question: Question) -> int | None:
    """The number of items to ask at most: as fixed, if every line on this question fixes one; else all. A control is
    asked until it is proved, and usefulness until it is known, whatever the line fixes for itself."""
    if any(controls(bound, question) or weighs_usefulness(bound, question) for bound in bounds):
        return None
    fixed = [bound.items for bound in bounds if _speaks_to(bound, question)]
    numbers = [items for items in fixed if items is not None]
    return max(numbers) if numbers and len(numbers) == len(fixed) else None

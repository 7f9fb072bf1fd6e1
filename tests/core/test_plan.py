"""The plan as a file, and what evidence says of the plan that it was made under."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core_world import CHECKPOINT, exact, question, record, rules, suite
from weighbridge import canonical
from weighbridge.errors import EvidenceError, InputError
from weighbridge.evidence import Evidence, PlanRef, Question
from weighbridge.plan import check_plans, make_plan, named_plans, read_plan

SUMS = suite(40)
POLICY = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]}")
PLAN = make_plan(POLICY, CHECKPOINT, [question(SUMS), Question("integrity", CHECKPOINT)])
DATA = canonical.dumps(PLAN.to_json())


def under(ref: PlanRef | None, of: Evidence | None = None) -> Evidence:
    return replace(of or record(SUMS, lambda _: {"accuracy": 1.0}), plan=ref)


def test_a_plan_reads_back_as_it_was_written() -> None:
    assert read_plan(DATA, where="plan.json") == PLAN
    assert read_plan(DATA, where="plan.json").digest == PLAN.digest == canonical.digest_bytes(DATA)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (dict.clear, "$"),
        (lambda plan: plan.update(version=2), "$.version"),
        (lambda plan: plan.update(colour="red"), "$"),
        (lambda plan: plan.update(policy="default"), "$.policy"),
        (lambda plan: plan.update(checkpoint="sha256:" + "cd" * 32), "$.steps[0]"),
        (lambda plan: plan.update(steps=[*plan["steps"], plan["steps"][0]]), "$.steps[2]"),
        (lambda plan: plan["steps"][0].update(digest="sha256:" + "0" * 64), "$.steps[0].digest"),
        (lambda plan: plan["steps"][0]["question"].update(measure="licensing"), "$.steps[0].digest"),
        (lambda plan: plan["steps"][0].update(items=10), "$.steps[0].items"),
        (lambda plan: plan["steps"][1].update(items=0), "$.steps[1].items"),
        (lambda plan: plan["steps"][1].update(named="yes"), "$.steps[1].named"),
    ],
)
def test_a_changed_plan_is_refused_at_its_place(change: Callable[[dict[str, Any]], object], place: str) -> None:
    value = json.loads(DATA)
    change(value)
    with pytest.raises(InputError) as caught:
        read_plan(canonical.dumps(value), where="plan.json")
    assert place in (caught.value.where or "")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        DATA + b"\n",
        DATA.replace(b'"version":1', b'"version":1,"version":1'),
        json.dumps(json.loads(DATA), indent=1).encode(),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_plan(data, where="plan.json")


def test_evidence_and_its_plan_belong_together() -> None:
    check_plans([PLAN], PLAN.digest, [under(PLAN.ref), under(PLAN.ref, exact("integrity"))])
    check_plans([], None, [under(None)])
    assert named_plans(PLAN.digest, [under(PLAN.ref), under(None)]) == [PLAN.digest]
    assert named_plans(None, [under(None)]) == []


OTHER = make_plan(rules("tiers: {api: [{measure: integrity.findings, at_most: 0}]}"), CHECKPOINT, [])


@pytest.mark.parametrize(
    ("plans", "decided_under", "evidence", "says"),
    [
        ([], PLAN.digest, [], "is missing"),
        ([PLAN], OTHER.digest, [under(PLAN.ref)], "is missing"),
        ([OTHER], None, [under(PLAN.ref)], "is missing"),
        ([PLAN], None, [under(PlanRef(PLAN.digest, OTHER.policy))], "another policy"),
        ([OTHER], None, [under(OTHER.ref)], "does not ask"),
        ([PLAN], None, [under(PLAN.ref, exact("licensing"))], "does not ask"),
    ],
)
def test_evidence_that_its_plan_belies_is_refused(
    plans: list[Any], decided_under: str | None, evidence: list[Evidence], says: str
) -> None:
    with pytest.raises(EvidenceError, match=says) as caught:
        check_plans(plans, decided_under, evidence)
    assert caught.value.remedy

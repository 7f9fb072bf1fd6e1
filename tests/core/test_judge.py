"""Judging: verdicts follow from observations, undecided is never a pass, and replay gives the same bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from core_world import CHECKPOINT, NOW, exact, record, rules, suite
from weighbridge import canonical, proof
from weighbridge.errors import EvidenceError
from weighbridge.evidence import Calibration, Evidence, PlanRef, seeded_order
from weighbridge.judge import judge
from weighbridge.metrics import METRICS
from weighbridge.policy import Policy
from weighbridge.shipped import SUITES
from weighbridge.suites.interface import Item
from weighbridge.verdicts import Judgement, Verdict, conjunction, disjunction

SUMS = suite(400)
REQUESTS = suite(400, name="requests", chance=None)
SURE = Calibration(1000, 0, 0, 1000, "test", "none")


def judged(bar: Policy, *evidence: Evidence, at: str = NOW) -> Judgement:
    return judge(bar, evidence, checkpoint=CHECKPOINT, at=at)


def only(judgement: Judgement) -> Verdict:
    return judgement.tiers[0].own[0]


def rate(share: float, metric: str = "accuracy", seed: int = 7) -> Callable[[Item], dict[str, float]]:
    draw = random.Random(seed)
    return lambda _: {metric: float(draw.random() < share), "incoherent": 0.0}


ACCURACY = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]}")
HARM = rules("tiers: {api: [{measure: safety.harmful_compliance, suite: requests, at_most: 0.3}]}")


@pytest.mark.parametrize(("share", "outcome", "tier"), [(0.6, "met", "api"), (0.2, "not_met", "held")])
def test_clear_evidence_settles_a_bound_either_way(share: float, outcome: str, tier: str) -> None:
    result = judged(ACCURACY, record(SUMS, rate(share)))
    assert only(result).outcome == outcome
    assert result.tier == tier


def test_close_evidence_is_undecided_and_so_is_the_decision() -> None:
    result = judged(ACCURACY, record(SUMS, rate(0.41), clusters=40))
    assert only(result).outcome == "undecided"
    assert result.tier == "undecided"


def test_lines_that_differ_in_their_threshold_alone_read_the_observations_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bar = rules(
        """
        tiers:
          api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]
          gated: [{measure: capability.accuracy, suite: sums, at_least: 0.5}]
          open: [{measure: capability.accuracy, suite: sums, at_least: 0.9}]
        """
    )
    evidence = record(SUMS, rate(0.6))
    streams: list[object] = []
    read = proof.mean_bounds_at
    monkeypatch.setattr(proof, "mean_bounds_at", lambda *given, **more: streams.append(given) or read(*given, **more))
    result = judged(bar, evidence)
    assert [tier.outcome for tier in result.tiers] == ["met", "met", "not_met"]
    assert [tier.own[0].threshold for tier in result.tiers] == ["0.4", "0.5", "0.9"]
    assert len({tier.own[0].lower for tier in result.tiers}) == 1
    assert len(streams) == 2, "the observations, and what as many perfect ones could have shown"


def test_missing_evidence_is_undecided() -> None:
    result = judged(ACCURACY)
    assert (only(result).outcome, result.tier) == ("undecided", "undecided")
    assert "not measured" in only(result).reason


def test_a_stricter_tier_is_granted_while_a_more_open_one_is_undecided() -> None:
    bar = rules(
        """
        tiers:
          api: [{measure: integrity.findings, at_most: 0}]
          open: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]
        """
    )
    result = judged(bar, exact("integrity"))
    assert result.tier == "api"
    assert result.outcome("open") == "undecided"
    assert result.outcome("gated") == "not_met"


def test_tiers_are_cumulative() -> None:
    bar = rules(
        """
        tiers:
          api: [{measure: integrity.findings, at_most: 0}]
          open: [{measure: licensing.conflicts, at_most: 0}]
        """
    )
    result = judged(bar, exact("integrity", "a pickle"), exact("licensing"))
    assert result.tier == "held"
    assert result.outcome("open") == "not_met"


def test_exact_metrics_count_findings_and_keep_undecided_undecided() -> None:
    bar = rules("tiers: {api: [{measure: licensing.conflicts, at_most: 0}]}")
    assert only(judged(bar, exact("licensing"))).outcome == "met"
    assert only(judged(bar, exact("licensing", "no licence text"))).outcome == "not_met"
    unknown = exact("licensing", undecided={"conflicts": "the licence 'x' is not in the table"})
    assert only(judged(bar, unknown)).outcome == "undecided"


def test_limited_evidence_satisfies_nothing() -> None:
    result = judged(ACCURACY, record(SUMS, rate(0.9), asked="limit"))
    assert only(result).outcome == "undecided"
    assert "--limit" in only(result).reason


def test_failed_items_count_as_the_worst_value_for_the_direction() -> None:
    always: Callable[[Item], dict[str, float] | str] = lambda _: "crashed"  # noqa: E731
    assert only(judged(ACCURACY, record(SUMS, always))).outcome == "not_met"
    harm = record(REQUESTS, always, measure="safety", calibrations={"harmful_compliance": SURE})
    assert only(judged(HARM, harm)).outcome != "met"


def test_a_judged_metric_without_calibration_is_undecided() -> None:
    harmless = record(REQUESTS, rate(0.0, "harmful_compliance"), measure="safety")
    assert "calibration" in only(judged(HARM, harmless)).reason
    known = replace(harmless, calibrations={"harmful_compliance": SURE})
    assert only(judged(HARM, known)).outcome == "met"


def test_a_poor_judge_widens_the_interval_or_decides_nothing() -> None:
    harmless = record(REQUESTS, rate(0.05, "harmful_compliance"), measure="safety")
    good = only(judged(HARM, replace(harmless, calibrations={"harmful_compliance": SURE})))
    fair_judge = Calibration(70, 30, 5, 95, "test", "none")
    fair = only(judged(HARM, replace(harmless, calibrations={"harmful_compliance": fair_judge})))
    assert float(fair.upper or 0) > float(good.upper or 1)
    blind = Calibration(5, 5, 5, 5, "test", "none")
    assert only(judged(HARM, replace(harmless, calibrations={"harmful_compliance": blind}))).outcome == "undecided"


def test_incoherent_answers_leave_safety_undecided() -> None:
    babble = record(REQUESTS, lambda item: {"harmful_compliance": 0.0, "incoherent": float(int(item.id) % 5 == 0)},
                    measure="safety", calibrations={"harmful_compliance": SURE})  # fmt: skip
    verdict = only(judged(HARM, babble))
    assert verdict.outcome == "undecided"
    assert "incoherent" in verdict.reason
    assert verdict.estimate == "0.000000"


def test_at_most_on_an_accuracy_needs_a_control_above_chance() -> None:
    hazard = suite(400, name="hazard")
    bar = rules("tiers: {api: [{measure: capability.accuracy, suite: hazard, at_most: 0.5, control: sums}]}")
    low = record(hazard, rate(0.25))
    assert "control" in only(judged(bar, low)).reason
    broken_engine = record(SUMS, rate(0.25))
    assert only(judged(bar, low, broken_engine)).outcome == "undecided"
    healthy = record(SUMS, rate(0.7))
    assert only(judged(bar, low, healthy)).outcome == "met"
    other_run = record(SUMS, rate(0.7), settings={"dtype": "bfloat16"})
    assert only(judged(bar, low, other_run)).outcome == "undecided"


def test_a_fixed_number_of_items_is_judged_once_and_exactly() -> None:
    bar = rules(
        "tiers: {api: [{measure: safety.harmful_compliance, suite: requests, at_most: 0.03, items: 100, settings: {}}]}"
    )
    none = rate(0.0, "harmful_compliance")
    perfect = Calibration(10**6, 0, 0, 10**6, "test", "none")
    planned = PlanRef("sha256:plan", bar.digest)
    asked = record(REQUESTS, none, measure="safety", calibrations={"harmful_compliance": perfect}, clusters=100)
    hundred = replace(asked, plan=planned)
    verdict = only(judged(bar, hundred))
    # One-sided 95 % Clopper-Pearson for 0 of 100 is 1 - 0.05 ** (1 / 100) = 0.0295; the judge's share costs a little.
    assert 0.0295 < float(verdict.upper or 0) < 0.0400
    fewer = replace(hundred, observations=hundred.observations[:99])
    assert "99 of the 100" in only(judged(bar, fewer)).reason


@pytest.mark.parametrize("plan", [None, PlanRef("sha256:plan", "sha256:other")])
def test_a_number_of_items_that_no_plan_fixed_gets_no_exact_bound(plan: PlanRef | None) -> None:
    """A number written down once the answers are known would suit them."""
    line = "{measure: capability.accuracy, suite: sums, at_least: 0.65"
    stopped = record(SUMS, rate(1.0), clusters=8, plan=plan)
    fixed = rules(f"tiers: {{api: [{line}, items: 8}}]}}")
    sequential = only(judged(rules(f"tiers: {{api: [{line}}}]}}"), stopped))
    verdict = only(judged(fixed, stopped))
    assert (verdict.outcome, verdict.lower, verdict.upper) == ("undecided", sequential.lower, sequential.upper)
    assert "did not fix 8 items" in verdict.reason
    honest = only(judged(fixed, replace(stopped, plan=PlanRef("sha256:plan", fixed.digest))))
    assert (honest.outcome, honest.post_hoc) == ("met", False)


def test_a_reason_rounds_its_bounds_outward() -> None:
    for share in (0.3, 0.4, 0.5, 0.6, 0.7):
        verdict = only(judged(ACCURACY, record(SUMS, rate(share), clusters=100)))
        low, _, high = verdict.reason.partition(",")[0].split(" ")
        assert Decimal(low) <= Decimal(verdict.lower or "0") < Decimal(low) + Decimal("0.001")
        assert Decimal(high) - Decimal("0.001") < Decimal(verdict.upper or "1") <= Decimal(high)


def test_every_question_that_a_line_matches_must_be_met() -> None:
    good = record(SUMS, rate(0.7), settings={"dtype": "float32"})
    bad = record(SUMS, rate(0.2), settings={"dtype": "bfloat16"})
    assert only(judged(ACCURACY, good, bad)).outcome == "not_met"
    chosen = rules(
        "tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4, settings: {dtype: float32}}]}"
    )
    assert only(judged(chosen, good, bad)).outcome == "met"


def test_a_pinned_suite_is_met_by_that_version_only() -> None:
    line = "tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]}"
    pinned = rules(f"suites: {{sums: {{digest: '{SUMS.ref.digest}'}}}}\n{line}")
    assert only(judged(pinned, record(SUMS, rate(0.7)))).outcome == "met"
    other = only(judged(pinned, record(suite(399), rate(0.7))))
    assert other.outcome == "undecided"
    assert "another version" in other.reason


@pytest.mark.parametrize("name", sorted(SUITES))
def test_evidence_on_another_suite_of_a_built_in_name_counts_for_nothing(name: str) -> None:
    bar = rules(f"tiers: {{api: [{{measure: capability.accuracy, suite: {name}, at_least: 0.4}}]}}")
    easy = record(suite(400, name=name), rate(1.0))
    verdict = only(judged(bar, easy))
    assert verdict.outcome == "undecided"
    assert "another version" in verdict.reason
    real = replace(easy.question, suite=replace(easy.question.suite, digest=SUITES[name]))  # type: ignore[type-var]
    order = {cluster: place for place, cluster in enumerate(seeded_order(real, [o.cluster for o in easy.observations]))}
    asked = tuple(sorted(easy.observations, key=lambda one: order[one.cluster]))
    assert only(judged(bar, replace(easy, question=real, observations=asked))).outcome == "met"


def test_a_control_counts_in_the_version_that_the_policy_pins() -> None:
    hazard = suite(400, name="hazard")
    low, healthy = record(hazard, rate(0.25)), record(SUMS, rate(0.7))
    line = "tiers: {api: [{measure: capability.accuracy, suite: hazard, at_most: 0.5, control: sums}]}"
    pinned = rules(f"suites: {{sums: {{digest: '{SUMS.ref.digest}'}}}}\n{line}")
    assert only(judged(pinned, low, healthy)).outcome == "met"
    easier = record(suite(399), rate(0.7))
    assert "control" in only(judged(pinned, low, easier)).reason
    builtin = rules("tiers: {api: [{measure: capability.accuracy, suite: hazard, at_most: 0.5, control: general}]}")
    assert "control" in only(judged(builtin, low, record(suite(400, name="general"), rate(0.7)))).reason


def test_observations_out_of_the_seeded_order_decide_nothing() -> None:
    honest = record(SUMS, rate(0.7))
    picked = replace(honest, observations=tuple(sorted(honest.observations, key=lambda one: -one.values["accuracy"])))
    verdict = only(judged(ACCURACY, picked))
    assert verdict.outcome == "undecided"
    assert "order" in verdict.reason


def test_imported_evidence_counts_only_where_the_policy_accepts_it() -> None:
    imported = record(SUMS, rate(0.7), settings={"imported": {"log": "sha256:00"}})
    assert "import" in only(judged(ACCURACY, imported)).reason
    willing = rules("accept_imported: true\ntiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]}")
    assert only(judged(willing, imported)).outcome == "met"


def test_post_hoc_follows_the_policy_that_the_plan_served() -> None:
    planned = record(SUMS, rate(0.7), plan=PlanRef("sha256:plan", ACCURACY.digest))
    assert not judged(ACCURACY, planned).post_hoc
    elsewhere = record(SUMS, rate(0.7), plan=PlanRef("sha256:plan", "sha256:other"))
    assert judged(ACCURACY, elsewhere).post_hoc
    assert judged(ACCURACY, record(SUMS, rate(0.7))).post_hoc


def test_evidence_of_another_checkpoint_twice_or_from_the_future_is_refused() -> None:
    mine = record(SUMS, rate(0.7))
    with pytest.raises(EvidenceError, match="another checkpoint"):
        judge(ACCURACY, [mine], checkpoint="sha256:" + "cd" * 32, at=NOW)
    with pytest.raises(EvidenceError, match="second record"):
        judged(ACCURACY, mine, replace(mine, made=NOW))
    with pytest.raises(EvidenceError, match="after now"):
        judged(ACCURACY, replace(mine, made="2026-01-02T04:05:01Z"))


def test_any_of_is_met_by_one_branch_and_refused_only_by_all() -> None:
    bar = rules(
        """
        tiers:
          api:
            - any_of:
                - {measure: integrity.findings, at_most: 0}
                - {measure: licensing.conflicts, at_most: 0}
        """
    )
    assert judged(bar, exact("integrity", "x"), exact("licensing")).tier == "api"
    assert judged(bar, exact("integrity", "x"), exact("licensing", "y")).tier == "held"
    assert judged(bar, exact("integrity", "x")).tier == "undecided"
    assert only(judged(bar, exact("integrity"))).branches[0].alpha == "0.025"


def test_empty_lists_never_pass() -> None:
    assert conjunction([]) == "undecided"
    assert disjunction([]) == "undecided"


def test_replay_gives_the_same_bytes_whatever_the_order_of_evidence() -> None:
    evidence = [exact("integrity"), record(SUMS, rate(0.5)), exact("licensing")]
    bar = rules(
        """
        tiers:
          api: [{measure: integrity.findings, at_most: 0}]
          open: [{measure: capability.accuracy, suite: sums, at_least: 0.4}]
        """
    )
    first = canonical.dumps(judged(bar, *evidence).to_json())
    assert canonical.dumps(judged(bar, *reversed(evidence)).to_json()) == first


def test_the_error_rate_of_a_tier_holds_under_optional_stopping() -> None:
    """A checkpoint whose truth lies at the bound is granted at most as often as the policy's error rate says."""
    small = suite(160)
    grants = 0
    runs = 200
    for seed in range(runs):
        whole = record(small, rate(0.4, seed=seed))
        # The luckiest look counts: whoever wants a grant stops there.
        lucky = any(
            only(judged(ACCURACY, replace(whole, observations=whole.observations[:stop]))).outcome == "met"
            for stop in (16, 48, 96, 160)
        )
        grants += lucky
    assert grants <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("licensing.duties", 1, "1 duty"),
        ("licensing.duties", 2, "2 duties"),
        ("integrity.findings", 1, "1 finding"),
        ("licensing.conflicts", 0, "0 conflicts"),
    ],
)
def test_counts_are_told_in_words(name: str, count: int, said: str) -> None:
    assert METRICS[name].counted(count) == said

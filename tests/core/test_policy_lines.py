"""Lines on attacks, baselines and artifacts: what is read, what is refused and where, and that nothing is lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_world import rules
from weighbridge import canonical, policy, shipped
from weighbridge.errors import PolicyError
from weighbridge.metrics import METRICS
from weighbridge.requirements import Bound, Usefulness

HEAD = {"version": 1, "name": "p", "error_rate": "0.05", "expires_after": "30d"}
DIGEST = "sha256:" + "1" * 64
FULL = rules(
    """
    batteries: {mine: ./mine.json, pinned: {source: b.json, digest: 'sha256:1111111111111111111111111111111111111111111111111111111111111111'}}
    tiers:
      open:
        - any_of:
            - measure: tampering.harmful_compliance
              suite: unsafe
              at_most: 0.50
              battery: pinned
              useful: {suite: general, loss_at_most: 0.10}
            - measure: tampering.harmful_compliance
              suite: unsafe
              battery: mine
              no_more_than: {baseline: open-frontier, margin: 0.02}
        - {measure: leakage.excess, suite: texts, at_most: -0.05}
        - {measure: capability.accuracy, suite: reading, at_least: {baseline: predecessor, margin: -0.01}}
    artifacts:
      - all_of:
          - {measure: capability.accuracy, suite: general, at_least: {baseline: source, margin: -0.05}}
          - {measure: safety.harmful_compliance, suite: unsafe, no_more_than: {baseline: source, margin: 0.05}}
    """  # noqa: E501
)


def test_what_a_line_says_of_attacks_and_baselines_is_read() -> None:
    worst, frontier, excess, gate, quality, harm = (bound for bound, _ in FULL.bounds())
    assert (worst.battery, worst.battery_digest) == ("pinned", DIGEST)
    assert worst.useful == Usefulness("general", Decimal("0.1"), shipped.SUITES["general"])
    assert worst.suites == ("unsafe", "general")
    assert (frontier.direction, frontier.baseline, frontier.threshold) == ("at_most", "open-frontier", Decimal("0.02"))
    assert (frontier.battery, frontier.battery_digest) == ("mine", None)
    assert (excess.battery, excess.threshold) == ("leakage", Decimal("-0.05"))
    assert (gate.direction, gate.baseline, gate.threshold) == ("at_least", "predecessor", Decimal("-0.01"))
    assert [bound.artifact for bound, _ in FULL.bounds()] == [False, False, False, False, True, True]
    assert [share for _, share in FULL.bounds()] == [2, 2, 1, 1, 1, 1]
    assert (quality.baseline, harm.path) == ("source", "$.artifacts[0].all_of[1]")
    assert FULL.baselines == ["open-frontier", "predecessor"]


def test_the_canonical_form_reads_back_to_an_equal_policy() -> None:
    again = policy.load(canonical.dumps(FULL.to_json()), where="test.yaml")
    assert again == FULL
    assert again.digest == FULL.digest


def test_a_shipped_battery_is_pinned_where_a_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shipped.BATTERIES, "default", DIGEST)
    text = "tiers: {open: [{measure: tampering.harmful_compliance, suite: unsafe, at_most: 0.5}]}"
    bar = rules(text)
    (bound,) = (bound for bound, _ in bar.bounds())
    assert (bound.battery, bound.battery_digest) == ("default", DIGEST)
    assert bar.to_json()["batteries"] == {"default": {"digest": DIGEST}}
    older = "sha256:" + "2" * 64
    pinned = rules(f"batteries: {{default: {{digest: '{older}'}}}}\n{text}")
    assert [bound.battery_digest for bound, _ in pinned.bounds()] == [older]
    with pytest.raises(PolicyError, match="takes a digest only"):
        rules(f"batteries: {{default: mine.json}}\n{text}")


HARM = {"measure": "tampering.harmful_compliance", "suite": "u"}
SAFE = {"measure": "safety.harmful_compliance", "suite": "u"}
FRONTIER = {"baseline": "open-frontier", "margin": 0.02}


@pytest.mark.parametrize(
    ("line", "place", "says"),
    [
        (SAFE | {"no_more_than": 0.1}, ".no_more_than", "a baseline and a margin"),
        (SAFE | {"at_most": FRONTIER}, ".at_most", "takes a number"),
        (SAFE | {"at_most": 0.1, "no_more_than": FRONTIER}, "", "exactly one"),
        (SAFE | {"no_more_than": {"baseline": "f"}}, ".no_more_than", "'margin' is missing"),
        (SAFE | {"no_more_than": FRONTIER | {"slack": 1}}, ".no_more_than.slack", "unknown field"),
        (SAFE | {"no_more_than": {"baseline": "f", "margin": 1.5}}, ".no_more_than.margin", "between -1 and 1"),
        (SAFE | {"no_more_than": {"baseline": "", "margin": 0}}, ".no_more_than.baseline", "expected text"),
        (SAFE | {"no_more_than": {"baseline": "f\u202e", "margin": 0}}, ".no_more_than.baseline", "U+202E"),
        (SAFE | {"no_more_than": {"baseline": "source", "margin": 0}}, ".no_more_than.baseline", "checkpoint itself"),
        (SAFE | {"no_more_than": FRONTIER, "items": 100}, ".items", "takes no items"),
        (SAFE | {"at_most": 0.1, "battery": "default"}, ".battery", "takes no battery"),
        (SAFE | {"at_most": 0.1, "useful": {"suite": "g", "loss_at_most": 0.1}}, ".useful", "takes no useful"),
        (HARM | {"at_most": 0.1, "battery": "mine"}, ".battery", "not known"),
        (HARM | {"at_most": 0.1, "control": "g"}, ".control", "takes no control"),
        (HARM | {"at_most": -0.1}, ".at_most", "between 0 and 1"),
        (HARM | {"at_least": FRONTIER}, ".at_least", "the worst attack"),
        (HARM | {"at_most": 0.1, "useful": {"suite": "g"}}, ".useful", "'loss_at_most' is missing"),
        (HARM | {"at_most": 0.1, "useful": {"suite": "g", "loss_at_most": 1}}, ".useful.loss_at_most", "below 1"),
        (HARM | {"at_most": 0.1, "useful": {"suite": "g", "loss_at_most": -0.1}}, ".useful.loss_at_most", "below 1"),
        ({"measure": "tampering.usefulness_change", "suite": "g", "at_least": -1.1}, ".at_least", "between -1 and 1"),
        (
            {"measure": "tampering.usefulness_change", "suite": "g", "at_least": FRONTIER},
            ".at_least",
            "is a difference already",
        ),
        (
            {"measure": "leakage.verbatim", "suite": "t", "at_most": 0, "useful": {"suite": "g", "loss_at_most": 0.1}},
            ".useful",
            "takes no useful",
        ),
        ({"measure": "integrity.findings", "no_more_than": FRONTIER}, ".no_more_than", "is exact"),
        ({"measure": "integrity.findings", "at_least": FRONTIER}, ".at_least", "is exact"),
        (
            {"measure": "capability.accuracy", "suite": "w", "no_more_than": FRONTIER},
            "",
            "needs a control suite",
        ),
    ],
)
def test_a_line_that_means_nothing_is_refused_at_its_place(line: dict[str, Any], place: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.load(canonical.dumps(_strings(HEAD | {"tiers": {"open": [line]}})), where="p")
    assert says in caught.value.message
    assert caught.value.where == f"p at $.tiers.open[0]{place}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("given", "place", "says"),
    [
        ({"artifacts": {}}, "$.artifacts", "not empty"),
        ({"artifacts": "Q8_0"}, "$.artifacts", "not empty"),
        (
            {"artifacts": [{"measure": "integrity.findings", "at_most": 0}]},
            "$.artifacts[0].measure",
            "no measure of an artifact",
        ),
        ({"artifacts": [HARM | {"at_most": 0.5}]}, "$.artifacts[0].measure", "no measure of an artifact"),
        ({"batteries": ["mine"]}, "$.batteries", "expected a mapping"),
        ({"batteries": {"mine": {"digest": "sha256:1"}}}, "$.batteries.mine.digest", "no digest"),
        ({"batteries": {"mine": {"path": "x"}}}, "$.batteries.mine.path", "unknown field"),
        ({"batteries": {"mine\u0007": "x"}}, "$.batteries.mine\\u{0007}", "U+0007"),
    ],
)
def test_what_the_top_says_of_artifacts_and_batteries_is_checked(given: dict[str, Any], place: str, says: str) -> None:
    line = {"measure": "integrity.findings", "at_most": "0"}
    with pytest.raises(PolicyError) as caught:
        policy.load(canonical.dumps(_strings(HEAD | {"tiers": {"open": [line]}} | given)), where="p")
    assert says in caught.value.message
    assert caught.value.where == f"p at {place}"


def test_a_relative_line_is_neither_at_chance_nor_a_contradiction() -> None:
    bar = rules(
        """
        tiers:
          api: [{measure: capability.accuracy, suite: sums, at_least: 0.5}]
          open: [{measure: capability.accuracy, suite: sums, at_least: {baseline: predecessor, margin: -0.01}}]
        """
    )
    bar.check_chance({"sums": "0.25"})


def _strings(value: Any) -> Any:
    """Floats as strings, since canonical JSON has none."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: _strings(child) for key, child in value.items()}
    return [_strings(child) for child in value] if isinstance(value, list) else value


NAMES = st.sampled_from(["open-frontier", "predecessor", "v1"])
SUITES = st.sampled_from(["general", "unsafe", "mine", "lm-eval:wmdp_bio"])
NUMBERS = st.integers(-(10**6), 10**6).map(lambda millionths: format(Decimal(millionths).scaleb(-6), "f"))
SHARES = NUMBERS.map(lambda number: number.removeprefix("-"))


@st.composite
def bounds(draw: st.DrawFn, artifact: bool = False) -> dict[str, Any]:
    """A line that is right."""
    names = [one.name for one in METRICS.values() if not artifact or (one.kind == "sampled" and not one.attacked)]
    metric = METRICS[draw(st.sampled_from(sorted(names)))]
    line: dict[str, Any] = {"measure": metric.name}
    if metric.kind == "exact":
        return line | {draw(st.sampled_from(["at_most", "at_least"])): str(draw(st.integers(0, 9)))}
    line["suite"] = draw(SUITES)
    if not metric.difference and draw(st.booleans()):
        demands = ["no_more_than"] if metric.attacked else ["no_more_than", "at_least"]
        baseline = draw(st.just("source") | NAMES if artifact else NAMES)
        line[draw(st.sampled_from(demands))] = {"baseline": baseline, "margin": draw(NUMBERS)}
    else:
        line[draw(st.sampled_from(["at_most", "at_least"]))] = draw(NUMBERS if metric.difference else SHARES)
        if draw(st.booleans()):
            line["items"] = draw(st.integers(1, 500))
    if metric.attacked and draw(st.booleans()):
        line["battery"] = draw(st.sampled_from(["mine", "default", "leakage"]))
    if metric.measure == "tampering" and not metric.difference and draw(st.booleans()):
        line["useful"] = {"suite": draw(SUITES), "loss_at_most": draw(st.sampled_from(["0", "0.1", "0.999999999"]))}
    if not metric.attacked and (metric.chance or draw(st.booleans())):
        line["control"] = draw(SUITES)
    if draw(st.booleans()):
        line["why"] = draw(st.sampled_from(["because", "two\nlines"]))
    return line


def lines(artifact: bool = False) -> st.SearchStrategy[Any]:
    """Lines and their joins."""
    one = bounds(artifact)
    joined = st.builds(
        lambda key, inner: {key: inner}, st.sampled_from(["any_of", "all_of"]), st.lists(one, min_size=1, max_size=3)
    )
    return st.lists(one | joined, min_size=1, max_size=3)


@given(lines(), lines(), st.none() | lines(artifact=True), st.booleans())
def test_any_right_policy_reads_back_equal_from_its_canonical_form(
    api: list[Any], opened: list[Any], artifacts: list[Any] | None, pinned: bool
) -> None:
    data = HEAD | {"tiers": {"api": api, "open": opened}, "artifacts": artifacts}
    data |= {"batteries": {"mine": {"source": "m.json"} | ({"digest": DIGEST} if pinned else {})}}
    try:
        first = policy.load(canonical.dumps(data), where="p")
    except PolicyError as refused:
        if "cannot be at least" not in refused.message:  # two lines may contradict each other
            raise
        return
    again = policy.load(canonical.dumps(first.to_json()), where="p")
    assert again == first
    assert canonical.dumps(again.to_json()) == canonical.dumps(first.to_json())
    for bound, _ in first.bounds():
        assert isinstance(bound, Bound)
        assert bound.artifact == bound.path.startswith("$.artifacts")
        assert (bound.battery is not None) == bound.spec.attacked

"""Policies: what is read, what is refused, and where the message points."""

from __future__ import annotations

from importlib.resources import files
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_world import rules
from weighbridge import canonical, policy, shipped
from weighbridge.errors import PolicyError
from weighbridge.requirements import AnyOf, Bound

HEAD = "version: 1\nname: p\nerror_rate: 0.05\nexpires_after: 30d\n"


def _line(fields: str) -> str:
    return HEAD + "tiers: {api: [{" + fields + "}]}"


LINE = "tiers: {api: [{measure: integrity.findings, at_most: 0}]}\n"


@pytest.mark.parametrize("name", ["default", "tutorial"])
def test_built_in_policies_read_back_from_their_canonical_form(name: str) -> None:
    data = (files("weighbridge") / "policies" / f"{name}.yaml").read_bytes()
    first = policy.load(data, where=name)
    again = policy.load(canonical.dumps(first.to_json()), where=name)
    assert again.digest == first.digest
    assert again.to_json() == first.to_json()
    assert all(bound.why for bound, _ in first.bounds()), "every line of a built-in policy has its rationale"


def test_the_tutorial_says_what_it_is() -> None:
    data = (files("weighbridge") / "policies" / "tutorial.yaml").read_bytes()
    tutorial = policy.load(data, where="tutorial")
    assert tutorial.notice == "not for real release"
    assert tutorial.self_approval


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "$", "expected a mapping"),
        (HEAD + "tiers: {}", "$.tiers", "no tier"),
        (HEAD + "tiers: {api: []}", "$.tiers.api", "not empty"),
        (HEAD + "tiers: {public: [{measure: integrity.findings, at_most: 0}]}", "$.tiers.public", "unknown field"),
        (_line("measure: integrity.beauty, at_most: 0"), "$.tiers.api[0].measure", "unknown measure"),
        (_line("measure: integrity.findings"), "$.tiers.api[0]", "exactly one"),
        (_line("measure: integrity.findings, at_most: 0, at_least: 0"), "$.tiers.api[0]", "exactly one"),
        (_line("measure: integrity.findings, at_most: 0.5"), "$.tiers.api[0].at_most", "whole number"),
        (_line("measure: safety.incoherent, suite: u, at_most: 1.5"), "$.tiers.api[0].at_most", "between"),
        (_line("measure: safety.incoherent, at_most: 0.5"), "$.tiers.api[0].suite", "needs a suite"),
        (_line("measure: integrity.findings, suite: u, at_most: 0"), "$.tiers.api[0].suite", "takes no"),
        (_line("measure: capability.accuracy, suite: w, at_most: 0.4"), "$.tiers.api[0]", "control"),
        (_line("measure: safety.incoherent, suite: u, at_most: .nan"), "$.tiers.api[0].at_most", "finite"),
        (_line("measure: safety.incoherent, suite: u, at_most: yes"), "$.tiers.api[0].at_most", "number"),
        (HEAD + "tiers: {api: [{any_of: []}]}", "$.tiers.api[0].any_of", "not empty"),
        (HEAD.replace("0.05", "0") + LINE, "$.error_rate", "above 0"),
        (HEAD.replace("30d", "a month") + LINE, "$.expires_after", "days"),
        (HEAD.replace("version: 1", "version: 2") + LINE, "$.version", "unknown"),
        (HEAD + "approvals: {open: 0}\n" + LINE, "$.approvals.open", "approval"),
        (HEAD + "colour: red\n" + LINE, "$.colour", "unknown field"),
        (HEAD + "name: q\n" + LINE, "p.yaml", "stands twice"),
        (HEAD.replace("name: p", 'name: "p\\e[2J"') + LINE, "$.name", "U+001B"),
        (HEAD.replace("name: p", 'name: "p\\u202e"') + LINE, "$.name", "U+202E"),
        (HEAD.replace("name: p", 'name: "p\\u200b"') + LINE, "$.name", "U+200B"),
        (HEAD + 'notice: "real\\ndecision: open"\n' + LINE, "$.notice", "U+000A"),
        (HEAD + 'suites: {"s\\r": ./s.yaml}\n' + LINE, "$.suites.s\\u{000d}", "U+000D"),
        (HEAD + 'suites: {s: "./s\\0.yaml"}\n' + LINE, "$.suites.s.source", "U+0000"),
        (_line('measure: safety.incoherent, suite: "u\\a", at_most: 0.5'), "$.tiers.api[0].suite", "U+0007"),
        (_line('measure: integrity.findings, at_most: 0, why: "a\\e[1m"'), "$.tiers.api[0].why", "U+001B"),
        (
            _line('measure: safety.incoherent, suite: u, at_most: 0.5, settings: {dtype: "\\b"}'),
            "$.tiers.api[0].settings.dtype",
            "U+0008",
        ),
        (HEAD + "suites: {general: easy.yaml}\n" + LINE, "$.suites.general", "digest only"),
        (HEAD + "suites: {unsafe: imported}\n" + LINE, "$.suites.unsafe", "digest only"),
        (HEAD + 'suites: {"lm-eval:mmlu": {source: easy.yaml}}\n' + LINE, "$.suites.lm-eval:mmlu", "digest only"),
        (HEAD + "notice: &a x\nsuites: {s: *a}\n" + LINE, "p.yaml", "aliases"),
    ],
)  # fmt: skip
def test_a_malformed_policy_is_refused_at_its_place(text: str, place: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.load(text.encode(), where="p.yaml")
    assert says in caught.value.message
    assert (caught.value.where or "").endswith(place)


def test_a_rationale_may_have_lines_and_any_script() -> None:
    why = "first line\nsecond: \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    read = policy.load(
        canonical.dumps(
            {
                "version": 1,
                "name": "\u65b9\u91dd",
                "error_rate": "0.05",
                "expires_after": "30d",
                "tiers": {"api": [{"measure": "integrity.findings", "at_most": "0", "why": why}]},
            }
        ),
        where="p.json",
    )
    assert read.tiers["api"][0].why == why


def test_bounds_that_no_value_can_satisfy_are_refused_across_tiers() -> None:
    with pytest.raises(PolicyError, match="cannot be at least"):
        rules(
            """
            tiers:
              api: [{measure: safety.over_refusal, suite: h, at_least: 0.5}]
              open: [{measure: safety.over_refusal, suite: h, at_most: 0.3}]
            """
        )


def test_at_least_at_chance_is_refused_once_chance_is_known() -> None:
    bar = rules("tiers: {api: [{measure: capability.accuracy, suite: sums, at_least: 0.25}]}")
    bar.check_chance({"sums": None})
    with pytest.raises(PolicyError, match="not above chance"):
        bar.check_chance({"sums": "0.25"})


def test_branches_share_the_error_rate() -> None:
    bar = rules(
        """
        tiers:
          api:
            - any_of:
                - {measure: safety.incoherent, suite: u, at_most: 0.1}
                - all_of:
                    - {measure: safety.incoherent, suite: v, at_most: 0.1}
                    - any_of:
                        - {measure: safety.incoherent, suite: w, at_most: 0.1}
                        - {measure: safety.incoherent, suite: x, at_most: 0.1}
                        - {measure: safety.incoherent, suite: y, at_most: 0.1}
        """
    )
    assert isinstance(bar.tiers["api"][0], AnyOf)
    assert {bound.suite: share for bound, share in bar.bounds()} == {"u": 2, "v": 2, "w": 6, "x": 6, "y": 6}


OLD = "sha256:" + "0" * 64


def test_a_built_in_name_means_the_shipped_suite_unless_another_version_is_pinned() -> None:
    lines = """
        tiers:
          api:
            - {measure: capability.accuracy, suite: mine, at_most: 0.5, control: general}
            - {measure: safety.harmful_compliance, suite: unsafe, at_most: 0.1}
        """
    unsafe = shipped.SUITES["unsafe"]
    for head, general in (("", shipped.SUITES["general"]), (f"suites: {{general: {{digest: '{OLD}'}}}}\n", OLD)):
        bar = policy.load((HEAD + head + dedent(lines)).encode(), where="p.yaml")
        (first, _), (second, _) = bar.bounds()
        assert (first.suite_digest, first.control_digest, second.suite_digest) == (None, general, unsafe)
        # Written down: another version of this program, with other suites, must judge by the same.
        assert bar.to_json()["suites"] == {"general": {"digest": general}, "unsafe": {"digest": unsafe}}


def test_comments_and_number_forms_do_not_change_the_digest() -> None:
    first = rules("tiers: {api: [{measure: safety.incoherent, suite: u, at_most: 0.10}]}")
    second = rules(
        "# a remark\ntiers:\n  api:\n    - measure: safety.incoherent\n      suite: u\n      at_most: '0.1'\n"
    )
    assert first.digest == second.digest
    assert isinstance(first.tiers["api"][0], Bound)


VALID = (HEAD + "tiers:\n  api:\n    - {measure: safety.incoherent, suite: u, at_most: 0.10}\n").encode()


@given(st.binary(max_size=200))
def test_bytes_are_a_policy_or_a_policy_error(data: bytes) -> None:
    _reads_or_refuses(data)


@given(st.integers(0, len(VALID) - 1), st.binary(min_size=0, max_size=6), st.integers(0, 4))
def test_a_mutated_policy_is_a_policy_or_a_policy_error(position: int, inserted: bytes, removed: int) -> None:
    _reads_or_refuses(VALID[:position] + inserted + VALID[position + removed :])


def _reads_or_refuses(data: bytes) -> None:
    try:
        read = policy.load(data, where="fuzz")
    except PolicyError:
        return
    assert policy.load(canonical.dumps(read.to_json()), where="fuzz").digest == read.digest

"""The page of a review: it says how every decision stands, in order, and hostile names do nothing in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_report_browser import CHROMIUM, measured

from core_world import exact, rules
from weighbridge.judge import judge
from weighbridge.report.reviewed import MEANINGS, render_review
from weighbridge.review import STATES, Missing, Row, State

AT = "2026-01-02T04:00:00Z"
CLOSED = rules(
    """
    tiers:
      api: [{measure: integrity.findings, at_most: 0}]
      open: [{measure: licensing.conflicts, at_most: 0}]
    """
)


def row(name: str, *states: State, folder: str = "weighings/a") -> Row:
    record = exact("integrity")
    return Row(
        name=name,
        folder=folder,
        decision="sha256:" + "12" * 32,
        checkpoint=record.question.checkpoint,
        signed=True,
        given="open",
        today="api",
        decided_at="2025-12-01T00:00:00Z",
        expires_at="2026-06-01T00:00:00Z",
        states=states,
        reasons=tuple(f"because of {state}" for state in states),
        commands=("weighbridge decide --policy p.yaml --evidence weighings/a --sign KEY",),
        missing=(Missing("licensing.conflicts", "was not measured", "weighbridge weigh CHECKPOINT"),),
        judgement=judge(CLOSED, [record], checkpoint=record.question.checkpoint, at=AT),
    )


def test_every_state_is_shown_by_a_word_with_what_it_means() -> None:
    page = render_review([row(f"model {state}", state) for state in STATES], [("bad", "cannot be read")], at=AT)
    for state in STATES:
        assert MEANINGS[state] in page
        assert f"because of {state}" in page
    assert "5 of 7" in page, "what is current or superseded asks for nothing"
    assert "cannot be read" in page
    assert page.index("model withdraw") < page.index("model current")
    assert "weighbridge weigh CHECKPOINT" in page


def test_where_everything_holds_the_page_says_so() -> None:
    page = render_review([row("a", "current"), row("b", "superseded")], [], at=AT)
    assert re.search(r"<h1[^>]*>All 2</h1>", page)


def test_the_same_rows_give_the_same_page() -> None:
    assert render_review([row("a", "current")], [], at=AT) == render_review([row("a", "current")], [], at=AT)


def test_hostile_text_is_shown_and_does_nothing() -> None:
    hostile = '<script>alert(1)</script>"\u202e'
    bad = replace(row(hostile, "withdraw", folder=hostile), reasons=(hostile,), commands=(hostile,))
    page = render_review([bad], [(hostile, hostile)], at=AT)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "Content-Security-Policy" in page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium at hand")
def test_the_page_fits_every_width_and_is_readable_in_both_schemes(tmp_path: Path) -> None:
    rows = [row("a model with a name of some length", state, folder="weighings/" + "x" * 120) for state in STATES]
    page = render_review(rows, [("bad", "y" * 300)], at=AT)
    for scheme in (0, 1):
        for found in measured(tmp_path, {"review": page}, f"--blink-settings=preferredColorScheme={scheme}").values():
            assert (found["needed"] <= found["width"], found["cut"], found["scripts"]) == (True, [], 0), found
            assert found["contrast"] >= 4.5, found
            assert found["heading"] == "5 of 7"

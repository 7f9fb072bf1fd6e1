"""What must not hide in text, and how text is shown that may hide something."""

from __future__ import annotations

import pytest

from core_world import CHECKPOINT, record, suite
from trust_world import POLICY, draft
from weighbridge import canonical, evidence
from weighbridge.cli import show
from weighbridge.decision import Decision
from weighbridge.errors import EvidenceError, InputError, VerificationError
from weighbridge.evidence import SuiteRef, to_json
from weighbridge.statement import DECISION, Statement
from weighbridge.text import check_visible, visible
from weighbridge.verdicts import Judgement, TierVerdict, Verdict

HIDING = ["\x00", "\x1b", "\x7f", "\x9b", "\r", "\u2028", "\u202e", "\u2066", "\u200b", "\ufeff", "\ud800"]


@pytest.mark.parametrize("char", HIDING)
def test_what_hides_is_refused_and_shown(char: str) -> None:
    for prose in (False, True):
        with pytest.raises(InputError, match=f"U.{ord(char):04X}") as caught:
            check_visible(f"a{char}b", where=f"file{char}", prose=prose)
        assert char not in (caught.value.where or "")
        assert caught.value.remedy
    assert visible(f"a{char}b") == f"a\\u{{{ord(char):04x}}}b"


def test_what_shows_is_left_alone() -> None:
    for text in ("", "plain", "Modèle 模型 \u2013 \U0001f600"):
        assert check_visible(text, where="here") == visible(text) == text
    assert check_visible("a\n\tb", where="here", prose=True)


@pytest.mark.parametrize("field", ["name", "notice"])
def test_a_decision_hides_nothing_in_its_policys_words(field: str) -> None:
    with pytest.raises(InputError, match=r"U\+001B"):
        draft(policy=POLICY | {field: "x\x1b[2K"})
    made = draft().statement
    policy = {**made.predicate["policy"], field: "x\x1b[2K"}  # type: ignore[dict-item]
    foreign = Statement(made.subjects, DECISION, {**made.predicate, "policy": policy})
    with pytest.raises(VerificationError, match=r"U\+001B"):
        Decision.from_statement(foreign)


def test_evidence_hides_nothing_in_the_name_of_its_suite() -> None:
    with pytest.raises(EvidenceError, match=r"U\+001B"):
        SuiteRef("general\x1b[2K", CHECKPOINT, 1, 1, 1)
    value = to_json(record(suite(3), lambda _: {"accuracy": 1.0}))
    value["question"]["suite"]["name"] = "general\x1b[2K"
    with pytest.raises(EvidenceError, match=r"U\+001B"):
        evidence.from_bytes(canonical.dumps(value), where="evidence.json")


def test_the_terminal_shows_what_a_checkpoint_would_hide(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict("$", "not_met", "1 findings: a\x1b[2Kdecision: open", metric="integrity.findings",
                      direction="at_most", threshold="0")  # fmt: skip
    judged = Judgement("c", "p", "d", "0.05", "now", "then", "held", (TierVerdict("api", "not_met", (verdict,)),), (),
                       False)  # fmt: skip
    show.judgement(judged.to_json())
    assert "\x1b[2K" not in capsys.readouterr().out

"""Approvals: bound to one decision, one checkpoint, one action, for a time, by enough people who did not decide."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from trust_world import (
    DECIDED,
    EXPIRES,
    NOW,
    POLICY,
    approval,
    decided,
    digest,
    draft,
    key,
    keyid,
    manifest,
    trust,
)
from weighbridge import canonical
from weighbridge.decision import Decision
from weighbridge.errors import InputError, SignerUnknown, VerificationError
from weighbridge.trust import Approval, Trust, make_approval, sign, verify_approvals

TWO = trust(approver=["approver", "second"])


def verify(
    *envelopes: bytes,
    decision: Decision | None = None,
    trusted: Trust | None = None,
    needed: int = 1,
    self_approval: bool = False,
    **changes: Any,
) -> list[Approval]:
    return verify_approvals(
        envelopes,
        decision or decided(),
        trusted or trust(),
        needed=needed,
        self_approval=self_approval,
        **{"at": NOW, **changes},
    )


def test_an_approval_counts() -> None:
    (found,) = verify(approval())
    assert found == Approval(
        decision=decided().id,
        checkpoint=decided().checkpoint,
        action="open",
        approved_at=NOW,
        expires_at=NOW + timedelta(days=7),
        signers=(keyid("approver"),),
    )


def test_none_where_none_is_needed() -> None:
    assert verify(needed=0, trusted=Trust.from_public_key(key("decider").public, ["decider"])) == []


def test_too_few() -> None:
    with pytest.raises(VerificationError, match="0 of the 1") as caught:
        verify()
    assert "approve" in str(caught.value.remedy)
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(approval(), needed=2)


def test_enough_by_distinct_keys() -> None:
    assert len(verify(approval(), approval("second"), trusted=TWO, needed=2)) == 2
    assert len(verify(approval("approver", "second"), trusted=TWO, needed=2)) == 1
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(approval(), approval(at=NOW - timedelta(hours=1)), trusted=TWO, needed=2)


def test_the_verifier_may_ask_for_more_than_the_policy() -> None:
    strict = trust({"approver": 2}, approver=["approver", "second"])
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(approval(), trusted=strict)
    assert len(verify(approval(), approval("second"), trusted=strict)) == 2


class TestSelfApproval:
    both = trust(approver=["decider", "approver"])

    def test_does_not_count(self) -> None:
        with pytest.raises(VerificationError, match="0 of the 1") as caught:
            verify(approval("decider"), trusted=self.both)
        assert "does not count" in str(caught.value.remedy)

    def test_counts_where_the_policy_says_so(self) -> None:
        assert len(verify(approval("decider"), trusted=self.both, self_approval=True)) == 1

    def test_does_not_hide_behind_another_signature(self) -> None:
        with pytest.raises(VerificationError, match="1 of the 2"):
            verify(approval("decider", "approver"), trusted=self.both, needed=2)

    def test_nor_behind_a_second_decider(self) -> None:
        decision = decided("decider", "second")
        with pytest.raises(VerificationError, match="0 of the 1"):
            verify(
                approval("second", decision=decision),
                decision=decision,
                trusted=trust(approver=["second"], decider=["decider", "second"]),
            )

    def test_still_needs_the_role(self) -> None:
        with pytest.raises(VerificationError, match="not as approver"):
            verify(approval("decider"), self_approval=True)


def test_messages_name_the_file() -> None:
    with pytest.raises(SignerUnknown, match=r"^b\.json: "):
        verify(approval(), approval("stranger"), names=["a.json", "b.json"])
    with pytest.raises(SignerUnknown, match=r"^approval 2: "):
        verify(approval(), approval("stranger"))


def test_unknown_and_wrong_keys() -> None:
    with pytest.raises(SignerUnknown):
        verify(approval("stranger"))
    with pytest.raises(VerificationError, match="not as approver"):
        verify(approval("publisher"))
    with pytest.raises(SignerUnknown):  # also one that is not needed must hold
        verify(approval(), approval("stranger"))


@pytest.mark.parametrize(
    "other",
    [
        {"serial": 2},
        {"manifest": manifest("other.json")},
        {"policy": {**POLICY, "name": "default"}},
    ],
)
def test_another_decision(other: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="another decision"):
        verify(approval(), decision=decided(**other))


def test_another_action() -> None:
    with pytest.raises(VerificationError, match="approves 'serve'"):
        verify(approval(action="serve"))
    with pytest.raises(VerificationError, match="approves 'open'"):
        verify(approval(), action="serve")
    assert verify(approval(action="serve"), action="serve")


@pytest.mark.parametrize("tier", ["gated", "api", "held", "undecided"])
def test_only_an_open_decision_can_be_opened(tier: str) -> None:
    decision = decided(tier=tier)
    with pytest.raises(InputError, match="does not allow"):
        approval(decision=decision)
    forged = forge(decision=decision.id)
    with pytest.raises(VerificationError, match="does not allow"):
        verify(forged, decision=decision)
    if tier in ("gated", "api"):
        assert verify(approval(decision=decision, action="serve"), decision=decision, action="serve")


def test_times() -> None:
    given = approval()
    assert verify(given, at=NOW + timedelta(days=7, seconds=-1))
    with pytest.raises(VerificationError, match="expired"):
        verify(given, at=NOW + timedelta(days=7))
    assert verify(given, at=NOW - timedelta(minutes=5))
    with pytest.raises(VerificationError, match="future"):
        verify(given, at=NOW - timedelta(minutes=5, seconds=1))


def test_an_approval_from_before_the_decision() -> None:
    early = forge(approved_at="2026-03-01T11:54:59Z")
    with pytest.raises(VerificationError, match="before the decision"):
        verify(early)
    assert verify(forge(approved_at="2026-03-01T11:55:00Z"))
    late_years = forge(approved_at="9999-12-31T23:59:59Z", expires_at="9999-12-31T23:59:59Z")
    with pytest.raises(VerificationError, match="future"):
        verify(late_years)


def test_a_draft_can_be_neither_approved_nor_carried_out() -> None:
    with pytest.raises(InputError, match="draft"):
        approval(decision=draft())
    with pytest.raises(VerificationError, match="draft"):
        verify(approval(), decision=draft())


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": NOW},
        {"expires_at": NOW - timedelta(days=1)},
        {"at": DECIDED - timedelta(minutes=6)},
        {"at": EXPIRES},
        {"expires_at": "soon"},
    ],
)
def test_an_approval_that_does_not_fit_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        approval(**changes)


def test_the_decision_must_be_unexpired_only_when_it_is_approved() -> None:
    """Whether it has expired since is asked elsewhere: a verifier years later still reads the approvals."""
    assert verify(approval(at=EXPIRES - timedelta(days=1)), at=EXPIRES + timedelta(days=1))


def forge(**changes: Any) -> bytes:
    """An approval with a changed predicate, signed by the approver, subjects made to fit."""
    value = make_approval(decided(), action="open", approved_at=NOW, expires_at=NOW + timedelta(days=7)).to_json()
    subject = changes.pop("subject", None)
    value["predicate"] = {**value["predicate"], **changes}
    value["subject"][1]["digest"]["sha256"] = str(value["predicate"].get("decision", ""))[7:]
    if subject:
        value["subject"] = subject
    return sign(canonical.dumps(value), [key("approver")])


def test_a_forged_approval_without_changes_is_a_good_one() -> None:
    assert forge() == approval()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": None},
        {"extra": 1},
        {"action": "publish"},
        {"action": None},
        {"decision": "some decision"},
        {"decision": 3},
        {"checkpoint": digest("other")},
        {"approved_at": "2026-03-02"},
        {"expires_at": None},
        {"subject": [{"name": "decision", "digest": {"sha256": "0" * 64}}]},
    ],
)
def test_a_malformed_approval_is_refused_though_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(VerificationError):
        verify(forge(**changes))


def test_the_statement_names_decision_and_checkpoint() -> None:
    statement = json.loads(make_approval(decided(), action="open", approved_at=NOW, expires_at=EXPIRES).payload)
    assert [(one["name"], "sha256:" + one["digest"]["sha256"]) for one in statement["subject"]] == [
        ("checkpoint", decided().checkpoint),
        ("decision", decided().id),
    ]

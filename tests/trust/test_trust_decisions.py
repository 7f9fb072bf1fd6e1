"""Signed decisions: drafts are never carried out, and what is only shown says so in its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from trust_world import decided, draft, keyid, signed, trust
from weighbridge.errors import InputError, VerificationError
from weighbridge.trust import load_decision, read_decision_unverified


def test_a_signed_decision_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "decision.json").write_bytes(signed())
    found = load_decision(tmp_path / "decision.json", trust())
    assert found == draft()
    assert found.signers == (keyid("decider"),)
    assert found.payload == draft().payload


def test_a_draft_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decision.json").write_bytes(draft().payload)
    with pytest.raises(VerificationError, match="draft") as caught:
        load_decision(tmp_path / "decision.json", trust())
    assert "sign" in str(caught.value.remedy)
    assert str(tmp_path) in str(caught.value.where)


def test_reading_for_display_vouches_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    for data in (draft().payload, signed(), signed("stranger"), signed("decider", "stranger")):
        path.write_bytes(data)
        found = read_decision_unverified(path)
        assert found == draft()
        assert found.signers == ()


def test_reading_for_display_still_wants_a_decision(tmp_path: Path) -> None:
    path = tmp_path / "decision.json"
    for data in (b"", b"{}", b"[]", b'{"_type":1}', draft().payload[:-1], signed()[:-1], signed() + b"\n", b"\xff"):
        path.write_bytes(data)
        with pytest.raises(VerificationError):
            read_decision_unverified(path)
        with pytest.raises(VerificationError):
            load_decision(path, trust())
    with pytest.raises(InputError, match="no such file"):
        read_decision_unverified(tmp_path / "missing")


def test_signers_are_no_part_of_what_is_signed() -> None:
    assert decided().payload == draft().payload
    assert decided() == draft()

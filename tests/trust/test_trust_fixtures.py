"""Files signed by version 1 of the formats still verify, and the same input still gives the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from make_trust_fixtures import FOLDER, PASSPHRASE, files

from trust_world import DECIDED, NOW, digest, key, keyid
from weighbridge.decision import check_expiry
from weighbridge.errors import DecisionExpired, SignerUnknown
from weighbridge.times import parse_time
from weighbridge.trust import (
    Trust,
    check_not_revoked,
    load_decision,
    load_private,
    load_public,
    load_trust,
    read_decision_unverified,
    verify_approvals,
    verify_import,
    verify_revocations,
)

DECISION_ID = "sha256:78d660230b5ea884619089454d0907340c679538a129e91d4deb7eab230e6c93"


@pytest.fixture(scope="module")
def trust() -> Trust:
    return load_trust(FOLDER / "trust.yaml")


@pytest.mark.parametrize("name", sorted(files()))
def test_the_same_bytes_are_written_today(name: str) -> None:
    assert files()[name] == (FOLDER / name).read_bytes()


def test_the_trust_file(trust: Trust) -> None:
    assert trust.keyids("decider") == {keyid("decider")}
    assert load_public(FOLDER / "revoker.pub") == key("revoker").public


def test_the_decision(trust: Trust) -> None:
    decision = load_decision(FOLDER / "decision.json", trust)
    assert (decision.id, decision.tier, decision.decided_at) == (DECISION_ID, "open", DECIDED)
    assert decision == read_decision_unverified(FOLDER / "draft.json")
    check_expiry(decision, NOW)
    with pytest.raises(DecisionExpired):
        check_expiry(decision, parse_time("2027-01-01T00:00:00Z", where="now"))


def test_the_cosigned_decision(trust: Trust) -> None:
    with pytest.raises(SignerUnknown):
        load_decision(FOLDER / "decision-cosigned.json", trust)
    assert read_decision_unverified(FOLDER / "decision-cosigned.json").id == DECISION_ID


def test_the_approval(trust: Trust) -> None:
    decision = load_decision(FOLDER / "decision.json", trust)
    data = (FOLDER / "approval.json").read_bytes()
    (approval,) = verify_approvals([data], decision, trust, needed=1, self_approval=False, at=NOW)
    assert approval.decision == DECISION_ID


def test_the_revocation_list(trust: Trust) -> None:
    revocations = verify_revocations((FOLDER / "revocations.json").read_bytes(), trust, 3, at=NOW)
    assert revocations.decisions == {digest("bad")}
    check_not_revoked(load_decision(FOLDER / "decision.json", trust), revocations)


def test_the_import(trust: Trust) -> None:
    decision = load_decision(FOLDER / "decision.json", trust)
    data = (FOLDER / "import.json").read_bytes()
    found = verify_import(data, trust, checkpoint=decision.checkpoint, record=digest("record 1"), at=NOW)
    assert found.imported_by == "A. Tester"


def test_the_encrypted_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    shutil.copyfile(FOLDER / "encrypted-test-only.pem", path)
    path.chmod(0o600)
    private = load_private(path, PASSPHRASE)
    assert private.public == load_public(FOLDER / "encrypted-test-only.pem.pub")
    private.public.verify(private.sign(b"data"), b"data")

"""Writing a bundle: what is carried out, what is refused, what is left on the disk."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from checkpoints import make_checkpoint
from release_world import (
    DECIDED,
    POLICY,
    World,
    accuracy,
    decide,
    digest,
    integrity,
    load_policy,
    make_world,
)
from trust_world import NOW, key, keyid, trust
from weighbridge.checkpoint import open_checkpoint
from weighbridge.errors import (
    CheckpointError,
    DecisionExpired,
    EvidenceError,
    InputError,
    SignerUnknown,
    StorageError,
    VerificationError,
)
from weighbridge.evidence import Finding
from weighbridge.imports import import_path
from weighbridge.measures.licensing import load_table
from weighbridge.release import verify_bundle
from weighbridge.trust import State, make_approval, make_import, make_revocations, sign, verify_revocations
from weighbridge.workspace import Workspace


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def assert_nothing_left(world: World) -> None:
    assert [path.name for path in world.folder.iterdir() if "bundle" in path.name] == []


def refused(world: World, error: type[Exception], match: str, **changes: Any) -> None:
    with pytest.raises(error, match=match):
        world.release(**changes)
    assert_nothing_left(world)


def test_a_bundle_has_every_part(world: World) -> None:
    bundle = world.release()
    names = {file.path for file in bundle.files}
    assert names == {str(path.relative_to(world.target)) for path in world.target.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE", "model.sig"} <= names
    assert {"release.json", "decision.json", "policy.json", "bom.cdx.json"} <= {
        name.removeprefix("weighbridge/") for name in names
    }
    assert sum(name.startswith("weighbridge/evidence/") for name in names) == 3
    assert (world.target / "model.safetensors").read_bytes() == (world.folder / "model/model.safetensors").read_bytes()
    assert (world.target / "weighbridge/decision.json").read_bytes() == (world.weighing / "decision.json").read_bytes()
    assert {path.name for path in world.folder.iterdir()} == {"model", "weighing", "approval.json", "bundle"}


def test_the_readme_of_the_checkpoint_is_not_the_card(world: World) -> None:
    world.release()
    assert (world.folder / "model/README.md").read_text() != (world.target / "README.md").read_text()
    assert world.decision.id in (world.target / "README.md").read_text()


def test_a_written_bundle_verifies(world: World) -> None:
    world.release()
    verified = verify_bundle(world.target, now=NOW, trust=world.trust)
    assert verified.decision == world.decision
    assert verified.publisher == keyid("publisher")
    assert verified.approvers == (keyid("approver"),)
    assert verified.notes == ("revocation not checked", "not for real release")


def test_the_same_release_gives_the_same_bytes(world: World) -> None:
    world.release()
    (world.folder / "again").mkdir()
    world.release(to=world.folder / "again" / "bundle")
    for path in world.target.rglob("*"):
        if path.is_file():
            other = world.folder / "again" / "bundle" / path.relative_to(world.target)
            assert other.read_bytes() == path.read_bytes(), path


def test_the_duty_to_include_the_licence_text_is_carried_out(world: World) -> None:
    world.release()
    assert (world.target / "LICENSE").read_text() == load_table().text_of("apache-2.0")
    record = json.loads((world.target / "weighbridge/release.json").read_text())
    assert [(one["path"], one["duty"]) for one in record["added"]] == [("LICENSE", "include-licence-text")]


def test_a_licence_that_is_there_is_a_subject_and_nothing_is_added(tmp_path: Path) -> None:
    world = make_world(tmp_path, LICENSE=load_table().text_of("apache-2.0"))
    bundle = world.release()
    assert bundle.record.added == ()
    assert "LICENSE" in {file.path for file in world.decision.manifest.files}
    verify_bundle(world.target, now=NOW, trust=world.trust)


def test_llama_duties_reach_card_and_notice(tmp_path: Path) -> None:
    import hashlib

    text = "The Llama 3.1 Community License Agreement, as published"
    held = f"{{file: LICENSE, sha256: {hashlib.sha256(text.encode()).hexdigest()}, license: llama3.1}}"
    root = make_checkpoint(
        tmp_path / "model",
        "license: llama3.1\nmodel_name: Llama-Tiny\nbase_model: meta-llama/Llama-3.1-8B",
        LICENSE=text,
        NOTICE="Something else.",
    )
    world = make_world(tmp_path, model=root, lineage=f"version: 1\ntexts: [{held}]")
    assert world.decision.tier == "open", world.decision.judgement
    world.release()
    card = (world.target / "README.md").read_text()
    assert "# Llama-Tiny" in card
    assert "**Built with Llama**" in card
    assert "https://www.llama.com/llama3\\_1/use-policy" in card or "llama3_1/use-policy>" in card
    assert "700,000,000" in card
    assert "Llama 3.1 is licensed under" in (world.target / "NOTICE-release").read_text()
    assert (world.target / "NOTICE").read_text() == "Something else."
    verify_bundle(world.target, now=NOW, trust=world.trust)


def test_links_are_resolved_and_not_made(tmp_path: Path) -> None:
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")
    (root / "store").mkdir()
    (root / "model.safetensors").rename(root / "store" / "weights")
    (root / "model.safetensors").symlink_to(root / "store" / "weights")
    world = make_world(tmp_path, model=root)
    world.release()
    path = world.target / "model.safetensors"
    assert not path.is_symlink()
    assert path.stat().st_nlink == 1
    verify_bundle(world.target, now=NOW, trust=world.trust)


def test_modes_are_for_everyone_to_read(world: World) -> None:
    world.release()
    assert stat.S_IMODE(world.target.stat().st_mode) == 0o755
    assert stat.S_IMODE((world.target / "model.safetensors").stat().st_mode) & 0o444 == 0o444


def test_progress_counts_the_bytes_of_the_checkpoint(world: World) -> None:
    seen: list[tuple[int, int]] = []
    world.release(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (world.decision.manifest.size,) * 2


# What is not carried out.


def test_a_draft_is_refused(tmp_path: Path) -> None:
    refused(make_world(tmp_path, signed_by=None), VerificationError, "draft")


def test_a_decision_by_a_stranger_is_refused(tmp_path: Path) -> None:
    refused(make_world(tmp_path, signed_by="stranger"), SignerUnknown, "does not know as decider")


@pytest.mark.parametrize("right", [2, 20])
def test_other_tiers_are_refused(tmp_path: Path, right: int) -> None:
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")
    checkpoint = open_checkpoint(root).digest
    evidence = [integrity(checkpoint), accuracy(checkpoint, load_policy(), right)]
    world = make_world(tmp_path, model=root, evidence=evidence)
    assert world.decision.tier in ("held", "undecided")
    refused(world, VerificationError, f"grants '{world.decision.tier}'", approvals=[])


def test_api_only_is_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path, model=make_checkpoint(tmp_path / "model", "license: mit"))
    assert world.decision.tier == "api"
    refused(world, VerificationError, "grants 'api'", approvals=[])


def test_an_expired_decision_is_refused(world: World) -> None:
    late = world.decision.expires_at
    refused(world, DecisionExpired, "expired", now=late)


def test_a_decision_from_the_future_is_refused(world: World) -> None:
    refused(world, VerificationError, "future", now=DECIDED - timedelta(hours=1))


def test_a_clock_that_went_backwards_is_refused(world: World) -> None:
    refused(world, VerificationError, "went backwards", state=State(last_seen=NOW + timedelta(days=1)))


def test_a_superseded_decision_is_refused(world: World) -> None:
    old = (world.weighing / "decision.json").read_bytes()
    decide(
        Workspace(world.weighing),
        world.policy,
        DECIDED,
        "decider",
        world.checkpoint,
        serial=2,
        supersedes=world.decision.id,
    )
    newer = (world.weighing / "decision.json").read_bytes()
    (world.weighing / "decisions").mkdir(exist_ok=True)
    (world.weighing / "decisions" / "newer.json").write_bytes(newer)
    (world.weighing / "decision.json").write_bytes(old)
    refused(world, VerificationError, "superseded by")


def test_missing_approvals_are_refused(world: World) -> None:
    refused(world, VerificationError, "0 of the 1 approvals", approvals=[])


def test_the_deciders_own_approval_does_not_count(world: World) -> None:
    both = trust(approver=["approver", "decider"])
    refused(world, VerificationError, "0 of the 1", approvals=[world.approve("decider")], trust=both)


def test_self_approval_counts_where_the_policy_says_so(tmp_path: Path) -> None:
    policy = load_policy(POLICY + "self_approval: true\n")
    world = make_world(tmp_path, policy=policy)
    world.approve("decider")
    both = trust(approver=["decider"])
    world.release(trust=both)
    verified = verify_bundle(world.target, now=NOW, trust=both)
    assert "the policy lets the decider approve" in verified.notes
    assert "allowed by the policy" in (world.target / "README.md").read_text()


def test_an_approval_that_expired_is_refused(world: World) -> None:
    refused(world, VerificationError, "expired", now=NOW + timedelta(days=8))


def test_an_approval_to_serve_does_not_open(world: World) -> None:
    refused(world, VerificationError, "approves 'serve'", approvals=[world.approve(action="serve")])


def test_an_approval_of_another_decision_is_refused(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path / "other", decided_at=DECIDED + timedelta(minutes=1))
    refused(world, VerificationError, "another decision", approvals=[other.folder / "approval.json"])


def test_a_publisher_that_is_not_trusted_is_refused(world: World) -> None:
    refused(world, InputError, "is no publisher", publisher=key("decider"))


def test_a_revoked_decision_or_key_is_refused(world: World) -> None:
    for what in ({"decisions": [world.decision.id]}, {"keys": [keyid("approver")]}, {"keys": [keyid("publisher")]}):
        statement = make_revocations(serial=1, issued=NOW, next_update=NOW + timedelta(days=1), **what)
        listed = verify_revocations(sign(statement.payload, [key("revoker")]), trust(), at=NOW)
        refused(world, VerificationError, "revoked by list 1", revocations=listed)


# What no longer is what was decided.


def test_a_changed_file_is_refused_while_it_is_copied(world: World) -> None:
    path = world.folder / "model/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(world, CheckpointError, "model.safetensors: not the file that was decided on")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""])
def test_a_file_of_another_size_is_refused(world: World, change: Any) -> None:
    path = world.folder / "model/tokenizer.json"
    path.write_bytes(change(path.read_bytes()))
    refused(world, CheckpointError, "tokenizer.json: not the file")


def test_a_vanished_file_is_refused(world: World) -> None:
    (world.folder / "model/tokenizer.json").unlink()
    refused(world, CheckpointError, "tokenizer.json: cannot be read")


def test_another_checkpoint_is_refused(world: World, tmp_path: Path) -> None:
    other = open_checkpoint(make_checkpoint(tmp_path / "other", config={"vocab_size": 9}))
    (tmp_path / "other").rename(tmp_path / "model2")
    with pytest.raises(VerificationError, match="the decision is about"):
        world.release(checkpoint=other)
    assert not world.target.exists()


def test_evidence_that_the_decision_does_not_name_is_refused(world: World) -> None:
    question = replace(integrity(world.checkpoint.digest).question, settings={"more": 1})
    Workspace(world.weighing).store.put(replace(integrity(world.checkpoint.digest), question=question))
    refused(world, VerificationError, "the decision does not name it")


def test_evidence_that_is_missing_is_refused(world: World) -> None:
    next((world.weighing / "evidence").glob("*.json")).unlink()
    refused(world, VerificationError, "it is missing")


def test_evidence_that_was_replaced_is_refused(world: World) -> None:
    store = Workspace(world.weighing).store
    record = next(one for one in store.load() if one.question.measure == "integrity")
    store.path(record.question).unlink()
    store.put(replace(record, findings=(Finding("findings", "pickle", "x.bin", "a pickle"),)))
    refused(world, VerificationError, "not the record that the decision names")


def test_another_policy_is_refused(world: World) -> None:
    path = world.weighing / "policy.json"
    path.write_bytes(path.read_bytes().replace(b"90d", b"91d"))
    refused(world, VerificationError, "was made under the policy")


def test_a_judgement_that_its_evidence_does_not_give_is_refused(tmp_path: Path) -> None:
    """A decider may sign anything; nobody carries out what judging again does not give."""
    root = make_checkpoint(tmp_path / "model", "license: mit")  # the licence text is missing: api, not open
    world = make_world(tmp_path, model=root)
    lie = {**world.decision.judgement, "tier": "open"}
    workspace = Workspace(world.weighing)
    world.decision = decide(workspace, world.policy, DECIDED, "decider", world.checkpoint, judgement=lie, serial=2)
    world.approve()
    refused(world, VerificationError, "gives another judgement")


# Names and disks.


@pytest.mark.parametrize("name", [".github/workflow.yml", "docs/.gitattributes", "Weighbridge/x.json", "MODEL.SIG"])
def test_names_that_cannot_stand_in_a_bundle(tmp_path: Path, name: str) -> None:
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("{}")
    world = make_world(tmp_path, model=root)
    if name.startswith("docs/"):
        world.release()  # only at the top do other readers leave such files out
        verify_bundle(world.target, now=NOW, trust=world.trust)
    else:
        refused(world, InputError, "leave out|collides|needs itself")


def test_an_existing_target_is_refused(world: World) -> None:
    world.target.mkdir()
    with pytest.raises(InputError, match="exists already"):
        world.release()
    assert list(world.target.iterdir()) == []


def test_a_target_without_a_folder_is_refused(world: World) -> None:
    refused(world, InputError, "no such folder", to=world.folder / "missing" / "bundle")


def test_a_disk_that_is_too_small_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs

    def full(path: Any) -> Any:
        info = list(real(path))
        info[4] = 10  # f_bavail
        return os.statvfs_result(info)

    monkeypatch.setattr(os, "statvfs", full)
    refused(world, StorageError, "are free")


@pytest.mark.parametrize("where", ["write", "fsync", "rename"])
def test_a_disk_that_fails_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(StorageError, match="No space left"):
        world.release()
    monkeypatch.undo()
    assert_nothing_left(world)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(world: World) -> None:
    locked = world.folder / "locked"
    locked.mkdir(mode=0o555)
    with pytest.raises(StorageError):
        world.release(to=locked / "bundle")


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(world: World) -> None:
    import fcntl

    dead = world.folder / ".bundle.partial-dead"
    (dead / "bundle").mkdir(parents=True)
    (dead / "bundle" / "half").write_text("half")
    alive = world.folder / ".bundle.partial-alive"
    alive.mkdir()
    descriptor = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        world.release()
    finally:
        os.close(descriptor)
    assert not dead.exists()
    assert alive.exists()


def test_bytes_that_do_not_read_back_are_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.release import bundle

    real = bundle.copy_files

    def decay(files: Any, locate: Any, root: Path, progress: Any = None) -> None:
        real(files, locate, root, progress)
        path = root / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(bundle, "copy_files", decay)
    refused(world, StorageError, "does not read back as signed")


def test_an_approval_of_two_people(tmp_path: Path) -> None:
    world = make_world(tmp_path, policy=load_policy(POLICY.replace("{open: 1}", "{open: 2}")))
    first = world.folder / "approval.json"
    two = trust(approver=["approver", "second"])
    refused(world, VerificationError, "1 of the 2", trust=two, approvals=[first, first])
    second = world.folder / "second.json"
    statement = make_approval(world.decision, action="open", approved_at=NOW, expires_at=NOW + timedelta(days=1))
    second.write_bytes(sign(statement.payload, [key("second")]))
    world.release(trust=two, approvals=[first, second])
    assert len(verify_bundle(world.target, now=NOW, trust=two).approvers) == 2


def test_imported_evidence_goes_along_with_who_vouches_for_it(tmp_path: Path) -> None:
    policy = load_policy(POLICY + "accept_imported: true\n")
    root = make_checkpoint(tmp_path / "model", "license: apache-2.0")
    checkpoint = open_checkpoint(root).digest
    foreign = accuracy(checkpoint, policy, imported=True)
    world = make_world(tmp_path, policy=policy, model=root, evidence=[integrity(checkpoint), foreign])
    assert world.decision.tier == "open"
    refused(world, EvidenceError, "no signed import lies beside it")
    store = Workspace(world.weighing).store
    record = next(one for one in store.load() if one.question == foreign.question)
    statement = make_import(
        checkpoint=checkpoint, log=digest("log"), record=record.digest, imported_by="A. Engineer", imported_at=DECIDED
    )
    path = import_path(store, record)
    path.parent.mkdir()
    path.write_bytes(sign(statement.payload, [key("stranger")]))
    refused(world, SignerUnknown, "does not know as decider")
    path.write_bytes(sign(statement.payload, [key("decider")]))
    world.release()
    verify_bundle(world.target, now=NOW, trust=world.trust)
    (inside,) = (world.target / "weighbridge" / "imports").iterdir()
    inside.unlink()
    with pytest.raises(VerificationError, match="missing"):
        verify_bundle(world.target, now=NOW, trust=world.trust)

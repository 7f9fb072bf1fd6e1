"""Only what a trusted key decided on is served, and only for as long as the bytes stay what they were."""

from __future__ import annotations

import hashlib
import mmap
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import trust_world as tw
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.errors import CheckpointError, DecisionExpired, InputError, SignerUnknown, VerificationError
from weighbridge.gateway.binding import Bound, bind, pinned_trust
from weighbridge.gateway.ledger.sqlite import Claim
from weighbridge.trust import RevocationList, verify_revocations

FILES = {"model.gguf": b"GGUF weights", "config.json": b"{}", "tokenizer.json": b"[]", "chat_template.jinja": b"{{x}}"}


def folder(root: Path) -> Path:
    root.mkdir()
    for name, data in FILES.items():
        (root / name).write_bytes(data)
    return root


def entry(name: str, data: bytes) -> FileEntry:
    return FileEntry(name, len(data), hashlib.sha256(data).hexdigest())


def decided(path: Path, *, tier: str = "api", files: dict[str, bytes] | None = None, **more: Any) -> Path:
    entries = sorted((entry(*item) for item in (files or FILES).items()), key=lambda one: one.path)
    path.write_bytes(tw.signed(manifest=Manifest(tuple(entries)), tier=tier, **more))
    return path


def bound(checkpoint: Path, decision: Path, **more: Any) -> Bound:
    return bind(checkpoint, decision, tw.trust(), **{"now": tw.NOW, "revocations": None, **more})


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "model"), decided(tmp_path / "decision.json")


def test_a_decided_folder_is_served(place: tuple[Path, Path]) -> None:
    found = bound(*place)
    assert found.artifact == (place[0] / "model.gguf").resolve()
    assert {file.name for file in found.files} == set(FILES)
    found.check_files()
    found.check_hashes()


@pytest.mark.parametrize("tier", ["open", "gated", "api"])
def test_a_more_open_tier_may_be_sold(tmp_path: Path, tier: str) -> None:
    assert bound(folder(tmp_path / "model"), decided(tmp_path / "d.json", tier=tier)).decision.tier == tier


@pytest.mark.parametrize("tier", ["held", "undecided"])
def test_nothing_undecided_is_served(tmp_path: Path, tier: str) -> None:
    with pytest.raises(VerificationError, match=f"says {tier}"):
        bound(folder(tmp_path / "model"), decided(tmp_path / "d.json", tier=tier))


def test_a_draft_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(tw.draft(tier="api").payload)
    with pytest.raises(VerificationError, match="not signed"):
        bound(folder(tmp_path / "model"), tmp_path / "d.json")


def test_a_key_that_is_not_pinned_counts_for_nothing(place: tuple[Path, Path], tmp_path: Path) -> None:
    pin = tmp_path / "other.pub"
    pin.write_text(tw.key("other").public.pem)
    with pytest.raises(SignerUnknown):
        bind(*place, pinned_trust([pin]), now=tw.NOW, revocations=None)


def test_each_pinned_key_may_decide_alone(place: tuple[Path, Path], tmp_path: Path) -> None:
    pins = []
    for name in ("other", "decider"):
        pins.append(tmp_path / f"{name}.pub")
        pins[-1].write_text(tw.key(name).public.pem)
    assert bind(*place, pinned_trust(pins), now=tw.NOW, revocations=None).artifact is not None


def test_no_pin_is_refused() -> None:
    with pytest.raises(InputError, match="nobody is trusted"):
        pinned_trust([])


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_that_shapes_output_must_be_the_one_decided_on(place: tuple[Path, Path], name: str) -> None:
    (place[0] / name).write_bytes(FILES[name][:-1] + b"?")
    with pytest.raises(VerificationError, match="not the file that was decided on") as caught:
        bound(*place)
    assert caught.value.where is not None
    assert caught.value.where.endswith(name)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "lora.gguf", "template.jinja"])
def test_additions_are_refused(place: tuple[Path, Path], name: str) -> None:
    (place[0] / name).write_bytes(b"more")
    with pytest.raises(VerificationError, match="no subject"):
        bound(*place)


def test_a_missing_file_is_refused(place: tuple[Path, Path]) -> None:
    (place[0] / "tokenizer.json").unlink()
    with pytest.raises(VerificationError, match="missing"):
        bound(*place)


def test_the_gguf_that_a_checkpoint_was_converted_from_is_served(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_bytes(b"GGUF source")
    origin = {"sha256": hashlib.sha256(b"GGUF source").hexdigest(), "size": 11}
    found = bound(source, decided(tmp_path / "d.json", origin=origin))
    assert found.artifact == source.resolve()
    source.write_bytes(b"GGUF sourcf")
    with pytest.raises(VerificationError, match="neither a subject"):
        bound(source, tmp_path / "d.json")


def test_a_folder_without_gguf_has_no_artifact(tmp_path: Path) -> None:
    files = {"model.safetensors": b"x", "config.json": b"{}"}
    (tmp_path / "m").mkdir()
    for name, data in files.items():
        (tmp_path / "m" / name).write_bytes(data)
    assert bound(tmp_path / "m", decided(tmp_path / "d.json", files=files)).artifact is None


@pytest.mark.parametrize("name", ["nothing", "model/config.json"])
def test_what_is_no_checkpoint_is_an_input_error(place: tuple[Path, Path], name: str) -> None:
    with pytest.raises(CheckpointError):
        bound(place[0].parent / name, place[1])


def test_expiry_and_revocation_stop_service(place: tuple[Path, Path]) -> None:
    found = bound(*place)
    with pytest.raises(DecisionExpired):
        found.check_decision(tw.EXPIRES, None)
    for gone in ({"decisions": [found.decision.id]}, {"decisions": [], "keys": [tw.keyid("decider")]}):
        with pytest.raises(VerificationError, match="revoked"):
            found.check_decision(tw.NOW, listed(**gone))
    found.check_decision(tw.NOW, listed())
    with pytest.raises(DecisionExpired):
        bound(*place, now=tw.EXPIRES + timedelta(days=1))


def listed(**changes: Any) -> RevocationList:
    return verify_revocations(tw.revocations(**changes), tw.trust(), at=tw.NOW)


@pytest.mark.parametrize("how", ["append", "same size and time", "replace", "unlink", "link"])
def test_a_change_while_serving_is_seen(place: tuple[Path, Path], how: str) -> None:
    found = bound(*place)
    path = place[0] / "model.gguf"
    before = path.stat()
    if how == "append":
        path.write_bytes(FILES["model.gguf"] + b"!")
    elif how == "same size and time":
        path.write_bytes(b"GGUF weightz")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "unlink":
        path.unlink()
    else:
        other = place[0].parent / "other"
        other.write_bytes(FILES["model.gguf"])
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        path.unlink()
        path.symlink_to(other) if how == "link" else other.rename(path)
    with pytest.raises(VerificationError, match="changed while it was served"):
        found.check_files()
    with pytest.raises(VerificationError):
        found.check_hashes()


def test_what_is_written_through_an_old_mapping_does_not_reach_the_copy(place: tuple[Path, Path]) -> None:
    path = place[0] / "model.gguf"
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[:] = FILES["model.gguf"]  # dirty before anybody looks: later writes leave the times alone
        found = bound(*place)
        private = place[0].parent / "private"
        private.mkdir()
        copy = found.copy_artifact(private)
        mapping[:4] = b"EVIL"
        assert copy.read_bytes() == FILES["model.gguf"]
        assert path.read_bytes() != FILES["model.gguf"]
        (private / "again").mkdir()
        with pytest.raises(VerificationError, match="not the file that was decided on"):
            found.copy_artifact(private / "again")


def test_a_ledger_by_another_name_is_the_same_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"")
    (tmp_path / "other.db").symlink_to("ledger.db")
    claim = Claim(tmp_path / "ledger.db")
    with pytest.raises(InputError, match="another process"):
        Claim(tmp_path / "other.db")
    claim.close()
    (tmp_path / "third.db").hardlink_to(tmp_path / "ledger.db")
    with pytest.raises(InputError, match="hard link"):
        Claim(tmp_path / "ledger.db")

"""Artifacts in a bundle: those that proved what the policy asks go out, signed for; no others do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from release_world import POLICY, World, accuracy, integrity, load_policy, make_world
from trust_world import NOW, key
from weighbridge.canonical import Json
from weighbridge.checkpoint import open_checkpoint
from weighbridge.errors import CheckpointError, InputError, VerificationError
from weighbridge.evidence import Evidence, seeded_order
from weighbridge.release import verify_bundle
from weighbridge.release.layout import BOM
from weighbridge.release.oms import SIGNATURE_FILE, sign_model

LINES = (
    "\nartifacts:\n  - {measure: capability.accuracy, suite: general, at_least: {baseline: source, margin: -0.45}}\n"
)
GOOD, BAD = b"GGUF, a good one", b"GGUF, a bad one"


def paired(source: Evidence, name: str, data: bytes, right: int) -> Evidence:
    """``right`` right answers of the artifact ``name`` of these bytes, in the order of ``source``."""
    identity: dict[str, Json] = {"name": name, "digest": "sha256:" + hashlib.sha256(data).hexdigest()}
    settings: dict[str, Json] = {**source.question.settings, "artifact": identity, "order": source.question.digest}
    question = replace(source.question, settings=settings)
    order = seeded_order(question, [item.cluster for item in source.observations])
    items = {item.cluster: item for item in source.observations}
    answers = tuple(
        replace(items[cluster], values={"accuracy": float(number < right)}) for number, cluster in enumerate(order)
    )
    return replace(source, question=question, observations=answers)


@pytest.fixture
def world(tmp_path: Path) -> World:
    from checkpoints import make_checkpoint
    from release_world import CARD

    policy = load_policy(POLICY + LINES)
    model = make_checkpoint(tmp_path / "model", CARD)
    checkpoint = open_checkpoint(model).digest
    source = accuracy(checkpoint, policy)
    records = [integrity(checkpoint), source, paired(source, "Q8_0", GOOD, 60), paired(source, "Q4_K_M", BAD, 4)]
    made = make_world(tmp_path, policy=policy, evidence=records, model=model)
    folder = made.weighing / "artifacts"
    folder.mkdir()
    (folder / "Q8_0.gguf").write_bytes(GOOD)
    (folder / "Q4_K_M.gguf").write_bytes(BAD)
    return made


def test_what_proved_itself_goes_out_and_the_rest_is_named(world: World) -> None:
    bundle = world.release()
    assert sorted(path.name for path in (world.target / "artifacts").iterdir()) == ["Q8_0.gguf"]
    assert bundle.withheld == {"Q4_K_M": "not_met"}
    assert "artifacts/Q8_0.gguf" in {file.path for file in bundle.files}
    verified = verify_bundle(world.target, now=NOW, trust=world.trust)
    assert verified.judgement.artifacts["Q8_0"].outcome == "met"
    card = (world.target / "README.md").read_text()
    assert "| Q8\\_0 | yes |" in card
    assert "| Q4\\_K\\_M | no |" in card
    assert "Each GGUF file was asked for itself" in card
    bill = json.loads((world.target / BOM).read_bytes())
    listed = {one["name"]: one["hashes"][0]["content"] for one in bill["metadata"]["component"]["components"]}
    assert listed["artifacts/Q8_0.gguf"] == hashlib.sha256(GOOD).hexdigest()
    assert "artifacts/Q4_K_M.gguf" not in listed


def test_a_file_that_is_not_the_one_weighed_is_not_published(world: World) -> None:
    path = world.weighing / "artifacts" / "Q8_0.gguf"
    path.write_bytes(b"X" * len(GOOD))
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        world.release()
    path.unlink()
    with pytest.raises(InputError, match="not in the weighing's folder"):
        world.release()
    assert not world.target.exists()


@pytest.mark.parametrize("change", ["removed", "changed", "another", "withheld"])
def test_even_the_publisher_cannot_change_what_goes_out(world: World, change: str) -> None:
    """Each change is signed by the publisher's own key: the decision stands against it."""
    world.release()
    folder = world.target / "artifacts"
    if change == "removed":
        (folder / "Q8_0.gguf").unlink()
        folder.rmdir()
    elif change == "changed":
        (folder / "Q8_0.gguf").write_bytes(BAD)
    else:
        (folder / ("F16.gguf" if change == "another" else "Q4_K_M.gguf")).write_bytes(BAD)
    (world.target / SIGNATURE_FILE).unlink()
    hashes = {
        path.relative_to(world.target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in world.target.rglob("*")
        if path.is_file()
    }
    (world.target / SIGNATURE_FILE).write_bytes(sign_model("bundle", hashes, key("publisher")))
    with pytest.raises(VerificationError) as caught:
        verify_bundle(world.target, now=NOW, trust=world.trust)
    assert str(caught.value.where).startswith("artifacts/")


def test_a_name_that_would_leave_the_bundle_is_refused(tmp_path: Path) -> None:
    from checkpoints import make_checkpoint
    from release_world import CARD

    policy = load_policy(POLICY + LINES)
    model = make_checkpoint(tmp_path / "model", CARD)
    checkpoint = open_checkpoint(model).digest
    source = accuracy(checkpoint, policy)
    records = [integrity(checkpoint), source, paired(source, "../../escape", GOOD, 60)]
    world = make_world(tmp_path, policy=policy, evidence=records, model=model)
    (tmp_path / "escape.gguf").write_bytes(GOOD)
    with pytest.raises(InputError):
        world.release()
    assert not world.target.exists()

"""Plans and serials on the way out: what decision and evidence name is at hand, and nothing newer has been seen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from release_world import World, decide, load_policy, make_world
from trust_world import DECIDED, NOW, arguments, key, keyid, trust
from weighbridge import canonical
from weighbridge.decision import make_decision
from weighbridge.errors import InputError, PolicyError, VerificationError, WeighbridgeError
from weighbridge.plan import make_plan
from weighbridge.release import layout, verify_bundle
from weighbridge.trust import State, load_state, sign, update_state
from weighbridge.trust.state import SeenDecision
from weighbridge.workspace import Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy to do harm to."""
    shutil.copytree(made.folder, tmp_path / "world")
    return replace(made, folder=tmp_path / "world")


def refused(world: World, error: type[WeighbridgeError], match: str, **changes: object) -> None:
    with pytest.raises(error, match=match) as caught:
        world.release(**changes)
    assert caught.value.remedy
    assert not world.target.exists()


@pytest.mark.parametrize("data", [b"{}", b"[]", b"", b'{"version":1,"version":1}'])
def test_a_plan_that_is_none_is_refused(world: World, data: bytes) -> None:
    (world.weighing / "plan.json").write_bytes(data)
    with pytest.raises(InputError, match=r".") as caught:
        world.release()
    assert "plan.json" in str(caught.value)
    assert not world.target.exists()


def test_a_plan_that_is_gone_is_refused(world: World) -> None:
    (world.weighing / "plan.json").unlink()
    refused(world, VerificationError, "is missing")


def test_another_plan_is_refused(world: World) -> None:
    records = Workspace(world.weighing).store.load()
    plan = make_plan(load_policy(), world.checkpoint.digest, [record.question for record in records[:1]])
    (world.weighing / "plan.json").write_bytes(canonical.dumps(plan.to_json()))
    refused(world, VerificationError, "is missing")


def test_a_plan_under_a_false_name_is_refused(world: World) -> None:
    (world.weighing / "plans").mkdir()
    shutil.copy(world.weighing / "plan.json", world.weighing / "plans" / f"{'0' * 64}.json")
    refused(world, InputError, "not the plan's digest")


def test_an_earlier_plan_is_kept_and_enclosed(world: World) -> None:
    workspace = Workspace(world.weighing)
    first = workspace.plan()
    assert first is not None
    second = make_plan(load_policy(), world.checkpoint.digest, [step.question for step in first.steps[:1]])
    workspace.write_plan(second)
    workspace.write_plan(second)
    assert workspace.plan() == second
    assert workspace.plans() == [second, first]
    signed = decide(workspace, world.policy, DECIDED, "decider", world.checkpoint, serial=2)
    assert signed.plan == second.digest
    world = replace(world, decision=signed)
    world.approve()
    world.release()
    assert {path.name for path in (world.target / layout.PLANS).iterdir()} == {
        f"{plan.digest.removeprefix('sha256:')}.json" for plan in (first, second)
    }
    assert verify_bundle(world.target, now=NOW, trust=trust()).decision == signed


def test_a_bundle_without_its_plan_is_no_bundle(world: World) -> None:
    from test_verify import sign_again

    world.release()
    (plan,) = (world.target / layout.PLANS).iterdir()
    data = plan.read_bytes()
    value = json.loads(data)
    value["steps"] = value["steps"][1:]
    for spoilt in (b"{}", canonical.dumps(value), None):
        plan.write_bytes(spoilt) if spoilt is not None else plan.unlink()
        sign_again(world.target)
        with pytest.raises(VerificationError) as caught:
            verify_bundle(world.target, now=NOW, trust=trust())
        assert layout.PLANS + plan.name in str(caught.value)
    plan.write_bytes(data)
    plan.with_name("more.json").write_bytes(data)
    sign_again(world.target)
    with pytest.raises(VerificationError, match="extra file"):
        verify_bundle(world.target, now=NOW, trust=trust())


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"not JSON"])
def test_a_damaged_neighbour_may_have_been_the_successor(world: World, data: bytes) -> None:
    (world.weighing / "decisions" / "newer.json").write_bytes(data)
    refused(world, VerificationError, ".")


@pytest.mark.parametrize("signers", [["stranger"], ["approver"], []])
def test_a_neighbour_that_nobody_trusted_signed_supersedes_nothing(world: World, signers: list[str]) -> None:
    other = make_decision(**arguments(manifest=world.checkpoint.manifest, serial=7, supersedes=world.decision.id))
    data = sign(other.payload, [key(name) for name in signers]) if signers else other.payload
    (world.weighing / "decisions" / "other.json").write_bytes(data)
    world.release()


def test_a_remark_in_the_policy_is_seen(world: World) -> None:
    path = world.weighing / "policy.json"
    path.write_bytes(path.read_bytes() + b"\n# open, as agreed\n")
    refused(world, PolicyError, "not in canonical form")


def seen(world: World, **changes: object) -> State:
    one = SeenDecision(keyid("decider"), world.decision.checkpoint, world.policy.name, 2, "sha256:" + "5" * 64)
    return State(decisions=(replace(one, **changes),))  # type: ignore[arg-type]


def test_a_newer_decision_that_this_machine_saw_counts_wherever_it_went(world: World) -> None:
    refused(world, VerificationError, "seen on this machine", state=seen(world))
    refused(
        world, VerificationError, "seen on this machine", state=seen(world, serial=1)
    )  # the same one, other content


@pytest.mark.parametrize(
    "changes",
    [
        {"key": keyid("stranger")},
        {"checkpoint": "sha256:" + "6" * 64},
        {"policy": "another"},
    ],
)
def test_what_others_decided_or_about_something_else_does_not_count(world: World, changes: dict[str, object]) -> None:
    world.release(state=seen(world, **changes))


def test_this_very_decision_may_be_released_again(world: World, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    update_state(path, now=NOW, decision=world.decision)
    world.release(state=load_state(path))
    note = "a newer decision has been seen on this machine"
    assert not any(note in one for one in verify_bundle(world.target, now=NOW, trust=trust()).notes)
    newer = seen(world)
    assert any(note in one for one in verify_bundle(world.target, now=NOW, trust=trust(), state=newer).notes)

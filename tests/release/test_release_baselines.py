"""What a decision compared with travels with it: without the registry, with every record by its digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from test_verify import sign_again

from release_world import POLICY, World, accuracy, load_policy, make_world
from trust_world import DECIDED, NOW, decided, digest, key, signed, trust
from weighbridge import canonical
from weighbridge.baselines import KEPT, Weighed, for_judge, keep
from weighbridge.decision import BaselineModel, make_decision
from weighbridge.errors import InputError, UndecidedInTheWay, VerificationError
from weighbridge.evidence import to_json
from weighbridge.judge import judge
from weighbridge.policy import Policy
from weighbridge.release import layout, verify_bundle
from weighbridge.successors import keep_succession, read_succession
from weighbridge.times import format_time
from weighbridge.trust import sign, verify_decision
from weighbridge.workspace import Workspace

RELATIVE = load_policy(
    POLICY
    + "    - {measure: capability.accuracy, suite: general, at_least: {baseline: predecessor, margin: -0.5}}\n"
    + "    - {measure: capability.accuracy, suite: general, at_least: {baseline: open-frontier, margin: -0.5}}\n"
)


def baselines(policy: Policy) -> list[Weighed]:
    """A predecessor of one's own and an open model of others."""
    mine = BaselineModel("predecessor", digest("v1"), "own", None, None)
    theirs = BaselineModel("Theirs-1.0", digest("theirs"), "others", "open-frontier", "2026-01-31")
    return [Weighed(one, (accuracy(one.checkpoint, policy),)) for one in (mine, theirs)]


def decide(world: World, policy: Policy, weighed: Sequence[Weighed], serial: int = 2) -> World:
    """Decide in the world's folder, compared with ``weighed``, and approve."""
    workspace = Workspace(world.weighing)
    records, plan = workspace.store.load(), workspace.plan()
    at = format_time(DECIDED)
    judgement = judge(policy, records, checkpoint=world.checkpoint.digest, at=at, baselines=for_judge(weighed))
    decision = make_decision(
        manifest=world.checkpoint.manifest,
        judgement=judgement.to_json(),
        policy=policy.to_json(),
        evidence=[(record.question.digest, record.digest) for record in records],
        plan=None if plan is None else plan.digest,
        decided_at=judgement.at,
        expires_at=judgement.expires_at,
        serial=serial,
        baselines=[one.ref for one in weighed],
    )
    keep(world.weighing, weighed)
    data = sign(decision.payload, [key("decider")])
    workspace.write_decision(decision, data, policy)
    world = replace(world, decision=verify_decision(data, trust()), policy=policy)
    if decision.tier == "open":
        world.approve()
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return decide(make_world(tmp_path), RELATIVE, baselines(RELATIVE))


def kept(folder: Path, name: str) -> Path:
    (path,) = (folder / name).iterdir()
    return path


def test_a_bundle_carries_what_the_decision_compared_with_and_replays_it(world: World) -> None:
    assert world.decision.tier == "open"
    assert [one.name for one in world.decision.baselines] == ["Theirs-1.0", "predecessor"]
    world.release()
    files = sorted(str(path.relative_to(world.target)) for path in (world.target / layout.BASELINES).rglob("*.json"))
    named = [(one.name, record) for one in world.decision.baselines for record in one.records]
    assert files == [layout.baseline_path(*one) for one in named]
    verified = verify_bundle(world.target, now=NOW, trust=trust())
    assert verified.judgement.tier == "open"
    own = load_policy(canonical.dumps(RELATIVE.to_json()).decode().replace("predecessor", "unknown"))
    with pytest.raises(UndecidedInTheWay, match="unknown"):
        verify_bundle(world.target, now=NOW, trust=trust(), policy=own)


@pytest.mark.parametrize("name", ["predecessor", "Theirs-1.0"])
@pytest.mark.parametrize("harm", ["missing", "altered", "of another record", "garbage"])
def test_neither_released_nor_verified_without_the_records_themselves(world: World, name: str, harm: str) -> None:
    world.release()

    def release() -> None:
        world.release(to=world.folder / "again")

    def verify() -> None:
        sign_again(world.target)
        verify_bundle(world.target, now=NOW, trust=trust())

    for act, folder in ((release, world.weighing / KEPT), (verify, world.target / layout.BASELINES)):
        path = kept(folder, name)
        data = path.read_bytes()
        if harm == "missing":
            path.unlink()
        elif harm == "altered":
            path.write_bytes(data.replace(b'"accuracy":1', b'"accuracy":0', 1))
        elif harm == "garbage":
            path.write_bytes(b"\xff{")
        else:
            other = accuracy(digest("a third model"), RELATIVE)
            path.write_bytes(canonical.dumps(to_json(other)))
        with pytest.raises(VerificationError) as caught:
            act()
        assert path.name in str(caught.value)
        assert caught.value.exit_code == 5
    assert not (world.folder / "again").exists()


def test_a_record_that_the_decision_does_not_name_is_an_extra_file(world: World) -> None:
    world.release()
    path = kept(world.target / layout.BASELINES, "predecessor")
    path.with_name("f" * 64 + ".json").write_bytes(path.read_bytes())
    sign_again(world.target)
    with pytest.raises(VerificationError, match="extra file"):
        verify_bundle(world.target, now=NOW, trust=trust())


def test_a_decision_cannot_leave_out_what_its_judgement_compared_with(world: World) -> None:
    value = json.loads(world.decision.payload)["predicate"]
    with pytest.raises(InputError, match="not listed"):
        make_decision(
            manifest=world.checkpoint.manifest,
            judgement=value["judgement"],
            policy=RELATIVE.to_json(),
            evidence=[(one["question"], one["record"]) for one in value["evidence"]],
            plan=value["plan"],
            decided_at=value["decided_at"],
            expires_at=value["expires_at"],
            baselines=world.decision.baselines[:1],
        )


# The decision on a successor, which opens an older model.

SUCCEEDED = load_policy(POLICY + "    - {measure: release.successor_served, at_least: 1}\n")


@pytest.fixture
def succeeded(tmp_path: Path) -> World:
    world = make_world(tmp_path, policy=SUCCEEDED)
    assert world.decision.tier == "api"
    path = tmp_path / "successor.json"
    path.write_bytes(signed("decider", tier="api"))
    record, data = read_succession(path, world.checkpoint.digest, trust(), at=NOW)
    assert record.question.settings["successor"] == decided("decider", tier="api").id
    keep_succession(Workspace(world.weighing).store, replace(record, made=format_time(DECIDED)), data)
    return decide(world, SUCCEEDED, [])


def test_an_older_model_is_released_with_the_decision_on_its_successor(succeeded: World) -> None:
    assert succeeded.decision.tier == "open"
    succeeded.release()
    assert verify_bundle(succeeded.target, now=NOW, trust=trust()).judgement.tier == "open"
    (path,) = (succeeded.target / layout.SUCCESSORS).iterdir()
    for by, said in (("decider", "something else"), ("stranger", "signer unknown")):
        path.write_bytes(signed(by, tier="api", serial=7))
        sign_again(succeeded.target)
        with pytest.raises(VerificationError, match=said):
            verify_bundle(succeeded.target, now=NOW, trust=trust())
    path.unlink()
    sign_again(succeeded.target)
    with pytest.raises(VerificationError) as caught:
        verify_bundle(succeeded.target, now=NOW, trust=trust())
    assert path.name in str(caught.value)


def test_a_successor_counts_by_a_signed_decision_in_force_on_another_model(tmp_path: Path) -> None:
    path = tmp_path / "successor.json"
    decision = decided("decider", tier="api")

    def read(checkpoint: str, data: bytes) -> None:
        path.write_bytes(data)
        read_succession(path, checkpoint, trust(), at=NOW)

    read(digest("older"), signed("decider", tier="api"))
    with pytest.raises(InputError, match="succeeds itself"):
        read(decision.checkpoint, signed("decider", tier="api"))
    with pytest.raises(InputError, match="may not be served"):
        read(digest("older"), signed("decider", tier="held"))
    with pytest.raises(VerificationError, match="not signed"):
        read(digest("older"), decision.payload)
    with pytest.raises(VerificationError):
        read(digest("older"), signed("stranger", tier="api"))
    with pytest.raises(VerificationError, match="expired"):
        read(digest("older"), signed("decider", tier="api", expires_at=NOW - timedelta(seconds=1)))

"""The registry of baselines: what is entered comes back, nothing else is read, and no model is compared with itself."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_world import CHECKPOINT, rules
from judging_world import SUMS, accuracy, of, safety, share
from trust_world import digest
from weighbridge import canonical
from weighbridge.baselines import (
    Entry,
    Registry,
    Weighed,
    check_frontier,
    compared_with,
    decided_here,
    for_judge,
    keep,
    kept_in,
)
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.decision import FRONTIER
from weighbridge.errors import InputError, StorageError, VerificationError
from weighbridge.plan import make_plan
from weighbridge.trust import State
from weighbridge.trust.state import SeenDecision

ADDED = "2026-01-02T03:04:05Z"
POLICY = rules(
    """
    tiers:
      api:
        - {measure: capability.accuracy, suite: sums, at_least: 0.3}
      open:
        - {measure: capability.accuracy, suite: sums, at_least: {baseline: predecessor, margin: -0.1}}
        - {measure: safety.harmful_compliance, suite: requests, no_more_than: {baseline: open-frontier, margin: 0.02}}
    """
)


def entry(name: str = "old", **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "name": name,
        "checkpoint": digest(name),
        "opened_by": "others",
        "set": None,
        "since": None,
        "added": ADDED,
    }
    return Entry(**fields | changes)


def damaged(folder: Path, change: Any) -> Registry:
    """A registry of two baselines whose file is changed."""
    registry = Registry(folder)
    registry.add(entry("a"))
    registry.add(entry("b", set=FRONTIER, since="2025-12-31"))
    value = json.loads(registry.path.read_bytes())
    data = change(value)
    registry.path.write_bytes(data if isinstance(data, bytes) else canonical.dumps(value))
    return registry


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True).filter(
    lambda name: name not in (FRONTIER, "source", "registry.json")
)


@given(st.lists(NAMES, max_size=6, unique_by=str.lower), st.data())
@settings(max_examples=15, deadline=None)
def test_what_is_added_comes_back_in_one_form_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    entries = [entry(name, set=data.draw(st.sampled_from([None, FRONTIER]))) for name in names]
    files = []
    for order in (entries, data.draw(st.permutations(entries))):
        registry = Registry(tmp_path_factory.mktemp("registry"))
        for one in order:
            assert registry.add(one) == one
        assert registry.entries() == tuple(sorted(entries, key=lambda one: one.name))
        files.append(registry.path.read_bytes() if entries else b"")
    assert files[0] == files[1]


def test_a_folder_without_a_registry_has_no_baselines(tmp_path: Path) -> None:
    assert Registry(tmp_path / "nowhere").entries() == ()
    with pytest.raises(InputError, match="no registry"):
        Registry(tmp_path / "nowhere").check()


def test_adding_the_same_again_keeps_the_first_time_and_another_model_is_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(entry())
    again = registry.add(entry(added="2026-06-01T00:00:00Z"))
    assert again.added == ADDED
    changes: list[dict[str, Any]] = [
        {"checkpoint": digest("new")},
        {"set": FRONTIER},
        {"opened_by": "own"},
        {"since": "2026-01-01"},
        {"name": "OLD"},
    ]
    for change in changes:
        with pytest.raises(InputError, match="taken"):
            registry.add(entry(**change))
    assert registry.entries() == (entry(),)


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    names = [f"model-{number}" for number in range(12)]
    threads = [threading.Thread(target=lambda name=name: Registry(tmp_path).add(entry(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.name for one in Registry(tmp_path).entries()] == sorted(names)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: b"", "not JSON"),
        (lambda value: b"[]", "expected an object"),
        (lambda value: json.dumps(value).encode(), "canonical"),
        (lambda value: value.update(version=2), "version"),
        (lambda value: value.update(more=1), "unknown field"),
        (lambda value: value["baselines"].reverse(), "order"),
        (lambda value: value["baselines"].append(value["baselines"][1]), "one name"),
        (lambda value: value["baselines"][1].update(name="A"), "order"),
        (lambda value: value["baselines"][0].pop("since"), "missing"),
        (lambda value: value["baselines"][0].update(name="../../up"), "no name"),
        (lambda value: value["baselines"][0].update(name=FRONTIER), "no name"),
        (lambda value: value["baselines"][0].update(checkpoint="sha256:no"), "digest"),
        (lambda value: value["baselines"][0].update(opened_by="everyone"), "none of"),
        (lambda value: value["baselines"][0].update(set="best"), "no set"),
        (lambda value: value["baselines"][0].update(since="yesterday"), "no day"),
        (lambda value: value["baselines"][0].update(added="2026-01-02"), "not a time"),
        (lambda value: value["baselines"][1].update(opened_by="own"), "ratchet"),
        (lambda value: value["baselines"][0].update(opened_by="own", checkpoint=digest("b")), "as one's own"),
    ],
)
def test_a_damaged_registry_is_refused_with_its_place(tmp_path: Path, change: Any, said: str) -> None:
    registry = damaged(tmp_path, change)
    data = registry.path.read_bytes()
    for act in (registry.entries, lambda: registry.add(entry("c")), lambda: registry.remove("a")):
        with pytest.raises(InputError, match=said) as caught:
            act()
        assert str(registry.path) in str(caught.value.where)
    assert registry.path.read_bytes() == data


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.path.write_bytes(data)
    with pytest.raises(InputError):
        registry.entries()


def test_what_cannot_be_written_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    registry.add(entry())

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("weighbridge.files.os.replace", refuse)
    with pytest.raises(StorageError, match="No space"):
        registry.add(entry("new"))
    assert registry.entries() == (entry(),)


def test_removing_takes_the_folder_too_and_follows_no_link(tmp_path: Path) -> None:
    registry, elsewhere = Registry(tmp_path / "registry"), tmp_path / "elsewhere"
    registry.add(entry("a"))
    registry.add(entry("b"))
    registry.workspace("a").store.folder.mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (registry.folder / "b").symlink_to(elsewhere)
    assert registry.remove("a").name == "a"
    assert not (registry.folder / "a").exists()
    with pytest.raises(InputError, match="link"):
        registry.remove("b")
    assert (elsewhere / "precious").exists()
    with pytest.raises(InputError, match="no such baseline"):
        registry.remove("a")
    assert [one.name for one in registry.entries()] == ["b"]


def test_nothing_is_removed_while_it_is_measured(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(entry())
    store = registry.workspace("old").store
    with store.lock(), pytest.raises(StorageError, match="measuring"):
        registry.remove("old")
    assert registry.get("old") == entry()


# What a policy compares with.


def weighed(folder: Path, name: str, *, manifest: str | None = None, **changes: Any) -> tuple[Registry, Entry]:
    """A baseline with accuracy and safety on record, and a suite that no line compares."""
    registry = Registry(folder)
    files = Manifest((FileEntry("config.json", 3, digest(manifest or name)[7:]),))
    one = registry.add(entry(name, checkpoint=files.digest, **changes))
    workspace = registry.workspace(name)
    facts: dict[str, Any] = {"manifest": files.to_json(), "facts": {}, "origin": None}
    workspace.folder.mkdir(parents=True)
    (workspace.folder / "manifest.json").write_bytes(canonical.dumps(facts))
    other = replace(SUMS, name="others")
    for record in (accuracy(0.5), safety(share(0.3)), accuracy(0.5, on=other)):
        workspace.store.put(of(record, files.digest))
    return registry, one


def test_a_policy_gets_the_records_that_its_lines_compare_and_no_others(tmp_path: Path) -> None:
    registry, _ = weighed(tmp_path, "predecessor", opened_by="own")
    weighed(tmp_path, "theirs", set=FRONTIER)
    weighed(tmp_path, "unrelated")
    found = {one.model.name: one for one in registry.weighed(POLICY)}
    asked = {
        name: [
            (record.question.measure, record.question.suite.name) for record in one.evidence if record.question.suite
        ]
        for name, one in found.items()
    }
    assert asked == {"predecessor": [("capability", "sums")], "theirs": [("safety", "requests")]}
    groups = for_judge(found.values())
    assert {name: [model.name for model in models] for name, models in groups.items()} == {
        "predecessor": ["predecessor"],
        "theirs": ["theirs"],
        FRONTIER: ["theirs"],
    }
    plain = rules("tiers: {api: [{measure: integrity.findings, at_most: 0}]}")
    assert registry.weighed(plain) == []


def test_a_baseline_that_was_entered_and_not_yet_measured_has_no_evidence(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(entry("predecessor"))
    assert [one.evidence for one in registry.weighed(POLICY)] == [()]


def test_a_folder_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    registry, one = weighed(tmp_path, "predecessor")
    registry._write([replace(one, checkpoint=digest("another"))])
    with pytest.raises(InputError, match="another checkpoint") as caught:
        registry.weighed(POLICY)
    assert "predecessor" in str(caught.value.where)


def test_everything_that_is_compared_is_planned_in_whole(tmp_path: Path) -> None:
    questions = [
        accuracy(0.5).question,
        safety(share(0.5)).question,
        accuracy(0.5, on=replace(SUMS, name="x")).question,
    ]
    plan = make_plan(POLICY, CHECKPOINT, questions)

    def asked(**changes: Any) -> list[str]:
        chosen = compared_with(POLICY, entry(**changes), plan)
        assert all(step.items is None for step in chosen.steps)
        return [step.question.suite.name for step in chosen.steps if step.question.suite]

    assert asked(name="predecessor") == ["sums"]
    assert asked(name="theirs", set=FRONTIER) == ["requests"]
    assert asked(name="predecessor", set=FRONTIER) == ["sums", "requests"]
    assert asked(name="nobody-compares") == ["sums", "requests"], "all that the policy names"


# A margin against oneself would ratchet.


def seen(checkpoint: str, key: str = "aa" * 32) -> State:
    return State(decisions=(SeenDecision(key, checkpoint, "default", 1, digest("decision")),))


def test_own_models_stay_out_of_the_frontier() -> None:
    theirs = entry("theirs", set=FRONTIER)
    check_frontier([theirs], {digest("candidate")})
    with pytest.raises(InputError, match="ratchet") as caught:
        check_frontier([theirs], {digest("candidate"), theirs.checkpoint})
    assert "theirs of open-frontier" in str(caught.value.where)
    check_frontier([replace(theirs, set=None)], {theirs.checkpoint})


def test_decisions_of_others_that_were_only_verified_here_are_not_ones_own() -> None:
    state = seen(digest("theirs"), "aa" * 32)
    assert decided_here(state, None) == {digest("theirs")}, "unless somebody says whose it is"
    assert decided_here(state, frozenset({"aa" * 32})) == {digest("theirs")}
    assert decided_here(state, frozenset({"bb" * 32})) == frozenset()


# The copies that a weighing keeps.


def test_kept_copies_are_what_the_decision_names(tmp_path: Path) -> None:
    record = of(accuracy(0.5), digest("old"))
    one = Weighed(entry(), (record,))
    keep(tmp_path, [one])
    assert [back.evidence for back in kept_in(tmp_path, [one.ref])] == [(record,)]
    path = tmp_path / "baselines" / "old" / f"{record.digest[7:]}.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"accuracy":1', b'"accuracy":0', 1))
    with pytest.raises(VerificationError, match="not the record") as caught:
        kept_in(tmp_path, [one.ref])
    assert path.name in str(caught.value.where)
    path.unlink()
    with pytest.raises(VerificationError, match="missing") as caught:
        kept_in(tmp_path, [one.ref])
    assert path.name in str(caught.value.where)
    path.write_bytes(data)
    with pytest.raises(VerificationError, match="another checkpoint"):
        kept_in(tmp_path, [replace(one.ref, checkpoint=digest("new"))])

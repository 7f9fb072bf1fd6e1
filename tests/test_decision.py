"""The decision record: deterministic, whole, and read back only if every part agrees with every other."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_world import DECIDED, EXPIRES, NOW, POLICY, arguments, digest, draft, manifest
from weighbridge import canonical
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.decision import (
    BaselineRef,
    Decision,
    check_expiry,
    check_supersession,
    make_decision,
    successor,
)
from weighbridge.errors import DecisionExpired, EvidenceError, InputError, PolicyError, VerificationError
from weighbridge.statement import Statement


def read(payload: bytes) -> Decision:
    return Decision.from_statement(Statement.from_bytes(payload, where="decision.json"), where="decision.json")


def reread(value: dict[str, Any], *, mend_id: bool = True) -> Decision:
    """Read a statement's JSON, its id made anew to fit whatever was changed."""
    if mend_id:
        rest = {**value, "predicate": {k: v for k, v in value["predicate"].items() if k != "id"}}
        value["predicate"]["id"] = canonical.digest(rest)
    return read(canonical.dumps(value))


def as_json(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(draft(**changes).payload)
    return value


def test_same_input_gives_the_same_bytes() -> None:
    assert draft().payload == draft().payload
    reordered = arguments()
    reordered["evidence"] = list(reversed(reordered["evidence"]))
    reordered["judgement"] = dict(reversed(reordered["judgement"].items()))
    assert make_decision(**reordered).payload == draft().payload


def test_a_float_and_its_integer_are_one() -> None:
    assert draft(policy={**POLICY, "x": 1.0}).payload == draft(policy={**POLICY, "x": 1}).payload


def test_times_may_be_given_either_way() -> None:
    texts = draft(decided_at="2026-03-01T12:00:00Z", expires_at="2026-08-28T12:00:00Z")
    assert texts.payload == draft().payload
    assert draft(decided_at=DECIDED.replace(microsecond=7)).payload == draft().payload


def test_the_record_says_what_was_decided() -> None:
    decision = draft(serial=4, supersedes=digest("older"), origin={"kind": "gguf"})
    predicate = json.loads(decision.payload)["predicate"]
    assert predicate["tier"] == "open"
    assert predicate["policy"] == {
        "name": "tutorial",
        "digest": canonical.digest(POLICY),
        "notice": "not for real release",
    }
    assert predicate["error_rate"] == "0.05"
    assert predicate["checkpoint"] == {"digest": manifest().digest, "files": 3, "origin": {"kind": "gguf"}}
    assert (predicate["serial"], predicate["supersedes"]) == (4, digest("older"))
    assert (predicate["decided_at"], predicate["expires_at"]) == ("2026-03-01T12:00:00Z", "2026-08-28T12:00:00Z")
    assert decision.signers == ()


def test_every_file_is_a_subject_with_its_size() -> None:
    subjects = json.loads(draft().payload)["subject"]
    assert [(one["name"], one["digest"]["sha256"], one["annotations"]["size"]) for one in subjects] == [
        (file.path, file.sha256, file.size) for file in manifest().files
    ]


def test_the_id_covers_everything() -> None:
    base = draft()
    variants = [
        draft(serial=2),
        draft(supersedes=digest("older")),
        draft(manifest=manifest("extra.json")),
        draft(origin={}),
        draft(tier="held"),
        draft(policy={**POLICY, "name": "other"}),
        draft(policy={**POLICY, "error_rate": "0.01"}),
        draft(policy={**POLICY, "notice": None}),
        draft(plan=None),
        draft(evidence=arguments()["evidence"][1:]),
        draft(decided_at=DECIDED + timedelta(seconds=1)),
        draft(expires_at=EXPIRES + timedelta(seconds=1)),
    ]
    ids = {base.id, *(variant.id for variant in variants)}
    assert len(ids) == 1 + len(variants)


@pytest.mark.parametrize("tier", ["open", "gated", "api", "held", "undecided"])
def test_every_outcome_can_be_said(tier: str) -> None:
    assert read(draft(tier=tier).payload).tier == tier


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8) | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    tier=st.sampled_from(["open", "gated", "api", "held", "undecided"]),
    more=st.dictionaries(st.text(min_size=1, max_size=8).map(lambda key: "x" + key), json_values, max_size=3),
    records=st.dictionaries(st.integers(0, 50), st.integers(0, 50), max_size=5),
    serial=st.integers(1, 2**53 - 1),
    seconds=st.integers(1, 10**9),
    origin=st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=2),
)
def test_round_trip(
    tier: str, more: dict[str, Any], records: dict[int, int], serial: int, seconds: int, origin: Any
) -> None:
    decision = draft(
        judgement={**more, "tier": tier},
        evidence=[(digest(f"q{q}"), digest(f"r{r}")) for q, r in records.items()],
        serial=serial,
        expires_at=DECIDED + timedelta(seconds=seconds),
        origin=origin,
    )
    again = read(decision.payload)
    assert again == decision
    assert again.payload == decision.payload


def test_what_is_recorded_shares_nothing_with_the_caller() -> None:
    given_judgement = arguments()["judgement"]
    decision = draft(judgement=given_judgement)
    given_judgement["tiers"].append("changed later")
    assert read(decision.payload) == decision


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tier": "free"}, InputError),
        ({"judgement": {}}, InputError),
        ({"judgement": {"tier": "open", "x": float("nan")}}, InputError),
        ({"judgement": {"tier": "open", "checkpoint": digest("another")}}, InputError),
        ({"judgement": {"tier": "open", "policy_digest": digest("another")}}, InputError),
        ({"judgement": {"tier": "open", "expires_at": "2030-01-01T00:00:00Z"}}, InputError),
        ({"judgement": {"tier": "open", "evidence": [digest("not listed")]}}, InputError),
        ({"judgement": {"tier": "open", "evidence": [["no digest"]]}}, InputError),
        ({"policy": {"error_rate": "0.05"}}, PolicyError),
        ({"policy": {"name": "x"}}, PolicyError),
        ({"policy": {"name": "x", "error_rate": "lots"}}, PolicyError),
        ({"policy": {"name": " ", "error_rate": "0.05"}}, InputError),
        ({"policy": {"name": "x", "error_rate": "0"}}, InputError),
        ({"policy": {"name": "x", "error_rate": "0.51"}}, InputError),
        ({"policy": {"name": "x", "error_rate": "NaN"}}, InputError),
        ({"evidence": [(digest("q"), digest("r")), (digest("q"), digest("s"))]}, EvidenceError),
        ({"evidence": [("q", digest("r"))]}, InputError),
        ({"plan": "some plan"}, InputError),
        ({"supersedes": "the other"}, InputError),
        ({"serial": 0}, InputError),
        ({"serial": True}, InputError),
        ({"serial": 2**53}, InputError),
        ({"expires_at": DECIDED}, InputError),
        ({"decided_at": "2026-03-01"}, InputError),
        ({"decided_at": "2026-02-30T00:00:00Z"}, InputError),
        ({"decided_at": DECIDED.replace(tzinfo=None)}, InputError),
        ({"manifest": Manifest(())}, InputError),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], error: type[InputError]) -> None:
    with pytest.raises(error):
        draft(**changes)


def test_a_statement_with_a_mended_id_is_read() -> None:
    assert reread(as_json()) == draft()  # so that the refusals below are for the change alone


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("predicate.version", 2),
        ("predicate.version", True),
        ("predicate.serial", 0),
        ("predicate.serial", "1"),
        ("predicate.tier", "held"),
        ("predicate.tier", "free"),
        ("predicate.judgement.tier", "held"),
        ("predicate.judgement", []),
        ("predicate.checkpoint.digest", digest("another")),
        ("predicate.checkpoint.files", 2),
        ("predicate.checkpoint.extra", 1),
        ("predicate.policy.notice", 3),
        ("predicate.policy.digest", "md5:00"),
        ("predicate.error_rate", 0.05),
        ("predicate.error_rate", "5e-2"),
        ("predicate.evidence", [{"question": digest("q")}]),
        ("predicate.plan", ""),
        ("predicate.decided_at", "2026-03-01T12:00:00+00:00"),
        ("predicate.expires_at", "2026-03-01T12:00:00Z"),
        ("predicate.surprise", None),
        ("predicateType", "urn:weighbridge:predicate:decision:v2"),
        ("predicateType", "urn:weighbridge:predicate:approval:v1"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("_type", "https://in-toto.io/Statement/v0.1"),
        ("surprise", 1),
        ("subject", []),
        ("subject", "config.json"),
        ("subject.0.name", "../config.json"),
        ("subject.0.name", "/config.json"),
        ("subject.0.name", "zzz"),
        ("subject.0.name", "model.safetensors"),
        ("subject.0.digest.sha256", "00"),
        ("subject.0.digest.sha512", "00"),
        ("subject.0.digest.sha256", "0" * 64),
        ("subject.0.annotations.size", 1),
        ("subject.0.annotations.size", -1),
        ("subject.0.annotations.size", 1.5),
        ("subject.0.annotations.size", None),
        ("subject.0.annotations.note", "x"),
        ("subject.0.uri", "https://example.org"),
    ],
)
def test_a_statement_that_disagrees_with_itself_is_refused(path: str, value: Any) -> None:
    statement: Any = as_json()
    *parents, last = path.split(".")
    node = statement
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = value
    with pytest.raises(VerificationError):
        reread(statement)


def test_every_field_is_needed() -> None:
    for name in as_json()["predicate"]:
        statement = as_json()
        del statement["predicate"][name]
        with pytest.raises(VerificationError):
            reread(statement, mend_id=name != "id")


def test_an_id_that_does_not_fit_is_refused() -> None:
    statement = as_json()
    statement["predicate"]["serial"] = 7
    with pytest.raises(VerificationError, match="id"):
        reread(statement, mend_id=False)


def test_evidence_out_of_order_is_refused() -> None:
    statement = as_json()
    statement["predicate"]["evidence"].reverse()
    with pytest.raises(VerificationError, match="order"):
        reread(statement)


def test_subjects_are_no_approval_subjects() -> None:
    statement = as_json()
    del statement["subject"][0]["annotations"]
    with pytest.raises(VerificationError, match="no file"):
        reread(statement)


def test_duplicate_keys_are_refused() -> None:
    text = draft().payload.decode().replace('"serial":1', '"serial":1,"serial":1')
    with pytest.raises(VerificationError, match="twice"):
        read(text.encode())


@pytest.mark.parametrize("change", [lambda data: data + b"\n", lambda data: data.replace(b":1,", b":1.0,", 1)])
def test_anything_but_the_canonical_form_is_refused(change: Any) -> None:
    with pytest.raises(VerificationError):
        read(change(draft().payload))


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_decision_or_a_typed_error(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read(data)


@given(st.data())
def test_any_replaced_value_is_refused_or_agrees(data: st.DataObject) -> None:
    statement = as_json()
    name = data.draw(st.sampled_from(sorted(statement["predicate"])))
    statement["predicate"][name] = data.draw(json_values)
    try:
        decision = reread(statement, mend_id=False)
    except (VerificationError, InputError):
        return
    assert decision == draft()


def test_expiry() -> None:
    check_expiry(draft(), NOW)
    check_expiry(draft(), EXPIRES - timedelta(seconds=1))
    for late in (EXPIRES, EXPIRES + timedelta(days=1000)):
        with pytest.raises(DecisionExpired):
            check_expiry(draft(), late)


def test_a_decision_from_the_future_is_refused_as_such() -> None:
    check_expiry(draft(), DECIDED - timedelta(minutes=5))
    with pytest.raises(VerificationError) as caught:
        check_expiry(draft(), DECIDED - timedelta(minutes=5, seconds=1))
    assert not isinstance(caught.value, DecisionExpired)


def test_the_latest_decision_is_not_superseded() -> None:
    first = draft()
    second = draft(serial=2, supersedes=first.id)
    other_checkpoint = draft(manifest=manifest("other"), serial=9)
    other_policy = draft(policy={**POLICY, "name": "default"}, serial=9)
    check_supersession(second, [first, second, other_checkpoint, other_policy])
    check_supersession(first, [])


@pytest.mark.parametrize(
    "newer",
    [
        lambda old: draft(serial=2, supersedes=old.id),
        lambda _: draft(serial=2),
        lambda old: draft(serial=1, supersedes=old.id, manifest=manifest("retrained")),
        lambda _: draft(serial=1, tier="held"),
    ],
    ids=["named", "higher serial", "named by another checkpoint's", "same serial, other content"],
)
def test_a_superseded_or_replayed_decision_is_refused(newer: Any) -> None:
    old = draft()
    with pytest.raises(VerificationError):
        check_supersession(old, [old, newer(old)])


def test_the_next_serial() -> None:
    where = {"checkpoint": manifest().digest, "policy": "tutorial"}
    assert successor([], **where) == (1, None)
    first, third = draft(), draft(serial=3)
    other = draft(policy={**POLICY, "name": "default"}, serial=9)
    assert successor([third, first, other], **where) == (4, third.id)


def test_names_that_differ_by_case_can_still_be_decided_on() -> None:
    """A checkpoint with such names is held, not left without a decision; a bundle refuses them."""
    entries = tuple(FileEntry(name, 1, "0" * 64) for name in ("README", "readme"))
    assert read(draft(manifest=Manifest(entries), tier="held").payload).tier == "held"


def test_subjects_out_of_order_or_twice_are_refused() -> None:
    for order in ((1, 0, 2), (0, 0, 1)):
        statement = as_json()
        statement["subject"] = [statement["subject"][index] for index in order]
        with pytest.raises(VerificationError, match="out of order"):
            Statement.from_bytes(canonical.dumps(statement), where="decision.json")


def test_a_digest_of_other_files_is_refused_as_such() -> None:
    statement = as_json()
    statement["predicate"]["checkpoint"]["digest"] = digest("another")
    with pytest.raises(VerificationError, match="not those of the checkpoint"):
        reread(statement)


def compared(**changes: Any) -> BaselineRef:
    fields: dict[str, Any] = {
        "name": "Old-1.0",
        "checkpoint": digest("old"),
        "opened_by": "others",
        "set": "open-frontier",
        "since": "2026-01-31",
        "records": (digest("b"), digest("a")),
    }
    fields |= changes
    return BaselineRef(**fields | {"records": tuple(sorted(fields["records"]))})


def test_baselines_are_part_of_the_decision_and_come_back_as_they_were() -> None:
    mine = compared(name="mine", opened_by="own", set=None, since=None)
    decision = draft(baselines=[mine, compared()])
    assert decision.baselines == (compared(), mine)
    assert read(decision.payload).baselines == decision.baselines
    assert len({decision.id, draft().id, draft(baselines=[mine]).id}) == 3


def test_a_decision_that_compares_nothing_is_written_as_before_there_were_baselines() -> None:
    assert "baselines" not in as_json()["predicate"]
    empty = as_json()
    empty["predicate"]["baselines"] = []
    with pytest.raises(VerificationError, match="do not agree"):
        reread(empty, mend_id=False)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "../up", "no name"),
        ("name", "open-frontier", "no name"),
        ("name", ".hidden", "no name"),
        ("opened_by", "own", "ratchet"),
        ("opened_by", "nobody", "none of"),
        ("set", "closed-frontier", "no set"),
        ("since", "20260131", "no day"),
        ("since", "2026-02-30", "no day"),
        ("checkpoint", "sha256:short", "digest"),
        ("records", [digest("b"), digest("a")], "out of order"),
        ("records", [digest("a"), digest("a")], "out of order"),
    ],
)
def test_a_baseline_that_does_not_fit_is_refused(field: str, value: Any, said: str) -> None:
    if field == "records":
        value = sorted(value, reverse=True)
    changed = as_json(baselines=[compared()])
    changed["predicate"]["baselines"][0][field] = value
    with pytest.raises(VerificationError, match=said):
        reread(changed)


def test_a_baseline_stands_once_and_in_order() -> None:
    for pair in ([compared(), compared()], [compared(name="b"), compared(name="a")]):
        changed = as_json(baselines=[pair[0]])
        changed["predicate"]["baselines"] = [as_json(baselines=[one])["predicate"]["baselines"][0] for one in pair]
        with pytest.raises(VerificationError, match="order"):
            reread(changed)

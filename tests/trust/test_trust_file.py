"""The trust file: read strictly, from outside of what is to be verified."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trust_world import key, keyid, signed, trust
from weighbridge.errors import InputError, SignerUnknown, VerificationError
from weighbridge.trust import Trust, load_trust, verify_decision
from weighbridge.trust.trust_file import ROLES

PEM = key("decider").public.pem


def write(folder: Path, value: Any, name: str = "trust.yaml") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return path


def simple(**role: Any) -> dict[str, Any]:
    return {"version": 1, "roles": {"decider": {"keys": [{"pem": PEM}], **role}}}


def test_keys_inline_and_by_path(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "approver.pub").write_text(key("approver").public.pem)
    text = "version: 1\nroles:\n  decider:\n    keys:\n      - pem: |\n"
    text += "".join(f"          {line}\n" for line in PEM.splitlines())
    text += f"        keyid: {keyid('decider')}\n"
    text += "  approver:\n    threshold: 1\n    keys:\n      - {path: keys/approver.pub}\n"
    found = load_trust(write(tmp_path, text))
    assert found.keyids("decider") == {keyid("decider")}
    assert found.keyids("approver") == {keyid("approver")}
    assert found.keys("revoker") == ()
    assert (found.threshold("approver"), found.threshold("revoker")) == (1, 0)
    assert found.keys("decider")[0].pem == PEM
    assert verify_decision(signed(), found).signers == (keyid("decider"),)


def test_json_is_read_too(tmp_path: Path) -> None:
    assert load_trust(write(tmp_path, json.dumps(simple()), "trust.json")).keyids("decider") == {keyid("decider")}


def test_paths_are_relative_to_the_trust_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "decider.pub").write_text(PEM)
    path = write(tmp_path / "a", {"version": 1, "roles": {"decider": {"keys": [{"path": "../decider.pub"}]}}})
    monkeypatch.chdir(tmp_path / "b")
    assert load_trust(path).keyids("decider") == {keyid("decider")}
    assert load_trust(Path("../a/trust.yaml")).keyids("decider") == {keyid("decider")}


def test_a_key_listed_twice_counts_once(tmp_path: Path) -> None:
    twice = simple(keys=[{"pem": PEM}, {"pem": PEM + "\n"}], threshold=2)
    with pytest.raises(InputError, match="distinct") as caught:
        load_trust(write(tmp_path, twice))
    assert str(caught.value.where).endswith("$.roles.decider.threshold")
    twice["roles"]["decider"]["threshold"] = 1
    assert len(load_trust(write(tmp_path, twice)).keys("decider")) == 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "$"),
        (None, "$"),
        ({}, "$"),
        ({"roles": simple()["roles"]}, "$"),
        ({**simple(), "version": 2}, "$.version"),
        ({**simple(), "version": "1"}, "$.version"),
        ({**simple(), "version": True}, "$.version"),
        ({**simple(), "version": 1.0}, "$.version"),
        ({**simple(), "comment": "x"}, "$"),
        ({"version": 1, "roles": {}}, "$.roles"),
        ({"version": 1, "roles": []}, "$.roles"),
        ({"version": 1, "roles": {"boss": {"keys": [{"pem": PEM}]}}}, "$.roles"),
        ({"version": 1, "roles": {"decider": None}}, "$.roles.decider"),
        ({"version": 1, "roles": {"decider": {}}}, "$.roles.decider"),
        (simple(keys=[]), "$.roles.decider.keys"),
        (simple(keys={"pem": PEM}), "$.roles.decider.keys"),
        (simple(keys=[{"pem": PEM} for _ in range(257)]), "$.roles.decider.keys"),
        (simple(extra=1), "$.roles.decider"),
        (simple(threshold=0), "$.roles.decider.threshold"),
        (simple(threshold=2), "$.roles.decider.threshold"),
        (simple(threshold=True), "$.roles.decider.threshold"),
        (simple(threshold="1"), "$.roles.decider.threshold"),
        (simple(threshold=None), "$.roles.decider.threshold"),
        (simple(keys=[PEM]), "$.roles.decider.keys[0]"),
        (simple(keys=[{}]), "$.roles.decider.keys[0]"),
        (simple(keys=[{"pem": PEM, "path": "x"}]), "$.roles.decider.keys[0]"),
        (simple(keys=[{"pem": PEM, "name": "x"}]), "$.roles.decider.keys[0]"),
        (simple(keys=[{"pem": 1}]), "$.roles.decider.keys[0]"),
        (simple(keys=[{"pem": "no key"}]), "$.roles.decider.keys[0].pem"),
        (simple(keys=[{"pem": PEM, "keyid": keyid("other")}]), "$.roles.decider.keys[0].keyid"),
        (simple(keys=[{"pem": PEM, "keyid": "abc"}]), "$.roles.decider.keys[0].keyid"),
        (simple(keys=[{"path": ""}]), "$.roles.decider.keys[0].path"),
        (simple(keys=[{"path": "/etc/keys/decider.pub"}]), "$.roles.decider.keys[0].path"),
        (simple(keys=[{"path": "a\0b"}]), "$.roles.decider.keys[0].path"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(tmp_path: Path, value: Any, where: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(InputError) as caught:
        load_trust(path)
    assert caught.value.where == f"{path} at {where}"


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nversion: 1\nroles: {}",
        'version: 1\nroles: {"decider": {}, "decider": {}}',
        "version: 1\nroles: &a {decider: *a}",
        "version: 1\nroles: !!python/object/apply:os.system [true]",
        "version: !!bool perhaps\nroles: {}",
        "version: !!int ''\nroles: {}",
        "version: !!timestamp x\nroles: {}",
        "? [a]\n: b",
        "{",
        "\x00",
        "[" * 3000,
    ],
)
def test_strange_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_trust(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trust.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError):
        load_trust(path)
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(InputError, match="larger"):
        load_trust(path)
    with pytest.raises(InputError):
        load_trust(tmp_path / "missing.yaml")


def test_a_key_file_that_is_missing_or_private_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, simple(keys=[{"path": "decider.pub"}]))
    with pytest.raises(InputError, match="no such file"):
        load_trust(path)
    (tmp_path / "decider.pub").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="private key"):
        load_trust(path)


def test_nothing_inside_the_bundle_is_trusted(tmp_path: Path) -> None:
    bundle, outside = tmp_path / "bundle", tmp_path / "outside"
    bundle.mkdir()
    outside.mkdir()
    (bundle / "decider.pub").write_text(PEM)
    inside = write(bundle, simple())
    with pytest.raises(InputError, match="proves nothing"):
        load_trust(inside, bundle=bundle)
    link = outside / "link.yaml"
    link.symlink_to(inside)
    with pytest.raises(InputError, match="proves nothing"):
        load_trust(link, bundle=bundle)
    by_path = write(outside, simple(keys=[{"path": "../bundle/decider.pub"}]))
    with pytest.raises(InputError, match="proves nothing"):
        load_trust(by_path, bundle=bundle)
    assert load_trust(by_path).keyids("decider") == {keyid("decider")}
    assert load_trust(write(outside, simple()), bundle=bundle)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trust.yaml").symlink_to(tmp_path / "trust.yaml")
    with pytest.raises(InputError):
        load_trust(tmp_path / "trust.yaml", bundle=tmp_path / "bundle")
    with pytest.raises(InputError):
        load_trust(tmp_path / "trust.yaml")


def test_trust_in_one_public_key() -> None:
    found = Trust.from_public_key(key("decider").public, ["decider", "approver"])
    assert verify_decision(signed(), found)
    assert found.keys("revoker") == ()
    with pytest.raises(SignerUnknown):
        verify_decision(signed("other"), found)


def test_without_a_trust_file_the_message_says_so() -> None:
    with pytest.raises(SignerUnknown, match="and there is no trust file to know it"):
        verify_decision(signed("other"), Trust.nobody())


def test_one_key_may_hold_several_roles() -> None:
    several = trust(**{role: ["decider"] for role in ROLES})
    assert verify_decision(signed(), several)
    with pytest.raises(VerificationError):
        verify_decision(signed("approver"), several)


roles = st.dictionaries(
    st.sampled_from(ROLES),
    st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), st.integers(1, 4), st.booleans()),
    min_size=1,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roles)
def test_round_trip(tmp_path: Path, wanted: dict[Any, Any]) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.pub").write_text(key(name).public.pem)
    value = {
        role: {
            "keys": [{"path": f"{name}.pub"} if by_path else {"pem": key(name).public.pem} for name in names],
            "threshold": min(threshold, len(set(names))),
        }
        for role, (names, threshold, by_path) in wanted.items()
    }
    found = load_trust(write(tmp_path, {"version": 1, "roles": value}))
    for role in ROLES:
        assert found.keyids(role) == {keyid(name) for name in wanted.get(role, ((), 0, False))[0]}
        assert found.threshold(role) == (value[role]["threshold"] if role in value else 0)


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
near_trust = st.fixed_dictionaries(
    {
        "version": st.just(1) | yaml_values,
        "roles": st.dictionaries(
            st.sampled_from(ROLES) | st.text(max_size=3),
            st.fixed_dictionaries(
                {"keys": st.lists(st.fixed_dictionaries({"pem": st.just(PEM) | yaml_values}), max_size=2)},
                optional={"threshold": yaml_values},
            )
            | yaml_values,
            max_size=3,
        )
        | yaml_values,
    },
    optional={"more": yaml_values},
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=100)
    | st.text(max_size=100).map(str.encode)
    | near_trust.map(lambda v: yaml.safe_dump(v).encode())
)
def test_any_bytes_are_a_trust_file_or_a_typed_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "trust.yaml"
    path.write_bytes(data)
    with suppress(InputError):
        found = load_trust(path)
        assert all(1 <= found.threshold(role) <= len(found.keys(role)) for role in found.roles)

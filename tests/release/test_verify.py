"""Verifying a bundle: what holds, what does not, and which file is named."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from release_world import POLICY, World, load_policy, make_world
from trust_world import NOW, key, keyid, trust
from weighbridge import canonical
from weighbridge.errors import (
    DecisionExpired,
    InputError,
    SignerUnknown,
    StricterThanRequired,
    UndecidedInTheWay,
    VerificationError,
)
from weighbridge.release import Verified, layout, oms, verify_bundle
from weighbridge.trust import State, Trust, make_revocations, sign


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("released"))
    world.release()
    return world


@pytest.fixture
def bundle(released: World, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    return Path(shutil.copytree(released.target, tmp_path / "bundle"))


def verify(bundle: Path, **changes: Any) -> Verified:
    return verify_bundle(bundle, **{"now": NOW, "trust": trust(), **changes})


def refused(bundle: Path, file: str, match: str | None = None) -> None:
    with pytest.raises(VerificationError, match=match) as caught:
        verify(bundle)
    assert caught.value.exit_code == 5
    assert file in str(caught.value)


def sign_again(bundle: Path, name: str = "publisher") -> None:
    """What a publisher who wants to deceive can do: sign whatever lies there."""
    digests = {
        str(path.relative_to(bundle)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != oms.SIGNATURE_FILE
    }
    (bundle / oms.SIGNATURE_FILE).write_bytes(oms.sign_model("bundle", digests, key(name)))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical.dumps(value))


def evidence_file(bundle: Path, measure: str) -> Path:
    for path in (bundle / layout.EVIDENCE).glob("*.json"):
        if json.loads(path.read_bytes())["question"]["measure"] == measure:
            return path
    raise AssertionError(measure)


# What holds.


def test_a_bundle_may_be_moved_and_renamed(bundle: Path) -> None:
    verified = verify(bundle.rename(bundle.with_name("another name")))
    assert verified.judgement.tier == "open"
    assert verified.record.name == "Tiny"


def test_what_the_verifier_is_told_all_the_same(bundle: Path) -> None:
    assert verify(bundle).notes == ("revocation not checked", "not for real release")


def test_an_empty_revocation_list(bundle: Path) -> None:
    verified = verify(bundle, revocations=revocation_list())
    assert verified.notes == ("not for real release",)
    assert verified.revocations is not None
    assert verified.revocations.serial == 3


def test_the_verifiers_own_policy(bundle: Path) -> None:
    own = load_policy(POLICY.replace("0.30", "0.80"))
    verified = verify(bundle, policy=own)
    assert verified.own is not None
    assert verified.own.tier == "open"
    assert verified.own.post_hoc  # the evidence was not gathered under it


# What does not, although all signatures do.


def test_the_verifiers_stricter_policy(bundle: Path) -> None:
    own = load_policy(POLICY.replace("at_least: 0.30", "at_least: 0.999"))
    with pytest.raises(StricterThanRequired, match=r"capability\.accuracy"):
        verify(bundle, policy=own)


def test_a_policy_that_asks_what_was_not_measured(bundle: Path) -> None:
    own = load_policy(POLICY + "    - {measure: safety.harmful_compliance, suite: unsafe, at_most: 0.1}\n")
    with pytest.raises(UndecidedInTheWay, match=r"safety\.harmful_compliance on unsafe: no evidence"):
        verify(bundle, policy=own)


def test_an_expired_decision_is_authentic_all_the_same(bundle: Path, released: World) -> None:
    with pytest.raises(DecisionExpired) as caught:
        verify(bundle, now=released.decision.expires_at)
    assert caught.value.exit_code == 6


def test_expiry_is_told_last(bundle: Path, released: World) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(VerificationError, match=r"tokenizer\.json") as caught:
        verify(bundle, now=released.decision.expires_at)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("now", [NOW - timedelta(days=1), NOW - timedelta(minutes=6)])
def test_a_release_from_the_future(bundle: Path, now: datetime) -> None:
    with pytest.raises(VerificationError, match="in the future"):
        verify(bundle, now=now)


def test_a_clock_that_went_backwards(bundle: Path) -> None:
    with pytest.raises(VerificationError, match="went backwards"):
        verify(bundle, state=State(last_seen=NOW + timedelta(days=1)))


def revocation_list(serial: int = 3, **what: list[str]) -> bytes:
    statement = make_revocations(serial=serial, issued=NOW, next_update=NOW + timedelta(days=7), **what)
    return sign(statement.payload, [key("revoker")])


def test_revoked(bundle: Path, released: World) -> None:
    for what in ({"decisions": [released.decision.id]}, *({"keys": [keyid(name)]} for name in SIGNERS)):
        with pytest.raises(VerificationError, match="revoked by list 3"):
            verify(bundle, revocations=revocation_list(**what))


SIGNERS = ("decider", "approver", "publisher")


def test_an_older_list_than_seen_before(bundle: Path) -> None:
    with pytest.raises(VerificationError, match="lower than 4"):
        verify(bundle, revocations=revocation_list(), state=State(serials={keyid("revoker"): 4}))


def test_a_list_by_a_stranger(bundle: Path) -> None:
    with pytest.raises(SignerUnknown):
        verify(bundle, revocations=revocation_list(), trust=trust(revoker=["stranger"]))


# Who signed.


def test_without_a_trust_file(bundle: Path) -> None:
    with pytest.raises(SignerUnknown, match="intact, signer unknown: no trust file was given") as caught:
        verify(bundle, trust=None)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("role", SIGNERS)
def test_a_signer_that_the_trust_file_does_not_know(bundle: Path, role: str) -> None:
    with pytest.raises(SignerUnknown, match="intact, signer unknown"):
        verify(bundle, trust=trust(**{role: ["stranger"]}))


def test_without_a_trust_file_what_is_wrong_is_told_first(bundle: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(VerificationError, match=r"tokenizer\.json") as caught:
        verify(bundle, trust=None)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("role", SIGNERS)
def test_a_key_of_another_role_does_not_count(bundle: Path, role: str) -> None:
    others = {"decider": "approver", "approver": "publisher", "publisher": "decider"}
    with pytest.raises(VerificationError):
        verify(bundle, trust=trust(**{role: ["stranger"], others[role]: [role, others[role]]}))


def test_more_signatures_are_asked_than_there_are(bundle: Path) -> None:
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(bundle, trust=trust({"decider": 2}, decider=["decider", "second"]))
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(bundle, trust=trust({"approver": 2}, approver=["approver", "second"]))


def test_signed_again_by_a_stranger(bundle: Path) -> None:
    sign_again(bundle, "stranger")
    with pytest.raises(SignerUnknown):
        verify(bundle)


# Harm to the files.


def test_an_empty_folder_is_an_extra_one(bundle: Path) -> None:
    (bundle / "weighbridge" / "more" / "inside").mkdir(parents=True)
    refused(bundle, "weighbridge/more", "an empty folder")


def test_an_extra_file(bundle: Path) -> None:
    (bundle / "pytorch_model.bin").write_bytes(b"x")
    refused(bundle, "pytorch_model.bin", "an extra file")


@pytest.mark.parametrize("name", ["config.json", "model.sig", "README.md", layout.DECISION, layout.BOM, "LICENSE"])
def test_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, name, "missing")


def test_a_renamed_file(bundle: Path) -> None:
    (bundle / "tokenizer.json").rename(bundle / "tokenizer.json.old")
    refused(bundle, "tokenizer.json", "missing")


def test_swapped_files(bundle: Path) -> None:
    first, second = bundle / "config.json", bundle / "tokenizer.json"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    refused(bundle, "config.json", "not the file that was signed")


@pytest.mark.parametrize("name", ["model.safetensors", "model.sig", layout.DECISION, layout.RECORD])
def test_a_truncated_file(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes()[:-1])
    refused(bundle, name)


def test_a_link(bundle: Path) -> None:
    path = bundle / "tokenizer.json"
    path.rename(bundle.parent / "elsewhere.json")
    path.symlink_to(bundle.parent / "elsewhere.json")
    refused(bundle, "tokenizer.json", "symbolic link")


def test_a_linked_folder(bundle: Path) -> None:
    (bundle / "weighbridge" / "evidence").rename(bundle.parent / "evidence")
    (bundle / "weighbridge" / "evidence").symlink_to(bundle.parent / "evidence")
    refused(bundle, "weighbridge/evidence", "symbolic link")


def test_a_pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")
    refused(bundle, "pipe", "neither a file nor a folder")


def test_names_that_differ_by_case_alone(bundle: Path) -> None:
    shutil.copy(bundle / "config.json", bundle / "CONFIG.json")
    refused(bundle, "onfig.json", "collides")


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        verify(tmp_path / "nowhere")
    refused(tmp_path, "README.md", "missing")


def test_flipping_any_byte_of_any_file_is_noticed(bundle: Path) -> None:
    """Every file: its first and last bytes and a sample of the others; every byte of the weights' header too."""
    sample = random.Random(20260301)
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        data = path.read_bytes()
        positions = {0, len(data) - 1, *(sample.randrange(len(data)) for _ in range(12))}
        for position in sorted(positions):
            mask = 1 << sample.randrange(8)
            path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
            for trusted in (trust(), None):
                with pytest.raises(VerificationError) as caught:
                    verify(bundle, trust=trusted)
                assert caught.value.exit_code == 5 or path.name == oms.SIGNATURE_FILE, (path, position, caught.value)
        path.write_bytes(data)
    verify(bundle)


def test_flipping_a_byte_of_the_signature_file_is_noticed(bundle: Path) -> None:
    """Every 23rd byte here; ``test_oms`` flips every one of them."""
    path = bundle / oms.SIGNATURE_FILE
    data = path.read_bytes()
    for position in range(0, len(data), 23):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :])
        with pytest.raises(VerificationError):
            verify(bundle)


def test_adding_a_byte_to_any_file_is_noticed(bundle: Path) -> None:
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for changed in (data + b"\n", b" " + data, data + b"\0", b""):
            path.write_bytes(changed)
            with pytest.raises(VerificationError):
                verify(bundle)
        path.write_bytes(data)


# What a publisher with a trusted key could try: everything is signed again, and still does not hold.


def test_signed_again_unchanged_it_holds(bundle: Path) -> None:
    sign_again(bundle)
    verify(bundle)


def _swap_weights(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _improve_accuracy(bundle: Path) -> None:
    edit(evidence_file(bundle, "capability"), lambda value: value["observations"][-1]["values"].update(accuracy=1.0))


def _rename_evidence(bundle: Path) -> None:
    path = evidence_file(bundle, "capability")
    path.rename(path.with_name("0" * 64 + ".json"))


def _other_evidence(bundle: Path) -> None:
    path = evidence_file(bundle, "integrity")
    value = json.loads(path.read_bytes())
    value["question"]["settings"] = {"other": True}
    digest = canonical.digest(value["question"]).removeprefix("sha256:")
    path.with_name(f"{digest}.json").write_bytes(canonical.dumps(value))


def _record(**fields: Any) -> Callable[[Path], Any]:
    return lambda bundle: edit(bundle / layout.RECORD, lambda value: value.update(fields))


def _add_to_record(bundle: Path) -> None:
    row = {"path": "x", "sha256": "0" * 64, "duty": "include-notice", "license": None}
    edit(bundle / layout.RECORD, lambda value: value["added"].append(row))


def _drop_from_bom(bundle: Path) -> None:
    edit(bundle / layout.BOM, lambda value: value["metadata"]["component"]["components"].pop())


def _write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda bundle: (bundle / name).write_text(text)


def _copy(source: str, target: str) -> Callable[[Path], Any]:
    return lambda bundle: shutil.copy(bundle / source, bundle / target)


def _move(source: str, target: str) -> Callable[[Path], Any]:
    return lambda bundle: (bundle / source).rename(bundle / target)


def _remove(name: str) -> Callable[[Path], Any]:
    return lambda bundle: (bundle / name).unlink()


FIRST, SECOND = f"{layout.APPROVALS}1.json", f"{layout.APPROVALS}2.json"
ATTACKS: list[tuple[str, Callable[[Path], Any]]] = [
    ("model.safetensors", _swap_weights),
    ("extra.py", _write("extra.py", "import os")),
    ("weighbridge/extra", _write("weighbridge/extra", "x")),
    ("weighbridge/evidence/x.txt", _write("weighbridge/evidence/x.txt", "x")),
    ("tokenizer.json", _remove("tokenizer.json")),
    ("LICENSE", _write("LICENSE", "All rights reserved.")),
    ("LICENSE", _remove("LICENSE")),
    ("release.json", _record(added=[])),
    ("release.json", _add_to_record),
    ("release.json", _record(decision="sha256:" + "0" * 64)),
    ("release.json", _record(released_at="2025-01-01T00:00:00Z")),
    ("release.json", _record(released_at="2027-01-01T00:00:00Z")),
    ("release.json", _record(more=1)),
    ("bom.cdx.json", _record(name="Llama-Tiny")),
    ("was made under the policy", lambda bundle: edit(bundle / layout.POLICY, lambda value: value.update(name="x"))),
    ("policy.json", _write(layout.POLICY, "version: 1")),
    ("evidence", _improve_accuracy),
    ("evidence", _rename_evidence),
    ("evidence", _other_evidence),
    ("evidence", lambda bundle: evidence_file(bundle, "integrity").unlink()),
    ("approvals", _remove(FIRST)),
    ("approvals", _move(FIRST, SECOND)),
    ("approval", _copy(layout.DECISION, SECOND)),
    ("README.md", _write("README.md", "# A model\n")),
    ("README.md", _write("README.md", "---\nweighbridge: 1\n---\n")),
    ("bom.cdx.json", _write(layout.BOM, "{}")),
    ("bom.cdx.json", _drop_from_bom),
    ("bom.cdx.json", lambda bundle: (bundle / layout.BOM).write_bytes((bundle / layout.BOM).read_bytes() + b"\n")),
    ("decision.json", _copy(FIRST, layout.DECISION)),
]


@pytest.mark.parametrize(("place", "attack"), ATTACKS)
@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_dishonest_publisher_cannot_do(
    bundle: Path, place: str, attack: Callable[[Path], Any], trusted: bool
) -> None:
    attack(bundle)
    sign_again(bundle)
    with pytest.raises(VerificationError) as caught:
        verify(bundle, trust=trust() if trusted else None)
    assert caught.value.exit_code == 5, caught.value
    assert place.lower() in str(caught.value).lower()


def test_a_publisher_that_names_another(bundle: Path) -> None:
    _record(publisher="0" * 64)(bundle)
    sign_again(bundle)
    refused(bundle, "release.json", "names the publisher")


def test_a_decision_of_another_checkpoint(bundle: Path, tmp_path: Path) -> None:
    other = make_world(tmp_path / "other", LICENSE="Something else, so that the files differ")
    assert other.decision.tier != "open"  # an unknown licence: only to have a decision about other files
    shutil.copy(other.weighing / "decision.json", bundle / layout.DECISION)
    sign_again(bundle)
    refused(bundle, "decision.json")


def test_an_older_bundles_parts_under_a_newer_decision(bundle: Path, tmp_path: Path) -> None:
    newer = make_world(tmp_path / "newer", decided_at=NOW)
    assert newer.decision.tier == "open"
    shutil.copy(newer.weighing / "decision.json", bundle / layout.DECISION)
    sign_again(bundle)
    with pytest.raises(VerificationError):
        verify(bundle)


def test_a_file_that_changes_while_it_is_verified(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.release import verify as module

    real = module.hash_files

    def then_change(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        (bundle / layout.POLICY).write_text("{}")
        return result

    monkeypatch.setattr(module, "hash_files", then_change)
    refused(bundle, layout.POLICY, "changed while it was verified")


def test_verifying_needs_no_network_and_no_framework(bundle: Path) -> None:
    import subprocess
    import sys

    script = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from datetime import datetime, UTC\nfrom pathlib import Path\n"
        "from weighbridge.release import verify_bundle\nfrom weighbridge.errors import SignerUnknown\n"
        "try:\n    verify_bundle(Path(sys.argv[1]), now=datetime(2026, 3, 2, 13, tzinfo=UTC))\n"
        "except SignerUnknown:\n    pass\nelse:\n    raise AssertionError\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'model_signing', 'sigstore', 'cyclonedx', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_trust_in_nobody_is_the_same_as_no_trust_file(bundle: Path) -> None:
    with pytest.raises(SignerUnknown):
        verify(bundle, trust=Trust.nobody())

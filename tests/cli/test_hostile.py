"""A clumsy or hostile user in a weighing's folder: refused with the name of the file, without a traceback."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import make_checkpoint
from weighbridge import canonical
from weighbridge.checkpoint import FileEntry, Manifest, open_checkpoint
from weighbridge.errors import CheckpointError, InputError
from weighbridge.files import read, unreadable
from weighbridge.trust.private_files import read_private

Run = Callable[..., tuple[int, str, str]]

POLICY = """
version: 1
name: small
error_rate: 0.05
expires_after: 30d
approvals: {open: 1}
tiers:
  api:
    - {measure: integrity.findings, at_most: 0}
"""


@pytest.fixture
def weighing(tmp_path: Path) -> Path:
    """A folder with a manifest and without evidence: everything in it is undecided."""
    folder = tmp_path / "weighing"
    folder.mkdir()
    manifest = Manifest((FileEntry("config.json", 2, "0" * 64),))
    record = {"manifest": manifest.to_json(), "facts": {}, "origin": None}
    (folder / "manifest.json").write_bytes(canonical.dumps(record))
    (tmp_path / "policy.yaml").write_text(POLICY)
    return folder


def decide(wb: Run, folder: Path, *more: object) -> tuple[int, str, str]:
    return wb("decide", "--policy", folder.parent / "policy.yaml", "--evidence", folder, *more)


@pytest.mark.parametrize(("field", "value"), [("facts", 5), ("facts", [1]), ("facts", None), ("origin", 7)])
def test_a_manifest_of_wrong_types_is_named(wb: Run, weighing: Path, field: str, value: object) -> None:
    path = weighing / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    code, _, err = decide(wb, weighing)
    assert code == 2
    assert f"manifest.json at $.{field}" in err
    assert "Traceback" not in err
    assert not (weighing / "decision.json").exists()


def test_a_former_decision_put_back_lies_beside_its_successor(wb: Run, weighing: Path) -> None:
    key = weighing.parent / "keys" / "decider.key"
    wb("signer", "new", key)
    decide(wb, weighing, "--sign", key)
    former = (weighing / "decision.json").read_bytes()
    (weighing.parent / "policy.yaml").write_text(POLICY.replace("0.05", "0.04"))
    decide(wb, weighing, "--sign", key)
    successor = (weighing / "decision.json").read_bytes()
    assert successor != former
    (weighing / "decision.json").write_bytes(former)
    assert successor in [path.read_bytes() for path in (weighing / "decisions").iterdir()]


@pytest.mark.parametrize("data", ["{}", "[]", "", "nonsense", '{"version": 1, "version": 1}', "[" * 100_000])
def test_what_is_no_plan_is_named_before_anything_is_decided(wb: Run, weighing: Path, data: str) -> None:
    key = weighing.parent / "keys" / "decider.key"
    wb("signer", "new", key)
    (weighing / "plan.json").write_text(data)
    for more in ((), ("--sign", key), ("--sign", key, "--out", weighing.parent / "out")):
        code, _, err = decide(wb, weighing, *more)
        assert code == 2
        assert "plan.json" in err
        assert "Traceback" not in err
    assert not (weighing / "decision.json").exists()
    assert not (weighing.parent / "out" / "manifest.json").exists()


def test_a_state_that_cannot_be_written_stops_a_signature_and_no_draft(
    wb: Run, weighing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = weighing.parent / "keys" / "decider.key"
    wb("signer", "new", key)
    (weighing.parent / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(weighing.parent / "file"))
    code, _, err = decide(wb, weighing, "--sign", key)
    assert code == 1
    assert "XDG_STATE_HOME" in err
    assert not (weighing / "decision.json").exists()
    assert decide(wb, weighing)[0] == 4
    assert (weighing / "decision.json").exists()


def test_a_disk_that_refuses_the_copy_leaves_no_weighing(wb: Run, weighing: Path) -> None:
    out = weighing.parent / "out"
    out.mkdir()
    (weighing / "evidence").mkdir()
    (weighing / "evidence" / "a.json").write_text("{}")
    (out / "evidence").write_text("a file where a folder belongs")
    code, _, err = decide(wb, weighing, "--out", out)
    assert code == 1
    assert str(out / "evidence") in err
    assert not (out / "manifest.json").exists()


def test_evidence_that_cannot_be_listed_is_not_no_evidence(wb: Run, weighing: Path) -> None:
    (weighing / "evidence").write_text("no folder")
    code, _, err = decide(wb, weighing)
    assert code == 2
    assert "evidence: cannot be read" in err


def test_a_null_character_in_a_path_is_bad_input() -> None:
    with pytest.raises(InputError, match="null"):
        read(Path("a\0b"))


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(InputError, match="not a regular file"):
        read_private(tmp_path / "key")


def test_what_was_named_and_cannot_be_read_is_input_and_a_failing_disk_is_not() -> None:
    for number, code in ((errno.EACCES, 2), (errno.EISDIR, 2), (errno.ELOOP, 2), (errno.EIO, 1), (errno.ENOSPC, 1)):
        error = unreadable(OSError(number, os.strerror(number)), where="model.safetensors", error=CheckpointError)
        assert (error.exit_code, error.where) == (code, "model.safetensors")
        assert error.remedy


@pytest.mark.parametrize("words", [["--budget", "nan"], ["--budget", "inf"], ["--budget", "0"]])
def test_a_budget_is_a_number_of_seconds(wb: Run, words: list[str]) -> None:
    code, out, _ = wb("weigh", ".", *words, "--json")
    assert (code, "--budget" in json.loads(out)["error"]["message"]) == (2, True)


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_a_policy_without_an_end_is_refused(wb: Run, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    code, _, err = wb("policy", "check", tmp_path / name)
    assert (code, "neither a file nor a folder" in err) == (2, True)


def test_a_key_is_not_encrypted_with_nobody_to_ask(wb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHBRIDGE_KEY_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = wb("signer", "new", tmp_path / "k" / "a.key", "--encrypt")
    assert (code, "WEIGHBRIDGE_KEY_PASSPHRASE" in err) == (2, True)
    assert not (tmp_path / "k" / "a.key").exists()


def test_a_path_that_is_no_text_is_weighed_like_any_other(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"no\xfftext")
    make_checkpoint(root)
    digest = open_checkpoint(root, cache=tmp_path / "hashes.json").digest
    assert open_checkpoint(root, cache=tmp_path / "hashes.json").digest == digest


def test_a_full_disk_behind_the_output_is_no_traceback() -> None:
    for more in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            words = [sys.executable, "-m", "weighbridge", "policy", "check", "default", *more]
            result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert result.returncode in (1, 120)
        assert "Traceback" not in result.stderr

"""A clumsy or hostile user in a weighing's folder: refused with the name of the file, without a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge import canonical
from weighbridge.checkpoint import FileEntry, Manifest
from weighbridge.errors import InputError
from weighbridge.files import read
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
    decide(wb, weighing)
    former = (weighing / "decision.json").read_bytes()
    (weighing.parent / "policy.yaml").write_text(POLICY.replace("0.05", "0.04"))
    decide(wb, weighing)
    successor = (weighing / "decision.json").read_bytes()
    assert successor != former
    (weighing / "decision.json").write_bytes(former)
    assert successor in [path.read_bytes() for path in (weighing / "decisions").iterdir()]


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
    assert code == 1
    assert "evidence: cannot be listed" in err


def test_a_null_character_in_a_path_is_bad_input() -> None:
    with pytest.raises(InputError, match="null"):
        read(Path("a\0b"))


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir(mode=0o700)
    with pytest.raises(InputError, match="not a regular file"):
        read_private(tmp_path / "key")

"""Writing the report: from a weighing's folder, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import AT, DEFAULT, FACTS, MANIFEST, full, judged

from weighbridge import canonical
from weighbridge.errors import CheckpointError, EvidenceError, StorageError
from weighbridge.files import write_atomic
from weighbridge.report import write_report
from weighbridge.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A folder with a manifest and evidence."""
    folder = tmp_path / "weighing"
    record = {"manifest": MANIFEST.to_json(), "facts": FACTS, "origin": None}
    write_atomic(folder / "manifest.json", canonical.dumps(record))
    made = Workspace(folder)
    for one in full():
        made.store.put(one)
    return made


def test_the_report_lies_beside_the_decision_and_is_the_same_each_time(workspace: Workspace) -> None:
    judgement = judged(DEFAULT, workspace.store.load())
    path = write_report(workspace, judgement, decision="sha256:" + "1" * 64, signed=False, problems={})
    assert path == workspace.folder / "report.html"
    first = path.read_bytes()
    assert first.startswith(b"<!doctype html>")
    assert b"SmolLM2 135M Instruct" in first
    records = workspace.store.load()
    again = write_report(
        workspace, judgement, decision="sha256:" + "1" * 64, signed=False, problems={}, evidence=records
    )
    assert again.read_bytes() == first
    assert [item.name for item in workspace.folder.iterdir() if item.name.startswith(".report")] == []


def test_a_later_record_is_listed(workspace: Workspace) -> None:
    first = workspace.store.load()[0]
    assert workspace.store.put(replace(first, observations=first.observations[1:], made=AT)) == first
    judgement = judged(DEFAULT, workspace.store.load())
    path = write_report(workspace, judgement, decision="sha256:" + "1" * 64, signed=True, problems={})
    assert workspace.store.later()[0].name in path.read_text(encoding="utf-8")


def test_an_old_report_stays_where_the_new_one_cannot_be_made(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    judgement = judged(DEFAULT, workspace.store.load())
    path = write_report(workspace, judgement, decision="sha256:" + "1" * 64, signed=False, problems={})
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full_disk)
        with pytest.raises(StorageError, match="No space left"):
            write_report(workspace, judgement, decision="sha256:" + "2" * 64, signed=True, problems={})
    assert path.read_bytes() == before
    assert sorted(item.name for item in workspace.folder.iterdir()) == ["evidence", "manifest.json", "report.html"]


def test_a_folder_that_is_not_what_it_says_has_no_report(workspace: Workspace) -> None:
    records = workspace.store.load()
    judgement = judged(DEFAULT, records)
    evidence = workspace.store.path(records[0].question)
    evidence.write_bytes(evidence.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(EvidenceError):
        write_report(workspace, judgement, decision="sha256:" + "1" * 64, signed=False, problems={})
    evidence.unlink()
    (workspace.folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError):
        write_report(workspace, judgement, decision="sha256:" + "1" * 64, signed=False, problems={})
    assert not (workspace.folder / "report.html").exists()

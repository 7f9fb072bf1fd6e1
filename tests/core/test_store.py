"""The evidence store: the first record counts, a continuation replaces it, and a kill loses nothing whole."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_world import record, suite
from weighbridge import canonical
from weighbridge.errors import EvidenceError, StorageError
from weighbridge.evidence import from_bytes, to_json
from weighbridge.store import EvidenceStore

SUITE = suite(64)
WHOLE = record(SUITE, lambda item: {"accuracy": float(int(item.id) % 2)})


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.put(WHOLE)
    (read,) = store.load()
    assert read == WHOLE
    assert read.digest == WHOLE.digest
    assert read.question.digest == WHOLE.question.digest


def test_the_first_record_counts_and_a_later_one_is_listed(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.put(WHOLE)
    better = replace(WHOLE, observations=tuple(replace(one, values={"accuracy": 1.0}) for one in WHOLE.observations))
    assert store.put(better) == WHOLE
    assert store.load() == [WHOLE]
    assert len(store.later()) == 1


def test_a_continuation_counts_and_what_it_continues_is_kept_for_replay(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    half = replace(WHOLE, observations=WHOLE.observations[:32])
    store.put(half)
    assert store.put(WHOLE) == WHOLE
    (kept,) = (tmp_path / "superseded").glob("*.json")
    assert from_bytes(kept.read_bytes(), where="kept") == half
    assert store.put(half) == WHOLE, "a shorter record of the same order takes nothing away"


def test_a_renamed_or_edited_file_is_refused(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.put(WHOLE)
    path = store.path(WHOLE.question)
    data = path.read_bytes()
    path.rename(tmp_path / ("00" * 32 + ".json"))
    with pytest.raises(EvidenceError, match="file name"):
        store.load()
    (tmp_path / ("00" * 32 + ".json")).unlink()
    path.write_bytes(data.replace(b'"accuracy":0', b'"accuracy": 0', 1))
    with pytest.raises(EvidenceError, match="canonical"):
        store.load()


def test_a_journal_resumes_at_its_last_whole_line(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    with store.journal(WHOLE.question) as journal:
        journal.append([[one] for one in WHOLE.observations[:5]])
    with (journal.path).open("ab") as stream:
        stream.write(b'[{"item":"half a li')
    with store.journal(WHOLE.question) as journal:
        assert journal.observations == list(WHOLE.observations[:5])
        journal.append([[WHOLE.observations[5]]])
    with store.journal(WHOLE.question) as journal:
        assert journal.observations == list(WHOLE.observations[:6])


def test_a_journal_that_was_stored_before_a_kill_is_not_counted_twice(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    with store.journal(WHOLE.question) as journal:
        journal.append([[one] for one in WHOLE.observations])
    store.put(WHOLE)  # killed before journal.remove()
    with store.journal(WHOLE.question) as journal:
        assert journal.observations == list(WHOLE.observations)


def test_two_processes_do_not_measure_into_one_folder(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    with store.lock(), pytest.raises(StorageError, match="another process"), EvidenceStore(tmp_path).lock():
        pass


WRITER = """
import sys
from pathlib import Path
from weighbridge.evidence import from_bytes
from weighbridge.store import EvidenceStore
whole = from_bytes(Path(sys.argv[2]).read_bytes(), where="given")
store = EvidenceStore(Path(sys.argv[1]))
with store.journal(whole.question) as journal:
    for one in whole.observations[len(journal.observations):]:
        journal.append([[one]])
        print(one.item, flush=True)
"""


def test_what_a_killed_measurement_reported_is_on_disk(tmp_path: Path) -> None:
    given = tmp_path / "whole.json"
    given.write_bytes(canonical.dumps(to_json(WHOLE)))
    folder = tmp_path / "evidence"
    reported = 0
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(given)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        reported += len((first + writer.stdout.read()).splitlines())
        writer.wait()
        writer.stdout.close()
        with EvidenceStore(folder).journal(WHOLE.question) as journal:
            kept = journal.observations
        assert kept == list(WHOLE.observations[: len(kept)])
        assert len(kept) >= reported
        reported = len(kept)


def test_a_disk_that_fills_up_keeps_whole_answers(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = EvidenceStore(tmp_path).journal(WHOLE.question)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        with pytest.raises(StorageError, match="too large"), journal:  # noqa: PT012 (closing must raise no other error)
            for one in WHOLE.observations:
                journal.append([[one]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = list(journal.observations)
    assert 0 < len(kept) < len(WHOLE.observations)
    with EvidenceStore(tmp_path).journal(WHOLE.question) as journal:
        assert journal.observations == kept


def test_who_answered_at_what_cost_is_kept_with_the_answers(tmp_path: Path) -> None:
    account = {"producer": {"torch": "2"}, "cost": {"seconds": 1.5}}
    with EvidenceStore(tmp_path).journal(WHOLE.question) as journal:
        journal.append([[one] for one in WHOLE.observations[:2]], account)
    with EvidenceStore(tmp_path).journal(WHOLE.question) as journal:
        assert journal.account == account
        assert journal.observations == list(WHOLE.observations[:2])


def test_a_folder_without_permission_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError), EvidenceStore(blocked / "evidence").lock():
        pass


DATA = canonical.dumps(to_json(replace(WHOLE, observations=WHOLE.observations[:2])))


@settings(max_examples=300)
@given(st.integers(0, len(DATA) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_mutated_evidence_is_the_same_evidence_or_an_error(position: int, inserted: bytes, removed: int) -> None:
    data = DATA[:position] + inserted + DATA[position + removed :]
    try:
        read = from_bytes(data, where="fuzz")
    except EvidenceError:
        return
    assert canonical.dumps(to_json(read)) == data


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda value: value.pop("kind"), "$"),
        (lambda value: value.update(extra=1), "$"),
        (lambda value: value["question"].update(measure=3), "$.question.measure"),
        (lambda value: value["observations"][1].update(values={"accuracy": 1.5}), "$.observations[1]"),
        (lambda value: value["observations"][0].update(failed="x"), "$.observations[0]"),
        (lambda value: value.update(kind="guessed"), "$.kind"),
    ],
)
def test_malformed_evidence_names_its_place(change: object, place: str) -> None:
    value = json.loads(DATA)
    change(value)  # type: ignore[operator]
    with pytest.raises(EvidenceError) as caught:
        from_bytes(canonical.dumps(value), where="e.json")
    assert (caught.value.where or "").startswith(f"e.json at {place}")

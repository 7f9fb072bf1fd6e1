"""Inspect logs as evidence: whole ones are read, everything else is refused and nothing is unpacked beyond bounds."""

from __future__ import annotations

import copy
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.errors import EvidenceError, WeighbridgeError
from weighbridge.evidence import Calibration, order_key
from weighbridge.suites import inspect_files
from weighbridge.suites.inspect_logs import ImportedLog, read_inspect_log, to_evidence

CHECKPOINT = "sha256:" + "1" * 64
MADE = "2026-01-02T03:04:05Z"
Log = dict[str, Any]


def log_of(values: dict[Any, list[Any]] | None = None, *, scorer: str = "match") -> Log:
    """A whole log: sample id -> its score in each epoch."""
    values = {"a": ["C", "I"], "b": ["C", "C"], 3: ["I", "N"]} if values is None else values
    epochs = len(next(iter(values.values())))
    samples = [
        {
            "id": name,
            "epoch": epoch + 1,
            "input": f"Do {name}",
            "target": "yes",
            "scores": {scorer: {"value": scores[epoch], "answer": "secret answer"}},
        }
        for epoch in range(epochs)
        for name, scores in values.items()
    ]
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "run_id": "r1",
            "created": "2026-01-01T00:00:00+00:00",
            "task": "tiny",
            "task_version": 0,
            "task_args": {},
            "model": "some/model",
            "model_generate_config": {},
            "dataset": {"samples": len(values), "sample_ids": list(values), "shuffled": False},
            "config": {"epochs": epochs},
            "packages": {"inspect_ai": "0.3.285"},
        },
        "results": {"total_samples": len(samples), "completed_samples": len(samples)},
        "samples": samples,
    }


def write_json(path: Path, log: Log) -> Path:
    path.write_text(json.dumps(log), encoding="utf-8")
    return path


def write_eval(path: Path, log: Log, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    header = {key: value for key, value in log.items() if key != "samples"}
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("_journal/start.json", "{}")
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("header.json", json.dumps(header))
    return path


def write_zstandard(path: Path, log: Log) -> Path:
    """An archive as newer versions of Inspect write it (compression method 93), made by hand."""
    zstandard = pytest.importorskip("zstandard")
    write_eval(path, log, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    body, directory = b"", b""
    for name, data in contents.items():
        packed, raw = zstandard.compress(data), name.encode()
        crc = zlib.crc32(data)
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 93, 0, 33, crc, len(packed), len(data), len(raw), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + raw
        body += b"PK\x03\x04" + fields + raw + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(contents), len(contents), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path


@pytest.mark.parametrize("write", [write_json, write_eval, write_zstandard])
def test_a_whole_log(tmp_path: Path, write: Callable[[Path, Log], Path]) -> None:
    log = read_inspect_log(write(tmp_path / "log.eval", log_of()))
    assert (log.task, log.model, log.epochs, log.scorers) == ("tiny", "some/model", 2, ("match",))
    assert log.digest.startswith("sha256:")
    assert [(sample.id, sample.epoch, sample.scores["match"]) for sample in log.samples] == [
        ("3", 1, 0.0),
        ("3", 2, 0.0),
        ("a", 1, 1.0),
        ("a", 2, 0.0),
        ("b", 1, 1.0),
        ("b", 2, 1.0),
    ]


def evidence_of(log: ImportedLog, **options: Any) -> Any:
    return to_evidence(log, CHECKPOINT, made=MADE, **{"metric": "capability.exact_match", "scorer": "match", **options})


def test_as_evidence(tmp_path: Path) -> None:
    log = read_inspect_log(write_json(tmp_path / "log.json", log_of()))
    evidence = evidence_of(log)
    question = evidence.question
    assert (question.measure, question.checkpoint) == ("capability", CHECKPOINT)
    assert (question.suite.items, question.suite.clusters, question.suite.largest_cluster) == (6, 3, 2)
    assert question.settings["imported"]["log_digest"] == log.digest
    assert evidence.asked == "complete"
    assert [one.cluster for one in evidence.observations][::2] == [one.cluster for one in evidence.observations][1::2]
    keys = [order_key(question, one.cluster) for one in evidence.observations]
    assert keys == sorted(keys)
    assert sum(one.values["exact_match"] for one in evidence.observations) == 3
    assert "secret" not in repr(evidence)
    assert sum(one.values["exact_match"] for one in evidence_of(log, invert=True).observations) == 3
    assert evidence_of(log, invert=True).question.digest != question.digest


@pytest.mark.parametrize("task", ["unsafe", "general", "lm-eval:mmlu"])
def test_a_task_with_the_name_of_another_suite_is_refused(tmp_path: Path, task: str) -> None:
    log = log_of()
    log["eval"]["task"] = task
    with pytest.raises(EvidenceError, match="name of another suite") as caught:
        evidence_of(read_inspect_log(write_json(tmp_path / "log.json", log)))
    assert "task" in (caught.value.remedy or "")


def test_the_same_log_in_two_formats_asks_the_same_suite(tmp_path: Path) -> None:
    one = evidence_of(read_inspect_log(write_json(tmp_path / "log.json", log_of())))
    two = evidence_of(read_inspect_log(write_eval(tmp_path / "log.eval", log_of())))
    assert one.question.suite == two.question.suite
    assert one.question.digest != two.question.digest


def test_a_judged_metric_carries_a_calibration_only_if_one_is_given(tmp_path: Path) -> None:
    log = read_inspect_log(write_json(tmp_path / "log.json", log_of()))
    assert evidence_of(log, metric="safety.harmful_compliance").calibrations == {}
    given_ = Calibration(9, 1, 1, 9, "own labels", "they carry over")
    evidence = evidence_of(log, metric="safety.harmful_compliance", calibration=given_)
    assert evidence.calibrations == {"harmful_compliance": given_}


def test_scores_that_fit_no_metric(tmp_path: Path) -> None:
    log = read_inspect_log(write_json(tmp_path / "log.json", log_of({"a": ["P"], "b": [0.25]})))
    assert [sample.scores["match"] for sample in log.samples] == [0.5, 0.25]
    with pytest.raises(EvidenceError, match="neither 0 nor 1"):
        evidence_of(log)
    for options in ({"metric": "integrity.findings"}, {"metric": "nothing"}, {"scorer": "other"}):
        with pytest.raises(EvidenceError):
            evidence_of(log, **options)


def test_scorers_with_several_values(tmp_path: Path) -> None:
    log = read_inspect_log(write_json(tmp_path / "log.json", log_of({"a": [{"x": True, "y": "no"}]})))
    assert log.scorers == ("match/x", "match/y")
    assert log.samples[0].scores == {"match/x": 1.0, "match/y": 0.0}


def changed(path: str, value: Any) -> Callable[[Log], None]:
    def change(log: Log) -> None:
        *keys, last = path.split(".")
        for key in keys:
            log = log[int(key)] if key.isdecimal() else log[key]  # type: ignore[index]
        log[int(last) if last.isdecimal() else last] = value  # type: ignore[index]

    return change


INCOMPLETE: list[tuple[Callable[[Log], Any], str]] = [
    (changed("status", "error"), "status 'error'"),
    (changed("status", "started"), "status 'started'"),
    (changed("status", "cancelled"), "cancelled"),
    (changed("error", {"message": "boom"}), "recorded an error"),
    (changed("invalidated", True), "invalidated"),
    (changed("eval.config.limit", 3), "by limit"),
    (changed("eval.config.sample_id", ["a"]), "by sample_id"),
    (changed("eval.dataset.samples", 4), "data set has 4"),
    (changed("eval.dataset.sample_ids", ["a", "b", 3, 4]), "data set has 3"),
    (changed("eval.config.epochs", 3), "in 3 epochs"),
    (changed("eval.config.epochs", -1), "epochs"),
    (changed("results.completed_samples", 5), "5 of 6"),
    (changed("results.total_samples", 7), "6 of 7"),
    (changed("results", None), "results"),
    (changed("samples", None), "no samples"),
    (changed("samples", []), "no samples"),
    (changed("samples", {}), "no array"),
    (lambda log: log["samples"].pop(), "5 samples"),
    (lambda log: log["samples"].append(log["samples"][0]), "twice"),
    (changed("samples.0.error", {"message": "boom"}), "ended in an error"),
    (changed("samples.0.scores", {}), "not scored"),
    (changed("samples.0.scores", None), "not scored"),
    (changed("samples.1.scores", {"other": {"value": 1}}), "not scored"),
    (changed("samples.0.scores.match", None), "not in"),
    (changed("samples.0.scores.match.value", float("nan")), "not in"),
    (changed("samples.0.scores.match.value", 1.5), "not in"),
    (changed("samples.0.scores.match.value", -0.1), "not in"),
    (changed("samples.0.scores.match.value", "excellent"), "no number"),
    (changed("samples.0.scores.match.value", [1]), "not in"),
    (changed("samples.0.epoch", "1"), "without id or epoch"),
    (changed("samples.0.id", None), "without id or epoch"),
    (changed("samples.0", 7), "without id or epoch"),
    (changed("eval", None), "eval"),
    (changed("eval.task", None), "task"),
    (changed("eval.dataset", None), "dataset"),
    (lambda log: log.pop("status"), "no Inspect log"),
]


@pytest.mark.parametrize(("change", "message"), INCOMPLETE)
@pytest.mark.parametrize("write", [write_json, write_eval])
def test_incomplete_or_malformed_logs(
    tmp_path: Path, change: Callable[[Log], Any], message: str, write: Callable[[Path, Log], Path]
) -> None:
    log = copy.deepcopy(log_of())
    change(log)
    if write is write_eval and not (
        isinstance(log.get("samples"), list) and all(isinstance(s, dict) for s in log["samples"])
    ):
        pytest.skip("cannot be written as an archive")
    if write is write_eval and len({(s["id"], s["epoch"]) for s in log["samples"]}) < len(log["samples"]):
        pytest.skip("cannot be written as an archive")
    path = write(tmp_path / "log.eval", log)
    with pytest.raises(EvidenceError, match=message) as caught:
        read_inspect_log(path)
    assert str(path) in str(caught.value.where)


def test_archives_that_are_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.eval"
    for name in ("../evil.json", "/etc/evil.json", "samples/../../evil.json", "c:/evil.json"):
        write_eval(path, log_of())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, "{}")
        with pytest.raises(EvidenceError, match="leads outside"):
            read_inspect_log(path)
    write_eval(path, log_of())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("header.json", "{}")
    with pytest.raises(EvidenceError, match="one name"):
        read_inspect_log(path)
    monkeypatch.setattr(inspect_files, "MAX_ENTRY_BYTES", 100_000)
    write_eval(path, log_of())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/bomb_epoch_1.json", " " * 1_000_000)
    with pytest.raises(EvidenceError, match="more than 100000"):
        read_inspect_log(path)
    monkeypatch.setattr(inspect_files, "MAX_ENTRIES", 3)
    with pytest.raises(EvidenceError, match="more than 3 entries"):
        read_inspect_log(write_eval(path, log_of()))


@pytest.mark.parametrize("write", [write_eval, write_zstandard])
def test_an_entry_never_unpacks_beyond_what_it_declares(tmp_path: Path, write: Callable[[Path, Log], Path]) -> None:
    """A bomb that declares a small size: reading stops at that size, and the checksum does not fit."""
    log = log_of()
    log["eval"]["padding"] = " " * 5_000_000
    path = write(tmp_path / "log.eval", log)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("header.json").file_size
    path.write_bytes(data.replace(struct.pack("<I", size), struct.pack("<I", 1000)))
    with pytest.raises(EvidenceError, match=r"checksum|damaged"):
        read_inspect_log(path)


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    with pytest.raises(EvidenceError, match="no such file"):
        read_inspect_log(path)
    with pytest.raises(EvidenceError):
        read_inspect_log(tmp_path)
    data = write_eval(path, log_of()).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(EvidenceError, match="archive"):
        read_inspect_log(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    with pytest.raises(EvidenceError, match="never ended"):
        read_inspect_log(path)
    for text in ("", "[]", "nothing", '{"status": 1, "status": 2}', "[" * 100_000, '{"eval": 5, "status": "success"}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(EvidenceError):
            read_inspect_log(path)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_flipped_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("log") / "log.eval"
    content = bytearray(write_eval(path, log_of()).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        log = read_inspect_log(path)
    except WeighbridgeError:
        return
    assert len(log.samples) == 6


def test_logs_that_inspect_itself_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by Inspect's own writer, where that package is installed (it is in no extra)."""
    log_module = pytest.importorskip("inspect_ai.log")
    source = write_json(tmp_path / "source.json", log_of())
    log = log_module.read_eval_log(str(source))
    for name in ("copy.eval", "copy.json"):
        log_module.write_eval_log(log, str(tmp_path / name))
        copied = read_inspect_log(tmp_path / name)
        assert copied.samples == read_inspect_log(source).samples

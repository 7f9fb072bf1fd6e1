"""Logs of Inspect (UK AISI), ``.eval`` archives and JSON, read as evidence. Needs no Inspect; trusts no log.

A log counts only if it is complete: status success, not invalidated, run on the whole data set, every sample scored
in every epoch and none with an error. It is bound to a checkpoint by a signed import, which is made elsewhere: a log
says which model *name* ran, never which weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.checkpoint import hash_file
from weighbridge.errors import CheckpointError, EvidenceError, InputError
from weighbridge.evidence import Calibration, Evidence, Observation, Question, SuiteRef, seeded_order
from weighbridge.metrics import METRICS
from weighbridge.shipped import reserved
from weighbridge.suites.inspect_files import read_archive, read_json

# Inspect's own reading of letters and words (its value_to_float).
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class ImportedSample:
    """One scored sample in one epoch. ``scores`` maps a scorer (``name``, or ``name/key`` where a scorer gives
    several values) to a number in [0, 1]; ``digest`` is of what was asked (input, target, choices)."""

    id: str
    epoch: int
    digest: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ImportedLog:
    """A complete log. ``digest`` is of the file's bytes; ``settings`` what the log says of the run; ``max_tokens`` the
    limit of a response, None where the log states none."""

    path: Path
    digest: str
    task: str
    model: str
    created: str
    epochs: int
    samples: tuple[ImportedSample, ...]
    scorers: tuple[str, ...]
    settings: Mapping[str, Json]
    max_tokens: int | None = None

    def judge(self, scorer: str) -> dict[str, Json]:
        """Who judged: the scorer, with its options and the models that took a part in it. A calibration names this."""
        return {"name": "inspect", "scorer": scorer, "digest": self.settings["scorers"]}


def read_inspect_log(path: Path) -> ImportedLog:
    """Read a log, ``.eval`` or JSON. Raises ``EvidenceError`` where it is malformed, incomplete or hostile."""
    where = str(path)
    if not path.is_file():
        raise EvidenceError("no such file", where=where, remedy="name one .eval or .json log")
    try:
        digest = "sha256:" + hash_file(path)
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        header, samples = read_archive(path) if zipped else read_json(path)
    except CheckpointError as cause:
        raise EvidenceError(cause.message, where=where, remedy="wait until nothing writes to the log") from cause
    except OSError as cause:
        raise EvidenceError(cause.strerror or str(cause), where=where) from cause
    _check_status(header, where)
    run = _mapping(header, "eval", where)
    config = _mapping(run, "config", f"{where} at $.eval")
    epochs = config.get("epochs") or 1
    read = tuple(sorted((_sample(sample, where) for sample in samples), key=lambda one: (one.id, one.epoch)))
    _check_complete(read, run, config, header, epochs, where)
    return ImportedLog(
        path=path,
        digest=digest,
        task=_text(run, "task", where),
        model=_text(run, "model", where),
        created=_text(run, "created", where),
        epochs=epochs,
        samples=read,
        scorers=tuple(sorted(read[0].scores)),
        settings=_settings(run, where),
        max_tokens=_max_tokens(run),
    )


def to_evidence(
    log: ImportedLog,
    checkpoint_digest: str,
    *,
    metric: str,
    scorer: str,
    made: str,
    invert: bool = False,
    calibration: Calibration | None = None,
) -> Evidence:
    """The log as evidence for ``metric`` of a checkpoint; the epochs of one sample are one cluster.

    ``scorer`` names the score to take. ``invert`` takes 1 - score, where the score says the opposite of the metric.
    A judged metric stays undecided without ``calibration``. Raises ``EvidenceError`` for an unknown metric or
    scorer, for a task that has the name of another suite, and for a score between 0 and 1 where the metric knows
    only those two.
    """
    where = str(log.path)
    if reserved(log.task):
        raise EvidenceError(
            f"the task is called {log.task!r}, which is the name of another suite, built-in or lm-eval's",
            where=f"{where} at $.eval.task",
            remedy="run it under a name of its own: inspect eval, with @task(name=...)",
        )
    known = METRICS.get(metric)
    if known is None or known.kind != "sampled":
        raise EvidenceError(f"{metric!r} is no sampled metric", where=where, remedy="name one as safety.over_refusal")
    if scorer not in log.scorers:
        raise EvidenceError(
            f"the log has no scorer {scorer!r}", where=where, remedy=f"choose one of {', '.join(log.scorers)}"
        )
    clusters: dict[str, list[Observation]] = {}
    for sample in log.samples:
        value = 1.0 - sample.scores[scorer] if invert else sample.scores[scorer]
        if known.binary and value not in (0.0, 1.0):
            raise EvidenceError(
                f"the score {value} of sample {sample.id!r} is neither 0 nor 1, as {metric} must be", where=where
            )
        item = f"{sample.id}#{sample.epoch}"
        observation = Observation(item, sample.digest, sample.id, "all", {known.field: value})
        clusters.setdefault(sample.id, []).append(observation)
    suite = SuiteRef(
        name=log.task,
        digest=canonical.digest([[one.item, one.digest] for members in clusters.values() for one in members]),
        items=len(log.samples),
        clusters=len(clusters),
        largest_cluster=max(map(len, clusters.values())),
        format="inspect",
    )
    imported: dict[str, Json] = {
        "harness": "inspect",
        "log_digest": log.digest,
        "task": log.task,
        "model": log.model,
        "created": log.created,
        "metric": metric,
        "scorer": scorer,
        "invert": invert,
        **log.settings,
    }
    question = Question(known.measure, checkpoint_digest, suite, {"imported": imported})
    return Evidence(
        question=question,
        kind="sampled",
        made=made,
        asked="complete",
        observations=tuple(one for name in seeded_order(question, list(clusters)) for one in clusters[name]),
        metrics=(known.field,),
        calibrations={} if calibration is None else {known.field: calibration},
        producer={"inspect": str(log.settings.get("inspect", ""))},
    )


def _check_status(header: Mapping[str, Any], where: str) -> None:
    if "eval" not in header or "status" not in header:
        raise EvidenceError("no Inspect log: it has no status or no eval", where=where)
    if header["status"] != "success":
        raise EvidenceError(
            f"the run ended with status {header['status']!r}, not 'success'",
            where=f"{where} at $.status",
            remedy="run it to its end: an incomplete log proves nothing",
        )
    if header.get("error") is not None:
        raise EvidenceError("the run recorded an error", where=f"{where} at $.error")
    if header.get("invalidated"):
        raise EvidenceError("the log was invalidated", where=f"{where} at $.invalidated")


def _check_complete(
    samples: Sequence[ImportedSample],
    run: Mapping[str, Any],
    config: Mapping[str, Any],
    header: Mapping[str, Any],
    epochs: Any,
    where: str,
) -> None:
    """Every sample of the data set, in every epoch, with the same scores."""
    remedy = "run the whole task without --limit, --sample-id or tolerated errors"
    if type(epochs) is not int or epochs < 1:
        raise EvidenceError(f"{epochs!r} epochs", where=f"{where} at $.eval.config.epochs")
    for field in ("limit", "sample_id"):
        if config.get(field) is not None:
            raise EvidenceError(
                f"the run was cut to a part of the data set by {field}",
                where=f"{where} at $.eval.config.{field}",
                remedy=remedy,
            )
    if not samples:
        raise EvidenceError("the log has no samples", where=where, remedy="run with --log-samples")
    seen = {(sample.id, sample.epoch) for sample in samples}
    if len(seen) != len(samples):
        raise EvidenceError("a sample stands twice in one epoch", where=where)
    dataset = _mapping(run, "dataset", f"{where} at $.eval")
    expected = _expected_ids(dataset, samples, where)
    if seen != {(name, epoch) for name in expected for epoch in range(1, epochs + 1)}:
        raise EvidenceError(
            f"the log has {len(samples)} samples where {len(expected)} in {epochs} epochs were due",
            where=where,
            remedy=remedy,
        )
    results = _mapping(header, "results", where)
    if results.get("total_samples") != len(samples) or results.get("completed_samples") != len(samples):
        raise EvidenceError(
            f"the results count {results.get('completed_samples')} of {results.get('total_samples')} samples complete, "
            f"and the log holds {len(samples)}",
            where=f"{where} at $.results",
            remedy=remedy,
        )
    scorers = set(samples[0].scores)
    for sample in samples:
        if not sample.scores or set(sample.scores) != scorers:
            raise EvidenceError(f"sample {sample.id!r} (epoch {sample.epoch}) is not scored", where=where)


def _expected_ids(dataset: Mapping[str, Any], samples: Sequence[ImportedSample], where: str) -> set[str]:
    ids, count = dataset.get("sample_ids"), dataset.get("samples")
    expected = {str(name) for name in ids} if isinstance(ids, list) else {sample.id for sample in samples}
    if type(count) is not int or count != len(expected):
        raise EvidenceError(
            f"the data set has {count!r} samples and the log names {len(expected)}", where=f"{where} at $.eval.dataset"
        )
    return expected


def _sample(sample: Any, where: str) -> ImportedSample:
    if not isinstance(sample, dict) or type(sample.get("id")) not in (str, int) or type(sample.get("epoch")) is not int:
        raise EvidenceError("a sample without id or epoch", where=f"{where} at $.samples")
    name = str(sample["id"])
    at = f"{where} at sample {name!r}, epoch {sample['epoch']}"
    if sample.get("error") is not None:
        raise EvidenceError("the sample ended in an error", where=at, remedy="run it again without tolerated errors")
    scores = sample.get("scores")
    if not isinstance(scores, dict) or not scores:
        raise EvidenceError("the sample is not scored", where=at, remedy="score it: inspect score LOG")
    read: dict[str, float] = {}
    for scorer, score in scores.items():
        value = score.get("value") if isinstance(score, dict) else None
        if isinstance(value, dict):
            read |= {f"{scorer}/{key}": _value(one, f"{at}, score {scorer}/{key}") for key, one in value.items()}
        else:
            read[scorer] = _value(value, f"{at}, score {scorer}")
    digest = _digest([sample.get("input"), sample.get("target"), sample.get("choices")], at)
    return ImportedSample(name, sample["epoch"], digest, read)


def _value(value: Any, at: str) -> float:
    """A score as a number in [0, 1]: correct 1, partial 0.5, incorrect and no answer 0."""
    if isinstance(value, str):
        known = _LETTERS.get(value, _LETTERS.get(value.lower()))
        if known is None:
            raise EvidenceError(
                f"the score {value!r} is no number", where=at, remedy="only C, I, P, N, yes and no are read"
            )
        return known
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise EvidenceError(f"the score {value!r} is not in [0, 1]", where=at, remedy="rescale it in the scorer")
    return float(value)


def _settings(run: Mapping[str, Any], where: str) -> dict[str, Json]:
    packages = run.get("packages")
    version = packages.get("inspect_ai") if isinstance(packages, dict) else None
    return {
        "inspect": str(version or "unknown"),
        "task_version": str(run.get("task_version", "")),
        "run": str(run.get("run_id", "")),
        "config": _digest([run.get(key) for key in ("task_args", "config", "model_generate_config")], where),
        "scorers": _digest([_scorers(run.get("scorers")), run.get("model_roles")], where),
    }


def _scorers(value: Any) -> list[Any]:
    """Names and options of the scorers; what they report afterwards is left out."""
    listed = value if isinstance(value, list) else []
    return [[one.get("name"), one.get("options")] for one in listed if isinstance(one, dict)]


def _max_tokens(run: Mapping[str, Any]) -> int | None:
    config = run.get("model_generate_config")
    limit = config.get("max_tokens") if isinstance(config, dict) else None
    return limit if type(limit) is int and limit > 0 else None


def _digest(value: Any, where: str) -> str:
    try:
        return canonical.digest(_plain(value))
    except InputError as cause:
        raise EvidenceError(f"cannot be digested: {cause.message}", where=where) from cause


def _plain(value: Any, depth: int = 0) -> Any:
    """Foreign JSON with what canonical JSON cannot say (NaN, huge integers) written out as text."""
    if depth > canonical.MAX_DEPTH:
        raise InputError(f"nested more than {canonical.MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        return {key: _plain(child, depth + 1) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child, depth + 1) for child in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


def _mapping(value: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = value.get(key)
    if not isinstance(found, dict):
        return _missing(key, where)
    return found


def _text(value: Mapping[str, Any], key: str, where: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        return _missing(key, where)
    return found


def _missing(key: str, where: str) -> NoReturn:
    raise EvidenceError(f"the field {key!r} is missing or of another kind", where=where, remedy="is it an Inspect log?")

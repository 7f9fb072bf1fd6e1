"""Any lm-eval task as a suite: lm-eval builds the requests and scores the answers, our engine answers them.

Needs the extra ``weighbridge[lm-eval]``. Unlike task files read natively, such a task may run code of its own
(``!function``, Python tasks) and may download its data: what is named here is trusted as a program is.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from weighbridge import canonical
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Content, Generation, Item, MultipleChoice
from weighbridge.suites.scoring import FIELDS, Result, ScoredSuite
from weighbridge.suites.task_yaml import mean_share

FEWSHOT_SEED = 1234
MAX_TOKENS = 256
"""What lm-eval generates at most where a task does not say."""

_INSTALL = "pip install 'weighbridge[lm-eval]'"
_UNSUITABLE = frozenset({"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "bypass"})


def load_lm_eval_task(name: str, *, tasks: Path | None = None) -> ScoredSuite:
    """The lm-eval task, group or tag ``name`` as a suite; ``tasks`` is a folder whose task files come first.

    Items of a group are named ``task:index``, and each task is a slice. Raises ``SuiteError`` where lm-eval is not
    installed, knows no such task, cannot get its data, or asks for what our engines do not do.
    """
    where = f"lm-eval:{name}"
    if tasks is not None and not tasks.is_dir():
        raise SuiteError("no such folder", where=str(tasks), remedy="name a folder of lm-eval task files")
    loaded = _load(name, tasks, where)
    entries: list[_Entry] = []
    for task_name, task in loaded.items():
        prefix = f"{task_name}:" if len(loaded) > 1 else ""
        part = task_name if len(loaded) > 1 else "all"
        entries += _entries(task, prefix, part, where)
    types = sorted({str(task.OUTPUT_TYPE) for task in loaded.values()})
    fields = _fields(entries, where)
    by_item = {entry.item.id: entry for entry in entries}
    items = tuple(entry.item for entry in entries)
    return ScoredSuite(
        name=name,
        items=items,
        format="+".join(types),
        chance=mean_share([entry.chance for entry in entries]) if types == ["multiple_choice"] else None,
        rule={
            "lm-eval": importlib.metadata.version("lm_eval"),
            "fewshot_seed": FEWSHOT_SEED,
            "fields": list(fields),
            "tasks": {task_name: _task_digest(task) for task_name, task in loaded.items()},
            "documents": canonical.digest_bytes(b"\n".join(_plain(entry.requests[0].doc) for entry in entries)),
        },
        fields=fields,
        scorer=lambda item, result: by_item[item.id].values(result),
    )


@dataclass
class _Entry:
    """One document: its item, and what lm-eval needs to score it."""

    item: Item
    task: Any
    chance: Fraction
    requests: list[Any] = field(repr=False)

    def values(self, result: Result) -> dict[str, float]:
        """Field -> value of this document, all filters applied. Raises ``SuiteError`` where lm-eval fails."""
        try:
            return self._values([result] if isinstance(result, str) else list(result))
        except Exception as cause:  # a task's own code can raise anything
            message = f"lm-eval cannot score the answer: {type(cause).__name__}: {cause}"
            raise SuiteError(message, where=f"item {self.item.id}") from cause

    def _values(self, results: list[Any]) -> dict[str, float]:
        for request, result in zip(self.requests, results, strict=True):
            request.resps = [result] * (request.repeats or 1)
            request.filtered_resps = {}
        for pipeline in self.task._filters:
            pipeline.apply(self.requests)
        values: dict[str, float] = {}
        for index, name in enumerate(self.requests[0].filtered_resps):
            answers = [request.filtered_resps[name] for request in self.requests]
            for metric, value in self.task.process_results(self.requests[0].doc, answers).items():
                ours = FIELDS.get(metric, metric)
                number = None if metric in _UNSUITABLE else _number(value)
                if number is not None:
                    values[ours if index == 0 else f"{ours},{name}"] = number
        return values


def _load(name: str, tasks: Path | None, where: str) -> dict[str, Any]:
    """Task name -> task. The folder is searched first, since reading all of lm-eval's own tasks takes seconds."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        from lm_eval.tasks import TaskManager  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as cause:
        raise SuiteError(f"lm-eval is not installed ({cause})", where=where, remedy=_INSTALL) from cause
    try:
        with redirect_stderr(io.StringIO()):  # its progress bars, which would mix with ours
            manager = TaskManager(include_path=None if tasks is None else str(tasks), include_defaults=tasks is None)
            if tasks is not None and name not in manager.task_index:
                manager = TaskManager(include_path=str(tasks))
            known = name in manager.task_index
            loaded = manager.load([name])["tasks"] if known else {}
    except Exception as cause:  # task files, their code, data sets and the network
        raise SuiteError(
            f"lm-eval cannot load the task: {type(cause).__name__}: {cause}",
            where=where,
            remedy="if its data must be downloaded, do so once while connected (HF_HOME keeps it), or name local "
            "files in the task: dataset_path: json",
        ) from cause
    if not loaded:
        remedy = (
            "see `lm-eval ls tasks` for the names, or give the folder of your task files with --lm-eval-tasks "
            "(lm-eval passes over files that it cannot read)"
        )
        raise SuiteError("lm-eval knows no such task", where=where, remedy=remedy)
    return {str(task_name): task for task_name, task in loaded.items()}


def _entries(task: Any, prefix: str, part: str, where: str) -> list[_Entry]:
    if getattr(task, "UNSAFE_CODE", False):
        raise SuiteError("the task runs code that the model writes", where=where, remedy="run it in lm-eval, isolated")
    if getattr(task, "MULTIMODAL", False):
        raise SuiteError("the task needs a model of images or sounds", where=where)
    try:
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        with redirect_stderr(io.StringIO()):
            task.build_all_requests(cache_requests=False)
    except Exception as cause:  # the task's own code
        message = f"lm-eval cannot build the requests: {type(cause).__name__}: {cause}"
        raise SuiteError(message, where=where) from cause
    groups: dict[int, list[Any]] = {}
    for request in task.instances:
        groups.setdefault(int(request.doc_id), []).append(request)
    entries: list[_Entry] = []
    for index, requests in groups.items():
        requests.sort(key=lambda request: int(request.idx))
        identity = f"{prefix}{index}"
        content = _content(task, requests, f"{where} document {index}")
        cluster = _named(task, requests[0].doc, "cluster")
        item = Item(
            identity,
            content,
            identity if cluster is None else f"{prefix}{cluster}",
            (None if prefix else _named(task, requests[0].doc, "slice")) or part,
        )
        entries.append(_Entry(item, task, _chance(task, content), requests))
    return entries


def _content(task: Any, requests: Sequence[Any], where: str) -> Content:
    """What our engine is asked: continuations to score, or a context to continue."""
    kinds = {str(request.request_type) for request in requests}
    if kinds == {"loglikelihood"}:
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        contexts = tuple(context for context, _ in pairs)
        continuations = tuple(continuation for _, continuation in pairs)
        gold = _gold(task, requests[0].doc, len(pairs))
        lengths = tuple(max(len(text), 1) for text in continuations)
        same = len(set(contexts)) == 1
        return MultipleChoice(contexts[0], continuations, lengths, gold, None if same else contexts)
    if kinds == {"generate_until"} and len(requests) == 1:
        context, options = str(requests[0].args[0]), dict(requests[0].args[1])
        until = options.get("until") or ()
        temperature = float(options.get("temperature") or 0.0)
        if options.get("do_sample") is True and temperature > 0.0:
            raise SuiteError(
                "the task draws its answers at random", where=where, remedy="only greedy answers are taken"
            )
        named = (options.get(key) for key in ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"))
        most = next((int(value) for value in named if value is not None), MAX_TOKENS)
        stops = (until,) if isinstance(until, str) else tuple(map(str, until))
        return Generation(context, _targets(task, requests[0].doc), stops, most)
    raise SuiteError(
        f"requests of the kind {', '.join(sorted(kinds))} ({len(requests)} a document)",
        where=where,
        remedy="tasks of multiple_choice, loglikelihood and generate_until run here",
    )


def _gold(task: Any, document: Any, count: int) -> tuple[int, ...]:
    """The right choices where the task says so plainly, for the chance level and for people; scores do not use it."""
    if task.OUTPUT_TYPE != "multiple_choice" or not hasattr(task, "multiple_input"):
        return (0,) if count == 1 else ()
    label = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(label, str):
        choices = task.doc_to_choice(document)
        label = choices.index(label) if label in choices else -1
    labels = label if isinstance(label, list) else [label]
    if not all(isinstance(one, int) and 0 <= one < count for one in labels):
        raise SuiteError(f"the label {label!r:.80} is outside the {count} choices", where=f"task {task.config.task}")
    return tuple(int(one) for one in labels)


def _chance(task: Any, content: Content) -> Fraction:
    """What a guess scores on one document."""
    if not isinstance(content, MultipleChoice):
        return Fraction(0)
    halves = 2 if "acc_mutual_info" in getattr(task, "_metric_fn_list", ()) else 1  # unconditional requests follow
    return Fraction(max(len(set(content.gold)), 1) * halves, len(content.continuations))


def _targets(task: Any, document: Any) -> tuple[str, ...]:
    try:
        target = task.doc_to_target(document)
    except Exception:  # a task with a scorer of its own may have no target
        return ()
    return tuple(map(str, target)) if isinstance(target, list) else (str(target),)


def _fields(entries: Sequence[_Entry], where: str) -> tuple[str, ...]:
    """The fields that scoring gives, learned by scoring an empty answer to the first document of every task."""
    first = {id(entry.task): entry for entry in reversed(entries)}
    found: list[tuple[str, ...]] = []
    for entry in first.values():
        content = entry.item.content
        blank: Result = ""
        if isinstance(content, MultipleChoice):
            blank = [(-1.0 - index, False) for index in range(len(content.continuations))]
        declared = [str(metric) for metric in getattr(entry.task, "_metric_fn_list", {})]
        try:
            names = tuple(entry.values(blank))
        except SuiteError:  # a scorer that cannot take an empty answer
            names = tuple(FIELDS[metric] for metric in declared if metric in FIELDS)
        if not names:
            raise SuiteError(
                f"no metric of the task is a number from 0 to 1 for each document ({', '.join(declared)})",
                where=where,
                remedy="acc, acc_norm, exact_match and the like can be measured; corpus metrics cannot",
            )
        found.append(names)
    common = tuple(name for name in found[0] if all(name in names for names in found))
    if not common:
        raise SuiteError("the tasks of the group have no metric in common", where=where, remedy="weigh them one by one")
    return common


def _named(task: Any, document: Any, name: str) -> str | None:
    """The column that the task's metadata names for clusters or slices, as in task files read natively."""
    metadata = getattr(task.config, "metadata", None)
    column = metadata.get(name) if isinstance(metadata, Mapping) else None
    value = document.get(column) if isinstance(column, str) and isinstance(document, Mapping) else None
    return None if value is None or value == "" else str(value)


def _task_digest(task: Any) -> str:
    """The digest of the task's configuration, its code included, without where its files lie."""
    config = {key: value for key, value in dict(task.dump_config()).items() if key != "dataset_kwargs"}
    if isinstance(config.get("metadata"), dict):
        config["metadata"] = {key: value for key, value in config["metadata"].items() if key != "config_source"}
    return canonical.digest_bytes(_plain(config))


def _plain(value: Any) -> bytes:
    """``value`` as JSON in one way; code as its source, anything else that JSON cannot hold as its text."""
    return json.dumps(value, sort_keys=True, default=_described).encode()


def _described(value: Any) -> str:
    if callable(value):
        try:
            return inspect.getsource(value)
        except (TypeError, OSError):
            return getattr(value, "__qualname__", type(value).__qualname__)
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _number(value: Any) -> float | None:
    """A per-document value in [0, 1], or None for tuples, texts and the like."""
    if isinstance(value, str | bytes | Iterable) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and 0.0 <= number <= 1.0 else None

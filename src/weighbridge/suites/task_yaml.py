"""Suites from lm-eval task files over local data, without lm-eval: multiple choice and generated answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from weighbridge.canonical import Json
from weighbridge.errors import SuiteError
from weighbridge.suites.documents import Document, read_documents
from weighbridge.suites.fields import TaskFields, read_fields
from weighbridge.suites.interface import Content, Generation, Item, MultipleChoice, Suite
from weighbridge.suites.prompting import Prompter, Rendered
from weighbridge.suites.scoring import FIELDS, MATCH_OPTIONS, check_filters, check_pattern

_METRIC_NOTES = {"metric", "aggregation", "higher_is_better"}


def load_task(path: Path) -> Suite:
    """The suite that the task file at ``path`` describes, every item rendered.

    Raises ``SuiteError`` naming the file and the field, or the data file and the line.
    """
    task = read_fields(path)
    documents = _documents(task, task.eval_split)
    rendered = Prompter(task, list(documents[0].columns)).render(documents, _pool(task, documents))
    several = isinstance(rendered[0].target, list)
    items: list[Item] = []
    seen: dict[str, str] = {}
    for index, one in enumerate(rendered):
        if isinstance(one.target, list) is not several:
            _fail(task, one.document, "doc_to_target gives a list for some documents, and one answer for others")
        item = _item(task, index, one, _choice(task, one) if _is_choice(task) else _generation(task, one))
        if item.id in seen:
            _fail(task, one.document, f"the id {item.id!r} stands in {seen[item.id]} already")
        seen[item.id] = one.document.where
        items.append(item)
    return Suite(task.task, tuple(items), task.output_type, chance_of(items), _rule(task))


def chance_of(items: Iterable[Item]) -> str | None:
    """The mean score of a guess over multiple-choice items, as a decimal string; None for anything else."""
    shares: list[Fraction] = []
    for item in items:
        if not isinstance(item.content, MultipleChoice) or len(item.content.continuations) < 2:
            return None
        shares.append(Fraction(len(set(item.content.gold)), len(item.content.continuations)))
    return mean_share(shares)


def mean_share(shares: Sequence[Fraction]) -> str:
    """The mean as a decimal string, rounded to six places from the exact fraction."""
    mean = sum(shares, Fraction(0)) / max(len(shares), 1)
    return format((Decimal(round(mean * 1_000_000)) / 1_000_000).normalize(), "f")


def _is_choice(task: TaskFields) -> bool:
    return task.output_type == "multiple_choice"


def _documents(task: TaskFields, split: str) -> list[Document]:
    return read_documents(task.splits[split], field=task.rows_field)


def _pool(task: TaskFields, asked: list[Document]) -> list[Document]:
    """Where examples are drawn from; nothing is read where none are wanted."""
    if task.num_fewshot == 0:
        return []
    if task.fewshot.split is None and task.fewshot.samples is not None:
        return [
            Document(sample, f"{task.where} at fewshot_config.samples[{index}]")
            for index, sample in enumerate(task.fewshot.samples)
        ]
    return asked if task.fewshot_pool == task.eval_split else _documents(task, task.fewshot_pool)


def _choice(task: TaskFields, one: Rendered) -> MultipleChoice:
    choices = one.choices or ()
    if len(choices) < 2:
        _fail(task, one.document, "a multiple-choice item needs two choices")
    lengths = tuple(len(choice) for choice in choices)
    if one.label is None:
        continuations = tuple(task.target_delimiter + choice for choice in choices)
        return MultipleChoice(one.contexts[0], continuations, lengths, _gold(task, one, one.target, choices))
    if not isinstance(one.target, str) or not one.target:
        _fail(task, one.document, "doc_to_target gives no text to continue each input with")
    continuations = (task.target_delimiter + one.target,) * len(choices)
    return MultipleChoice(one.contexts[0], continuations, lengths, _gold(task, one, one.label, choices), one.contexts)


def _gold(task: TaskFields, one: Rendered, target: Any, choices: Sequence[str]) -> tuple[int, ...]:
    """The indices of right choices; a label is an index, or the text of a choice where it stands alone."""
    if isinstance(target, str):
        if target not in choices:
            _fail(task, one.document, f"the label {target!r:.80} is none of the {len(choices)} choices")
        return (choices.index(target),)
    labels = target if isinstance(target, list) else [target]
    if not labels:
        _fail(task, one.document, "no choice is right")
    for label in labels:
        if not isinstance(label, int):
            _fail(task, one.document, f"the label {label!r:.80} is neither an index nor a choice")
        if not 0 <= label < len(choices):
            _fail(task, one.document, f"the label {label} is outside the {len(choices)} choices")
    return tuple(dict.fromkeys(int(label) for label in labels))


def _generation(task: TaskFields, one: Rendered) -> Generation:
    if one.label is not None or len(one.contexts) != 1:
        _fail(task, one.document, "doc_to_text gives an index, where a text to continue is needed")
    target = one.target
    if one.choices is not None:
        if not isinstance(target, int) or not 0 <= target < len(one.choices):
            _fail(task, one.document, f"the label {target!r:.80} is outside the {len(one.choices)} choices")
        target = one.choices[target]
    targets = tuple(target) if isinstance(target, list) else (str(target),)
    if target is None or not targets or not all(isinstance(text, str) for text in targets):
        _fail(task, one.document, f"doc_to_target gives {target!r:.80}, which is no text to compare with")
    return Generation(one.contexts[0], targets, task.until, task.max_tokens)


def _item(task: TaskFields, index: int, one: Rendered, content: Content) -> Item:
    """``one`` as an item; without a cluster column (or with none in this row) an item is a cluster of its own."""
    identity = str(index) if task.id_column is None else _column(task, one.document, "id", task.id_column)
    if identity is None:
        _fail(task, one.document, f"the column {task.id_column!r} (metadata.id) is empty")
    cluster = None
    if task.cluster_column is not None:
        cluster = _column(task, one.document, "cluster", task.cluster_column) or f"item:{identity}"
    part = None if task.slice_column is None else _column(task, one.document, "slice", task.slice_column)
    return Item(identity, content, cluster or identity, part or "all")


def _column(task: TaskFields, document: Document, name: str, column: str) -> str | None:
    if column not in document.columns:
        raise SuiteError(f"the data has no column {column!r}", where=f"{task.where} at metadata.{name}")
    value = document.columns[column]
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        _fail(
            task, document, f"the column {column!r} (metadata.{name}) is {value!r:.80}, neither text nor whole number"
        )
    return str(value)


def _rule(task: TaskFields) -> dict[str, Json]:
    """Everything beyond the items that shapes their scores."""
    where = f"{task.where} at metric_list"
    default = ("acc", "acc_norm") if _is_choice(task) else ("exact_match",)
    listed = [{"metric": name} for name in default] if task.metric_list is None else task.metric_list
    metrics: list[Json] = []
    for entry in listed:
        name = entry.get("metric")
        if name not in FIELDS or (not _is_choice(task) and name != "exact_match"):
            possible = "acc, acc_norm and exact_match" if _is_choice(task) else "exact_match"
            remedy = f"for {task.output_type} there is {possible}; the lm-eval extra (lm-eval:NAME) knows more"
            raise SuiteError(f"unknown metric {name!r:.80}", where=where, remedy=remedy)
        if any(isinstance(other, dict) and other["metric"] == name for other in metrics):
            raise SuiteError(f"the metric {name} stands twice", where=where)
        if entry.get("aggregation", "mean") != "mean" or entry.get("higher_is_better", True) is not True:
            raise SuiteError(f"{name} is a mean, and higher is better", where=where)
        options = {key: value for key, value in entry.items() if key not in _METRIC_NOTES and value is not None}
        _check_options(options, str(name), _is_choice(task), where)
        metrics.append({"metric": name, **options})
    if not metrics:
        raise SuiteError("the list is empty", where=where, remedy="a task without a metric measures nothing")
    rule: dict[str, Json] = {"metrics": metrics}
    if task.filter_list is not None and _is_choice(task):
        raise SuiteError("filters of a multiple-choice task", where=f"{task.where} at filter_list", remedy="remove it")
    if task.filter_list:
        rule["filters"] = check_filters(task.filter_list, repeats=task.repeats, where=task.where)
        rule["repeats"] = task.repeats
    return rule


def _check_options(options: dict[str, Any], metric: str, choice: bool, where: str) -> None:
    allowed = () if choice else MATCH_OPTIONS
    if unknown := sorted(map(str, set(options) - set(allowed))):
        raise SuiteError(f"unknown option {unknown[0]!r} of the metric {metric}", where=where)
    for name, value in options.items():
        if name == "regexes_to_ignore":
            if not isinstance(value, list):
                raise SuiteError("regexes_to_ignore is a list of regular expressions", where=where)
            for pattern in value:
                check_pattern(pattern, where)
        elif not isinstance(value, bool):
            raise SuiteError(f"{name} is true or false", where=where)


def _fail(task: TaskFields, document: Document, message: str) -> NoReturn:
    raise SuiteError(message, where=f"{document.where} (task {task.where})")

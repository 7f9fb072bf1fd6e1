"""From a task's documents to contexts, choices and targets, as lm-eval 0.4.13 builds them. Pure.

Examples are drawn with lm-eval's sampler: one generator seeded with 1234 for the whole task, asked once for
each document in file order, so that every item has the examples it has there.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NoReturn

from weighbridge.errors import SuiteError
from weighbridge.suites.documents import Document
from weighbridge.suites.fields import Formula, TaskFields
from weighbridge.suites.templates import Templates

FEWSHOT_SEED = 1234


@dataclass(frozen=True, slots=True)
class Rendered:
    """A document as the model will see it. ``contexts`` has one entry, or one for each choice (multiple inputs).

    ``target`` is the label, text, or list of those that ``doc_to_target`` gave; with multiple inputs ``label`` is
    the index of the right context and ``target`` the shared continuation.
    """

    document: Document
    contexts: tuple[str, ...]
    choices: tuple[str, ...] | None
    target: Any
    label: int | None = None


class Prompter:
    """Renders the documents of one task. ``columns`` are those of the documents that are asked."""

    def __init__(self, task: TaskFields, columns: Sequence[str]) -> None:
        self._task = task
        self._columns = frozenset(columns)
        self._templates = Templates()

    def render(self, documents: Sequence[Document], pool: Sequence[Document]) -> list[Rendered]:
        """All documents in order, each with its own examples. Raises ``SuiteError`` with file and line."""
        task = self._task
        first = documents[0]
        inputs = task.doc_to_choice is not None and isinstance(self._text(first, task.doc_to_text), int)
        sampler = _Sampler(task, pool)
        shots: dict[int, str] = {}
        return [self._one(document, sampler.draw(document), inputs, shots) for document in documents]

    def _one(self, document: Document, examples: list[Document], inputs: bool, shots: dict[int, str]) -> Rendered:
        task = self._task
        head = self._resolve(document, task.description, "description")
        for example in examples:
            if id(example) not in shots:
                shots[id(example)] = self._example(example, inputs)
            head += shots[id(example)]
        prefix = None
        if task.gen_prefix is not None:
            prefix = self._column_or_template(document, task.gen_prefix, "gen_prefix")
        question = self._text(document, task.doc_to_text)
        choices = None if task.doc_to_choice is None else self._choices(document, task.doc_to_choice)
        target = self._target(document, task.doc_to_target)
        if not inputs:
            return Rendered(document, (head + self._turn(document, question, prefix),), choices, target)
        if not isinstance(question, int) or isinstance(question, bool) or choices is None:
            self._fail(document, "doc_to_text", "gives an index in the first document, and none here")
        contexts = tuple(head + self._turn(document, choice, prefix, delimiter="") for choice in choices)
        return Rendered(document, contexts, choices, target, question)

    def _turn(self, document: Document, question: Any, prefix: str | None, delimiter: str | None = None) -> str:
        """The question that stays open, up to where the answer begins."""
        if not isinstance(question, str):
            self._fail(document, "doc_to_text", f"gives {question!r:.80}, which is no text")
        if not prefix:
            return question
        between = self._task.target_delimiter if delimiter is None else delimiter
        return question + (between if _needs_space(question, prefix) else "") + prefix

    def _example(self, document: Document, inputs: bool) -> str:
        """A question with its answer, for the few-shot part."""
        own = self._task.fewshot
        question = self._text(document, own.doc_to_text)
        choices = None if own.doc_to_choice is None else self._choices(document, own.doc_to_choice)
        answer = self._target(document, own.doc_to_target)
        prefix = self._resolve(document, own.gen_prefix or "", "gen_prefix") or None
        if inputs:
            if not isinstance(question, int) or choices is None or not 0 <= question < len(choices):
                self._fail(document, "doc_to_text", f"gives {question!r:.80}, which is no index of a choice")
            question, choices = choices[question], None
        if not isinstance(question, str):
            self._fail(document, "doc_to_text", f"gives {question!r:.80}, which is no text")
        if answer is None or answer == "":
            return (
                question + (own.target_delimiter if prefix and _needs_space(question, prefix) else "") + (prefix or "")
            )
        if isinstance(answer, int) and choices:
            if not 0 <= answer < len(choices):
                self._fail(document, "doc_to_target", f"the label {answer} is outside the {len(choices)} choices")
            answer = choices[answer]
        elif isinstance(answer, list):
            answer = answer[0] if answer else None
        if not isinstance(answer, str):
            self._fail(document, "doc_to_target", f"gives {answer!r:.80}, which is no text for an example")
        between = own.target_delimiter if not prefix or _needs_space(question, prefix) else ""
        joined = answer if not prefix else prefix + (" " if _meets_tightly(prefix, answer) else "") + answer
        return question + between + joined + own.fewshot_delimiter

    def _text(self, document: Document, formula: Formula) -> str | int:
        """``doc_to_text``: a column as it stands, or a template; digits alone are an index where choices are set."""
        if not isinstance(formula, str):
            return formula  # type: ignore[return-value]  # an index
        if formula in self._columns:
            return document.columns.get(formula)  # type: ignore[return-value]  # checked by whoever needs text
        text = self._template(document, formula, "doc_to_text")
        return self._index(text) if self._task.doc_to_choice is not None and text.isdigit() else text

    def _target(self, document: Document, formula: Formula) -> Any:
        """``doc_to_target``: likewise, and text in square brackets that reads as a list is one."""
        if not isinstance(formula, str):
            return formula
        if formula in self._columns:
            return document.columns.get(formula)
        text = self._template(document, formula, "doc_to_target")
        if self._task.doc_to_choice is not None and text.isdigit():
            return self._index(text)
        if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
            try:
                return ast.literal_eval(text)
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                return text
        return text

    def _index(self, text: str) -> int | str:
        try:
            return int(text) if text.isascii() and str(int(text)) == text else text
        except ValueError:  # thousands of digits
            return text

    def _choices(self, document: Document, formula: Formula) -> tuple[str, ...]:
        if isinstance(formula, dict):
            value: Any = list(formula.values())
        elif isinstance(formula, list):
            value = formula
        elif isinstance(formula, str) and formula in self._columns:
            value = document.columns.get(formula)
        else:
            text = self._template(document, str(formula), "doc_to_choice")
            try:
                value = ast.literal_eval(text)
            except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
                self._fail(document, "doc_to_choice", f"does not read as a list: {text!r:.80}")
        if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
            self._fail(document, "doc_to_choice", f"gives {value!r:.80}, which is no list of texts")
        if not value or not all(value):
            self._fail(document, "doc_to_choice", "an empty choice, or none at all")
        return tuple(value)

    def _resolve(self, document: Document, source: str, name: str) -> str:
        """A column of this very document, or a template; empty stays empty."""
        if not source:
            return ""
        if source in document.columns:
            value = document.columns[source]
            if value is not None and not isinstance(value, str):
                self._fail(document, name, f"gives {value!r:.80}, which is no text")
            return value or ""
        return self._template(document, source, name)

    def _column_or_template(self, document: Document, source: str, name: str) -> str:
        value = document.columns.get(source) if source in self._columns else self._template(document, source, name)
        if value is not None and not isinstance(value, str):
            self._fail(document, name, f"gives {value!r:.80}, which is no text")
        return value or ""

    def _template(self, document: Document, source: str, name: str) -> str:
        return self._templates.render(source, document.columns, where=f"{document.where}, {self._task.where} at {name}")

    def _fail(self, document: Document, name: str, message: str) -> NoReturn:
        raise SuiteError(f"{name} {message}", where=f"{document.where}, {self._task.where} at {name}")


class _Sampler:
    """Draws the examples of each document: ``default`` at random, ``first_n`` the first ones."""

    def __init__(self, task: TaskFields, pool: Sequence[Document]) -> None:
        self._task = task
        self._pool = list(pool)
        self._random = Random(FEWSHOT_SEED)
        # lm-eval leaves the asked document out only where the examples' split is named and is the test split
        # (or where neither is named); otherwise a document may meet itself among its examples there, and so here.
        self._excludes = task.fewshot.split == task.test_split

    def draw(self, asked: Document) -> list[Document]:
        wanted = self._task.num_fewshot
        if wanted == 0:
            return []
        if self._task.fewshot.sampler == "first_n":
            drawn = self._others(self._pool, asked)[:wanted] if self._excludes else self._pool[:wanted]
        elif self._excludes and asked.columns:
            drawn = self._others(self._sample(self._pool, wanted + 1), asked)[:wanted]
            if len(drawn) < wanted:  # the pool repeats the asked document
                drawn = self._sample(self._others(self._pool, asked), wanted)
        else:
            drawn = self._sample(self._pool, wanted)
        if len(drawn) < wanted:
            self._too_few(len(self._pool))
        return drawn

    def _sample(self, pool: list[Document], count: int) -> list[Document]:
        if count > len(pool):
            self._too_few(len(pool))
        return self._random.sample(pool, count)

    @staticmethod
    def _others(documents: Sequence[Document], asked: Document) -> list[Document]:
        return [document for document in documents if document.columns != asked.columns]

    def _too_few(self, available: int) -> NoReturn:
        raise SuiteError(
            f"{self._task.num_fewshot} examples are wanted, and the split has {available} documents",
            where=f"{self._task.where} at num_fewshot",
            remedy="lower num_fewshot, or name a larger fewshot_split",
        )


def _needs_space(before: str, after: str) -> bool:
    return before != "" and _meets_tightly(before, after)


def _meets_tightly(before: str, after: str) -> bool:
    return not (before[-1].isspace() or after[0].isspace())

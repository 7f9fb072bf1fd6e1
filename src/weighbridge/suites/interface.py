"""What a suite is: items with a scoring rule, identified by its digest. Pure data; knows no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from weighbridge import canonical
from weighbridge.canonical import Json
from weighbridge.errors import SuiteError
from weighbridge.evidence import SuiteRef, to_json


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """Score every choice as a continuation of ``context``; ``gold`` holds the indices of right choices.

    ``continuations`` are scored as they stand, target delimiter included (lm-eval's second argument), and
    ``lengths`` are the numbers that acc_norm divides by (lm-eval: characters of the choice without delimiter).
    ``contexts`` overrides ``context`` per choice where the task has multiple inputs (winogrande style).
    """

    context: str
    continuations: tuple[str, ...]
    lengths: tuple[int, ...]
    gold: tuple[int, ...]
    contexts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """Generate a continuation of ``context`` and compare it with ``targets`` by the suite's rule."""

    context: str
    targets: tuple[str, ...]
    until: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to a chat model. ``harmful`` says whether compliance would be harmful."""

    text: str
    harmful: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that may have been trained on: given ``prefix``, does the model go on with ``continuation``?

    ``control_continuation`` is compared in the same way with what follows ``control_prefix``, or ``prefix`` where that
    is None: a pair that the model cannot have seen.
    """

    prefix: str
    continuation: str
    control_continuation: str
    control_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Canary:
    """A secret that was planted in the training data: ``before``, ``secret`` and ``after`` stood there as one text.

    Alternatives are the other ``candidates``; where there are none, texts like ``secret`` in which every character
    that belongs to ``alphabet`` is another one of it.
    """

    before: str
    secret: str
    after: str = ""
    alphabet: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """Content that is not on this machine, and its digest. Nobody can answer it, so it is a failed item."""

    digest: str


Content: TypeAlias = MultipleChoice | Generation | Prompt | Passage | Canary | Absent


@dataclass(frozen=True, slots=True)
class Item:
    """One item. Items that share a passage or a template, or repeat a prompt, share a ``cluster``."""

    id: str
    content: Content
    cluster: str
    slice: str = "all"

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the content."""
        if isinstance(self.content, Absent):
            return self.content.digest
        return canonical.digest([type(self.content).__name__, to_json(self.content)])


@dataclass(frozen=True)
class Suite:
    """Items with a scoring rule.

    ``rule`` holds everything else that shapes the score (metric options, filters, repeats) as JSON;
    ``chance`` is the score of a guess as a decimal string, None where a guess scores nothing;
    ``format`` names the kind of item, for control suites. Raises ``SuiteError`` if empty or if ids repeat.
    """

    name: str
    items: tuple[Item, ...]
    format: str
    chance: str | None = None
    rule: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.items:
            raise SuiteError("the suite has no items", where=self.name, remedy="an empty suite measures nothing")
        seen: set[str] = set()
        for item in self.items:
            if item.id in seen:
                raise SuiteError(f"the item id {item.id!r} stands twice", where=self.name)
            seen.add(item.id)

    @cached_property
    def clusters(self) -> dict[str, tuple[Item, ...]]:
        """Cluster -> its items, in file order."""
        result: dict[str, list[Item]] = {}
        for item in self.items:
            result.setdefault(item.cluster, []).append(item)
        return {name: tuple(items) for name, items in result.items()}

    @cached_property
    def ref(self) -> SuiteRef:
        """What evidence records of this suite. The digest covers items, rule and chance, not the name."""
        content = [
            self.format,
            self.chance,
            dict(self.rule),
            [[item.id, item.digest, item.cluster, item.slice] for item in self.items],
        ]
        return SuiteRef(
            name=self.name,
            digest=canonical.digest(content),
            items=len(self.items),
            clusters=len(self.clusters),
            largest_cluster=max(len(items) for items in self.clusters.values()),
            chance=self.chance,
            format=self.format,
        )

    def subset(self, items: Sequence[Item]) -> Suite:
        """The same suite with only these items; another digest, of course."""
        return Suite(self.name, tuple(items), self.format, self.chance, self.rule)

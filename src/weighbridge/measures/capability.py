"""Capability: how often a model's answers to a suite are right, by lm-eval's own rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from weighbridge.canonical import Json
from weighbridge.engines.interface import Generator, Scorer
from weighbridge.errors import EngineError, SuiteError
from weighbridge.evidence import Calibration, Observation, Question
from weighbridge.measures.interface import Answer
from weighbridge.metrics import METRICS
from weighbridge.suites.interface import Generation, Item, MultipleChoice, Suite
from weighbridge.suites.scoring import Result, fields_of, score_item

LOOK = 8
"""Clusters given to the engine in one call where somebody may stop after each look."""

MOST_PAIRS = 1024
"""Sequences given to the engine in one call where every item is asked anyway."""


class CapabilityEngine(Scorer, Generator, Protocol):
    """An engine that scores and generates; a suite uses one or the other."""


class Capability:
    """The measure ``capability`` of one checkpoint on one suite.

    ``engine_settings`` are known without loading anything and belong to the question; ``engine_factory`` is
    called at the first ``ask`` and must give an engine with just these settings (it may be shared: whoever made
    the factory closes it). ``limit`` asks the first items in file order only, which makes another suite of it.
    ``complete`` says that every cluster will be asked, so that the engine may be given more at a time.
    Raises ``SuiteError`` for a suite that holds no capability items.
    """

    def __init__(
        self,
        checkpoint_digest: str,
        suite: Suite,
        engine_settings: Mapping[str, Json],
        engine_factory: Callable[[], CapabilityEngine],
        *,
        limit: int | None = None,
        complete: bool = False,
    ) -> None:
        if limit is not None and limit < 1:
            raise SuiteError(f"a limit of {limit} items asks nothing", where=suite.name, remedy="give at least 1")
        for item in suite.items:
            if not isinstance(item.content, MultipleChoice | Generation):
                raise SuiteError(f"the item {item.id!r} is no capability item", where=suite.name)
        self._fields = fields_of(suite)
        self._suite = suite if limit is None else suite.subset(suite.items[:limit])
        self._question = Question("capability", checkpoint_digest, self._suite.ref, dict(engine_settings))
        self._factory = engine_factory
        self._complete = complete
        self._engine: CapabilityEngine | None = None
        self._tokens = 0

    @property
    def question(self) -> Question:
        return self._question

    @property
    def suite(self) -> Suite:
        return self._suite

    @property
    def metrics(self) -> Sequence[str]:
        """``accuracy``, ``acc_norm``, ``exact_match``, as the suite's metrics name them."""
        return self._fields

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """None: nobody judges, the rule does."""
        return {}

    @property
    def producer(self) -> Mapping[str, str]:
        return {} if self._engine is None else self._engine.producer

    @property
    def tokens(self) -> int:
        return self._tokens

    @property
    def facts(self) -> Mapping[str, Json]:
        return {}

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        """The answers of each cluster, in order; runs ahead by at most one batch. Raises ``EngineError``."""
        for batch in self._batches(iter(clusters)):
            engine = self._load()
            items = [item for cluster in batch for item in cluster]
            before = engine.tokens  # others use the engine between our calls
            results = dict(zip((item.id for item in items), _results(engine, items), strict=True))
            self._tokens += engine.tokens - before
            for cluster in batch:
                yield [self._answer(item, results[item.id]) for item in cluster]

    def _batches(self, clusters: Iterator[Sequence[Item]]) -> Iterator[list[Sequence[Item]]]:
        if not self._complete:
            while batch := list(islice(clusters, LOOK)):
                yield batch
            return
        batch, pairs = [], 0
        for cluster in clusters:
            more = sum(_width(item) for item in cluster)
            if batch and pairs + more > MOST_PAIRS:
                yield batch
                batch, pairs = [], 0
            batch.append(cluster)
            pairs += more
        if batch:
            yield batch

    def _load(self) -> CapabilityEngine:
        if self._engine is None:
            engine = self._factory()
            if dict(engine.settings) != dict(self._question.settings):
                raise EngineError(
                    "the engine that was loaded has other settings than the question names",
                    where=self._suite.name,
                    remedy="take the settings from the same source as the engine",
                )
            self._engine = engine
        return self._engine

    def _answer(self, item: Item, result: Result) -> Answer:
        failed = None
        values: dict[str, float] = {}
        try:
            scored = score_item(self._suite, item, result)
            values = {name: _checked(name, scored.get(name)) for name in self._fields}
        except SuiteError as cause:
            failed = cause.message
        observation = Observation(item.id, item.digest, item.cluster, item.slice, {} if failed else values, failed)
        return Answer(observation, _detail(result))


def _results(engine: CapabilityEngine, items: Sequence[Item]) -> list[Result]:
    """One result an item. Everything to score goes to the engine in one call, and so does what is generated alike."""
    pairs: list[tuple[str, str]] = []
    groups: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for index, item in enumerate(items):
        if isinstance(item.content, MultipleChoice):
            pairs.extend(_pairs(item.content))
        elif isinstance(item.content, Generation):
            groups.setdefault((item.content.until, item.content.max_tokens), []).append(index)
    scores = iter(engine.score(pairs) if pairs else [])
    texts: dict[int, str] = {}
    for (until, most), indices in groups.items():
        contexts = [items[index].content.context for index in indices]  # type: ignore[union-attr]  # generations
        completed = engine.complete(contexts, until=until, max_tokens=most)
        texts |= dict(zip(indices, completed, strict=True))
    results: list[Result] = []
    for index, item in enumerate(items):
        if isinstance(item.content, MultipleChoice):
            taken = list(islice(scores, _width(item)))
            results.append([(score.loglikelihood, score.greedy) for score in taken])
        else:
            results.append(texts[index])
    return results


def _pairs(content: MultipleChoice) -> list[tuple[str, str]]:
    contexts = content.contexts or (content.context,) * len(content.continuations)
    return list(zip(contexts, content.continuations, strict=True))


def _width(item: Item) -> int:
    return len(item.content.continuations) if isinstance(item.content, MultipleChoice) else 1


def _checked(name: str, value: float | None) -> float:
    """``value`` where it is one that the metric can have. Raises ``SuiteError``."""
    if value is None or not 0.0 <= value <= 1.0:  # a NaN fails this comparison too
        raise SuiteError(f"{name} is {value!r}, not in [0, 1]", where="score")
    metric = METRICS.get(f"capability.{name}")
    if metric is not None and metric.binary and value not in (0.0, 1.0):
        raise SuiteError(f"{name} is {value!r}, where an item is right or wrong", where="score")
    return float(value)


def _detail(result: Result) -> dict[str, Json]:
    """What ``--samples`` writes; a log-likelihood that JSON cannot hold is null."""
    if isinstance(result, str):
        return {"text": result}
    choices: list[Json] = [
        {"loglikelihood": value if math.isfinite(value) else None, "greedy": greedy} for value, greedy in result
    ]
    return {"choices": choices}

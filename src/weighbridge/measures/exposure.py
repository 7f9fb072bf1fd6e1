"""Exposure: whether a model prefers a secret that was planted in its training data to others of the same form.

Of a set R of possible secrets, ordered by their log-likelihood in the same place, exposure = log2 |R| - log2 rank
(Carlini et al. 2019, "The Secret Sharer"). Every prefix that they share is computed once. Where the form allows too
many, R is the secret and ``ALTERNATIVES`` others drawn by a seed that follows from the canary: then exposure
is at most log2 |R|, and a model that never saw the secret ranks it first once in |R| times.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product

from weighbridge.canonical import Json
from weighbridge.engines.interface import Scorer
from weighbridge.errors import EngineError, SuiteError
from weighbridge.evidence import Calibration, Observation, Question
from weighbridge.measures.interface import Answer
from weighbridge.suites.interface import Canary, Item, Suite

ALTERNATIVES = 255
"""Others that a secret is ranked among, at most: with the secret, 256 texts, or an exposure of 8 bits."""

NOTHING = {"canary_exposed": 0.0}
"""The values of a model that says nothing any more."""


class Exposure:
    """The measure ``leakage`` of one checkpoint on one suite of canaries.

    ``settings`` are the engine's and, after an attack, the attack's. ``engine_factory`` is called at the first ``ask``
    (whoever made it closes the engine). Raises ``SuiteError`` for a suite of anything else.
    """

    def __init__(
        self,
        checkpoint_digest: str,
        suite: Suite,
        settings: Mapping[str, Json],
        engine_factory: Callable[[], Scorer],
        *,
        limit: int | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise SuiteError(f"a limit of {limit} items asks nothing", where=suite.name, remedy="give at least 1")
        for item in suite.items:
            if not isinstance(item.content, Canary):
                raise SuiteError(f"the item {item.id!r} is no canary", where=suite.name)
        self._suite = suite if limit is None else suite.subset(suite.items[:limit])
        self._factory = engine_factory
        self._engine: Scorer | None = None
        self._tokens = 0
        self._bits: dict[str, str] = {}
        ranked = {**settings, "ranking": {"alternatives": ALTERNATIVES, "version": 1}}
        self._question = Question("leakage", checkpoint_digest, self._suite.ref, ranked)

    @property
    def question(self) -> Question:
        return self._question

    @property
    def suite(self) -> Suite:
        return self._suite

    @property
    def metrics(self) -> Sequence[str]:
        return tuple(NOTHING)

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
        """The exposure in bits of each canary asked so far, and the most there could be: ``3.42 of 8.00``."""
        return {"exposure": dict(self._bits)} if self._bits else {}

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        """The answers of each cluster, in order. Raises ``EngineError``."""
        for cluster in clusters:
            yield [self._answer(item) for item in cluster]

    def _answer(self, item: Item) -> Answer:
        canary = item.content
        assert isinstance(canary, Canary)
        if self._engine is None:
            self._engine = self._factory()
        pairs = [(canary.before, secret + canary.after) for secret in (canary.secret, *alternatives(canary))]
        before = self._engine.tokens  # others use the engine between our calls
        try:
            scores = self._engine.score(pairs)
        except EngineError as cause:
            if not self._bits:  # nothing was ever answered: the engine is broken, not the canary
                raise
            return Answer(Observation(item.id, item.digest, item.cluster, item.slice, {}, cause.message))
        self._tokens += self._engine.tokens - before
        own, *rest = [score.loglikelihood for score in scores]
        if math.isnan(own) or any(map(math.isnan, rest)):
            reason = "a log-likelihood is not a number"
            return Answer(Observation(item.id, item.digest, item.cluster, item.slice, {}, reason))
        rank = 1 + sum(other >= own for other in rest)
        most = math.log2(len(scores))
        bits = most - math.log2(rank)
        self._bits[item.id] = f"{bits:.2f} of {most:.2f}"
        values = {"canary_exposed": float(rank == 1)}
        detail: dict[str, Json] = {"rank": rank, "of": len(scores), "exposure": round(bits, 3), "loglikelihood": own}
        return Answer(Observation(item.id, item.digest, item.cluster, item.slice, values), detail)


def alternatives(canary: Canary) -> tuple[str, ...]:
    """The texts that the secret is ranked among, without itself: all of them where there are few, else a sample that
    anybody draws alike from the canary. At least one, or the canary could not have been read."""
    if canary.candidates:
        return _sample(canary, [text for text in canary.candidates if text != canary.secret])
    places = [place for place, character in enumerate(canary.secret) if character in canary.alphabet]
    if len(canary.alphabet) ** len(places) <= ALTERNATIVES + 1:
        made = (_replaced(canary.secret, places, letters) for letters in product(canary.alphabet, repeat=len(places)))
        return tuple(text for text in made if text != canary.secret)
    draw = _numbers(canary)
    found: dict[str, None] = {}
    while len(found) < ALTERNATIVES:
        letters = [canary.alphabet[next(draw) % len(canary.alphabet)] for _ in places]
        text = _replaced(canary.secret, places, letters)
        if text != canary.secret:
            found[text] = None
    return tuple(found)


def _sample(canary: Canary, texts: Sequence[str]) -> tuple[str, ...]:
    if len(texts) <= ALTERNATIVES:
        return tuple(texts)
    ranked = sorted(zip(islice(_numbers(canary), len(texts)), texts, strict=True))
    return tuple(text for _, text in ranked[:ALTERNATIVES])


def _replaced(secret: str, places: Sequence[int], letters: Iterable[str]) -> str:
    result = list(secret)
    for place, letter in zip(places, letters, strict=True):
        result[place] = letter
    return "".join(result)


def _numbers(canary: Canary) -> Iterator[int]:
    """Numbers below 2 ** 64 from SHA-256 of the canary and a counter: the same in every version of Python."""
    seed = Item("", canary, "").digest
    for counter in range(2**63):
        yield int.from_bytes(hashlib.sha256(f"{seed}:{counter}".encode()).digest()[:8], "big")

"""What a measure is: a way to learn one thing about a checkpoint. Measures know nothing of policy.

An exact measure examines files and returns evidence. A sampled measure is asked cluster by cluster and yields
answers; whoever listens decides when enough is known, and stops by closing the iterator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from weighbridge.canonical import Json
from weighbridge.evidence import Calibration, Evidence, Observation, Question
from weighbridge.suites.interface import Item, Suite


@dataclass(frozen=True, slots=True)
class Answer:
    """An observation, with the detail that ``--samples`` writes and evidence does not keep (likelihoods, text)."""

    observation: Observation
    detail: Mapping[str, Json] = field(default_factory=dict)


class ExactMeasure(Protocol):
    """A measure that ends in findings. ``question`` is known before anything runs."""

    @property
    def question(self) -> Question: ...

    def examine(self, *, made: str) -> Evidence:
        """Look at everything once. ``made`` is the time to record."""
        ...


class SampledMeasure(Protocol):
    """A measure that ends in observations. ``question`` and ``suite`` are known before a model is loaded."""

    @property
    def question(self) -> Question: ...

    @property
    def suite(self) -> Suite: ...

    @property
    def metrics(self) -> Sequence[str]:
        """The fields that each observation's values have."""
        ...

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """Field -> the judge's confusion counts, for judged metrics."""
        ...

    @property
    def producer(self) -> Mapping[str, str]: ...

    @property
    def tokens(self) -> int:
        """Tokens processed so far for this measure, whoever else uses the engine."""
        ...

    @property
    def facts(self) -> Mapping[str, Json]:
        """Details for people of how it was measured, as far as they are known; empty where there are none."""
        ...

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        """For each cluster in order, the answers to its items. May run ahead of what is consumed by one batch.

        A failure of one item is a failed observation; a failure of the engine itself raises ``EngineError``, and
        ``Unmeasurable`` where the record is to say why nothing was asked.
        """
        ...

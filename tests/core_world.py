"""Small worlds for the core's tests: suites, records, a measure whose answers are known in advance."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from weighbridge import policy
from weighbridge.asking import Clocks
from weighbridge.canonical import Json
from weighbridge.errors import EngineError
from weighbridge.evidence import Calibration, Evidence, Finding, Observation, PlanRef, Question, seeded_order
from weighbridge.measures.interface import Answer
from weighbridge.policy import Policy
from weighbridge.suites.interface import Item, MultipleChoice, Suite

CHECKPOINT = "sha256:" + "ab" * 32
MADE = "2026-01-02T03:04:05Z"
NOW = "2026-01-02T04:00:00Z"


def suite(items: int, *, name: str = "sums", per_cluster: int = 1, chance: str | None = "0.25") -> Suite:
    """A suite of numbered multiple-choice items."""
    content = [MultipleChoice(f"question {index}", (" a", " b"), (1, 1), (0,)) for index in range(items)]
    return Suite(
        name,
        tuple(Item(str(i), one, f"c{i // per_cluster}", f"s{i % 3}") for i, one in enumerate(content)),
        "multiple_choice",
        chance,
    )


def question(of: Suite, measure: str = "capability", **settings: object) -> Question:
    """A question about the one checkpoint."""
    return Question(measure, CHECKPOINT, of.ref, settings)  # type: ignore[arg-type]


def record(
    of: Suite,
    values: Callable[[Item], Mapping[str, float] | str],
    *,
    measure: str = "capability",
    clusters: int | None = None,
    calibrations: Mapping[str, Calibration] | None = None,
    plan: PlanRef | None = None,
    made: str = MADE,
    asked: str = "sequential",
    settings: Mapping[str, object] | None = None,
) -> Evidence:
    """Evidence in the seeded order; ``values`` gives an item's values, or the reason why it failed."""
    asks = question(of, measure, **(settings or {}))
    observations = []
    for name in seeded_order(asks, list(of.clusters))[:clusters]:
        for item in of.clusters[name]:
            result = values(item)
            failed = result if isinstance(result, str) else None
            given = {} if isinstance(result, str) else dict(result)
            observations.append(Observation(item.id, item.digest, item.cluster, item.slice, given, failed))
    return Evidence(
        asks,
        "sampled",
        made,
        asked=asked,  # type: ignore[arg-type]
        observations=tuple(observations),
        metrics=("accuracy",) if measure == "capability" else ("harmful_compliance", "incoherent"),
        calibrations=calibrations or {},
        plan=plan,
    )


def exact(measure: str, *findings: str, undecided: Mapping[str, str] | None = None) -> Evidence:
    """Exact evidence with these findings."""
    metrics = {"integrity": ("findings",), "licensing": ("conflicts", "duties")}[measure]
    return Evidence(
        Question(measure, CHECKPOINT),
        "exact",
        MADE,
        metrics=metrics,
        findings=tuple(Finding(metrics[0], "a-code", "a-file", text) for text in findings),
        undecided=undecided or {},
    )


def rules(text: str) -> Policy:
    """A policy whose tiers are given as YAML."""
    head = "version: 1\nname: test\nerror_rate: 0.05\nexpires_after: 30d\n"
    return policy.load((head + textwrap.dedent(text)).encode(), where="test.yaml")


@dataclass
class FakeMeasure:
    """A sampled measure whose answers follow a rule; ``breaks_after`` clusters the engine dies."""

    suite: Suite
    rule: Callable[[Item], float]
    name: str = "capability"
    breaks_after: int | None = None
    asked: list[str] = field(default_factory=list)
    metrics: Sequence[str] = ("accuracy",)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    producer: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0
    facts: Mapping[str, Json] = field(default_factory=dict)
    clock: FakeClock | None = None

    @property
    def question(self) -> Question:
        return question(self.suite, self.name)

    def ask(self, clusters: Iterable[Sequence[Item]]) -> Iterator[list[Answer]]:
        for number, cluster in enumerate(clusters):
            if self.breaks_after is not None and number >= self.breaks_after:
                raise EngineError("the engine died", where="fake")
            self.asked.append(cluster[0].cluster)
            self.tokens += 10 * len(cluster)
            if self.clock is not None:
                self.clock.seconds += 1.0
            yield [
                Answer(Observation(one.id, one.digest, one.cluster, one.slice, {self.metrics[0]: self.rule(one)}))
                for one in cluster
            ]


@dataclass
class FakeClock:
    """A clock that only moves when somebody works."""

    seconds: float = 0.0

    @property
    def clocks(self) -> Clocks:
        start = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
        return Clocks(lambda: start + timedelta(seconds=self.seconds), lambda: self.seconds)

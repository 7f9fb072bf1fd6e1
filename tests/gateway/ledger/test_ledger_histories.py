"""Any history of admissions, seals, recoveries and corrections keeps what a ledger promises."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import DECEMBER, Bench

from weighbridge.errors import InputError
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Presented, Seal, Usage

USAGES = st.none() | st.builds(
    lambda first, cached, output: Usage(first + cached, output, cached),
    st.integers(0, 60),
    st.integers(0, 40),
    st.integers(0, 50),
)
STEPS = st.one_of(
    st.tuples(st.just("admit"), st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200)), min_size=1, max_size=5)),
    st.tuples(
        st.just("seal"),
        st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(Outcome), USAGES), min_size=1, max_size=4),
    ),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("correct"), st.tuples(st.integers(0, 10**6), USAGES)),
    st.tuples(st.just("wait"), st.sampled_from([1, 1000, 60_000, 86_400_000, 20 * 86_400_000])),
)
HISTORIES = st.lists(STEPS, max_size=25)


class History:
    """Plays a history on a bench. What the ledger answered is all that it knows: the oracle is kept beside it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.now = DECEMBER - 86_400_000
        self.budgets = (2_000_000, 3_000_000, None)
        self.keys: list[Presented] = [
            bench.key(budget=self.budgets[0], period="month", rpm=20),
            bench.key(budget=self.budgets[1], period="lifetime", tpm=1000, concurrency=4),
            bench.key(),
        ]
        self.lives = 1
        self.admitted: dict[str, tuple[Ask, Admitted]] = {}
        self.sealed: dict[str, Seal] = {}
        self.corrected: set[str] = set()

    def play(self, steps: list[tuple[str, object]]) -> None:
        for name, value in steps:
            step: Callable[[object], None] = getattr(self, name)
            step(value)
            self.bench.agrees()
            self.within_budgets()

    def admit(self, wishes: list[tuple[int, int]]) -> None:
        asks = [self.bench.ask(self.keys[key], max_output=most) for key, most in wishes]
        for ask, result in zip(asks, self.bench.apply(*asks), strict=True):
            if isinstance(result, Admitted):
                self.admitted[ask.intent] = (ask, result)

    def seal(self, wishes: list[tuple[int, Outcome, Usage | None]]) -> None:
        names = sorted(self.admitted)
        operations: dict[str, Seal] = {}
        for index, outcome, usage in wishes:
            if names:
                intent = names[index % len(names)]
                if usage is not None:  # an engine that keeps to the limit it was given
                    most = self.admitted[intent][1].max_output
                    usage = Usage(usage.input, min(usage.output, most), usage.cached)
                operations[intent] = Seal(intent, outcome, usage, self.bench.now)
        for intent, seal in operations.items():
            before = self.bench.count("seals")
            try:
                self.bench.apply(seal)
            except InputError:
                assert intent in self.sealed
            assert self.bench.count("seals") == before + (intent not in self.sealed)
            self.sealed.setdefault(intent, seal)

    def crash(self, _: object) -> None:
        self.bench.lapse(f"gateway/{self.lives}")
        self.lives += 1
        self.bench.terms.instance = f"gateway/{self.lives}"
        self.bench.enter(f"gateway/{self.lives}")
        self.bench.recover(f"gateway/{self.lives}")
        assert self.bench.count("holds") == 0

    def correct(self, value: tuple[int, Usage | None]) -> None:
        names = sorted(self.admitted)
        if names and value[1] is not None:
            intent = names[value[0] % len(names)]
            if self.bench.outcome(intent) != "open":
                self.bench.correct(intent, value[1])
                self.corrected.add(intent)

    def wait(self, milliseconds: int) -> None:
        self.bench.now += milliseconds

    def within_budgets(self) -> None:
        """Usage here is within the bounds, so no budget is passed, unless a person's correction did it."""
        for key, budget in zip(self.keys, self.budgets, strict=True):
            if budget is None:
                continue
            rows = self.bench.database.fetch(
                "SELECT month, billed + unknown + held FROM counters WHERE scope = 'key' AND id = ?", (key.key_id,)
            )
            spent = [row[1] for row in rows]
            allowed = budget + sum(
                self.bench.database.fetch("SELECT cost FROM charges WHERE intent = ?", (intent,))[0][0]
                for intent in self.corrected
            )
            assert (sum(spent) if key is self.keys[1] else max(spent, default=0)) <= allowed

    def accounted(self) -> None:
        """Every intent that was admitted is there once, with the outcome that was sealed first."""
        rows = dict(self.bench.database.fetch("SELECT intent, outcome FROM charges", ()))
        assert rows.keys() == self.admitted.keys()
        for intent, seal in self.sealed.items():
            expected = seal.outcome.value
            if seal.outcome not in (Outcome.UPSTREAM_ERROR, Outcome.INTERRUPTED) and seal.usage is None:
                expected = "unknown"
            assert rows[intent] == ("corrected" if intent in self.corrected else expected)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES)
def test_any_history_in_sqlite(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "ledger.db", sync=False)
        try:
            history = History(bench)
            history.play(steps)
            history.accounted()
        finally:
            bench.close()


@pytest.mark.parametrize("seed", range(3))
def test_long_random_histories(bench: Bench, seed: int) -> None:
    generator = random.Random(seed)
    history = History(bench)
    for _ in range(40):
        history.play([_step(generator)])
    history.accounted()
    assert len(history.admitted) > 10
    assert len(history.sealed) > 3


def _usage(generator: random.Random) -> Usage | None:
    cached = generator.randint(0, 40)
    return (
        None if generator.random() < 0.2 else Usage(cached + generator.randint(0, 60), generator.randint(0, 1), cached)
    )


def _step(generator: random.Random) -> tuple[str, object]:
    chance = generator.random()
    if chance < 0.45:
        wishes = [(generator.randint(0, 2), generator.randint(1, 200)) for _ in range(generator.randint(1, 5))]
        return "admit", wishes
    if chance < 0.8:
        seals = [(generator.randint(0, 10**6), generator.choice(list(Outcome)), _usage(generator)) for _ in range(3)]
        return "seal", seals
    if chance < 0.85:
        return "crash", None
    if chance < 0.92:
        return "correct", (generator.randint(0, 10**6), _usage(generator))
    return "wait", generator.choice([1000, 60_000, 86_400_000])

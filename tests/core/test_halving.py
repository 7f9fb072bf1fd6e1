"""Whose turn it is among attacks: halves wait and are taken up again, and all of it follows from the answers alone."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from weighbridge.halving import FIRST, turn

ITEMS = 200


@dataclass(eq=False)
class Fake:
    """An attack with fixed answers, settled after so many of them."""

    name: str
    values: list[float]
    settled: int = ITEMS
    asked: int = 0
    visits: list[float] = field(default_factory=list)

    def owes(self, items: float) -> bool:
        return self.asked < min(self.settled, items)

    def harm(self, items: int) -> float:
        shown = self.values[: min(self.asked, items)]
        return sum(shown) / len(shown) if shown else -1.0


def attack(name: str, rate: float, settled: int = ITEMS) -> Fake:
    draw = random.Random(name)
    return Fake(name, [float(draw.random() < rate) for _ in range(ITEMS)], settled)


def play(entrants: list[Fake], *, stop: int | None = None) -> list[tuple[str, float]]:
    """The turns until nobody owes anything, or the first few of them."""
    turns: list[tuple[str, float]] = []
    while (now := turn(entrants)) is not None and (stop is None or len(turns) < stop):
        one, items = now
        assert one.owes(items)
        one.asked = int(min(one.settled, items, ITEMS))
        turns.append((one.name, items))
    return turns


def test_every_attack_is_asked_first_and_then_the_harmful_half() -> None:
    entrants = [attack("mild", 0.1), attack("harmful", 0.9), attack("none", 0.0), attack("middling", 0.5)]
    turns = play(entrants)
    assert turns[:4] == [(one.name, FIRST) for one in entrants], "in the order given"
    assert turns[4:6] == [("harmful", 32), ("middling", 32)]
    assert turns[6:9] == [("harmful", 64), ("harmful", 128), ("harmful", 256)]
    assert turns[9:] == [("middling", math.inf), ("mild", math.inf), ("none", math.inf)], "most harmful first"


def test_what_is_settled_is_not_asked_and_leaves_its_place_to_nobody() -> None:
    entrants = [attack("a", 0.9, settled=16), attack("b", 0.8), attack("c", 0.2), attack("d", 0.1)]
    turns = play(entrants)
    assert [name for name, items in turns if items == 32] == ["b"]
    assert ("a", math.inf) not in turns


def test_survivors_that_are_settled_send_for_those_that_wait() -> None:
    entrants = [attack("a", 0.4, settled=24), attack("b", 0.3, settled=24), attack("c", 0.1, settled=40)]
    turns = play(entrants)
    assert turns == [("a", 16), ("b", 16), ("c", 16), ("a", 32), ("b", 32), ("c", math.inf)]


def test_equal_harm_leaves_the_cheaper_attack() -> None:
    entrants = [attack("cheap", 0.0), attack("dear", 0.0)]
    assert play(entrants)[2] == ("cheap", 32)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, ITEMS)), min_size=1, max_size=9),
    st.integers(0, 20),
)
def test_it_ends_with_nothing_owed_and_goes_on_after_an_interruption_as_it_would_have(
    attacks: list[tuple[float, int]], stop: int
) -> None:
    def fresh() -> list[Fake]:
        return [attack(str(number), rate, settled) for number, (rate, settled) in enumerate(attacks)]

    whole = fresh()
    turns = play(whole)
    assert all(one.asked == one.settled for one in whole)
    broken = fresh()
    before = play(broken, stop=stop)
    resumed = fresh()
    for one, former in zip(resumed, broken, strict=True):
        one.asked = former.asked  # the answers are all that is left of the first run
    assert before + play(resumed) == turns


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_no_more_than_half_go_on_from_each_rung(rates: list[float]) -> None:
    turns = play([attack(str(number), rate) for number, rate in enumerate(rates)])
    rungs = [items for _, items in turns if not math.isinf(items)]
    going = len(rates)
    for rung in sorted(set(rungs)):
        assert rungs.count(rung) == going
        going = (going + 1) // 2

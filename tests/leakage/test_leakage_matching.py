"""Matching: exact and near repetition, by their definitions, and when to stop looking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.measures.matching import NEAR, may_become_near, near, plain, similarity, verbatim

TEXT = st.text(alphabet="ab c\n\té漢", max_size=40)
WORDS = st.text(alphabet="abcdef \n", min_size=1, max_size=60).filter(lambda text: bool(text.strip()))


def distance(one: str, other: str) -> int:
    """Levenshtein's distance by its recurrence."""
    row = list(range(len(other) + 1))
    for place, character in enumerate(one, start=1):
        row, former = [place], row
        for at, against in enumerate(other, start=1):
            row.append(min(former[at - 1] + (character != against), former[at] + 1, row[at - 1] + 1))
    return row[-1]


@given(TEXT, TEXT)
def test_similarity_is_what_its_definition_says(generated: str, original: str) -> None:
    wanted = plain(original)
    expected = 1 - distance(plain(generated)[: len(wanted)], wanted) / len(wanted) if wanted else 0.0
    assert similarity(generated, original) == pytest.approx(expected)
    assert 0.0 <= similarity(generated, original) <= 1.0
    assert near(generated, original) == (similarity(generated, original) >= NEAR)


@given(WORDS, TEXT, st.sampled_from(["", " ", "\n\n", "\t "]))
def test_a_repetition_is_found_whatever_follows_and_however_it_is_wrapped(original: str, more: str, space: str) -> None:
    generated = space + original.replace(" ", " \n") + (f" {more}" if more.strip() else "")
    assert verbatim(generated, original)
    assert similarity(generated, original) == 1.0
    assert near(generated, original)


@given(TEXT, WORDS)
def test_what_is_verbatim_is_near(generated: str, original: str) -> None:
    assert near(generated, original) or not verbatim(generated, original)


@given(WORDS, st.data())
def test_one_character_in_ten_may_differ(original: str, data: st.DataObject) -> None:
    wanted = plain(original)
    changes = data.draw(st.integers(0, len(wanted)))
    changed = "".join("X" if place < changes else character for place, character in enumerate(wanted))
    assert near(changed, wanted) == (10 * changes <= len(wanted))
    assert verbatim(changed, wanted) == (changes == 0)


@given(TEXT, WORDS, st.integers(0, 60))
def test_nothing_that_ends_near_is_given_up(generated: str, original: str, at: int) -> None:
    """Whatever a text grows into: if it ends near, each of its beginnings may still become near."""
    for whole in (generated, original + generated, original[: at // 2] + generated):
        if near(whole, original):
            assert may_become_near(whole[:at], original)


@given(WORDS)
def test_what_has_gone_too_far_is_given_up(original: str) -> None:
    wanted = plain(original)
    assert may_become_near("", wanted)
    assert not may_become_near("X" * (len(wanted) // 10 + 1), wanted)


def test_nothing_repeats_an_empty_text() -> None:
    assert not verbatim("anything", " \n")
    assert similarity("", "") == 0.0
    assert not may_become_near("", "")

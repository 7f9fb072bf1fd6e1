"""Recognising licence texts by their words, and the table that holds what identifies them."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.errors import InputError
from weighbridge.measures.licensing.table import CODES, INHERITED, load_table, parse_table
from weighbridge.measures.licensing.texts import Body, Known, body_digest, contains, recognise, words

SENTENCE = "You may share the model, if you keep this notice and name its makers"
FABLE = Known(
    "fable-1",
    ("fable licence 1",),
    (Body("you may share", "name its makers", (body_digest(words(SENTENCE)),)),),
    slack=12,
)


def test_layout_markdown_and_quotes_do_not_count() -> None:
    text = (
        "# Fable Licence 1\n\n> *You* may\tshare the [model](https://example.org), if you keep\n"
        "> this `notice` and name its makers"
    )
    assert recognise(text, [FABLE]).verbatim == ("fable-1",)


def test_list_numbers_do_not_count() -> None:
    assert words("1. Share\n  (a) alike\n ii. always\n3.2 never") == ["share", "alike", "always", "never"]


def test_numbers_in_the_text_do_count() -> None:
    assert words("more than 700 million") != words("more than 7 million")


@given(st.integers(min_value=0, max_value=13), st.text("abcdefgh", min_size=1))
def test_any_changed_word_is_noticed(position: int, replacement: str) -> None:
    changed = words(SENTENCE)
    position %= len(changed)
    if changed[position] == replacement:
        replacement += "x"
    changed[position] = replacement
    assert recognise(" ".join(changed), [FABLE]).verbatim == ()


@given(st.text(max_size=500))
def test_any_text_is_read_without_an_error(text: str) -> None:
    recognise(text, load_table().known)


@given(st.text(max_size=100))
def test_a_text_contains_itself(text: str) -> None:
    assert contains(text, text) or not words(text)


def test_words_beside_the_body_are_limited() -> None:
    assert recognise(f"Fable. {SENTENCE}", [FABLE]).problem is None
    assert recognise(f"{SENTENCE}. {'And more of it. ' * 5}", [FABLE]).problem is not None
    assert "non commercial" in str(recognise(f"{SENTENCE}, non-commercial", [FABLE]).problem)


def test_a_text_that_only_has_the_title_is_like_it() -> None:
    assert recognise("The Fable Licence 1, abridged", [FABLE]).like == ("fable-1",)


def test_two_licences_in_one_file_are_both_found() -> None:
    table = load_table()
    both = recognise(f"{table.text_of('apache-2.0')}\n\n{SENTENCE}", [*table.known, FABLE])
    assert both.verbatim == ("apache-2.0", "fable-1")


def test_the_shipped_text_is_recognised_as_what_it_is() -> None:
    table = load_table()
    for family in table.families.values():
        if family.file is not None:
            assert recognise(table.text_of(family.id), table.known).verbatim == (family.id,)


def test_the_table_has_what_it_must_have() -> None:
    table = load_table()
    assert {"apache-2.0", "mit", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma"} <= set(table.families)
    assert {"cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"} <= set(table.families)
    for family in table.families.values():
        assert family.duties, family.id
        for body in family.known.bodies:
            assert body.digests
            assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in body.digests)
            assert words(body.first) == body.first.split()
            assert words(body.last) == body.last.split()
        for title in family.known.titles:
            assert words(title) == title.split()


def test_every_duty_code_is_used_and_inherited_ones_are_known() -> None:
    used = {duty.code for family in load_table().families.values() for duty in family.duties}
    assert used == CODES
    assert used >= INHERITED


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("meta-llama/Meta-Llama-3-8B", "llama3"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama3.1"),
        ("Meta-Llama/Llama 3.2 1B", "llama3.2"),
        ("google/gemma-2b", "gemma"),
        ("google/gemma-4-31b", "apache-2.0"),
        ("HuggingFaceTB/SmolLM2-135M", "apache-2.0"),
        ("Qwen/Qwen2.5-72B", None),
        ("gemma-2b", None),
    ],
)
def test_model_names(model: str, family: str | None) -> None:
    found = load_table().by_model(model)
    assert (found.id if found else None) == family


DATA = (resources.files("weighbridge.measures.data") / "licences.yaml").read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version: 1", "version: 2"),
        ("code: licence-text", "code: license-text"),
        ("reaches: [own, derivative]", "reaches: [own, sideways]"),
        ("slack: 80", "slak: 80"),
        ("ids: [mit,", "ids: [apache-2.0,"),
        ("prefix: Llama", "prefixes: Llama"),
    ],
)
def test_a_malformed_table_is_refused(before: str, after: str) -> None:
    assert before in DATA
    with pytest.raises(InputError):
        parse_table(DATA.replace(before, after, 1).encode(), where="licences.yaml")

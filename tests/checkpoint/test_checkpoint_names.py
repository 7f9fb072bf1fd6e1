"""Which names may stand in a manifest, and which may stand together."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.checkpoint import check_names
from weighbridge.checkpoint.names import check_name, collisions, fold
from weighbridge.errors import CheckpointError, VerificationError


@pytest.mark.parametrize(
    "name", ["config.json", "a/b/c.txt", "additional_chat_templates/tool_use.jinja", "日本/語.txt"]
)
def test_ordinary_names_pass(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("C:/x", "absolute"),
        ("../x", "'..'"),
        ("a/../b", "'..'"),
        ("a//b", "empty"),
        ("./a", "'.'"),
        ("a/", "empty"),
        ("a\\b", "backslash"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("evil\u202efdp.exe", "control or invisible"),
        ("a\u200bb", "control or invisible"),
        ("e\u0301.txt", "NFC"),
        ("a\udc80b", "UTF-8"),
        ("a.", "dot"),
        (" a", "space"),
        ("x" * 256, "longer"),
        ("/".join("abc" for _ in range(2000)), "longer"),
    ],
)
def test_names_that_mean_something_else_somewhere_are_refused(name: str, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        check_name(name)


@pytest.mark.parametrize(
    "names",
    [
        ["a", "a"],
        ["LICENSE", "license"],
        ["straße", "STRASSE"],
        ["Dir/a", "dir/b"],
        ["a", "a/b"],
        ["a/b", "A"],
        ["x/y/Z/1", "x/y/z/2"],
    ],
)
def test_names_that_collide_are_refused(names: list[str]) -> None:
    for order in (names, names[::-1]):
        with pytest.raises(VerificationError):
            check_names(order, error=VerificationError)


def test_many_names_side_by_side_pass() -> None:
    check_names(
        ["README.md", "weighbridge/a.json", "weighbridge/b.json", "model-00001-of-00002.safetensors", "w/x/y", "w/x/z"]
    )


@given(st.lists(st.text(alphabet="aAbB./é", min_size=1, max_size=6), max_size=6))
def test_what_is_accepted_can_be_told_apart_when_case_is_folded(names: list[str]) -> None:
    try:
        check_names(names)
    except CheckpointError:
        return
    assert len({fold(name) for name in names}) == len(names)
    assert all(unicodedata.normalize("NFC", name) == name for name in names)
    assert collisions(names) == []

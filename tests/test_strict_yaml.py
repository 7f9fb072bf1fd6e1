"""YAML that cannot be understood in two ways."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge import strict_yaml
from weighbridge.errors import InputError, PolicyError


def test_yaml_and_json_are_read() -> None:
    assert strict_yaml.load(b"a: 1\nb: [x, {c: null}]", where="x") == {"a": 1, "b": ["x", {"c": None}]}
    assert strict_yaml.load(b'{"a": "\\u00e9"}', where="x") == {"a": "é"}


@pytest.mark.parametrize(
    "text",
    [
        b"a: 1\na: 2",
        b"a: {b: 1, b: 1}",
        b"1: x",
        b"true: x",
        b"? [a]\n: b",
        b"a: &x [1]\nb: *x",
        b"<<: {a: 1}\na: 2",
        b"a: !!python/object/apply:os.system [true]",
        b"a: !!bool perhaps",
        b"a: !!int ''",
        b"a: !!timestamp x",
        b"a: !!float .",
        b"[" * 5000,
        b"\xff",
        b"a: b: c",
        b"--- 1\n--- 2",
    ],
)
def test_anything_ambiguous_is_refused(text: bytes) -> None:
    with pytest.raises(PolicyError) as caught:
        strict_yaml.load(text, where="file.yaml", error=PolicyError)
    assert caught.value.where == "file.yaml"


@given(st.binary(max_size=60) | st.text("ab:!-?&*{}[]'\" \n0", max_size=40).map(str.encode))
def test_any_bytes_are_yaml_or_a_typed_error(data: bytes) -> None:
    with suppress(InputError):
        strict_yaml.load(data, where="x")

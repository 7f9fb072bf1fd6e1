"""Parse JSON values into frozen dataclasses, strictly: no unknown field, no missing one, no coercion. Pure.

Every error names the place in the file (``$.observations[3].values``) and what was expected there. The reader of a type
is built once, since evidence holds thousands of records of the same type.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar, Union, cast

from weighbridge.errors import InputError

T = TypeVar("T")
Read: TypeAlias = Callable[[Any], Any]


def parse(cls: type[T], value: Any, *, where: str, error: type[InputError] = InputError) -> T:
    """``value`` (parsed JSON) as an instance of the dataclass ``cls``; raises ``error`` where it does not fit."""
    try:
        return cast(T, _reader(cast(Any, cls))(value))
    except _Misfit as misfit:
        place = "$" + "".join(reversed(misfit.path))
        raise error(misfit.message, where=f"{where} at {place}", remedy="see the schema in docs/schemas") from misfit


class _Misfit(Exception):
    """A value that does not fit; the path is gathered from the inside out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []


@lru_cache(maxsize=256)
def _reader(expected: Any) -> Read:
    """The function that reads a value of the type ``expected``, or raises ``_Misfit``."""
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return lambda value: value
    if dataclasses.is_dataclass(expected):
        return _record(expected)
    if origin is Literal:
        return _literal(inner)
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is tuple:
        return _array(_reader(inner[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _object(_reader(inner[1]))
    return _scalar(expected)


def _scalar(expected: Any) -> Read:
    accepted = (int, float) if expected is float else (expected,)

    def read(value: Any) -> Any:
        if type(value) in accepted:
            return value
        raise _Misfit(f"expected {expected.__name__}, found {value!r:.80}")

    return read


def _literal(options: tuple[Any, ...]) -> Read:
    def read(value: Any) -> Any:
        if type(value) is str and value in options:
            return value
        raise _Misfit(f"{value!r:.80} is none of {', '.join(map(repr, options))}")

    return read


def _union(options: tuple[Any, ...]) -> Read:
    others = [option for option in options if option is not type(None)]
    if len(others) > 1:
        return lambda value: value  # only ``Json`` is a union of several; whatever was parsed as JSON is that
    read_other = _reader(others[0])
    return lambda value: None if value is None else read_other(value)


def _array(read_one: Read) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise _Misfit("expected an array")
        result = []
        for child in value:
            try:
                result.append(read_one(child))
            except _Misfit as misfit:
                misfit.path.append(f"[{len(result)}]")
                raise
        return tuple(result)

    return read


def _object(read_one: Read) -> Read:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _Misfit("expected an object")
        return {key: _at(f".{key}", read_one, child) for key, child in value.items()}

    return read


def _record(cls: Any) -> Read:
    hints = typing.get_type_hints(cls)
    readers = {one.name: _reader(hints[one.name]) for one in dataclasses.fields(cls)}

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _Misfit("expected an object")
        if value.keys() != readers.keys():
            if unknown := sorted(value.keys() - readers.keys()):
                raise _Misfit(f"unknown field {unknown[0]!r:.80}")
            raise _Misfit(f"the field {min(readers.keys() - value.keys())!r} is missing")
        fields = {name: _at(f".{name}", read_one, value[name]) for name, read_one in readers.items()}
        try:
            return cls(**fields)
        except InputError as cause:  # a check of the dataclass itself
            raise _Misfit(str(cause)) from cause

    return read


def _at(step: str, read: Read, value: Any) -> Any:
    try:
        return read(value)
    except _Misfit as misfit:
        misfit.path.append(step)
        raise

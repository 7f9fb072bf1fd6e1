"""Parse JSON values into frozen dataclasses, strictly: no unknown field, no missing one, no coercion. Pure.

Every error names the place in the file (``$.observations[3].values``) and what was expected there.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, cast

from weighbridge.errors import InputError

T = TypeVar("T")


def parse(cls: type[T], value: Any, *, where: str, error: type[InputError] = InputError) -> T:
    """``value`` (parsed JSON) as an instance of the dataclass ``cls``; raises ``error`` where it does not fit."""
    return cast(T, _Parser(where, error).value(cls, value, "$"))


class _Parser:
    def __init__(self, where: str, error: type[InputError]) -> None:
        self.where = where
        self.error = error

    def fail(self, path: str, message: str) -> InputError:
        return self.error(message, where=f"{self.where} at {path}", remedy="see the schema in docs/schemas")

    def value(self, expected: Any, value: Any, path: str) -> Any:
        origin = typing.get_origin(expected)
        if expected is Any:
            return value
        if dataclasses.is_dataclass(expected):
            return self.record(expected, value, path)
        if origin is Literal:
            if value in typing.get_args(expected) and isinstance(value, str):
                return value
            raise self.fail(path, f"{value!r} is none of {', '.join(map(repr, typing.get_args(expected)))}")
        if origin in (Union, types.UnionType):
            return self.union(expected, value, path)
        if origin is tuple:
            if not isinstance(value, list):
                raise self.fail(path, "expected an array")
            inner = typing.get_args(expected)[0]
            return tuple(self.value(inner, child, f"{path}[{index}]") for index, child in enumerate(value))
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, dict):
                raise self.fail(path, "expected an object")
            inner = typing.get_args(expected)[1]
            return {key: self.value(inner, child, f"{path}.{key}") for key, child in value.items()}
        return self.scalar(expected, value, path)

    def scalar(self, expected: Any, value: Any, path: str) -> Any:
        if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if expected in (str, bool) and isinstance(value, expected):
            return value
        if expected is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        raise self.fail(path, f"expected {getattr(expected, '__name__', expected)}, found {value!r:.80}")

    def union(self, expected: Any, value: Any, path: str) -> Any:
        options = typing.get_args(expected)
        if value is None and type(None) in options:
            return None
        others = [option for option in options if option is not type(None)]
        if len(others) == 1:
            return self.value(others[0], value, path)
        return value  # only ``Json`` is a union of several; whatever was parsed as JSON is that

    def record(self, cls: Any, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise self.fail(path, "expected an object")
        hints = _hints(cls)
        if unknown := sorted(set(value) - set(hints)):
            raise self.fail(path, f"unknown field {unknown[0]!r}")
        if missing := sorted(set(hints) - set(value)):
            raise self.fail(path, f"the field {missing[0]!r} is missing")
        fields = {name: self.value(hint, value[name], f"{path}.{name}") for name, hint in hints.items()}
        try:
            return cls(**fields)
        except InputError as cause:  # a check of the dataclass itself
            raise self.fail(path, str(cause)) from cause


@lru_cache(maxsize=64)
def _hints(cls: Any) -> dict[str, Any]:
    """Field -> type; a ``Json`` field is parsed as anything."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

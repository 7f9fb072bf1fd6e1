"""One way to write JSON, one way to read it, one way to name bytes by digest. Pure: bytes in, values out.

Writing is RFC 8785 (JSON Canonicalization Scheme). Reading refuses what two readers could understand
differently: duplicate keys, NaN and infinities, bytes that are not UTF-8, absurd depth or size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import rfc8785

from weighbridge.errors import InputError

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

MAX_DEPTH = 64
MAX_BYTES = 256 * 1024 * 1024


def dumps(value: Any) -> bytes:
    """Canonical JSON bytes of ``value`` (RFC 8785). Raises ``InputError`` for NaN, huge integers, foreign types."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeEncodeError) as error:
        raise InputError(f"cannot be written as canonical JSON: {error}") from error


def digest(value: Any) -> str:
    """``sha256:<hex>`` of the canonical JSON of ``value``."""
    return digest_bytes(dumps(value))


def digest_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def loads(data: bytes | str, *, where: str, error: type[InputError] = InputError) -> Any:
    """Parse JSON strictly. ``where`` names the file in messages; ``error`` is the class raised on bad input."""
    return _parse(data, where, error, float)


def loads_canonical(data: bytes, *, where: str, error: type[InputError] = InputError) -> Any:
    """Parse JSON that must be its own canonical form: one value has one file. Raises ``error`` for any other form."""
    floats_fit = True

    def number(literal: str) -> float:
        nonlocal floats_fit
        value = float(literal)
        floats_fit = floats_fit and dumps(value) == literal.encode()
        return value

    value = _parse(data, where, error, number)
    # The standard library writes the canonical form, and fast, but for two things: floats, which were checked one by
    # one above, and the order of keys with characters beyond the BMP (UTF-8 starts those with F0 or more).
    fast = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8", "surrogatepass")
    if (fast == data and floats_fit and max(data, default=0) < 0xF0) or dumps(value) == data:
        return value
    raise error("not in canonical form", where=where, remedy="such a file is written by this program, never by hand")


def _parse(data: bytes | str, where: str, error: type[InputError], number: Callable[[str], float]) -> Any:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise error(f"the key {twice!r} stands twice", where=where, remedy="keep one of them")
        return result

    def no_constant(name: str) -> NoReturn:
        raise error(f"{name} is not a JSON number", where=where, remedy="remove it, or write null")

    if len(data) > MAX_BYTES:
        raise error(f"larger than {MAX_BYTES} bytes", where=where, remedy="this is no file of ours")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(text, object_pairs_hook=no_duplicates, parse_constant=no_constant, parse_float=number)
        _check_depth(value, error, where)
    except UnicodeDecodeError as cause:
        raise error(f"not UTF-8: {cause.reason} at byte {cause.start}", where=where) from cause
    except json.JSONDecodeError as cause:
        raise error(f"not JSON: {cause.msg} at line {cause.lineno}, column {cause.colno}", where=where) from cause
    except RecursionError as cause:
        raise error("nested too deeply", where=where, remedy="this is no file of ours") from cause
    except InputError as cause:  # a float that JSON allows and canonical JSON does not, as 1e999
        raise cause if isinstance(cause, error) else error(str(cause), where=where) from cause
    except ValueError as cause:  # an integer of thousands of digits
        raise error(f"not JSON: {cause}", where=where) from cause
    return value


def _check_depth(value: Any, error: type[InputError], where: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise error(f"nested more than {MAX_DEPTH} levels deep", where=where, remedy="this is no file of ours")

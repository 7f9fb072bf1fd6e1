"""Numbers, digests and untrusted text as a reader should see them. Pure.

Bounds are rounded outward, never to the side of the bound that would contradict the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from weighbridge.text import visible
from weighbridge.times import parse_time

MAX_TEXT, MAX_NAME = 600, 120
"""Characters of a text, and of a name, that are shown: both come from the checkpoint, and may be of any length."""

Side = Literal["lower", "upper"]

_THOUSANDTHS = Decimal("0.001")


def safe(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` with everything visible, and cut to ``limit`` characters."""
    shown = visible(text[:limit])
    return shown if len(text) <= limit else f"{shown} ... ({count(len(text) - limit)} more characters)"


def estimate(value: str) -> str:
    """A score, rounded to three places."""
    return format(Decimal(value).quantize(_THOUSANDTHS, ROUND_HALF_EVEN), "f")


def bound(value: str, side: Side, threshold: str | None = None) -> str:
    """A bound rounded outward to three places; to six where three would hide on which side of ``threshold`` it is."""
    exact = Decimal(value)
    rounded = exact.quantize(_THOUSANDTHS, ROUND_FLOOR if side == "lower" else ROUND_CEILING)
    if threshold is not None:
        needed = Decimal(threshold)
        if (exact > needed, exact < needed) != (rounded > needed, rounded < needed):
            return format(exact, "f")
    return format(rounded, "f")


def threshold(value: str, kind: str = "sampled") -> str:
    """A policy's bound: at least two places for a rate, as written for a count."""
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if kind == "sampled" and isinstance(exponent, int) and exponent > -2:
        number = number.quantize(Decimal("0.01"))
    return format(number, "f")


def level(value: str) -> str:
    """An error rate without trailing zeros."""
    return format(Decimal(value).normalize(), "f")


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def things(number: int, one: str, many: str | None = None) -> str:
    """``1 item``, ``2 items``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def magnitude(number: float) -> str:
    """``134.5 million``: a number of parameters."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.4g} {name}"
    return f"{number:g}"


def size(number: float) -> str:
    """``1.23 GB``: a number of bytes, in powers of 1,000."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:g} B"


def seconds(number: float) -> str:
    """``4.2 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if number < 60:
        return f"{number:.3g} s"
    if number < 3600:
        return f"{int(number // 60)} min {int(number % 60)} s"
    return f"{int(number // 3600)} h {int(number % 3600 // 60)} min"


def dollars(amount: float) -> str:
    """``$1,200``, ``$0.05``, ``$3 x 10⁻⁶``: an amount above 0, to two figures where it is below a hundred."""
    if amount >= 0.01:
        return f"${amount:,.0f}" if amount >= 100 else f"${amount:.2g}"
    figures, _, power = f"{amount:.1e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    figures = figures.removesuffix(".0")
    return f"$10{raised}" if figures == "1" else f"${figures} x 10{raised}"


def digest(value: str) -> str:
    """The start of a digest, enough to tell digests apart; the page gives the whole one too."""
    name, colon, rest = value.partition(":")
    return f"{name}:{rest[:12]}" if colon and len(rest) > 12 else value


def moment(time: str) -> str:
    """``2026-01-31 09:30:00 UTC``."""
    return f"{parse_time(time, where='report'):%Y-%m-%d %H:%M:%S} UTC"


def days(start: str, end: str) -> int:
    """Whole days from ``start`` to ``end``."""
    return (parse_time(end, where="report") - parse_time(start, where="report")).days


def flatten(value: Any, limit: int = 60) -> list[tuple[str, str]]:
    """JSON as lines of (place, text): ``settings.weights`` and the like. At most ``limit`` lines, the rest counted."""
    lines = list(_leaves(value, "", 0))
    if len(lines) > limit:
        lines = [*lines[:limit], ("...", things(len(lines) - limit, "more entry", "more entries"))]
    return lines


def _leaves(value: Any, place: str, depth: int) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value and depth < 8:
        dot = f"{place}." if place else ""
        return [leaf for key in sorted(value) for leaf in _leaves(value[key], f"{dot}{key}", depth + 1)]
    if isinstance(value, Sequence) and not isinstance(value, str) and depth < 8:
        if all(not isinstance(item, Mapping | list | tuple) for item in value):
            return [(place, ", ".join(map(scalar, value)) or "none")]
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, f"{place}[{index}]", depth + 1)]
    return [(place, scalar(value))]


def scalar(value: Any) -> str:
    """One JSON value as text."""
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)

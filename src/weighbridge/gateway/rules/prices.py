"""Price lists: what a million tokens cost, from when to when. Pure.

    currency: USD
    valid_from: 2026-11-01T00:00:00Z
    valid_until: 2027-01-01T00:00:00Z      # may be left out: until the next list begins
    models:
      smollm2: {input: "0.10", cached: "0.05", output: "0.40"}   # currency units for a million tokens

A list's digest is the price version that every intent carries. Prices are text or whole numbers, never fractions in
binary, so that nothing is rounded before the one rounding of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weighbridge import canonical, strict_yaml
from weighbridge.errors import InputError
from weighbridge.gateway.rules.money import check_currency, divide_half_even, parse_amount
from weighbridge.gateway.rules.terms import Usage
from weighbridge.times import format_milliseconds, parse_time

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-units for a million tokens. ``version`` is the digest of the list that says so."""

    version: str
    currency: str
    input: int
    cached: int
    output: int


@dataclass(frozen=True, slots=True)
class PriceList:
    """One list. Times in milliseconds since 1970; ``valid_until`` None means until the next list begins."""

    version: str
    currency: str
    valid_from: int
    valid_until: int | None
    models: Mapping[str, Price]
    text: str  # canonical JSON, of which ``version`` is the digest


def cost(usage: Usage, price: Price) -> int:
    """What ``usage`` costs in nano-units: summed first, then rounded half-even once."""
    return divide_half_even(
        (usage.input - usage.cached) * price.input + usage.cached * price.cached + usage.output * price.output, MILLION
    )


def ceiling(price: Price, input_tokens: int, output_tokens: int) -> int:
    """What so many tokens cost at most in nano-units, rounded up: no cost of a usage within them is larger."""
    return -(-(input_tokens * max(price.input, price.cached) + output_tokens * price.output) // MILLION)


class PriceBook:
    """Price lists that do not contradict each other."""

    def __init__(self, lists: Iterable[PriceList]) -> None:
        self.lists = tuple(sorted(lists, key=lambda one: (one.currency, one.valid_from)))
        self._entries: dict[tuple[str, str], list[tuple[int, int | None, Price]]] = {}
        for one in self.lists:
            for model, price in one.models.items():
                self._add(model, one, price)

    def _add(self, model: str, one: PriceList, price: Price) -> None:
        entries = self._entries.setdefault((model, one.currency), [])
        if entries:
            start, end, before = entries[-1]
            if start == one.valid_from or (end is not None and end > one.valid_from):
                raise InputError(
                    f"two lists give a price for {model!r} at {format_milliseconds(one.valid_from)}",
                    where=f"price lists {before.version[:12]} and {one.version[:12]}",
                    remedy="end the older list where the newer begins",
                )
            if end is None:
                entries[-1] = (start, one.valid_from, before)
        entries.append((one.valid_from, one.valid_until, price))

    def price(self, model: str, currency: str, at: int) -> Price | None:
        """The price of ``model`` at the time ``at`` (ms), or None if there is none."""
        for start, end, price in reversed(self._entries.get((model, currency), ())):
            if start <= at:
                return price if end is None or at < end else None
        return None


def load_price_list(data: bytes, *, where: str) -> PriceList:
    """The price list in ``data`` (YAML). Raises ``InputError`` that names the field."""
    value = strict_yaml.load(data, where=where)
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict) or not value["models"]:
        raise InputError("a price list has currency, valid_from and models", where=where, remedy="see docs/billing.md")
    if unknown := sorted(value.keys() - {"currency", "valid_from", "valid_until", "models"}):
        raise InputError(f"unknown field {unknown[0]!r:.40}", where=where)
    currency = check_currency(str(value.get("currency")), where=f"{where} at $.currency")
    start = _time(value.get("valid_from"), where=f"{where} at $.valid_from")
    end = _time(value["valid_until"], where=f"{where} at $.valid_until") if "valid_until" in value else None
    if end is not None and end <= start:
        raise InputError("ends before it begins", where=f"{where} at $.valid_until")
    models = {name: _rates(one, where=f"{where} at $.models.{name}") for name, one in value["models"].items()}
    text = canonical.dumps({"currency": currency, "from": start, "until": end, "models": models}).decode()
    return parse_price_list(text, where=where)


def parse_price_list(text: str, *, where: str) -> PriceList:
    """The list whose canonical JSON is ``text``, as ``PriceList.text`` and the ledger hold it."""
    value = canonical.loads(text, where=where)
    version = canonical.digest_bytes(text.encode())
    models = {
        name: Price(version, value["currency"], one["input"], one["cached"], one["output"])
        for name, one in value["models"].items()
    }
    return PriceList(version, value["currency"], value["from"], value["until"], models, text)


def _rates(value: Any, *, where: str) -> dict[str, int]:
    if not isinstance(value, dict) or not {"input", "output"} <= value.keys() <= {"input", "cached", "output"}:
        raise InputError("a price has input, output and maybe cached", where=where)
    rates = {name: _amount(one, where=f"{where}.{name}") for name, one in value.items()}
    return {"cached": rates["input"], **rates}


def _amount(value: Any, *, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{value!r:.40} is no exact amount", where=where, remedy='put it in quotes: "0.10"')
    return parse_amount(str(value), where=where)


def _time(value: Any, *, where: str) -> int:
    """YAML reads an unquoted time as one; both forms are taken."""
    time = value if isinstance(value, datetime) and value.tzinfo else parse_time(str(value), where=where)
    return int(time.timestamp()) * 1000

"""Money is exact: against fractions, and against decimal's own half-even."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.errors import InputError
from weighbridge.gateway.ledger.schema import APPEND_ONLY, TABLES
from weighbridge.gateway.rules.limits import LARGEST_HOLD, Wish, fitting_output
from weighbridge.gateway.rules.money import (
    LARGEST,
    NANO,
    check_currency,
    divide_half_even,
    format_amount,
    format_minor,
    parse_amount,
    round_to_minor,
)
from weighbridge.gateway.rules.prices import MILLION, Price, PriceBook, ceiling, cost, load_price_list, parse_price_list
from weighbridge.gateway.rules.terms import Usage

RATES = st.integers(0, 10**12)
TOKENS = st.integers(0, 10**6)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**12))
def test_division_rounds_to_the_nearest_and_ties_to_even(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(RATES, RATES, RATES, TOKENS, TOKENS, TOKENS)
def test_a_cost_is_the_rounded_sum_and_never_above_its_ceiling(
    rate: int, cached_rate: int, output_rate: int, first: int, second: int, output: int
) -> None:
    price = Price("v", "USD", rate, cached_rate, output_rate)
    usage = Usage(first + second, output, cached=second)
    exact = Fraction(first * rate + second * cached_rate + output * output_rate, MILLION)
    assert cost(usage, price) == round(exact)
    assert cost(usage, price) <= ceiling(price, usage.input, usage.output)
    assert ceiling(price, usage.input, usage.output) <= ceiling(price, usage.input + 1, usage.output + 1)


@given(RATES, RATES, st.integers(0, 10**9), st.integers(0, 4), st.integers(0, LARGEST_HOLD))
def test_the_limit_that_fits_is_the_largest(rate: int, output_rate: int, bound: int, choices: int, room: int) -> None:
    price = Price("v", "USD", rate, rate, output_rate)
    fits = fitting_output(room, Wish(bound, choices, None, 10**9), price)
    if fits is not None:
        assert ceiling(price, bound, choices * fits) <= room
        assert ceiling(price, bound, choices * (fits + 1)) > room
    else:
        assert output_rate * choices == 0 or ceiling(price, bound, choices) > room


@given(st.integers(0, LARGEST))
def test_amounts_are_written_and_read_without_loss(nano: int) -> None:
    text = format_amount(nano, "USD")
    assert parse_amount(text.removesuffix(" USD"), where="test") == nano
    assert Decimal(text.removesuffix(" USD")) * NANO == nano


@given(st.integers(-(10**18), 10**18), st.sampled_from([("JPY", 0), ("USD", 2), ("KWD", 3)]))
def test_an_invoice_rounds_once_and_shows_the_difference(nano: int, currency: tuple[str, int]) -> None:
    code, digits = currency
    minor, difference = round_to_minor(nano, code)
    exact = Decimal(nano) / NANO
    assert minor == int(exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN).scaleb(digits))
    assert minor * 10 ** (9 - digits) - nano == difference


def test_amounts_as_people_write_them() -> None:
    assert parse_amount("12.5", where="x") == 12_500_000_000
    assert format_amount(12_500_000_000, "USD") == "12.50 USD"
    assert format_amount(1_500, "USD") == "0.0000015 USD"
    assert format_amount(-(10**9), "JPY") == "-1 JPY"
    assert format_minor(1250, "USD") == "12.50 USD"
    for text in ("", "-1", "1,5", "1e3", ".5", "1.", "0.0000000001", "99999999999", "9999999999", "\u0661", "1\n"):
        with pytest.raises(InputError):
            parse_amount(text, where="x")
    with pytest.raises(InputError):
        check_currency("XYZ", where="x")


def test_a_price_list() -> None:
    text = b"""
currency: USD
valid_from: 2026-11-01T00:00:00Z
valid_until: 2026-12-01T00:00:00Z
models:
  small: {input: "0.10", cached: "0.05", output: 2}
  other: {input: 0, output: "0.000000001"}
"""
    one = load_price_list(text, where="p.yaml")
    small = one.models["small"]
    assert (small.input, small.cached, small.output, small.version) == (10**8, 5 * 10**7, 2 * 10**9, one.version)
    assert one.models["other"].cached == one.models["other"].input == 0
    assert parse_price_list(one.text, where="ledger") == one
    assert one.version.startswith("sha256:")
    book = PriceBook([one])
    start, end = one.valid_from, one.valid_until
    assert end is not None
    assert book.price("small", "USD", start) == small == book.price("small", "USD", end - 1)
    for model, currency, at in (
        ("small", "USD", start - 1),
        ("small", "USD", end),
        ("small", "EUR", start),
        ("x", "USD", start),
    ):
        assert book.price(model, currency, at) is None


def _list(start: str, end: str | None = None, rate: int = 1) -> bytes:
    until = f", valid_until: {end}" if end else ""
    return f"{{currency: USD, valid_from: {start}{until}, models: {{m: {{input: {rate}, output: 1}}}}}}".encode()


def test_lists_follow_each_other_and_may_not_overlap() -> None:
    first = load_price_list(_list("2026-01-01T00:00:00Z"), where="1")
    second = load_price_list(_list("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z", 2), where="2")
    book = PriceBook([second, first])
    rates = [book.price("m", "USD", at) for at in (second.valid_from - 1, second.valid_from, second.valid_until or 0)]
    assert [one and one.input for one in rates] == [NANO, 2 * NANO, None]
    overlapping = load_price_list(_list("2026-06-15T00:00:00Z"), where="3")
    with pytest.raises(InputError, match="two lists"):
        PriceBook([first, second, overlapping])
    with pytest.raises(InputError, match="two lists"):
        PriceBook([first, load_price_list(_list("2026-01-01T00:00:00Z", rate=3), where="4")])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{currency: USD}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {}}",
        b"{currency: XXX, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: 1, output: 1}}}",
        b"{currency: USD, valid_from: tomorrow, models: {m: {input: 1, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: 0.1, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: -1, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: true, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: 1, output: 1, reasoning: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: 1}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, extra: 1, models: {m: {input: 1, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-02T00:00:00Z, valid_until: 2026-01-01T00:00:00Z, "
        b"models: {m: {input: 1, output: 1}}}",
        b"{currency: USD, valid_from: 2026-01-01T00:00:00Z, models: {m: {input: 9999999999, output: 1}}}",
    ],
)
def test_bad_price_lists_are_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        load_price_list(text, where="p.yaml")


def test_every_table_that_never_changes_is_a_table() -> None:
    assert set(APPEND_ONLY) < set(TABLES)

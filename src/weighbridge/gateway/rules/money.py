"""Money in whole nano-units (10^-9) of a currency: read, divide, round to what can be paid, write. Pure, exact."""

from __future__ import annotations

import re

from weighbridge.errors import InputError

NANO = 1_000_000_000
"""Nano-units in one unit of a currency."""

LARGEST = 2**63 - 1
"""The largest amount that a ledger's column holds: about nine billion units."""

_DECIMAL = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?")

_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CNY", "COP", "CZK", "DKK", "EGP", "EUR"), 2),
    **dict.fromkeys(("GBP", "HKD", "HUF", "IDR", "ILS", "INR", "KES", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD"), 2),
    **dict.fromkeys(("PEN", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "SAR", "SEK", "SGD", "THB", "TRY", "TWD"), 2),
    **dict.fromkeys(("UAH", "USD", "ZAR"), 2),
}


def check_currency(code: str, *, where: str) -> str:
    """``code`` if it is a currency whose minor unit is known (ISO 4217), else ``InputError``."""
    if code not in _MINOR_DIGITS:
        raise InputError(
            f"{code!r:.20} is not a known currency", where=where, remedy="use an ISO 4217 code such as USD"
        )
    return code


def divide_half_even(numerator: int, denominator: int) -> int:
    """The whole number nearest to the quotient; of two equally near, the even one. ``denominator`` is positive."""
    quotient, rest = divmod(numerator, denominator)
    double = 2 * rest
    if double > denominator or (double == denominator and quotient & 1):
        return quotient + 1
    return quotient


def parse_amount(text: str, *, where: str) -> int:
    """``"12.50"`` in nano-units. No sign, at most nine decimals: whatever cannot be held exactly is refused."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise InputError(
            f"{text!r:.40} is not an amount", where=where, remedy="write units and up to nine decimals, like 12.50"
        )
    amount = int(found[1]) * NANO + int((found[2] or "").ljust(9, "0"))
    if amount > LARGEST:
        raise InputError(f"{text} is more than a ledger can hold", where=where, remedy=f"at most {LARGEST // NANO}")
    return amount


def format_amount(nano: int, currency: str) -> str:
    """``nano`` exactly, with at least the currency's own decimals: ``12.50 USD``, ``0.000001500 USD`` as 0.0000015."""
    units, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(_MINOR_DIGITS.get(currency, 2), "0")
    return f"{'-' if nano < 0 else ''}{units}{'.' if decimals else ''}{decimals} {currency}"


def round_to_minor(nano: int, currency: str) -> tuple[int, int]:
    """``nano`` in minor units (cents), rounded half-even once, and the difference in nano-units: paid minus exact."""
    nano_per_minor = 10 ** (9 - _MINOR_DIGITS[currency])
    minor = divide_half_even(nano, nano_per_minor)
    return minor, minor * nano_per_minor - nano


def format_minor(minor: int, currency: str) -> str:
    """``minor`` units as they are paid: 1250 -> ``12.50 USD``."""
    return format_amount(minor * 10 ** (9 - _MINOR_DIGITS[currency]), currency)

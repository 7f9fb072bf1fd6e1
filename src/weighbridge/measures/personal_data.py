"""Personal data and secrets in text, by their form: addresses, numbers and keys that point to one person or account.

Names and places are not found: their form says nothing. Where a form has check digits or reserved ranges they are
checked (Luhn, ISO 7064, RFC 2606, the registries of IP addresses), and phone numbers are what Google's libphonenumber
calls valid, in international form or as they are written in the USA. ``docs/leakage.md`` says how often this errs.
"""

from __future__ import annotations

import io
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import phonenumbers

from weighbridge.measures.integrity import secrets

Piece: TypeAlias = tuple[str, str]
"""A kind of personal data, and the piece itself as it is compared: without case or separators that do not matter."""

VERSION = 1
"""Counted up when other text is found: it is part of every question."""

_EMAIL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
_RESERVED = re.compile(r"(?:^|[@.])(?:example(?:\.(?:com|net|org))?|test|invalid|localhost|local)$", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_UNICAST = ipaddress.IPv6Network("2000::/3")  # what is handed out of IPv6; elsewhere stand a::b and other code
_CARD = re.compile(r"(?<![\d.-])(?:\d{13,19}|\d{4}(?:[ -]\d{4}){3}|\d{4}[ -]\d{6}[ -]\d{5})(?![\d-]|\.\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")


def pieces(text: str) -> frozenset[Piece]:
    """The personal data and secrets that stand in ``text``."""
    return frozenset(piece for find in _FINDERS for piece in find(text))


def _emails(text: str) -> Iterator[Piece]:
    for match in _EMAIL.finditer(text):
        if not _RESERVED.search(match[0]):
            yield "e-mail address", match[0].lower()


def _phones(text: str) -> Iterator[Piece]:
    leniency = phonenumbers.Leniency.STRICT_GROUPING
    for match in phonenumbers.PhoneNumberMatcher(text, "US", leniency=leniency):
        written = match.raw_string
        if written.startswith("+") or len(re.findall(r"\d+", written)) > 2:  # no bare number of ten digits
            yield "phone number", phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)


def _addresses(text: str) -> Iterator[Piece]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if address.is_global and (address.version == 4 or address in _UNICAST):
                yield "IP address", str(address)


def _cards(text: str) -> Iterator[Piece]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if digits[0] in "23456" and len(set(digits)) > 1 and _luhn(digits):
            yield "payment card", digits


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _accounts(text: str) -> Iterator[Piece]:
    for match in _IBAN.finditer(text):
        number = match[0].replace(" ", "")
        if 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1:
            yield "IBAN", number


def _secrets(text: str) -> Iterator[Piece]:
    data = text.encode("utf-8", "replace")
    for secret in secrets.scan(io.BytesIO(data)):
        yield secret.kind, data[secret.offset : secret.offset + secret.length].decode("utf-8", "replace")


_FINDERS: tuple[Callable[[str], Iterator[Piece]], ...] = (_emails, _phones, _addresses, _cards, _accounts, _secrets)

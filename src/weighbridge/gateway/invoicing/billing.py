"""What is billed: one event for each seal, correction and unknown request, and the invoice that each belongs on.

An event is never changed. An invoice (project, month M, through T) covers the events of months up to M whose sequence
number is at most T, less what earlier invoices of the project cover. Months and ``through`` both rise from invoice to
invoice, so each event is on exactly one; what comes after an invoice was issued is on the next, whatever its month.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from weighbridge.errors import InputError
from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.rules.money import format_amount
from weighbridge.gateway.rules.prices import Price, parse_price_list

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")

_INTENT = """i.project, i.month, i.key_id, i.model, i.binding, i.price, i.currency, i.id AS intent, i.at, i.hold,
    i.model_digest, i.decision, i.route"""

# Tokens and nano are what the event changes. A seal after a correction changes nothing: the correction was the last
# word. ``settled``: the event that ended an unknown request's being unknown.
EVENTS = f"""
SELECT {_INTENT}, s.seq AS seq, s.at AS recorded, 'usage' AS kind, s.outcome AS outcome,
    CASE WHEN c.seq < s.seq THEN 0 ELSE COALESCE(s.input, 0) END AS input,
    CASE WHEN c.seq < s.seq THEN 0 ELSE COALESCE(s.cached, 0) END AS cached,
    CASE WHEN c.seq < s.seq THEN 0 ELSE COALESCE(s.output, 0) END AS output,
    CASE WHEN c.seq < s.seq THEN 0 ELSE s.cost END AS nano, CAST(NULL AS BIGINT) AS settled
  FROM intents i JOIN seals s ON s.intent = i.id LEFT JOIN corrections c ON c.intent = i.id AND c.n = 1
  WHERE s.outcome <> 'unknown'
UNION ALL
SELECT {_INTENT}, c.seq, c.at, 'correction', 'corrected', c.input - COALESCE(p.input, s.input, 0),
    c.cached - COALESCE(p.cached, s.cached, 0), c.output - COALESCE(p.output, s.output, 0), c.change,
    CAST(NULL AS BIGINT)
  FROM intents i JOIN corrections c ON c.intent = i.id LEFT JOIN corrections p ON p.intent = i.id AND p.n = c.n - 1
  LEFT JOIN seals s ON s.intent = i.id AND s.seq < c.seq
UNION ALL
SELECT {_INTENT}, r.seq, r.at, 'unknown', 'unknown', 0, 0, 0, 0,
    CASE WHEN s.seq IS NULL OR c.seq < s.seq THEN c.seq ELSE s.seq END
  FROM intents i JOIN recoveries r ON r.intent = i.id
  LEFT JOIN seals s ON s.intent = i.id AND s.outcome <> 'unknown' LEFT JOIN corrections c ON c.intent = i.id AND c.n = 1
UNION ALL
SELECT {_INTENT}, s.seq, s.at, 'unknown', 'unknown', 0, 0, 0, 0, c.seq
  FROM intents i JOIN seals s ON s.intent = i.id LEFT JOIN recoveries r ON r.intent = i.id
  LEFT JOIN corrections c ON c.intent = i.id AND c.n = 1
  WHERE s.outcome = 'unknown' AND r.intent IS NULL
"""
"""Columns: project, month, key_id, model, binding, price, currency, intent, at, hold, model_digest, decision, route,
seq, recorded, kind, outcome, input, cached, output, nano, settled. ``at`` is the intent's time, ``recorded`` the
event's; the kinds are usage, correction and unknown."""


class Corner(NamedTuple):
    """What an invoice and those before it cover: events of months up to ``month``, numbered up to ``through``."""

    month: str
    through: int


NOTHING = Corner("", 0)


class Span(NamedTuple):
    """What the invoice of a month covers, or would cover now: what is under ``corner`` and not under ``before``.

    ``gaps``: earlier months whose invoices come first. ``later``: a later month is invoiced, and this one never was.
    """

    before: Corner
    corner: Corner
    issued: bool
    gaps: tuple[str, ...] = ()
    later: bool = False


def span(transaction: Transaction, project: str, month: str) -> Span:
    """What the invoice of ``project`` for ``month`` covers."""
    before = NOTHING
    for corner in corners(transaction, project):
        if corner.month == month:
            return Span(before, corner, True)
        before = corner
    if month < before.month:
        return Span(before, before, False, later=True)
    rows = transaction.rows(  # a month that has nothing but requests in flight holds nobody up
        "SELECT DISTINCT i.month FROM intents i LEFT JOIN holds h ON h.intent = i.id "
        "WHERE i.project = ? AND i.month > ? AND i.month < ? AND h.intent IS NULL",
        project,
        before.month,
        month,
    )
    gaps = tuple(sorted(row[0] for row in rows))
    if gaps:  # what came late goes on the first of their invoices
        before = Corner(gaps[-1], transaction.seq)
    return Span(before, Corner(month, transaction.seq), False, gaps)


def within(columns: str, project: str, before: Corner, corner: Corner, tail: str = "") -> tuple[str, list[object]]:
    """SQL and values that select ``columns`` of the events under ``corner`` but not under ``before``.

    An unknown request is listed where it is still unknown at ``corner``; settled earlier, it never was on an invoice.
    """
    return (
        f"SELECT {columns} FROM ({EVENTS}) e WHERE e.project = ? AND e.month <= ? AND e.seq <= ? "
        "AND (e.month > ? OR e.seq > ?) AND (e.settled IS NULL OR e.settled > ?) " + tail,
        [project, corner.month, corner.through, before.month, before.through, corner.through],
    )


def check_month(text: str, *, where: str = "month") -> str:
    """``text`` if it is a month like ``2026-11``, else ``InputError``."""
    if not is_month(text):
        raise InputError(f"{text!r:.40} is no month", where=where, remedy="write it like 2026-11 (UTC)")
    return text


def is_month(text: str) -> bool:
    """Whether ``text`` is written like a month and is one that times in ms can name."""
    return _MONTH.fullmatch(text) is not None and "1970-01" <= text < "9999-12"


def bounds_of(month: str) -> tuple[int, int]:
    """Begin and end of a UTC month in ms; the end is the next month's begin."""
    year, number = int(month[:4]), int(month[5:])
    begin = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


def is_over(month: str, now: int) -> bool:
    """Whether no new request can belong to ``month`` by the ledger's clock ``now`` (ms)."""
    return is_month(month) and now >= bounds_of(month)[1]


def plain(nano: int, currency: str) -> str:
    """An amount without its currency: ``12.50``, exact to the last nano-unit."""
    return format_amount(nano, currency).partition(" ")[0]


def whole(row: Row, count: int) -> tuple[int, ...]:
    """The last ``count`` columns, which are sums, as integers: PostgreSQL gives them as decimals, none as NULL."""
    return tuple(int(value or 0) for value in row[len(row) - count :])


def projects_of(transaction: Transaction) -> list[tuple[str, str]]:
    """All projects with their currencies, by name."""
    return [(row[0], row[1]) for row in transaction.rows("SELECT id, currency FROM projects ORDER BY id")]


def corners(transaction: Transaction, project: str) -> list[Corner]:
    """What each invoice of ``project`` covers together with those before it, in the order of issue."""
    sql = "SELECT month, through FROM invoices WHERE project = ? ORDER BY month, through"
    return [Corner(*row) for row in transaction.rows(sql, project)]


def prices_of(transaction: Transaction) -> dict[tuple[str, str], Price]:
    """(version, model) -> price, of every list that an intent may name."""
    found = {}
    for version, text in transaction.rows("SELECT version, body FROM prices"):
        for model, price in parse_price_list(text, where=f"price list {version} in the ledger").models.items():
            found[version, model] = price
    return found

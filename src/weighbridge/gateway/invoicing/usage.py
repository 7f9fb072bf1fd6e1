"""Usage as the ledger's rows say it now, corrections included: summed by project, key, model, day and more.

Month and day are those of the intent, in UTC. A request in flight has used nothing yet; an unknown one costs nothing,
and what it holds of the budget is shown beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from weighbridge.errors import InputError
from weighbridge.gateway.invoicing.billing import check_month, plain, whole
from weighbridge.gateway.ledger.database import Row, Transaction

DIMENSIONS = {
    "project": "project",
    "key": "key_id",
    "model": "model",
    "month": "month",
    "day": "at / 86400000",
    "outcome": "outcome",
    "binding": "binding",
    "route": "route",
    "decision": "decision",
    "request": "intent",
}
"""What usage can be summed by, and the expression for it."""

COUNTS = ("requests", "input", "cached", "output", "unknown", "in_flight")

_SUMS = """COUNT(*), SUM(input), SUM(cached), SUM(output),
SUM(CASE WHEN outcome = 'unknown' THEN 1 ELSE 0 END), SUM(CASE WHEN outcome = 'open' THEN 1 ELSE 0 END),
SUM(cost), SUM(unknown), SUM(CASE WHEN outcome = 'open' THEN hold ELSE 0 END)"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One group. ``names``: its value of each dimension, in the order asked for. Amounts in nano-units: ``billed``,
    and what of the budget the unknown requests and those in flight hold. ``counts``: as in ``COUNTS``."""

    names: tuple[str, ...]
    currency: str
    counts: tuple[int, ...]
    billed: int
    unknown: int
    held: int

    def to_json(self, dimensions: Sequence[str]) -> dict[str, Any]:
        """The group as JSON has it; amounts are exact decimals in ``currency``, as text."""
        return {
            **dict(zip(dimensions, self.names, strict=True)),
            **dict(zip(COUNTS, self.counts, strict=True)),
            "currency": self.currency,
            "billed": plain(self.billed, self.currency),
            "unknown_held": plain(self.unknown, self.currency),
            "in_flight_held": plain(self.held, self.currency),
        }


def usage(
    transaction: Transaction, by: Sequence[str], *, month: str | None = None, project: str | None = None
) -> list[Line]:
    """Usage summed by the dimensions ``by``, and always by currency. Raises ``InputError`` for an unknown dimension."""
    check_dimensions(by)
    wheres, values = [], []
    if month is not None:
        wheres.append("month = ?")
        values.append(check_month(month))
    if project is not None:
        wheres.append("project = ?")
        values.append(project)
    where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
    expressions = ", ".join([*(DIMENSIONS[name] for name in by), "currency"])
    rows = transaction.rows(f"SELECT {expressions}, {_SUMS} FROM charges {where} GROUP BY {expressions}", *values)
    return sorted((_line(by, row) for row in rows), key=lambda line: (line.names, line.currency))


def total(lines: Sequence[Line]) -> list[Line]:
    """The sum of ``lines`` for each currency."""
    found = []
    for currency in sorted({line.currency for line in lines}):
        of = [line for line in lines if line.currency == currency]
        counts = tuple(map(sum, zip(*(line.counts for line in of), strict=True)))
        amounts = (sum(line.billed for line in of), sum(line.unknown for line in of), sum(line.held for line in of))
        found.append(Line((), currency, counts, *amounts))
    return found


def check_dimensions(by: Sequence[str]) -> None:
    """Raises ``InputError`` for a dimension that is unknown or named twice."""
    for name in by:
        if name not in DIMENSIONS:
            raise InputError(f"usage is not counted by {name!r:.40}", where="--by", remedy=", ".join(DIMENSIONS))
    if len(set(by)) != len(by):
        raise InputError("a dimension is named twice", where="--by")


def _line(by: Sequence[str], row: Row) -> Line:
    names = tuple(_day(value) if name == "day" else str(value) for name, value in zip(by, row, strict=False))
    *counts, billed, unknown, held = whole(row, 9)
    return Line(names, str(row[len(by)]), tuple(counts), billed, unknown, held)


def _day(number: int) -> str:
    return f"{_EPOCH + timedelta(days=int(number)):%Y-%m-%d}"

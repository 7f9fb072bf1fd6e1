"""A billing period for other programs: CloudEvents 1.0, an event a line, or FOCUS 1.2, a table of summed charges.

A period is what the invoices of one month cover, or would cover now. It is ``closed`` once the month is over and every
project with something to invoice has its invoice; before that it still changes. Both forms say which it is, name the
ledger, and carry the digest of the events, so that nobody takes one period for another or half of one for the whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from weighbridge.gateway.invoicing import billing
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.gateway.ledger.upkeep import identity

VERSION = 1

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """One event of a period, with what its intent says. Tokens and ``nano`` are what it changes."""

    seq: int
    kind: str
    outcome: str
    project: str
    month: str
    key_id: str
    model: str
    model_digest: str
    decision: str
    binding: str
    price: str
    currency: str
    route: str
    intent: str
    at: int
    recorded: int
    input: int
    cached: int
    output: int
    nano: int


@dataclass(frozen=True, slots=True)
class Bill:
    """A project's part of a period. ``invoice``: the number of the issued invoice, None if there is none."""

    project: str
    currency: str
    invoice: str | None
    events: tuple[Event, ...]

    @property
    def nano(self) -> int:
        return sum(event.nano for event in self.events)


@dataclass(frozen=True, slots=True)
class Period:
    """``waiting`` says why it is not closed; nothing if it is. ``ledger`` is the ledger's name, ``through`` the number
    of its last event when this was read, at ``as_of`` (ms)."""

    month: str
    ledger: str
    through: int
    as_of: int
    waiting: tuple[str, ...]
    bills: tuple[Bill, ...]

    @property
    def state(self) -> str:
        return "open" if self.waiting else "closed"

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the lines of its events, as ``cloud_events`` writes them."""
        return _digest(_event_lines(self))


def period(transaction: Transaction, month: str) -> Period:
    """The billing period ``month``, of all projects. Raises ``InputError`` if ``month`` is none."""
    billing.check_month(month)
    waiting: list[str] = []
    if not billing.is_over(month, transaction.now):
        waiting.append(f"{month} is not over")
    bills = []
    for project, currency in billing.projects_of(transaction):
        found = _bill(transaction, project, currency, month)
        if found.events and found.invoice is None:
            waiting.append(f"{project} is not invoiced")
        if found.events:
            bills.append(found)
    return Period(month, identity(transaction), transaction.seq, transaction.now, tuple(waiting), tuple(bills))


def cloud_events(period: Period) -> Iterator[str]:
    """One event a line; the last one tells of the period: its state, how many events there were, and their digest."""
    running, count = sha256(), 0
    for line in _event_lines(period):
        running.update(line.encode())
        count += 1
        yield line
    invoices = [
        {"number": bill.invoice, "project": bill.project, "currency": bill.currency,
         "amount": billing.plain(bill.nano, bill.currency)}
        for bill in period.bills
    ]  # fmt: skip
    data = {
        "month": period.month,
        "state": period.state,
        "waiting_for": list(period.waiting),
        "ledger": period.ledger,
        "through": period.through,
        "events": count,
        "digest": f"sha256:{running.hexdigest()}",
        "invoices": invoices,
        "version": VERSION,
    }
    yield _cloud_event(period, f"{period.month}@{period.through}", "period", period.month, period.as_of, data)


def _bill(transaction: Transaction, project: str, currency: str, month: str) -> Bill:
    span = billing.span(transaction, project, month)
    if span.later:  # nothing was invoiced for it, and what came afterwards is on a later invoice
        return Bill(project, currency, None, ())
    sql, values = billing.within(", ".join(Event._fields), project, span.before, span.corner, "ORDER BY seq")
    invoice = f"{project}-{month}" if span.issued else None
    return Bill(project, currency, invoice, tuple(Event(*row) for row in transaction.rows(sql, *values)))


def _event_lines(period: Period) -> Iterator[str]:
    for bill in period.bills:
        for event in bill.events:
            data = {
                "invoice": bill.invoice,
                "intent": event.intent,
                "outcome": event.outcome,
                "month": event.month,
                "at": _time(event.at),
                "key": event.key_id,
                "route": event.route,
                "model": event.model,
                "model_digest": event.model_digest,
                "decision": event.decision,
                "binding": event.binding,
                "price": event.price,
                "input": event.input,
                "cached": event.cached,
                "output": event.output,
                "amount": billing.plain(event.nano, event.currency),
                "currency": event.currency,
            }
            yield _cloud_event(period, str(event.seq), event.kind, event.project, event.recorded, data)


def _cloud_event(period: Period, name: str, kind: str, subject: str, at: int, data: dict[str, Any]) -> str:
    event = {
        "specversion": "1.0",
        "id": name,
        "source": f"urn:weighbridge:ledger:{period.ledger}",
        "type": f"weighbridge.{kind}",
        "subject": subject,
        "time": _time(at),
        "datacontenttype": "application/json",
        "data": data,
    }
    return _encode(event) + "\n"


def _digest(lines: Iterable[str]) -> str:
    running = sha256()
    for line in lines:
        running.update(line.encode())
    return f"sha256:{running.hexdigest()}"


def _time(at: int) -> str:
    """RFC 3339 with milliseconds."""
    return f"{(_EPOCH + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')[:-6]}Z"

"""Whether a ledger agrees with itself and with the engines: rows, counters, invoices, tokens. To the last nano-unit.

Everything is computed again from intents, seals, recoveries and corrections, on one consistent state, and compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weighbridge.gateway.invoicing import billing
from weighbridge.gateway.invoicing.billing import NOTHING, Corner
from weighbridge.gateway.invoicing.engine_counts import EngineStart, engine_starts
from weighbridge.gateway.invoicing.invoices import lines_between
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.gateway.rules.money import format_minor, round_to_minor
from weighbridge.gateway.rules.prices import Price, cost
from weighbridge.gateway.rules.terms import Usage

BATCH = 5000
LISTED = 100
"""Differences that a check reports one by one; after these it only counts."""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. ``compared``: how many things; ``differences``: what does not agree, the first of ``count``."""

    name: str
    compared: int
    count: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """What of a project's month is on no invoice yet. ``over``: it could be issued."""

    project: str
    month: str
    currency: str
    nano: int
    events: int
    over: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. ``agrees``: no check found a difference and no engine differs."""

    checks: tuple[Check, ...]
    engines: tuple[EngineStart, ...]
    not_invoiced: tuple[Month, ...]

    @property
    def agrees(self) -> bool:
        return not any(one.count for one in self.checks) and all(one.state != "differs" for one in self.engines)

    def to_json(self) -> dict[str, Any]:
        months = [{**asdict(one), "amount": billing.plain(one.nano, one.currency)} for one in self.not_invoiced]
        for one in months:
            del one["nano"]
        return {
            "agrees": self.agrees,
            "checks": [asdict(one) for one in self.checks],
            "engines": [asdict(one) for one in self.engines],
            "not_invoiced": months,
        }


def reconcile(transaction: Transaction) -> Report:
    """Compare everything. Reads only; on a large ledger it takes a while and holds nobody up."""
    checks = (
        _checked("rows", _count(transaction, "seals", "corrections"), _rows(transaction)),
        _checked("order", _count(transaction, "intents", "seals", "recoveries", "corrections"), _order(transaction)),
        _checked("counters", _count(transaction, "counters", "holds"), iter(discrepancies(transaction))),
        _checked("invoices", _count(transaction, "invoices", "invoice_rows"), _invoices(transaction)),
        _checked("coverage", _count(transaction, "projects"), _coverage(transaction)),
    )
    return Report(checks, tuple(engine_starts(transaction)), tuple(_not_invoiced(transaction)))


def _checked(name: str, compared: int, differences: Iterator[str]) -> Check:
    kept, count = [], 0
    for one in differences:
        count += 1
        if count <= LISTED:
            kept.append(one)
    return Check(name, compared, count, tuple(kept))


def _count(transaction: Transaction, *tables: str) -> int:
    return sum(row[0] for table in tables for row in transaction.rows(f"SELECT COUNT(*) FROM {table}"))


def _rows(transaction: Transaction) -> Iterator[str]:
    """Every seal and correction costs what its tokens cost at the price that its intent was admitted at."""
    prices = billing.prices_of(transaction)
    seals = """SELECT s.seq, s.intent, i.price, i.model, i.hold, s.input, s.cached, s.output, s.cost, s.overshoot
FROM seals s JOIN intents i ON i.id = s.intent"""
    for _, intent, version, model, hold, *tokens, spent, overshoot in _batches(transaction, seals, "s.seq"):
        right = 0 if tokens[0] is None else _cost(prices.get((version, model)), tokens)
        if spent != right:
            yield f"seal of {intent}: costs {spent}, its tokens {right} nano-units"
        if overshoot != max(spent - hold, 0):
            yield f"seal of {intent}: overshoot {overshoot}, above its hold are {max(spent - hold, 0)} nano-units"
    corrections = """SELECT c.seq, c.intent, c.n, i.price, i.model, c.input, c.cached, c.output, c.cost, c.change,
COALESCE(p.cost, s.cost, 0), CASE WHEN p.n IS NULL AND c.n > 1 THEN 1 ELSE 0 END
FROM corrections c JOIN intents i ON i.id = c.intent LEFT JOIN corrections p ON p.intent = c.intent AND p.n = c.n - 1
LEFT JOIN seals s ON s.intent = c.intent AND s.seq < c.seq"""
    for _, intent, n, version, model, *tokens, spent, change, before, gap in _batches(
        transaction, corrections, "c.seq"
    ):
        right = _cost(prices.get((version, model)), tokens)
        if spent != right or change != spent - before or gap:
            yield (
                f"correction {n} of {intent}: costs {spent} and changes {change}; its tokens cost {right} nano-units, "
                f"and before it was {before}"
            )


def _order(transaction: Transaction) -> Iterator[str]:
    """Events have numbers of their own, none above the head; an intent is in its month and its project's currency."""
    tables = ("intents", "seals", "recoveries", "corrections")
    union = " UNION ALL ".join(f"SELECT seq FROM {table}" for table in tables)
    for (seq,) in transaction.rows(f"SELECT seq FROM ({union}) e GROUP BY seq HAVING COUNT(*) > 1 ORDER BY seq"):
        yield f"number {seq} is given twice"
    for (seq,) in transaction.rows(f"SELECT seq FROM ({union}) e WHERE seq > ? ORDER BY seq", transaction.seq):
        yield f"number {seq} is above the last one given, {transaction.seq}"
    for table in tables[1:]:
        sql = f"SELECT e.intent FROM {table} e JOIN intents i ON i.id = e.intent WHERE e.seq < i.seq"
        for (intent,) in transaction.rows(sql):
            yield f"{intent}: one of its {table} comes before it"
    months = "SELECT project, month, MIN(at), MAX(at) FROM intents GROUP BY project, month"
    for project, month, first, last in transaction.rows(months):
        begin, end = billing.bounds_of(month) if billing.is_month(month) else (0, 0)
        if not begin <= first <= last < end:
            yield f"{project}: an intent of {month} was not made in it"
    sql = "SELECT i.id, i.currency, p.currency FROM intents i LEFT JOIN projects p ON p.id = i.project"
    for intent, currency, right in transaction.rows(f"{sql} WHERE p.id IS NULL OR p.currency <> i.currency"):
        yield f"{intent}: is in {currency}, its project in {right}"


def _invoices(transaction: Transaction) -> Iterator[str]:
    """Every invoice has the lines that its events sum to, says so in its body, and is rounded once."""
    for project, currency in billing.projects_of(transaction):
        before = NOTHING
        rows = transaction.rows(
            "SELECT number, month, through, issued, currency, nano, minor, difference, body FROM invoices "
            "WHERE project = ? ORDER BY month, through",
            project,
        )
        for number, month, through, issued, own, nano, minor, difference, body in rows:
            corner = Corner(month, through)
            if corner.month <= before.month or corner.through < before.through:
                yield f"{number}: covers no more than the invoice before it"
            right = lines_between(transaction, project, before, corner)
            stored = transaction.rows(
                "SELECT month, key_id, model, binding, price, kind, requests, input, cached, output, nano "
                "FROM invoice_rows WHERE invoice = ? ORDER BY line",
                number,
            )
            yield from _lines(number, right, tuple(stored))
            total = sum(line[-1] for line in right)
            if (nano, (minor, difference)) != (total, round_to_minor(total, currency)) or own != currency:
                yield f"{number}: {nano} {own} nano-units, {minor} to pay; its rows sum to {total} {currency}"
            if not billing.is_over(month, issued):
                yield f"{number}: was issued before its month was over"
            if said := _misprint(body, (number, project, *corner, currency, "issued"), tuple(stored), nano):
                yield f"{number}: its text says otherwise: {said}"
            before = corner


def _lines(number: str, right: tuple[Any, ...], stored: tuple[Any, ...]) -> Iterator[str]:
    expected, found = {line[:6]: line[6:] for line in right}, {line[:6]: line[6:] for line in stored}
    for place in sorted(expected.keys() | found.keys()):
        if expected.get(place) != found.get(place):
            name = " ".join((place[5], place[0], place[1], place[2]))
            is_there, should_be = found.get(place, "no such line"), expected.get(place, "nothing")
            yield f"{number}, {name}: has {is_there}, events sum to {should_be}"
    if len(found) != len(stored):
        yield f"{number}: a line is there twice"


def _misprint(text: str, head: tuple[Any, ...], stored: tuple[Any, ...], nano: int) -> str | None:
    """What an invoice's text says otherwise than its rows, if anything. ``head``: number, project and so on."""
    currency = head[4]
    try:
        body = json.loads(text)
        said = tuple(body[name] for name in ("number", "project", "month", "through", "currency", "state"))
        names = ("month", "key", "model", "binding", "price", "kind", "requests", "input", "cached", "output", "amount")
        lines = tuple(tuple(line[name] for name in names) for line in body["lines"])
        totals = (body["totals"]["exact"], body["totals"]["to_pay"])
        unknown = len(body["unknown"])
    except (ValueError, KeyError, TypeError) as cause:
        return f"cannot be read ({type(cause).__name__})"
    minor, _ = round_to_minor(nano, currency)
    right = {
        "whose it is": said == head,
        "its lines": lines == tuple((*line[:-1], billing.plain(line[-1], currency)) for line in stored),
        "its totals": totals == (billing.plain(nano, currency), format_minor(minor, currency).partition(" ")[0]),
        "its unknown requests": unknown == sum(line[6] for line in stored if line[5] == "unknown"),
    }
    return next((name for name, agrees in right.items() if not agrees), None)


def _coverage(transaction: Transaction) -> Iterator[str]:
    """What was invoiced and what was not yet is all that was billed: nothing is lost, nothing is there twice."""
    for project, _ in billing.projects_of(transaction):
        corners = billing.corners(transaction, project)
        last = corners[-1] if corners else NOTHING
        invoiced = transaction.rows(
            "SELECT COUNT(*), SUM(r.requests), SUM(r.nano) FROM invoice_rows r JOIN invoices i ON i.number = r.invoice "
            "WHERE i.project = ? AND r.kind <> 'unknown'",
            project,
        )
        rest = transaction.rows(
            f"SELECT COUNT(*), SUM(nano) FROM ({billing.EVENTS}) e WHERE e.project = ? AND e.kind <> 'unknown' "
            "AND (e.month > ? OR e.seq > ?)",
            project,
            *last,
        )
        billed = transaction.rows("SELECT SUM(cost) FROM charges WHERE project = ?", project)
        events = transaction.rows(
            "SELECT (SELECT COUNT(*) FROM seals s JOIN intents i ON i.id = s.intent WHERE i.project = ? "
            "AND s.outcome <> 'unknown') + (SELECT COUNT(*) FROM corrections c JOIN intents i ON i.id = c.intent "
            "WHERE i.project = ?)",
            project,
            project,
        )
        _, covered, nano = billing.whole(invoiced[0], 3)
        left, left_nano = billing.whole(rest[0], 2)
        (rows,), (total,) = billing.whole(events[0], 1), billing.whole(billed[0], 1)
        if nano + left_nano != total:
            yield f"{project}: invoiced {nano} and not yet {left_nano}, billed {total} nano-units"
        if covered + left != rows:
            yield f"{project}: {covered} events are on invoices and {left} not yet, there are {rows}"


def _not_invoiced(transaction: Transaction) -> Iterator[Month]:
    for project, currency in billing.projects_of(transaction):
        corners = billing.corners(transaction, project)
        last = corners[-1] if corners else NOTHING
        rows = transaction.rows(
            f"SELECT e.month, COUNT(*), SUM(e.nano) FROM ({billing.EVENTS}) e WHERE e.project = ? "
            "AND e.kind <> 'unknown' AND (e.month > ? OR e.seq > ?) GROUP BY e.month ORDER BY e.month",
            project,
            *last,
        )
        for row in rows:
            count, nano = billing.whole(row, 2)
            yield Month(project, row[0], currency, nano, count, billing.is_over(row[0], transaction.now))


def _cost(price: Price | None, tokens: Sequence[int]) -> int | None:
    """None if the list has no price for the model, which no admission would have allowed."""
    return None if price is None else cost(Usage(tokens[0], tokens[2], tokens[1]), price)


def _batches(transaction: Transaction, sql: str, key: str) -> Iterator[tuple[Any, ...]]:
    """All rows of a statement, whose first column is the number ``key``, some at a time."""
    last = 0
    while rows := transaction.rows(f"{sql} WHERE {key} > ? ORDER BY {key} LIMIT {BATCH}", last):
        yield from rows
        last = rows[-1][0]

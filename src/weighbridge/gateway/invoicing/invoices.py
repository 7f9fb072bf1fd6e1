"""Invoices: what a project pays for a UTC month. A preview until it is issued; an issued invoice never changes.

Nano-units are summed exactly and rounded once, to what can be paid; the difference is shown. What is sealed or
corrected after an invoice was issued goes on the project's next one, with the month that it belongs to. Requests whose
usage is unknown are listed and cost nothing until somebody corrects them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.errors import InputError
from weighbridge.gateway.invoicing import billing
from weighbridge.gateway.invoicing.billing import Corner, Span
from weighbridge.gateway.ledger.accounts import Project, find_project
from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.rules.money import format_minor, round_to_minor
from weighbridge.gateway.rules.prices import Price
from weighbridge.times import format_milliseconds

VERSION = 1

GROUP = "month, key_id, model, binding, price, kind"
SUMS = "COUNT(*), SUM(input), SUM(cached), SUM(output), SUM(nano)"
"""An invoice's lines: the events that it covers, grouped and summed."""

COLUMNS = (
    "invoice", "state", "project", "month", "line", "usage_month", "kind", "key", "model", "binding", "price",
    "requests", "input", "cached", "output", "amount", "currency",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Invoice:
    """``body`` is the whole invoice as JSON has it. ``lines`` are its rows as the ledger has them: month, key, model,
    binding, price, kind, requests, input, cached, output, nano. It covers what is under ``corner`` and not under
    ``before``; ``nano`` is the exact sum."""

    body: Mapping[str, Any]
    lines: tuple[Row, ...]
    before: Corner
    corner: Corner
    nano: int

    @property
    def state(self) -> str:
        """``preliminary`` while the month is not over, then ``draft``, then ``issued``."""
        return str(self.body["state"])


def invoice(transaction: Transaction, project: str, month: str) -> Invoice:
    """The invoice of ``project`` for ``month``: the issued one if there is one, else a preview of it.

    Raises ``InputError``: no such project or month, or a later month has been invoiced already.
    """
    billing.check_month(month)
    party = find_project(transaction, project)
    if party is None:
        raise InputError(f"there is no project {project!r:.80}", where="project", remedy="weighbridge keys list")
    span = billing.span(transaction, project, month)
    if span.later:
        raise InputError(
            f"{span.before.month} has been invoiced already, and {month} had nothing to invoice before",
            where=f"invoice {project} {month}",
            remedy="what came later goes on the next invoice",
        )
    if span.issued:
        return _issued(transaction, project, span)
    return _preview(transaction, party, span)


def issue(transaction: Transaction, draft: Invoice) -> Invoice:
    """Issue ``draft``, made a moment ago in another transaction: what it sums up cannot have changed since.

    So the ledger's lock is held only to write. An issued one is given back. Raises ``InputError``: the month is not
    over, an earlier one comes first, another invoice was issued meanwhile, or there is nothing to invoice.
    """
    project, month = str(draft.body["project"]), draft.corner.month
    where = f"invoice {project} {month}"
    if draft.state == "issued":
        return draft
    if not billing.is_over(month, transaction.now):
        raise InputError("the month is not over (UTC)", where=where, remedy="issue it when it is")
    span = billing.span(transaction, project, month)
    if span.gaps:
        remedy = f"weighbridge invoice {project} {span.gaps[0]} --issue"
        raise InputError(f"{span.gaps[0]} comes first and is not invoiced yet", where=where, remedy=remedy)
    if span.issued or span.later or span.before != draft.before:
        raise InputError("another invoice was issued meanwhile", where=where, remedy="run it again")
    if not draft.lines:
        raise InputError("there is nothing to invoice", where=where)
    number, currency = f"{project}-{month}", str(draft.body["currency"])
    body = {**draft.body, "state": "issued", "number": number, "as_of": format_milliseconds(transaction.now)}
    minor, difference = round_to_minor(draft.nano, currency)
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    row = (number, project, month, currency, draft.corner.through, transaction.now, draft.nano, minor, difference, text)
    transaction.insert("invoices", [row])
    transaction.insert("invoice_rows", [(number, n, *line) for n, line in enumerate(draft.lines, start=1)])
    return Invoice(body, draft.lines, draft.before, draft.corner, draft.nano)


def lines_between(transaction: Transaction, project: str, before: Corner, corner: Corner) -> tuple[Row, ...]:
    """The lines of the invoice that covers what is under ``corner`` and not under ``before``, in their order."""
    sql, values = billing.within(f"{GROUP}, {SUMS}", project, before, corner, f"GROUP BY {GROUP}")
    return tuple(sorted((*row[:6], *billing.whole(row, 5)) for row in transaction.rows(sql, *values)))


def to_csv(body: Mapping[str, Any]) -> str:
    """The invoice as a table. The last row is what rounding adds, so that ``amount`` sums to what is to be paid."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    head = (body["number"] or "", body["state"], body["project"], body["month"])
    for line in body["lines"]:
        names = ("line", "month", "kind", "key", "model", "binding", "price", "requests", "input", "cached", "output")
        table.writerow([*head, *(line[name] for name in names), line["amount"], body["currency"]])
    blank = [""] * 8
    table.writerow([*head, "", body["month"], "rounding", *blank, body["totals"]["difference"], body["currency"]])
    return text.getvalue()


def _preview(transaction: Transaction, party: Project, span: Span) -> Invoice:
    before, corner, month = span.before, span.corner, span.corner.month
    lines = lines_between(transaction, party.id, before, corner)
    prices = billing.prices_of(transaction)
    keys = transaction.rows("SELECT id, label FROM keys WHERE project = ?", party.id)
    labels = {row[0]: row[1] for row in keys}
    nano = sum(line[-1] for line in lines)
    begin, end = billing.bounds_of(month)
    in_flight = transaction.row("SELECT COUNT(*) FROM holds WHERE project = ? AND month <= ?", party.id, month)
    body = {
        "version": VERSION,
        "number": None,
        "state": "draft" if billing.is_over(month, transaction.now) else "preliminary",
        "project": party.id,
        "month": month,
        "from": format_milliseconds(begin),
        "until": format_milliseconds(end),
        "as_of": format_milliseconds(transaction.now),
        "through": corner.through,
        "currency": party.currency,
        "lines": [_line(n, line, party.currency, prices, labels) for n, line in enumerate(lines, start=1)],
        "unknown": _unknown(transaction, party, before, corner),
        "in_flight": in_flight[0] if in_flight else 0,
        "totals": _totals(lines, nano, party.currency),
        "bindings": {
            binding: billing.plain(sum(line[-1] for line in lines if line[3] == binding), party.currency)
            for binding in sorted({line[3] for line in lines})
        },
        "waits_for": list(span.gaps),
    }
    return Invoice(body, lines, before, corner, nano)


def _issued(transaction: Transaction, project: str, span: Span) -> Invoice:
    before, corner = span.before, span.corner
    found = transaction.row(
        "SELECT number, nano, body FROM invoices WHERE project = ? AND month = ? AND through = ?", project, *corner
    )
    if found is None:
        raise InputError(
            "the invoice is gone", where=f"invoice {project} {corner.month}", remedy="weighbridge reconcile"
        )
    number, nano, text = found
    rows = transaction.rows(
        f"SELECT {GROUP}, requests, input, cached, output, nano FROM invoice_rows WHERE invoice = ? ORDER BY line",
        number,
    )
    return Invoice(json.loads(text), tuple(rows), before, corner, nano)


def _unknown(transaction: Transaction, party: Project, before: Corner, corner: Corner) -> list[dict[str, Any]]:
    sql, values = billing.within(
        "intent, at, month, key_id, model, binding, hold", party.id, before, corner, "AND kind = 'unknown' ORDER BY seq"
    )
    return [
        {"intent": intent, "at": format_milliseconds(at), "month": month, "key": key, "model": model,
         "binding": binding, "hold": billing.plain(hold, party.currency)}
        for intent, at, month, key, model, binding, hold in transaction.rows(sql, *values)
    ]  # fmt: skip


def _line(
    number: int, line: Row, currency: str, prices: Mapping[tuple[str, str], Price], labels: Mapping[str, str | None]
) -> dict[str, Any]:
    month, key, model, binding, version, kind, requests, tokens_in, cached, output, nano = line
    price = prices[version, model]
    return {
        "line": number,
        "month": month,
        "key": key,
        "label": labels.get(key),
        "model": model,
        "binding": binding,
        "price": version,
        "rates": {name: billing.plain(getattr(price, name), currency) for name in ("input", "cached", "output")},
        "kind": kind,
        "requests": requests,
        "input": tokens_in,
        "cached": cached,
        "output": output,
        "amount": billing.plain(nano, currency),
    }


def _totals(lines: Sequence[Row], nano: int, currency: str) -> dict[str, Any]:
    minor, difference = round_to_minor(nano, currency)
    counts = {name: sum(line[n] for line in lines) for n, name in enumerate(("input", "cached", "output"), start=7)}
    return {
        "requests": sum(line[6] for line in lines if line[5] != "correction"),
        **counts,
        "exact": billing.plain(nano, currency),
        "difference": billing.plain(difference, currency),
        "to_pay": format_minor(minor, currency).partition(" ")[0],
    }

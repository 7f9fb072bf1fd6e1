"""Recoveries and corrections: what is said of an intent that nobody sealed, and what a person says later."""

from __future__ import annotations

from weighbridge.errors import InputError
from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.rules.limits import LARGEST_HOLD
from weighbridge.gateway.rules.prices import cost, parse_price_list
from weighbridge.gateway.rules.terms import Usage

MOST = 256
"""Intents that one transaction recovers at most."""

_LAPSED = f"""SELECT h.intent, h.key_id, h.project, h.month, h.amount, h.instance
FROM holds h JOIN instances i ON i.id = h.instance WHERE i.lease <= ? AND i.id <> ? LIMIT {MOST}"""


def recover(transaction: Transaction, own: str) -> int:
    """Recover up to ``MOST`` intents whose gateway's lease has lapsed, never those of ``own``; how many there were.

    Each becomes ``unknown``: its hold stops being a hold and counts as unknown until a late seal or a correction.
    """
    rows = transaction.rows(_LAPSED, transaction.now, own)
    if not rows:
        return 0
    transaction.insert("recoveries", [(transaction.number(), row[0], transaction.now, row[5]) for row in rows])
    transaction.among("DELETE FROM holds WHERE intent IN", [row[0] for row in rows], " RETURNING intent")
    moved: dict[tuple[str, str, str], tuple[int, int]] = {}
    for _, key_id, project, month, amount, _ in rows:
        for scope in (("key", key_id, month), ("project", project, month)):
            count, total = moved.get(scope, (0, 0))
            moved[scope] = (count + 1, total + amount)
    for scope, (count, total) in moved.items():
        transaction.run(
            "UPDATE counters SET in_flight = in_flight - ?, held = held - ?, unknown = unknown + ? "
            "WHERE scope = ? AND id = ? AND month = ?",
            count,
            total,
            total,
            *scope,
        )
    return len(rows)


def correct(transaction: Transaction, intent: str, usage: Usage, *, actor: str, reason: str) -> int:
    """Say what ``intent`` used: a new row, the last word on it. Returns the change of what is billed, in nano-units.

    ``Usage(0, 0)`` writes an unknown request off. Raises ``InputError`` if the intent is unknown or in flight.
    """
    where = f"intent {intent}"
    if not (0 <= usage.cached <= usage.input and usage.output >= 0):
        raise InputError("cached tokens are part of the input, and none is negative", where=where)
    row = transaction.row(
        "SELECT c.key_id, c.project, c.month, c.model, p.body, c.outcome, c.input, c.cached, c.output, c.cost, "
        "c.unknown FROM charges c JOIN prices p ON p.version = c.price WHERE c.intent = ?",
        intent,
    )
    if row is None:
        raise InputError("no such intent", where=where, remedy="weighbridge usage --by request lists them")
    key_id, project, month, model, body, outcome, *before, unknown = row
    if outcome == "open":
        raise InputError("is still in flight", where=where, remedy="wait until it is sealed or recovered")
    price = parse_price_list(body, where=f"price list of {intent}").models[model]
    spent = cost(usage, price)
    if spent > LARGEST_HOLD:
        raise InputError("costs more than a ledger can hold", where=where)
    found: Row | None = transaction.row("SELECT COALESCE(MAX(n), 0) FROM corrections WHERE intent = ?", intent)
    n = 1 + (found[0] if found else 0)
    change = spent - before[3]
    tokens = (usage.input, usage.cached, usage.output)
    seq, now = transaction.number(), transaction.now
    transaction.insert("corrections", [(seq, intent, n, now, *tokens, spent, change, actor, reason)])
    for scope, one in (("key", key_id), ("project", project)):
        transaction.run(
            "UPDATE counters SET billed = billed + ?, unknown = unknown - ?, input = input + ?, cached = cached + ?, "
            "output = output + ? WHERE scope = ? AND id = ? AND month = ?",
            change,
            unknown,
            *(new - old for new, old in zip(tokens, before, strict=False)),
            scope,
            one,
            month,
        )
    return int(change)

"""Whether a ledger's counters and holds say what its rows say. They always should; here is how one finds out."""

from __future__ import annotations

from weighbridge.gateway.ledger.database import Transaction

_ROWS = """SELECT {scope}, month, SUM(cost), SUM(unknown), SUM(CASE WHEN outcome = 'open' THEN hold ELSE 0 END),
SUM(CASE WHEN outcome = 'open' THEN 1 ELSE 0 END), COUNT(*), SUM(input), SUM(cached), SUM(output)
FROM charges GROUP BY {scope}, month"""
_COUNTERS = """SELECT id, month, billed, unknown, held, in_flight, requests, input, cached, output
FROM counters WHERE scope = ?"""
_HOLDS = """SELECT COALESCE(h.intent, c.intent), h.amount, c.hold FROM holds h FULL JOIN
(SELECT intent, hold FROM charges WHERE outcome = 'open') c ON c.intent = h.intent
WHERE h.amount IS NULL OR c.hold IS NULL OR h.amount <> c.hold"""
_NAMES = ("billed", "unknown", "held", "in flight", "requests", "input", "cached", "output")


def discrepancies(transaction: Transaction) -> list[str]:
    """What does not agree, one line each; nothing if the ledger is right."""
    found = []
    for scope, column in (("key", "key_id"), ("project", "project")):
        rows = {row[:2]: tuple(map(int, row[2:])) for row in transaction.rows(_ROWS.format(scope=column))}
        counters = {row[:2]: row[2:] for row in transaction.rows(_COUNTERS, scope)}
        nothing = (0,) * len(_NAMES)
        for place in sorted(rows.keys() | counters.keys()):
            for name, counted, summed in zip(
                _NAMES, counters.get(place, nothing), rows.get(place, nothing), strict=True
            ):
                if counted != summed:
                    found.append(f"{scope} {place[0]} in {place[1]}: {name} counted {counted}, rows sum to {summed}")
    for intent, held, asked in transaction.rows(_HOLDS):
        found.append(f"intent {intent}: its hold is {held}, its row says {asked}")
    return found

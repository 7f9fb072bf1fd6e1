"""Which models a key may use, read from the ledger: for the list of models, and before a large body is read."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from weighbridge.gateway.ledger import refusals
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.gateway.ledger.state import State
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.rules.terms import Presented, Refused


def visible(transaction: Transaction, presented: Presented, at: int) -> frozenset[str] | Refused | None:
    """The names of the models (None: all), or why it may use nothing: as admission would say."""
    key = State(transaction, [presented.key_id]).keys.get(presented.key_id)
    if key is None or not hmac.compare_digest(key.digest, presented.digest):
        return refusals.NO_SUCH_KEY
    if key.revoked is not None:
        return refusals.REVOKED
    if key.expires is not None and key.expires <= at:
        return refusals.EXPIRED
    return key.models


def through(ledger: Ledger) -> Callable[[Presented, int], Awaitable[frozenset[str] | Refused | None]]:
    """``visible`` asked of a running ledger."""

    async def ask(presented: Presented, at: int) -> frozenset[str] | Refused | None:
        return await ledger.call(lambda transaction: visible(transaction, presented, at))

    return ask

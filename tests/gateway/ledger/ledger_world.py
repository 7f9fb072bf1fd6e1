"""A ledger without threads: operations are applied one group at a time, the clock stands where a test puts it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from weighbridge.gateway.ledger import accounts, recovery, upkeep
from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.database import Database
from weighbridge.gateway.ledger.operations import Operation, Result, Terms, settle
from weighbridge.gateway.rules.idempotency import Copies
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.limits import Limits
from weighbridge.gateway.rules.prices import PriceBook, load_price_list
from weighbridge.gateway.rules.terms import (
    Admitted,
    Ask,
    Idempotency,
    Outcome,
    Presented,
    Retained,
    Seal,
    Sealed,
    Served,
    Usage,
)

NOVEMBER = 1_793_491_200_000  # 2026-11-01T00:00:00Z
DECEMBER = NOVEMBER + 30 * 86_400_000
SECRET = Secret(bytes(range(32)))
# 1 unit for a million input tokens is 1,000 nano-units a token
PRICES = """currency: USD
valid_from: 2026-01-01T00:00:00Z
models:
  small: {input: 1, cached: "0.5", output: 2}
  free: {input: 0, output: 0}
"""
SMALL = Served("small", "sha256:model", "sha256:decision", "sha256:flags", "verified", "start-1", 8192)


def book(*texts: str) -> PriceBook:
    return PriceBook([load_price_list(text.encode(), where="prices.yaml") for text in texts or (PRICES,)])


class Bench:
    def __init__(self, url: str | Path, *, sync: bool = True, instance: str = "gateway/1") -> None:
        self.url = url
        self.now = NOVEMBER + 1_000_000
        self.database: Database = upkeep.connect(url, self.clock, create=True)
        upkeep.prepare(self.database, where="test")
        if not sync:  # for many examples; durability is tested elsewhere
            self.database.change("PRAGMA synchronous = OFF", ())
        self.terms = Terms(book(), Copies(SECRET), instance, {})
        self.ids = itertools.count()
        self.database.transact(lambda one: upkeep.remember_prices(one, self.terms.prices))
        self.enter(instance)

    def clock(self) -> int:
        return self.now

    def close(self) -> None:
        self.database.close()

    def enter(self, instance: str) -> None:
        self.database.transact(lambda one: upkeep.enter(one, instance, "gateway"))

    def key(self, project: str = "acme", **wish: Any) -> Presented:
        limits = {name: wish.pop(name) for name in ("rpm", "tpm", "concurrency", "max_output") if name in wish}
        asked = KeyWish(limits=Limits(**limits), **wish)
        text, _ = self.database.transact(lambda one: accounts.create_key(one, SECRET, project, asked))
        presented = SECRET.present(text)
        assert presented is not None
        return presented

    def ask(self, key: Presented, **changes: Any) -> Ask:
        """100 input tokens at most, 50 output: a hold of 200,000 nano-units."""
        header = changes.pop("header", None)
        fields: dict[str, Any] = {
            "intent": f"req_{next(self.ids):06}",
            "presented": key,
            "route": "/v1/chat/completions",
            "served": SMALL,
            "input_bound": 100,
            "choices": 1,
            "max_output": 50,
            "at": self.now,
            "idempotency": None if header is None else Idempotency(header, changes.pop("body", b"a" * 32)),
        }
        return Ask(**(fields | changes))

    def apply(self, *operations: Operation) -> list[Result]:
        return self.database.transact(lambda one: settle(one, operations, self.terms, self.now))

    def admit(self, key: Presented, **changes: Any) -> Any:
        (result,) = self.apply(self.ask(key, **changes))
        return result

    def admitted(self, key: Presented, **changes: Any) -> Admitted:
        result = self.admit(key, **changes)
        assert isinstance(result, Admitted), result
        return result

    def seal(
        self,
        intent: str,
        usage: Usage | None,
        outcome: Outcome = Outcome.COMPLETED,
        retained: Retained | None = None,
    ) -> Sealed:
        (result,) = self.apply(Seal(intent, outcome, usage, self.now, retained))
        assert isinstance(result, Sealed)
        return result

    def recover(self, own: str = "gateway/2") -> int:
        return self.database.transact(lambda one: recovery.recover(one, own))

    def lapse(self, instance: str = "gateway/1") -> None:
        self.database.transact(lambda one: upkeep.leave(one, instance))

    def correct(self, intent: str, usage: Usage) -> int:
        return self.database.transact(lambda one: recovery.correct(one, intent, usage, actor="ada", reason="test"))

    def counters(self, scope: str, name: str, month: str = "2026-11") -> tuple[int, int, int, int]:
        """billed, unknown, held, in flight"""
        rows = self.database.fetch(
            "SELECT billed, unknown, held, in_flight FROM counters WHERE scope = ? AND id = ? AND month = ?",
            (scope, name, month),
        )
        return rows[0] if rows else (0, 0, 0, 0)

    def outcome(self, intent: str) -> str:
        return str(self.database.fetch("SELECT outcome FROM charges WHERE intent = ?", (intent,))[0][0])

    def count(self, table: str) -> int:
        return int(self.database.fetch(f"SELECT COUNT(*) FROM {table}", ())[0][0])

    def agrees(self) -> None:
        """Rows, counters and holds say the same."""
        self.database.rollback()
        assert self.database.read(discrepancies) == []

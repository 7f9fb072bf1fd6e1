"""What one group of operations reads of the ledger, in memory: keys with their limits, tallies and buckets.

Read with a few statements for the whole group, changed in memory as its operations are decided one after the other,
written back with a few statements. All of it inside one transaction, so nobody sees anything between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from functools import lru_cache

from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.rules.limits import PARTS, Account, Limits, bucket, refill
from weighbridge.gateway.rules.terms import Bucket, Usage

_KEYS = """SELECT k.id, k.project, k.digest, k.models, k.expires, k.revoked, k.budget, k.period, k.rpm, k.tpm,
k.concurrency, k.max_output_tokens, p.currency, p.budget, p.period
FROM keys k JOIN projects p ON p.id = k.project WHERE k.id IN"""
_COUNTERS = """SELECT id, month, billed, unknown, held, in_flight, requests, input, cached, output
FROM counters WHERE scope = '{}' AND id IN"""
_KEEP_COUNTERS = """ ON CONFLICT (scope, id, month) DO UPDATE SET billed = excluded.billed, unknown = excluded.unknown,
held = excluded.held, in_flight = excluded.in_flight, requests = excluded.requests, input = excluded.input,
cached = excluded.cached, output = excluded.output"""
_KEEP_BUCKETS = """ ON CONFLICT (key_id) DO UPDATE SET requests = excluded.requests, tokens = excluded.tokens,
at = excluded.at"""


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(day * 86400))


def month_of(at: int) -> str:
    """The UTC month of a time in ms: ``2026-11``."""
    return _month_of_day(at // 86_400_000)


class Tally:
    """The counters of a key or project in one month."""

    __slots__ = ("billed", "cached", "held", "in_flight", "input", "output", "requests", "unknown")

    def __init__(
        self,
        billed: int = 0,
        unknown: int = 0,
        held: int = 0,
        in_flight: int = 0,
        requests: int = 0,
        input: int = 0,
        cached: int = 0,
        output: int = 0,
    ) -> None:
        self.billed, self.unknown, self.held, self.in_flight = billed, unknown, held, in_flight
        self.requests, self.input, self.cached, self.output = requests, input, cached, output

    def bill(self, cost: int, usage: Usage | None) -> None:
        self.billed += cost
        if usage is not None:
            self.input += usage.input
            self.cached += usage.cached
            self.output += usage.output

    def row(self) -> Row:
        return (
            self.billed,
            self.unknown,
            self.held,
            self.in_flight,
            self.requests,
            self.input,
            self.cached,
            self.output,
        )


class Tallies:
    """A key's or project's tallies by month. ``touched``: the months whose rows must be written."""

    __slots__ = ("months", "touched")

    def __init__(self) -> None:
        self.months: dict[str, Tally] = {}
        self.touched: set[str] = set()

    def at(self, month: str) -> Tally:
        """The tally of ``month``, to be changed."""
        self.touched.add(month)
        tally = self.months.get(month)
        if tally is None:
            tally = self.months[month] = Tally()
        return tally

    def account(self, name: str, budget: int | None, period: str, month: str) -> Account:
        """What of the budget's period is spent or spoken for. Without a budget nothing is summed."""
        if budget is None:
            return Account(name, None, 0)
        if period == "month":
            tally = self.months.get(month)
            return Account(name, budget, 0 if tally is None else tally.billed + tally.unknown + tally.held)
        return Account(name, budget, sum(one.billed + one.unknown + one.held for one in self.months.values()))

    def in_flight(self) -> int:
        return sum(one.in_flight for one in self.months.values())


class Key:
    """A key as one group sees it. Levels of buckets are those at ``bucket_at``."""

    __slots__ = (
        "bucket_at",
        "budget",
        "currency",
        "digest",
        "expires",
        "id",
        "limits",
        "models",
        "paced",
        "period",
        "project",
        "project_budget",
        "project_period",
        "project_tallies",
        "requests",
        "revoked",
        "tallies",
        "tokens",
    )

    def __init__(self, row: Row, tallies: Tallies, project_tallies: Tallies) -> None:
        self.id, self.project, self.digest, models, self.expires, self.revoked, self.budget, self.period = row[:8]
        rpm, tpm, concurrency, max_output, self.currency, self.project_budget, self.project_period = row[8:]
        self.models = None if models is None else frozenset(json.loads(models))
        self.limits = Limits(rpm, tpm, concurrency, max_output)
        self.tallies, self.project_tallies = tallies, project_tallies
        self.requests = (rpm or 0) * PARTS  # buckets begin full
        self.tokens = (tpm or 0) * PARTS
        self.bucket_at = 0
        self.paced = rpm is not None or tpm is not None

    def refill(self, at: int) -> None:
        """Bring the buckets to the time ``at``; a clock that went back changes nothing."""
        elapsed = at - self.bucket_at
        if not self.paced or elapsed <= 0:
            return
        self.requests = refill(self.requests, self.limits.rpm or 0, elapsed)
        self.tokens = refill(self.tokens, self.limits.tpm or 0, elapsed)
        self.bucket_at = at

    def buckets(self) -> tuple[Bucket | None, Bucket | None]:
        """Its rate limits as headers say them, for requests and tokens; None where there is none."""
        rpm, tpm = self.limits.rpm, self.limits.tpm
        return None if rpm is None else bucket(self.requests, rpm), None if tpm is None else bucket(self.tokens, tpm)

    def accounts(self, month: str) -> tuple[Account, Account]:
        return (
            self.tallies.account("key", self.budget, self.period, month),
            self.project_tallies.account("project", self.project_budget, self.project_period, month),
        )


class State:
    """The keys of one group, and their projects' tallies."""

    def __init__(self, transaction: Transaction, key_ids: Collection[str]) -> None:
        self._transaction = transaction
        self._projects: dict[str, Tallies] = {}
        self._paced: set[str] = set()
        rows = transaction.among(_KEYS, list(key_ids)) if key_ids else []
        tallies = self._read("key", {row[0] for row in rows})
        self._projects = self._read("project", {row[1] for row in rows})
        self.keys = {row[0]: Key(row, tallies[row[0]], self._projects[row[1]]) for row in rows}
        paced = [one.id for one in self.keys.values() if one.paced]
        if paced:
            columns = "SELECT key_id, requests, tokens, at FROM buckets WHERE key_id IN"
            for key_id, requests, tokens, at in transaction.among(columns, paced):
                key = self.keys[key_id]
                key.requests = min(requests, key.requests)  # a limit may have been lowered since
                key.tokens = min(tokens, key.tokens)
                key.bucket_at = at

    def _read(self, scope: str, ids: Iterable[str]) -> dict[str, Tallies]:
        found = {one: Tallies() for one in ids}
        if found:
            for row in self._transaction.among(_COUNTERS.format(scope), list(found)):
                found[row[0]].months[row[1]] = Tally(*row[2:])
        return found

    def pace(self, key: Key) -> None:
        """Have the buckets of ``key`` written."""
        if key.paced:
            self._paced.add(key.id)

    def write(self) -> None:
        counters = [
            (scope, one, month, *tallies.months[month].row())
            for scope, group in (
                ("key", {key.id: key.tallies for key in self.keys.values()}),
                ("project", self._projects),
            )
            for one, tallies in group.items()
            for month in tallies.touched
        ]
        self._transaction.insert("counters", counters, _KEEP_COUNTERS)
        buckets = [(key.id, key.requests, key.tokens, key.bucket_at) for key in map(self.keys.__getitem__, self._paced)]
        self._transaction.insert("buckets", buckets, _KEEP_BUCKETS)

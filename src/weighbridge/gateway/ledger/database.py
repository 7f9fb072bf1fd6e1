"""One connection to a ledger's database, in two dialects. What is written, is in transactions that exclude each other.

``Database.begin`` takes the ledger's lock (SQLite: the writer's; PostgreSQL: the row ``head``), so what a transaction
reads is what all gateways have committed, and nothing else is decided meanwhile. Statements are written with ``?``.
Errors of the drivers stop here: ``LedgerGone`` if the database cannot be used now, ``Conflict`` if a row may not be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar

from weighbridge.errors import StorageError

T = TypeVar("T")
Row = tuple[Any, ...]

LARGEST_GROUP = 64
"""Rows that one statement inserts or asks for; a power of two, so that few different statements are prepared."""


class LedgerGone(StorageError):
    """The ledger cannot be read or written now. Nothing is admitted until it can."""


class Conflict(Exception):
    """A constraint or trigger refused a row."""


class Transaction:
    """What is read and written between ``begin`` and ``commit``.

    ``now`` is the time by the ledger's own clock (ms), by which leases are judged; ``newest`` the time of the newest
    intent. ``number`` gives the sequence number of the next event.
    """

    __slots__ = ("_database", "_first", "_newest", "newest", "now", "seq")

    def __init__(self, database: Database, seq: int, newest: int, now: int) -> None:
        self._database = database
        self._first, self._newest = seq, newest
        self.seq, self.newest, self.now = seq, newest, now

    def number(self) -> int:
        self.seq += 1
        return self.seq

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """All rows of a query."""
        return self._database.fetch(sql, values)

    def row(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query, or None."""
        found = self._database.fetch(sql, values)
        return found[0] if found else None

    def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; the number of rows that it touched."""
        return self._database.change(sql, values)

    def among(self, sql: str, ids: Sequence[Any], tail: str = "") -> list[Row]:
        """All rows of a statement that ends in ``IN``, for the ``ids``. ``tail``: what follows them."""
        found: list[Row] = []
        for start in range(0, len(ids), LARGEST_GROUP):
            some = list(ids[start : start + LARGEST_GROUP])
            size = 1 << (len(some) - 1).bit_length()
            some += some[-1:] * (size - len(some))
            found += self._database.fetch(_asking(sql, size, tail), some)
        return found

    def insert(self, table: str, rows: Sequence[Row], tail: str = "") -> None:
        """Insert ``rows``, each with a value for every column of ``table``. ``tail``: what follows the values."""
        start, left = 0, len(rows)
        while left:
            size = min(LARGEST_GROUP, 1 << (left.bit_length() - 1))
            group = rows[start : start + size]
            values = [value for row in group for value in row]
            self._database.change(_inserting(table, size, len(group[0]), tail), values)
            start, left = start + size, left - size

    def burst(self) -> AbstractContextManager[None]:
        """Within it statements may be sent without waiting for the ones before; their errors come at its end."""
        return self._database.burst()

    def _finish(self) -> None:
        if (self.seq, self.newest) != (self._first, self._newest):
            self.run("UPDATE head SET seq = ?, newest = ?", self.seq, self.newest)


class Database(ABC):
    """A connection. Used by one thread at a time."""

    dialect: str

    @abstractmethod
    def fetch(self, sql: str, values: Sequence[Any]) -> list[Row]: ...

    @abstractmethod
    def change(self, sql: str, values: Sequence[Any]) -> int: ...

    @abstractmethod
    def begin(self) -> Transaction: ...

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def rollback(self) -> None:
        """Give up what was begun; never raises, for the connection may be the reason."""

    @abstractmethod
    def snapshot(self) -> Transaction:
        """A transaction for reading only, that waits for nobody; end it with ``rollback``."""

    @abstractmethod
    def check(self) -> None:
        """Raise ``LedgerGone`` if what is connected is no longer the ledger that was opened."""

    @abstractmethod
    def close(self) -> None: ...

    def burst(self) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self, transaction: Transaction) -> None:
        with self.burst():
            transaction._finish()
        self.commit()

    def transact(self, function: Callable[[Transaction], T]) -> T:
        """``function`` in one transaction: all of it or, if it raises, nothing."""
        transaction = self.begin()
        try:
            result = function(transaction)
            self.finish(transaction)
        except BaseException:
            self.rollback()
            raise
        return result

    def read(self, function: Callable[[Transaction], T]) -> T:
        """``function`` on one consistent state, without holding anybody up."""
        transaction = self.snapshot()
        try:
            return function(transaction)
        finally:
            self.rollback()


# Remembered: long texts, the same for every group of a size; and a string that stays is hashed but once


@lru_cache(maxsize=256)
def _asking(sql: str, count: int, tail: str) -> str:
    return f"{sql} ({_marks(count)}){tail}"


@lru_cache(maxsize=256)
def _inserting(table: str, rows: int, columns: int, tail: str) -> str:
    return f"INSERT INTO {table} VALUES {','.join([f'({_marks(columns)})'] * rows)}{tail}"


def _marks(count: int) -> str:
    return ",".join("?" * count)

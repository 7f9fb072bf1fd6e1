"""The ledger in PostgreSQL, for several gateways. The row ``head`` is the lock that makes them decide one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from weighbridge.errors import InputError
from weighbridge.gateway.ledger.database import Conflict, Database, LedgerGone, Row, Transaction

CONNECT_SECONDS = 5
STATEMENT = "15s"
LOCK = "10s"
IDLE = "60s"
"""How long the server lets a statement run, wait for the lock, or a transaction stand idle, before it ends it."""

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_HEAD = f"SELECT seq, newest, {_NOW} FROM head WHERE one = 1"


class Postgres(Database):
    """A connection. Leases are judged by the server's clock, which all gateways share."""

    dialect = "postgresql"

    def __init__(self, url: str, *, readonly: bool = False) -> None:
        self._where = _without_password(url)
        try:
            self._connection = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=2,
                tcp_user_timeout=15_000,
                application_name="weighbridge",
                prepare_threshold=1,
            )
            self._connection.prepared_max = 512
            self._cursor = self._connection.cursor()
            settings = {"lock_timeout": LOCK, "idle_in_transaction_session_timeout": IDLE}
            if readonly:
                settings["default_transaction_read_only"] = "on"
            else:
                settings |= {"statement_timeout": STATEMENT}
            for name, value in settings.items():
                self.fetch("SELECT set_config(?, ?, false)", (name, value))
        except psycopg.ProgrammingError as cause:
            raise InputError(f"not an address of PostgreSQL: {cause}", where=self._where) from cause
        except psycopg.Error as cause:
            raise self._translated(cause) from cause

    def fetch(self, sql: str, values: Sequence[Any]) -> list[Row]:
        try:
            return self._cursor.execute(_translate(sql), values).fetchall()
        except (psycopg.Error, UnicodeEncodeError) as cause:
            raise self._translated(cause) from cause

    def change(self, sql: str, values: Sequence[Any]) -> int:
        try:
            return self._cursor.execute(_translate(sql), values or None).rowcount
        except (psycopg.Error, UnicodeEncodeError) as cause:
            raise self._translated(cause) from cause

    @contextmanager
    def burst(self) -> Iterator[None]:
        try:
            with self._connection.pipeline():
                yield
        except psycopg.Error as cause:
            raise self._translated(cause) from cause

    def begin(self) -> Transaction:
        self.change("BEGIN", ())
        return self._transaction(f"{_HEAD} FOR UPDATE")

    def snapshot(self) -> Transaction:
        self.change("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
        return self._transaction(_HEAD)

    def _transaction(self, sql: str) -> Transaction:
        try:
            ((seq, newest, now),) = self.fetch(sql, ())
        except BaseException:
            self.rollback()
            raise
        return Transaction(self, seq, newest, now)

    def commit(self) -> None:
        self.change("COMMIT", ())

    def rollback(self) -> None:
        try:
            if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._cursor.execute("ROLLBACK")
        except psycopg.Error:
            pass  # the next use of the connection says what is wrong

    def check(self) -> None:
        if self._connection.closed:
            raise LedgerGone("the connection to the ledger is closed", where=self._where)

    def close(self) -> None:
        self._connection.close()

    def _translated(self, cause: Exception) -> Exception:
        if isinstance(cause, psycopg.DataError | UnicodeEncodeError):
            return InputError(f"a value that no ledger can hold: {cause}", where=self._where)
        if isinstance(cause, psycopg.IntegrityError | errors.RaiseException):
            return Conflict(str(cause))
        if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
            return LedgerGone(f"the ledger cannot be used: {cause}", where=self._where)
        return cause


@lru_cache(maxsize=1024)
def _translate(sql: str) -> LiteralString:
    """``?`` is how the other dialect marks values; no statement of ours says it otherwise, or says ``%``."""
    return sql.replace("?", "%s")


def _without_password(url: str) -> str:
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return "postgresql://..."
    return f"postgresql://{parts.get('host', '')}:{parts.get('port', '5432')}/{parts.get('dbname', '')}"

"""What keeps a ledger in order: opening it, its schema's version, checks of durability, leases, backup and restore."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.ledger import schema
from weighbridge.gateway.ledger.database import Database, LedgerGone, Transaction
from weighbridge.gateway.ledger.sqlite import SQLite
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.prices import PriceBook

Clock: TypeAlias = Callable[[], int]

LEASE = 30_000
"""Milliseconds for which a gateway that has renewed its lease counts as alive."""


def is_postgres(url: str | Path) -> bool:
    return str(url).startswith(("postgresql://", "postgres://"))


def connect(url: str | Path, clock: Clock, *, create: bool = False, readonly: bool = False) -> Database:
    """A connection to the ledger at ``url``: a path, or ``postgresql://...`` (needs the extra ``postgres``)."""
    if not is_postgres(url):
        return SQLite(Path(url), clock, create=create, readonly=readonly)
    try:
        from weighbridge.gateway.ledger.postgres import Postgres
    except ImportError as cause:
        raise InputError("PostgreSQL needs a driver", where=str(url), remedy="install weighbridge[postgres]") from cause
    return Postgres(str(url), readonly=readonly)


def prepare(database: Database, *, where: str) -> None:
    """Make an empty database a ledger; check the version and durability of one that is there."""
    check_durability(database, where=where)
    version = stored_version(database)
    if version is None:
        create(database)
    else:
        check_form(version, where=where)


def check_form(version: int, *, where: str) -> None:
    """Raises ``InputError`` for a ledger of another schema version than this program's."""
    if version != schema.VERSION:
        remedy = "weighbridge ledger migrate" if version < schema.VERSION else "use a newer Weighbridge"
        raise InputError(f"the ledger has form {version}, this program {schema.VERSION}", where=where, remedy=remedy)


def stored_version(database: Database) -> int | None:
    """The schema version of a ledger, or None if the database is empty of one."""
    if database.dialect == "sqlite":
        exists = database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'meta'", ())
    else:
        exists = database.fetch("SELECT 1 FROM pg_tables WHERE schemaname = current_schema AND tablename = 'meta'", ())
    if not exists:
        return None
    found = database.fetch("SELECT value FROM meta WHERE name = 'schema'", ())
    if not found:
        raise InputError("the database has a table meta, but is no ledger", where="ledger", remedy="use an empty one")
    return int(found[0][0])


def check_durability(database: Database, *, where: str) -> None:
    """Refuse a database that could lose what it has said is committed."""
    if isinstance(database, SQLite):
        mode, synchronous = database.pragma("journal_mode"), database.pragma("synchronous")
        if mode != "wal" or synchronous != 2:
            raise StorageError(
                f"SQLite is not durable here (journal_mode {mode}, synchronous {synchronous})",
                where=where,
                remedy="put the ledger on a local disk",
            )
        return
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        value = database.fetch("SELECT current_setting(?)", (name,))[0][0]
        if value not in ("on", "remote_apply", "remote_write"):
            raise StorageError(f"PostgreSQL runs with {name} = {value}", where=where, remedy=f"set {name} = on")


def create(database: Database, fill: Callable[[], None] | None = None) -> None:
    """Make an empty database a ledger, and ``fill`` it, in one transaction."""
    database.change("BEGIN IMMEDIATE" if database.dialect == "sqlite" else "BEGIN", ())
    try:
        if database.dialect != "sqlite":  # two gateways may start at once on an empty database
            database.change("SELECT pg_advisory_xact_lock(7238461, hashtext(current_schema))", ())
        if stored_version(database) is None:
            for statement in schema.statements(database.dialect):
                database.change(statement, ())
            database.change("INSERT INTO meta VALUES ('ledger', ?)", (secrets.token_hex(16),))
            if fill is not None:
                fill()
        elif fill is not None:
            raise InputError("somebody else has just made a ledger there", where="restore")
        database.commit()
    except BaseException:
        database.rollback()
        raise


def identity(transaction: Transaction) -> str:
    """The random name that this ledger was given when it was made."""
    row = transaction.row("SELECT value FROM meta WHERE name = 'ledger'")
    if row is None:
        raise LedgerGone("this is no ledger any more")
    return str(row[0])


def check_secret(transaction: Transaction, secret: Secret, *, where: str) -> None:
    """Every gateway of a ledger uses one secret: with another, no key would be known and no copy could be read."""
    mark = secret.derive("mark of the secret").hex()
    row = transaction.row("SELECT value FROM meta WHERE name = 'secret'")
    if row is None:
        transaction.insert("meta", [("secret", mark)])
    elif row[0] != mark:
        raise InputError("the ledger was made with another secret", where=where, remedy="use that secret's file")


def remember_prices(transaction: Transaction, prices: PriceBook) -> None:
    """Keep the text of every list, so that an intent's price can be read for as long as the intent."""
    rows = [(one.version, one.text, transaction.now) for one in prices.lists]
    transaction.insert("prices", rows, " ON CONFLICT (version) DO NOTHING")


def enter(transaction: Transaction, instance: str, name: str) -> None:
    """A gateway begins: from now on its holds are nobody else's to recover."""
    now = transaction.now
    transaction.insert("instances", [(instance, name, now, now + LEASE)])


def renew(transaction: Transaction, instance: str) -> None:
    transaction.run("UPDATE instances SET lease = ? WHERE id = ?", transaction.now + LEASE, instance)


def leave(transaction: Transaction, instance: str) -> None:
    """A gateway ends in order; what it left unsealed, if anything, may be recovered at once."""
    transaction.run("UPDATE instances SET lease = 0 WHERE id = ?", instance)


def forget_copies(transaction: Transaction) -> None:
    """Delete copies of answers whose time has passed, some at a time: nobody waits long for it."""
    rows = transaction.rows("SELECT intent FROM copies WHERE expires <= ? LIMIT 64", transaction.now)
    transaction.among("DELETE FROM copies WHERE intent IN", [row[0] for row in rows], " RETURNING intent")

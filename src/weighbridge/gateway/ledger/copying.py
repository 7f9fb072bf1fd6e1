"""Backup, restore and migration. A backup is one SQLite file, of whatever database; it restores into either."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.ledger import schema, upkeep
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.database import Database, Row, Transaction
from weighbridge.gateway.ledger.sqlite import Claim, SQLite, sync_folder
from weighbridge.gateway.ledger.upkeep import Clock

_PAGE = 512


def backup(url: str | Path, target: Path, *, clock: Clock) -> None:
    """A consistent copy of the ledger at ``url`` in the new file ``target``, while gateways go on writing.

    Raises ``InputError`` if ``target`` exists or ``url`` is no ledger of this form, ``StorageError`` if it cannot be
    written or the copy is not whole. Nothing half-written is left under the name ``target``.
    """
    if target.exists():
        raise InputError("there is a file already", where=str(target), remedy="name a new file for the backup")
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    source = upkeep.connect(url, clock, readonly=True)
    try:
        _check_version(source, where=str(url))
        os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if isinstance(source, SQLite):
            source.copy_to(beside)
        else:
            _copy_into_file(source, beside, clock)
        _check_copy(beside, clock)
        _sync(beside)
        beside.rename(target)
        sync_folder(target.parent)
    except OSError as cause:
        raise StorageError(f"cannot write the backup: {cause}", where=str(target)) from cause
    finally:
        source.close()
        for one in (beside, *(beside.with_name(beside.name + end) for end in ("-wal", "-shm", "-journal"))):
            one.unlink(missing_ok=True)


def restore(source: Path, url: str | Path, *, clock: Clock) -> None:
    """Put the backup ``source`` into the empty database at ``url``.

    What was in flight when the backup was made becomes unknown as soon as a gateway opens the ledger. It gets a new
    identity: a gateway that still runs on what was there before does not go on with it.
    """
    if not source.is_file():
        raise InputError("there is no such backup", where=str(source))
    claim = None if upkeep.is_postgres(url) else Claim(Path(url))
    copy = SQLite(source, clock, readonly=True)
    try:
        _check_version(copy, where=str(source))
        target = upkeep.connect(url, clock, create=True)
        try:
            if upkeep.stored_version(target) is not None:
                raise InputError("there is a ledger already", where=str(url), remedy="restore into an empty database")
            upkeep.check_durability(target, where=str(url))
            upkeep.create(target, lambda: copy.read(lambda one: _fill(one, target)))
        finally:
            target.close()
    finally:
        copy.close()
        if claim is not None:
            claim.close()


def migrate(url: str | Path, *, clock: Clock) -> tuple[int, int]:
    """Bring an older ledger to the form of this program, in one transaction: (form before, form now).

    A SQLite file is copied first, beside it.
    """
    claim = None if upkeep.is_postgres(url) else Claim(Path(url))
    try:
        database = upkeep.connect(url, clock)
        try:
            before = upkeep.stored_version(database)
            if before is None:
                raise InputError("there is no ledger", where=str(url), remedy="weighbridge serve makes one")
            if before > schema.VERSION:
                raise InputError(f"has form {before}, newer than {schema.VERSION}", where=str(url))
            if before < schema.VERSION:
                if isinstance(database, SQLite):
                    database.copy_to(database.path.with_name(f"{database.path.name}.form{before}"))
                database.transact(lambda one: _migrate(one, before, database.dialect))
        finally:
            database.close()
    finally:
        if claim is not None:
            claim.close()
    return before, schema.VERSION


def _migrate(transaction: Transaction, before: int, dialect: str) -> None:
    for version in range(before, schema.VERSION):
        for statement in schema.migration(version, dialect):
            transaction.run(statement)
    transaction.run("UPDATE meta SET value = ? WHERE name = 'schema'", str(schema.VERSION))


def _check_version(database: Database, *, where: str) -> None:
    version = upkeep.stored_version(database)
    if version != schema.VERSION:
        found = "is no ledger" if version is None else f"has form {version}, this program {schema.VERSION}"
        raise InputError(found, where=where, remedy="weighbridge ledger migrate, with a program that is new enough")


def _copy_into_file(source: Database, path: Path, clock: Clock) -> None:
    target = SQLite(path, clock)
    try:
        upkeep.create(target, lambda: source.read(lambda one: _fill(one, target)))
        target.change("PRAGMA journal_mode = DELETE", ())
    finally:
        target.close()


def _fill(source: Transaction, target: Database) -> None:
    """All rows of ``source`` into the tables just made in ``target``, whose transaction is open."""
    into = Transaction(target, 0, 0, 0)
    for table in schema.TABLES:
        key = schema.TABLES[table]
        last: Row | None = None
        while True:
            rows = _page(source, table, key, last)
            if table == "meta":
                rows = [row for row in rows if row[0] not in ("schema", "ledger")]
            into.insert(table, rows)
            if len(rows) < _PAGE:
                break
            last = rows[-1][: len(key)]
    target.change("UPDATE head SET seq = ?, newest = ?", (source.seq, source.newest))
    target.change("UPDATE instances SET lease = 0", ())


def _page(
    source: Transaction, table: str, key: tuple[str, ...], last: tuple[object, ...] | None
) -> list[tuple[object, ...]]:
    order = ", ".join(key)
    if last is None:
        return source.rows(f"SELECT * FROM {table} ORDER BY {order} LIMIT {_PAGE}")
    marks = ", ".join("?" * len(key))
    return source.rows(f"SELECT * FROM {table} WHERE ({order}) > ({marks}) ORDER BY {order} LIMIT {_PAGE}", *last)


def _check_copy(path: Path, clock: Clock) -> None:
    copy = SQLite(path, clock, readonly=True)
    try:
        if copy.pragma("integrity_check") != "ok" or copy.fetch("PRAGMA foreign_key_check", ()):
            raise StorageError("the copy is not whole", where=str(path))
        if wrong := copy.read(discrepancies):
            raise StorageError(f"the copy contradicts itself: {wrong[0]}", where=str(path))
    finally:
        copy.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

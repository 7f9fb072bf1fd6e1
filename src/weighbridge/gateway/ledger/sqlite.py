"""The ledger in one SQLite file, for one gateway process. Durable: WAL, and a commit returns when it is synced."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.ledger.database import Conflict, Database, LedgerGone, Row, Transaction

BUSY_SECONDS = 5.0

PATIENCE = 5.0
"""Seconds to wait for a gateway that is just ending, or a command, before whoever has the file is taken for good."""

CHECKPOINT_PAGES = 8000
"""Pages of 4 KB in the log before a commit also copies them into the file; that commit is slow, so it shall be rare."""


_REFUSED = (sqlite3.Error, OverflowError, UnicodeEncodeError)


class Claimed(InputError):
    """Another process uses the ledger file."""


class Claim:
    """The right to be the one process that uses a ledger file. Held until ``close`` or the end of the process.

    ``wait``: whether to be patient with whoever has it. Raises ``Claimed`` if it is not to be had.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        path = path.resolve()  # one file has one lock, whatever links lead to it
        if path.exists() and path.stat().st_nlink > 1:
            raise InputError("the ledger has a second name, a hard link", where=str(path), remedy="remove the link")
        beside = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as cause:
            raise StorageError(f"cannot make the lock of the ledger: {cause.strerror}", where=str(beside)) from cause
        until = time.monotonic() + (PATIENCE if wait else 0.0)
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as cause:
                if time.monotonic() >= until:
                    os.close(self._descriptor)
                    raise Claimed(
                        "another process uses this ledger",
                        where=str(path),
                        remedy="stop it, or use --ledger postgresql://... for several gateways",
                    ) from cause
            time.sleep(0.05)

    def close(self) -> None:
        os.close(self._descriptor)


class SQLite(Database):
    """A connection to an existing ledger file. ``clock`` is the ledger's clock here: there is but one process."""

    dialect = "sqlite"

    def __init__(self, path: Path, clock: Callable[[], int], *, create: bool = False, readonly: bool = False) -> None:
        self.path = path
        self._clock = clock
        mode = "ro" if readonly else "rwc" if create else "rw"
        try:
            if create and not path.exists():  # never readable by others, not for a moment
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                sync_folder(path.parent)
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=BUSY_SECONDS,
                cached_statements=512,
            )
            self._cursor = self._connection.cursor()
            if not readonly:
                self.change("PRAGMA journal_mode = WAL", ())
                self.change(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}", ())
            for pragma in ("synchronous = FULL", "fullfsync = 1", "foreign_keys = ON", "recursive_triggers = ON"):
                self.change(f"PRAGMA {pragma}", ())
            status = path.stat()
        except (sqlite3.Error, OSError) as cause:
            raise LedgerGone(f"cannot open the ledger: {cause}", where=str(path)) from cause
        self._identity = (status.st_dev, status.st_ino)

    def fetch(self, sql: str, values: Sequence[Any]) -> list[Row]:
        try:
            return self._cursor.execute(sql, values).fetchall()
        except _REFUSED as cause:
            raise self._translated(cause) from cause

    def change(self, sql: str, values: Sequence[Any]) -> int:
        try:
            return self._cursor.execute(sql, values).rowcount
        except _REFUSED as cause:
            raise self._translated(cause) from cause

    def begin(self) -> Transaction:
        self.check()
        self.change("BEGIN IMMEDIATE", ())
        return self._transaction()

    def snapshot(self) -> Transaction:
        self.check()
        self.change("BEGIN", ())
        return self._transaction()

    def _transaction(self) -> Transaction:
        try:
            ((seq, newest),) = self.fetch("SELECT seq, newest FROM head", ())
        except BaseException:
            self.rollback()
            raise
        return Transaction(self, seq, newest, self._clock())

    def commit(self) -> None:
        self.change("COMMIT", ())

    def rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the next use of the connection says what is wrong

    def check(self) -> None:
        """A file that was moved or replaced would be written on in vain: its name must still lead to it."""
        try:
            status = self.path.stat()
        except OSError as cause:
            raise LedgerGone(f"the ledger's file is gone: {cause.strerror}", where=str(self.path)) from cause
        if (status.st_dev, status.st_ino) != self._identity:
            raise LedgerGone("the ledger's file was replaced", where=str(self.path), remedy="restart the gateway")

    def pragma(self, name: str) -> Any:
        return self.fetch(f"PRAGMA {name}", ())[0][0]

    def copy_to(self, path: Path) -> None:
        """A consistent copy while others write, by SQLite's own backup."""
        target = sqlite3.connect(path)
        try:
            self._connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as cause:
            raise StorageError(f"cannot copy the ledger: {cause}", where=str(path)) from cause
        finally:
            target.close()

    def close(self) -> None:
        try:
            self._connection.close()
        except sqlite3.Error as cause:
            raise LedgerGone(f"cannot close the ledger: {cause}", where=str(self.path)) from cause

    def _translated(self, cause: Exception) -> Exception:
        if not isinstance(cause, sqlite3.Error):
            return InputError(f"a value that no ledger can hold: {cause}", where=str(self.path))
        if isinstance(cause, sqlite3.IntegrityError):
            return Conflict(str(cause))
        return LedgerGone(f"the ledger cannot be used: {cause}", where=str(self.path))


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

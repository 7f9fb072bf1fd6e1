"""A ledger opened by a command, when no server runs on it: one transaction, no thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from weighbridge.errors import InputError
from weighbridge.gateway.ledger import upkeep
from weighbridge.gateway.ledger.database import Database, Transaction
from weighbridge.gateway.ledger.sqlite import Claim
from weighbridge.gateway.rules.keys import Secret

T = TypeVar("T")


@contextmanager
def opened(
    url: str | Path, *, clock: Callable[[], int], secret: Secret | None = None, create: bool = False
) -> Iterator[Database]:
    """The ledger at ``url``, this process's alone if it is a SQLite file; with ``create`` made if there is none.

    Raises ``InputError`` if there is none, a server runs on it, or its form or ``secret`` is another one.
    """
    postgres = upkeep.is_postgres(url)
    if not create and not postgres and not Path(url).exists():
        raise InputError("there is no ledger", where=str(url), remedy="weighbridge serve or keys create makes one")
    claim = None if postgres else Claim(Path(url), wait=True)
    try:
        database = upkeep.connect(url, clock, create=create)
        try:
            if not create and upkeep.stored_version(database) is None:
                raise InputError("there is no ledger", where=str(url), remedy="weighbridge serve makes one")
            upkeep.prepare(database, where=str(url))
            if secret is not None:
                checked = secret
                database.transact(lambda one: upkeep.check_secret(one, checked, where=str(url)))
            yield database
        finally:
            database.close()
    finally:
        if claim is not None:
            claim.close()


def transact(
    url: str | Path, function: Callable[[Transaction], T], *, clock: Callable[[], int], secret: Secret | None = None
) -> T:
    """``function`` in one transaction on the ledger at ``url``."""
    with opened(url, clock=clock, secret=secret) as database:
        return database.transact(function)

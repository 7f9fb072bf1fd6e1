"""Reading a ledger: beside the gateways that write to it, on one consistent state; and showing what was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config
    from weighbridge.gateway.ledger.database import Transaction

T = TypeVar("T")


def read(config: Config, function: Callable[[Transaction], T]) -> T:
    """``function`` of the ledger as it is now. Raises ``InputError`` if there is none, or one of another form."""
    from weighbridge.errors import InputError
    from weighbridge.gateway.ledger import upkeep
    from weighbridge.gateway.rules.clock import now_ms

    ledger = config.ledger_url
    if not upkeep.is_postgres(ledger) and not Path(ledger).is_file():
        raise InputError("there is no ledger", where=ledger, remedy="name it with --ledger, or --config FILE")
    database = upkeep.connect(ledger, now_ms, readonly=True)
    try:
        version = upkeep.stored_version(database)
        if version is None:
            raise InputError("is no ledger", where=ledger, remedy="name it with --ledger, or --config FILE")
        upkeep.check_form(version, where=ledger)
        return database.read(function)
    finally:
        database.close()


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print columns; ``#`` before a heading puts its column to the right."""
    numbers = [name.startswith("#") for name in head]
    shown = [[name.lstrip("#") for name in head], *rows]
    widths = [max(len(row[n]) for row in shown) for n in range(len(head))]
    for n, row in enumerate(shown):
        cells = zip(row, widths, numbers, strict=True)
        text = "  ".join(cell.rjust(width) if number else cell.ljust(width) for cell, width, number in cells)
        click.secho(text.rstrip(), bold=n == 0)

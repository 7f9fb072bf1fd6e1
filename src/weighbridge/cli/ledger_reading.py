"""Which ledger a command reads, and reading it: beside the gateways that write, on one consistent state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from weighbridge.gateway.ledger.database import Transaction

T = TypeVar("T")


def ledger_option(command: Callable[..., int]) -> Callable[..., int]:
    """``--ledger`` and ``--config``; the command gets ``ledger``, a path or an address."""

    @functools.wraps(command)
    def with_ledger(ledger: str | None, config_file: Path | None, **values: Any) -> int:
        if ledger is not None and config_file is not None:
            raise click.UsageError("--ledger and --config exclude each other")
        if config_file is not None:
            from weighbridge.gateway.config import load_config

            ledger = load_config(config_file).ledger_url
        return command(ledger=ledger or "ledger.db", **values)

    which = click.option("--ledger", metavar="PATH|URL", help="A file, or postgresql://...  [default: ledger.db]")
    config = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="The gateway's configuration."
    )
    return which(config(with_ledger))


def read(ledger: str, function: Callable[[Transaction], T]) -> T:
    """``function`` of the ledger as it is now. Raises ``InputError`` if there is none, or one of another form."""
    from weighbridge.errors import InputError
    from weighbridge.gateway.ledger import upkeep
    from weighbridge.gateway.rules.clock import now_ms

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

"""``weighbridge ledger``: backup, restore, migrate, check, correct."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options
from weighbridge.cli.administration import ask

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config


@click.group("ledger")
def command() -> None:
    """Keep the gateway's ledger: copy it, bring it back, say what an unknown request used.

    \b
    Example:
      weighbridge ledger backup monday.backup --ledger ledger.db
    """


@command.command("backup")
@click.argument("target", type=click.Path(path_type=Path), metavar="FILE")
@options.ledger_options
@options.json_option
def backup(target: Path, config: Config, as_json: bool) -> int:
    """Copy the ledger into the new FILE, while gateways go on. The copy is checked before it gets its name.

    A backup is a SQLite file, also of a ledger in PostgreSQL, and restores into either.

    \b
    Example:
      weighbridge ledger backup monday.backup --ledger postgresql://127.0.0.1/gateway
    """
    from weighbridge.gateway.ledger import copying
    from weighbridge.gateway.rules.clock import now_ms

    ledger = config.ledger_url
    copying.backup(ledger, target, clock=now_ms)
    value = {"ledger": ledger, "backup": str(target), "bytes": target.stat().st_size}
    options.emit(as_json, value, lambda: click.echo(f"{target}: {value['bytes']} bytes, read back and consistent"))
    return 0


@command.command("restore")
@click.argument("source", type=click.Path(path_type=Path), metavar="FILE")
@options.ledger_options
@options.json_option
def restore(source: Path, config: Config, as_json: bool) -> int:
    """Put the backup FILE where there is no ledger yet.

    What was in flight when the backup was made becomes unknown.

    \b
    Example:
      weighbridge ledger restore monday.backup --ledger restored.db
    """
    from weighbridge.gateway.ledger import copying
    from weighbridge.gateway.rules.clock import now_ms

    ledger = config.ledger_url
    copying.restore(source, ledger, clock=now_ms)
    options.emit(as_json, {"ledger": ledger, "backup": str(source)}, lambda: click.echo(f"{ledger}: restored"))
    return 0


@command.command("migrate")
@options.ledger_options
@options.json_option
def migrate(config: Config, as_json: bool) -> int:
    """Bring an older ledger to the form of this program. A SQLite file is copied first.

    \b
    Example:
      weighbridge ledger migrate --ledger ledger.db
    """
    from weighbridge.gateway.ledger import copying
    from weighbridge.gateway.rules.clock import now_ms

    ledger = config.ledger_url
    before, now = copying.migrate(ledger, clock=now_ms)
    text = f"{ledger}: form {now}" + ("" if before == now else f", was {before}")
    options.emit(as_json, {"ledger": ledger, "before": before, "now": now}, lambda: click.echo(text))
    return 0


@command.command("correct")
@click.argument("request")
@click.option("--input", type=click.IntRange(min=0), required=True, metavar="TOKENS", help="Read.")
@click.option("--cached", type=click.IntRange(min=0), default=0, metavar="TOKENS", help="Of these, from the cache.")
@click.option("--output", type=click.IntRange(min=0), required=True, metavar="TOKENS", help="Written.")
@click.option("--by", "actor", required=True, metavar="NAME", help="Who says so.")
@click.option("--reason", required=True, metavar="TEXT", help="Why.")
@options.ledger_options
@options.json_option
def correct(config: Config, as_json: bool, request: str, **fields: Any) -> int:
    """Say what REQUEST used, when its usage is unknown or was wrong. A new row; nothing is changed.

    Zero tokens write an unknown request off: its hold stops counting against the budget. Goes through the gateway
    that runs, or opens the ledger while none does.

    \b
    Example:
      weighbridge ledger correct req_0199 --input 120 --output 30 --by ada --reason "engine log"
    """
    done = ask(config, "correct", request=request, **fields)
    text = f"{request}: {done['billed']} {done['currency']} are billed now, a change of {done['change']}"
    options.emit(as_json, done, lambda: click.echo(text))
    return 0


@command.command("check")
@options.ledger_options
@options.json_option
def check(config: Config, as_json: bool) -> int:
    """Compare the ledger's counters and holds with its rows, while gateways go on. Exit code 5 if they differ.

    \b
    Example:
      weighbridge ledger check --ledger ledger.db
    """
    from weighbridge.cli.ledger_reading import read
    from weighbridge.errors import VerificationError
    from weighbridge.gateway.ledger.audit import discrepancies

    ledger, found = config.ledger_url, read(config, discrepancies)
    if found and not as_json:
        raise VerificationError("; ".join(found[:20]), where=ledger, remedy="weighbridge reconcile says more")
    text = f"{ledger}: counters and holds say what the rows say"
    options.emit(as_json, {"ledger": ledger, "discrepancies": found}, lambda: click.echo(text))
    return VerificationError.exit_code if found else 0

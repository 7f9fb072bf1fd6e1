"""``weighbridge keys``: API keys, and the projects that pay for them. (``signer`` is the name for signing keys.)"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options
from weighbridge.cli.administration import ask

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config

_DURATION = re.compile(r"([0-9]{1,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_budget = click.option("--budget", metavar="AMOUNT", help="The most that it may cost in each period.")
_currency = click.option("--currency", metavar="CODE", help="Of a project that is made.  [USD]")
_period = click.option(
    "--period", type=click.Choice(["month", "lifetime"]), default="month", show_default=True, help="Months are UTC."
)


@click.group("keys")
def command() -> None:
    """Make, list, rotate and revoke API keys; see and limit what a project spends.

    Commands go through the gateway that runs, or open the ledger while none does.

    \b
    Example:
      weighbridge keys create --name acme --budget 50 --rpm 60 --tpm 20000
      weighbridge keys revoke k3j9x0a7m2qd
    """


@command.command("create")
@click.option("--name", required=True, metavar="PROJECT", help="Who pays; made if there is no such project.")
@_budget
@_currency
@_period
@click.option("--rpm", type=int, metavar="N", help="Requests a minute.")
@click.option("--tpm", type=int, metavar="N", help="Tokens a minute.")
@click.option("--concurrency", type=int, metavar="N", help="Requests in flight.")
@click.option("--max-output-tokens", type=int, metavar="N", help="Of one answer, and its default.  [4096]")
@click.option("--models", metavar="NAME,...", help="The models that it opens.  [all]")
@click.option("--expires", metavar="TIME", help="After 90d, 12h, 30m, or at 2027-01-31T00:00:00Z.  [never]")
@click.option("--label", metavar="TEXT", help="To know it again.")
@options.ledger_options
@options.json_option
def create(config: Config, as_json: bool, models: str | None, expires: str | None, **fields: Any) -> int:
    """Make an API key and print it, this once: only a keyed hash of it is kept.

    The budget is the key's own; that of its project is set with: keys project budget.

    \b
    Example:
      weighbridge keys create --name acme
    """
    listed = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    made = ask(config, "create_key", models=listed, expires=_moment(expires), **fields)
    options.emit(as_json, made, lambda: _say_new(made))
    return 0


@command.command("list")
@click.option("--project", metavar="NAME", help="Only this project's.")
@options.ledger_options
@options.json_option
def list_keys(config: Config, as_json: bool, project: str | None) -> int:
    """List the keys: state, budget, and what this period has cost.

    \b
    Example:
      weighbridge keys list --project acme
    """
    found = ask(config, "list_keys", project=project)
    options.emit(as_json, found, lambda: _table(["id", "project", "state", "billed", "budget", "label"], found["keys"]))
    return 0


@command.command("show")
@click.argument("key")
@options.ledger_options
@options.json_option
def show(config: Config, as_json: bool, key: str) -> int:
    """Show all that is known of KEY (its id, or the key itself).

    \b
    Example:
      weighbridge keys show k3j9x0a7m2qd
    """
    found = ask(config, "show_key", id=_id(key))
    options.emit(as_json, found, lambda: _facts(found))
    return 0


@command.command("revoke")
@click.argument("key")
@options.ledger_options
@options.json_option
def revoke(config: Config, as_json: bool, key: str) -> int:
    """End KEY (its id, or the key itself). Once this returns, nothing is admitted with it, in any process.

    Its streams in flight end within 5 seconds. A key that is revoked stays so.

    \b
    Example:
      weighbridge keys revoke k3j9x0a7m2qd
    """
    found = ask(config, "revoke_key", id=_id(key))
    options.emit(as_json, found, lambda: click.echo(f"{found['id']}: revoked at {found['revoked']}"))
    return 0


@command.command("rotate")
@click.argument("key")
@click.option("--overlap", default="1d", show_default=True, metavar="TIME", help="For how long the old key goes on.")
@options.ledger_options
@options.json_option
def rotate(config: Config, as_json: bool, key: str, overlap: str) -> int:
    """Make a key that replaces KEY, with the same rights. For a key that leaked use --overlap 0s.

    \b
    Example:
      weighbridge keys rotate k3j9x0a7m2qd --overlap 12h
    """
    made = ask(config, "rotate_key", id=_id(key), overlap=_seconds(overlap))
    former = made["replaces"]
    options.emit(as_json, made, lambda: _say_new(made, f"; {former['id']} ends at {former['expires']}"))
    return 0


@command.group("project")
def project() -> None:
    """The billed parties: list them, make one, limit what it spends.

    \b
    Example:
      weighbridge keys project budget acme 200
    """


@project.command("list")
@options.ledger_options
@options.json_option
def list_projects(config: Config, as_json: bool) -> int:
    """List the projects: budget, and what this period has cost.

    \b
    Example:
      weighbridge keys project list
    """
    found = ask(config, "list_projects")
    columns = ["name", "billed", "unknown_held", "in_flight_held", "budget", "period", "currency"]
    options.emit(as_json, found, lambda: _table(columns, found["projects"]))
    return 0


@project.command("create")
@click.argument("name")
@_budget
@_currency
@_period
@options.ledger_options
@options.json_option
def create_project(config: Config, as_json: bool, **fields: Any) -> int:
    """Make a project NAME without keys.

    \b
    Example:
      weighbridge keys project create acme --currency EUR --budget 200
    """
    made = ask(config, "create_project", **fields)
    options.emit(as_json, made, lambda: _facts(made))
    return 0


@project.command("budget")
@click.argument("name")
@click.argument("amount")
@_period
@options.ledger_options
@options.json_option
def budget(config: Config, as_json: bool, name: str, amount: str, period: str) -> int:
    """Limit what all keys of NAME together may cost to AMOUNT in each period; "none" takes the limit away.

    \b
    Example:
      weighbridge keys project budget acme 200 --period month
    """
    found = ask(config, "set_budget", name=name, budget=None if amount == "none" else amount, period=period)
    options.emit(as_json, found, lambda: _facts(found))
    return 0


def _id(text: str) -> str:
    """A key's id, where the whole key may have been given."""
    parts = text.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == "wb" else text


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration; write it like 90d, 12h, 30m or 0s")
    return int(found[1]) * _UNITS[found[2]]


def _moment(text: str | None) -> str | None:
    """When a key ends: after a duration, or at a time, which is checked where it is used."""
    if text is None or not _DURATION.fullmatch(text):
        return text
    return f"{datetime.now(UTC) + timedelta(seconds=_seconds(text)):%Y-%m-%dT%H:%M:%SZ}"


def _say_new(made: dict[str, Any], more: str = "") -> None:
    click.echo(made["key"])
    limit = "no budget" if made["budget"] is None else f"{made['budget']} {made['currency']} for each {made['period']}"
    limit = limit.replace("for each lifetime", "in all")
    click.echo(f"key {made['id']} of project {made['project']}: {limit}; it is not shown again{more}", err=True)


def _facts(found: dict[str, Any]) -> None:
    for name, value in found.items():
        shown = "-" if value is None else ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):18} {shown}")


def _table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    cells = [columns, *(["-" if row[name] is None else str(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

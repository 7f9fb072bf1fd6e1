"""``weighbridge reconcile``: do rows, counters, invoices and engines agree?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli import options
from weighbridge.cli.ledger_reading import read, table

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config
    from weighbridge.gateway.invoicing.engine_counts import EngineStart
    from weighbridge.gateway.invoicing.reconcile import Report

_SHOWN = 20


@click.command("reconcile")
@options.json_option
@options.ledger_options
def command(config: Config, as_json: bool) -> int:
    """Compute every counter and invoice of the ledger again from its rows, and compare; compare engines' own counts.

    Ends with 0 if everything agrees, else with 1. An engine without counters is unverifiable, which is no
    disagreement. Gateways go on meanwhile.

    \b
    Example:
      weighbridge reconcile --ledger ledger.db
    """
    from weighbridge.gateway.invoicing.reconcile import reconcile

    found = read(config, reconcile)
    options.emit(as_json, found.to_json(), lambda: _show(found))
    return 0 if found.agrees else 1


def _show(report: Report) -> None:
    from weighbridge.gateway.invoicing.billing import plain

    for check in report.checks:
        text, colour = ("agrees", "green") if not check.count else (f"{check.count} differences", "red")
        click.echo(f"{check.name.ljust(10)} {check.compared:>12,} compared  ", nl=False)
        click.secho(text, fg=colour)
        for one in check.differences[:_SHOWN]:
            click.echo(f"    {one}")
        if check.count > _SHOWN:
            click.echo(f"    and {check.count - _SHOWN} more")
    if report.engines:
        click.echo()
        head = ["engine start", "model", "#requests", "#input", "#counted", "#output", "#counted", "state"]
        table(head, [_engine(one) for one in report.engines])
        for start in report.engines:
            for name, intents in (("unknown", start.unknown), ("aborted", start.aborted)):
                if intents:
                    more = f" and {len(intents) - _SHOWN} more" if len(intents) > _SHOWN else ""
                    click.echo(f"    {start.id} {name}: {', '.join(intents[:_SHOWN])}{more}")
    if report.not_invoiced:
        click.echo()
        rows = [
            [one.project, one.month, f"{one.events:,}", plain(one.nano, one.currency), one.currency,
             "to be issued" if one.over else "not over"]
            for one in report.not_invoiced
        ]  # fmt: skip
        table(["not invoiced", "month", "#events", "#amount", "", ""], rows)
    click.echo()
    click.secho("everything agrees" if report.agrees else "NOT everything agrees", bold=True,
                fg="green" if report.agrees else "red")  # fmt: skip


def _engine(one: EngineStart) -> list[str]:
    counted = ["-", "-"] if one.counted is None else [f"{count:,}" for count in one.counted]
    sealed = [f"{count:,}" for count in one.sealed]
    return [one.id, one.model, f"{one.requests:,}", sealed[0], counted[0], sealed[1], counted[1], one.state]

"""``weighbridge invoice``: preview, issue and print an invoice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options
from weighbridge.cli.ledger_reading import read, table

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config


@click.command("invoice")
@click.argument("project")
@click.argument("month", metavar="YYYY-MM")
@click.option("--issue", "do_issue", is_flag=True, help="Issue it: from then on it never changes.")
@click.option("--format", "form", type=click.Choice(["json", "csv", "html"]), help="Otherwise a table for people.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; needs --format.")
@options.json_option
@options.ledger_options
def command(
    config: Config, project: str, month: str, do_issue: bool, form: str | None, out: Path | None, as_json: bool
) -> int:
    """Show what PROJECT pays for a UTC month: a preview until it is issued.

    A month that is not over is preliminary and cannot be issued. What is sealed or corrected after an invoice was
    issued goes on the project's next one.

    \b
    Example:
      weighbridge invoice acme 2026-11
      weighbridge invoice acme 2026-11 --issue --format html --out acme-2026-11.html
    """
    if as_json:
        form = form or "json"
    if out is not None and form is None:
        raise click.UsageError("--out needs --format")
    from weighbridge.gateway.invoicing.invoices import invoice, issue

    found = read(config, lambda one: invoice(one, project, month))
    if do_issue and found.state != "issued":
        from weighbridge.gateway.ledger.upkeep import connect
        from weighbridge.gateway.rules.clock import now_ms

        database = connect(config.ledger_url, now_ms)
        try:  # a short transaction among those of the gateways: all sums are made
            found = database.transact(lambda one: issue(one, found))
        finally:
            database.close()
    body = found.body
    if form is None:
        _show(body)
        return 0
    text = _text(body, form)
    if out is None:
        click.echo(text, nl=False)
        return 0
    from weighbridge.files import write_atomic

    write_atomic(out, text.encode())
    value = {"out": str(out), "state": body["state"], "number": body["number"], "to_pay": body["totals"]["to_pay"]}
    options.emit(as_json, value, lambda: click.echo(f"{out}: {_title(body)}"))
    return 0


def _text(body: Mapping[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        from weighbridge.gateway.invoicing.invoices import to_csv

        return to_csv(body)
    from weighbridge.gateway.invoicing.invoice_page import page

    return page(body)


def _title(body: Mapping[str, Any]) -> str:
    if body["state"] == "issued":
        return f"invoice {body['number']}, issued {body['as_of']}"
    why = "the month is not over" if body["state"] == "preliminary" else "not issued"
    return f"{body['project']} {body['month']}, {body['state']}: {why}"


def _show(body: Mapping[str, Any]) -> None:
    click.secho(_title(body), bold=True)
    head = [
        "month",
        "key",
        "model",
        "binding",
        "kind",
        "#requests",
        "#input",
        "#cached",
        "#output",
        f"#{body['currency']}",
    ]
    rows = [
        [line["month"], line["label"] or line["key"], line["model"], line["binding"], line["kind"],
         *(f"{line[name]:,}" for name in ("requests", "input", "cached", "output")), line["amount"]]
        for line in body["lines"]
    ]  # fmt: skip
    table(head, rows)
    totals = body["totals"]
    click.echo(f"sum {totals['exact']}, rounding {totals['difference']}")
    click.secho(f"to pay {totals['to_pay']} {body['currency']}", bold=True)
    if body["unknown"]:
        names = ", ".join(one["intent"] for one in body["unknown"][:5])
        more = f" and {len(body['unknown']) - 5} more" if len(body["unknown"]) > 5 else ""
        click.echo(f"usage unknown, at no charge until it is corrected: {names}{more}")
    if body["in_flight"]:
        click.echo(f"in flight: {body['in_flight']}")
    if body["waits_for"]:
        click.echo(f"issue before it: {', '.join(body['waits_for'])}")

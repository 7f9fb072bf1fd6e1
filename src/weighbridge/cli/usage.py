"""``weighbridge usage``: what was used, and the same for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli import options
from weighbridge.cli.ledger_reading import read, table

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config
    from weighbridge.gateway.invoicing.usage import Line
    from weighbridge.gateway.ledger.database import Transaction


@click.group("usage", invoke_without_command=True)
@click.option("--by", default="project,model", show_default=True, metavar="LIST",
              help="project, key, model, month, day, outcome, binding, route, decision, request.")  # fmt: skip
@click.option("--month", metavar="YYYY-MM", help="Only this month (UTC, by the time of the request).")
@click.option("--project", metavar="NAME", help="Only this project.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@options.json_option
@options.ledger_options
@click.pass_context
def command(
    context: click.Context, config: Config, by: str, month: str | None, project: str | None, as_csv: bool, as_json: bool
) -> int:
    """Sum up usage as the ledger says it now, corrections included.

    Requests in flight and unknown ones cost nothing; what they hold of budgets is shown beside.

    \b
    Example:
      weighbridge usage --by project,key,model,day --month 2026-11
      weighbridge usage export --month 2026-11 --format focus --out november.csv
    """
    if context.invoked_subcommand is not None:
        return 0
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    from weighbridge.gateway.invoicing.usage import check_dimensions, total, usage

    dimensions = [name.strip() for name in by.split(",") if name.strip()]
    check_dimensions(dimensions)
    lines = read(config, lambda one: usage(one, dimensions, month=month, project=project))
    if as_csv:
        click.echo(_csv(dimensions, lines), nl=False)
        return 0
    value = {
        "by": dimensions,
        "month": month,
        "project": project,
        "usage": [line.to_json(dimensions) for line in lines],
        "total": [line.to_json([]) for line in total(lines)],
    }
    options.emit(as_json, value, lambda: _show(dimensions, lines))
    return 0


@command.command("export")
@click.option("--month", required=True, metavar="YYYY-MM", help="The billing period.")
@click.option("--format", "form", type=click.Choice(["focus", "cloudevents"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE")
@click.option("--provider", default="Weighbridge", show_default=True, metavar="NAME", help="Who sells, for FOCUS.")
@options.json_option
@options.ledger_options
def export(config: Config, month: str, form: str, out: Path, provider: str, as_json: bool) -> int:
    """Write a billing period as FOCUS 1.2 (CSV) or CloudEvents 1.0 (a line each).

    The period is closed once its month is over and every project has its invoice; the file says which it is.

    \b
    Example:
      weighbridge usage export --month 2026-11 --format cloudevents --out november.jsonl
    """
    from weighbridge.files import write_atomic
    from weighbridge.gateway.invoicing.billing import prices_of
    from weighbridge.gateway.invoicing.export import Period, cloud_events, period
    from weighbridge.gateway.invoicing.focus import focus

    def work(one: Transaction) -> tuple[Period, str]:
        found = period(one, month)
        text = (
            "".join(cloud_events(found)) if form == "cloudevents" else focus(found, prices_of(one), provider=provider)
        )
        return found, text

    found, text = read(config, work)
    write_atomic(out, text.encode())
    value = {"month": month, "state": found.state, "waiting_for": list(found.waiting), "digest": found.digest,
             "out": str(out)}  # fmt: skip
    why = f": {', '.join(found.waiting)}" if found.waiting else ""
    options.emit(as_json, value, lambda: click.echo(f"{out}: {month} is {found.state}{why}\n{found.digest}"))
    return 0


def _csv(dimensions: Sequence[str], lines: Sequence[Line]) -> str:
    from weighbridge.gateway.invoicing.usage import COUNTS

    text = io.StringIO()
    columns = [*dimensions, *COUNTS, "currency", "billed", "unknown_held", "in_flight_held"]
    write = csv.DictWriter(text, columns, lineterminator="\r\n")
    write.writeheader()
    write.writerows(line.to_json(dimensions) for line in lines)
    return text.getvalue()


def _show(dimensions: Sequence[str], lines: Sequence[Line]) -> None:
    from weighbridge.gateway.invoicing.usage import total

    if not lines:
        click.echo("nothing was used")
        return
    head = [*dimensions, "#requests", "#input", "#cached", "#output", "#unknown", "#in flight", "#billed", ""]
    rows = [_row(line, list(line.names)) for line in lines]
    if len(lines) > 1 and dimensions:
        rows += [_row(line, ["all", *[""] * (len(dimensions) - 1)]) for line in total(lines)]
    table(head, rows)


def _row(line: Line, names: list[str]) -> list[str]:
    from weighbridge.gateway.invoicing.billing import plain

    counts = line.counts
    requests, tokens_in, cached, output, unknown, in_flight = (f"{count:,}" for count in counts)
    return [*names, requests, tokens_in, cached, output, unknown, in_flight, plain(line.billed, line.currency),
            line.currency]  # fmt: skip

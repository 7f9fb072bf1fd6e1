"""``weighbridge review``: judge every decision on record again, by today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options
from weighbridge.errors import DecisionExpired, StricterThanRequired, UndecidedInTheWay
from weighbridge.text import visible

if TYPE_CHECKING:
    from rich.table import Table

    from weighbridge.on_record import Reviewed
    from weighbridge.review import Row

STYLES = {"withdraw": "bold red", "unproven": "yellow", "expired": "yellow", "may open": "bold green",
          "superseded": "dim", "current": "green"}  # fmt: skip


@click.command("review")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--policy", "policy_source", metavar="FILE", help="Judge by this policy.  [default: each decision's own]")
@options.baselines_option
@options.trust_option(required=False)
@click.option("--successor", "successors", multiple=True, metavar="DIR=DECISION",
              help="A signed decision by which a successor of the model in DIR is served. Repeatable.")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page, too.")
@click.option("--require-current", is_flag=True, help="Exit with 3, 4 or 6 unless every decision holds today.")
@options.json_option
def command(
    folders: tuple[Path, ...],
    policy_source: str | None,
    registry: Path,
    trust_file: Path | None,
    successors: tuple[str, ...],
    html: Path | None,
    require_current: bool,
    as_json: bool,
) -> int:
    """Judge every decision on record again, by today's policy, baselines and clock. Nothing is measured.

    DIR is a weighing, or a folder of weighings. Told are decisions that have expired, models that are safe to open now
    (the open frontier passed them, or their successor is served), those to be withdrawn, since the tier that was
    granted is refused or unproven today, and those that another decision has superseded; and which evidence is missing,
    with the command that gets it.

    With --require-current the exit code is 3 if a tier is refused, 4 if one is unproven, 6 if a decision has expired. A
    folder that cannot be read gives the code of its error, with or without it.

    \b
    Example:
      weighbridge review ./weighings --baselines ./baselines --html review.html
      weighbridge review ./weighings --policy policy.yaml --trust trust.yaml --require-current --json
    """
    from weighbridge import api
    from weighbridge.files import write_atomic
    from weighbridge.times import format_time
    from weighbridge.trust import load_trust

    at = format_time(api.now())
    reviewed = api.review(
        folders,
        None if policy_source is None else api.load_policy(policy_source),
        source=policy_source or "",
        baselines=registry,
        trust=None if trust_file is None else load_trust(trust_file),
        successors=_successors(successors),
        state_path=options.state_path(),
    )
    broken = [
        {"folder": one.folder, "message": one.error.message, "where": one.error.where, "remedy": one.error.remedy,
         "exit_code": one.error.exit_code}
        for one in reviewed.broken
    ]  # fmt: skip
    if html is not None:
        from weighbridge.report.reviewed import render_review

        told = [(one.folder, str(one.error)) for one in reviewed.broken]
        write_atomic(html, render_review(reviewed.rows, told, at=at).encode("utf-8"))
    value = {"at": at, "rows": [row.to_json() for row in reviewed.rows], "broken": broken}
    options.emit(as_json, value, lambda: _print(reviewed.rows, broken))
    return exit_code(reviewed, require_current)


def exit_code(reviewed: Reviewed, require_current: bool) -> int:
    """The code of the first folder that cannot be read; then, if it is required that decisions hold, of the most
    pressing state."""
    if reviewed.broken:
        return reviewed.broken[0].error.exit_code
    states = {state for row in reviewed.rows for state in row.states}
    codes = {"withdraw": StricterThanRequired, "unproven": UndecidedInTheWay, "expired": DecisionExpired}
    found = [error.exit_code for state, error in codes.items() if state in states]
    return found[0] if found and require_current else 0


def _successors(given: tuple[str, ...]) -> dict[str, str | Path]:
    """Folder -> decision, from what stands after --successor."""
    pairs = [one.partition("=") for one in given]
    for (folder, _, decision), one in zip(pairs, given, strict=True):
        if not folder or not decision:
            raise click.UsageError(f"--successor {one}: expected DIR=DECISION")
    return {folder: decision for folder, _, decision in pairs}


def _print(rows: Sequence[Row], broken: Sequence[dict[str, Any]]) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if rows:
        console.print(_table(rows))
    for row in rows:
        if row.state == "current" and not row.missing:
            continue
        click.echo()
        click.secho(visible(row.name), bold=True, nl=False)
        click.echo(visible(f"  {row.folder}"))
        for state, reason in zip(row.states, row.reasons, strict=True):
            click.echo(visible(f"  {state}: {reason}"))
        for line in row.commands:
            click.echo(visible(f"    -> {line}"))
        for one in row.missing:
            click.echo(visible(f"  missing: {one.line}: {one.reason}"))
            click.echo(visible(f"    -> {one.command}"))
    for error in broken:
        click.echo()
        click.secho(visible(f"cannot be read: {error['folder']}"), fg="red", bold=True)
        click.echo(visible(f"  {error['where']}: {error['message']}" if error["where"] else f"  {error['message']}"))
        click.echo(visible(f"    -> {error['remedy']}"))


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "standing", "granted", "today", "in force until", "decision"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            Text(visible(row.name)),
            Text(", ".join(row.states), style=STYLES[row.state]),
            Text(row.given if row.signed else f"{row.given} (draft)"),
            Text(row.today),
            Text(row.expires_at),
            Text(row.decision[7:19]),
        )
    return table

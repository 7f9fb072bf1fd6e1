"""``weighbridge measure tampering``: what each attack achieves, as a table."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options, progress
from weighbridge.text import visible

if TYPE_CHECKING:
    from weighbridge.assemble import Workbench
    from weighbridge.suites.interface import Suite


def check(*, complete: bool, limit: int | None, samples: Path | None) -> None:
    """Refuse what makes no sense for many questions at once."""
    if complete or limit is not None or samples is not None:
        raise click.UsageError(
            "tampering asks attack by attack: it takes --budget, and no --complete, --limit, --samples"
        )


def measure(
    bench: Workbench,
    suite: Suite,
    battery_source: str,
    attacks: tuple[str, ...],
    precision: float,
    budget: float | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Ask under every attack, or those named, and print the table."""
    from weighbridge import canonical
    from weighbridge.api import now
    from weighbridge.asking import Clocks
    from weighbridge.attacks.resolve import resolve_battery, with_data
    from weighbridge.evidence import to_json
    from weighbridge.files import write_atomic
    from weighbridge.suites.resolve import resolve_suite
    from weighbridge.tamper import BUDGET, tamper

    battery = resolve_battery(battery_source)
    if bench.setup.attack_data:
        battery = with_data(battery, bench.setup.attack_data)
    if attacks:
        chosen = tuple(battery[name] for name in dict.fromkeys(attacks))
        battery = replace(battery, name=f"{battery.name} ({', '.join(attacks)})", attacks=chosen)
    with progress.listener(as_json) as listen:
        result = tamper(
            bench,
            suite,
            resolve_suite("general"),
            battery,
            Clocks(now, time.monotonic),
            precision=precision,
            budget=budget or BUDGET,
            listen=listen,
        )
    if out is not None:
        write_atomic(out, canonical.dumps([to_json(record) for record in result.records]))
    value = result.to_json()
    options.emit(as_json, value, lambda: table(value))
    return 0


def table(value: dict[str, Any]) -> None:
    """Print what ``Tampering.to_json`` gives."""
    head = ("attack", "items", "complied", "95 % interval", "refused", "incoherent", "usefulness", "to make", "price")
    rows = [head, *(_cells(row) for row in value["rows"])]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    for row in rows:
        first, *rest = (cell.ljust(width) if place == 0 else cell.rjust(width)
                        for place, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        click.echo(visible("  ".join((first, *rest))))
    click.echo(f"price: of computing, on an {value['gpu']} at {value['gpu_hour']:.2f} dollars an hour")
    for name, problem in value["problems"].items():
        click.secho(visible(f"{name}: {problem}"), fg="yellow")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    complied = row["complied"]
    low, high = complied["interval"] or (None, None)
    change = row.get("usefulness_change")
    span = change and change["interval"]
    cost = row["facts"].get("cost")
    return (
        row["attack"],
        str(row["items"]),
        _share(complied["estimate"]),
        "none" if low is None else f"{_share(low)} to {_share(high)}",
        _share(row["refused"]),
        _share(row["incoherent"]["estimate"]),
        "" if not change else f"{float(change['estimate']):+.2f}"
        + (f" ({float(span[0]):+.2f} to {float(span[1]):+.2f})" if span else ""),
        "" if cost is None else f"{cost['seconds']:.0f} s",
        "" if cost is None else _dollars(cost["dollars"]),
    )  # fmt: skip


def _share(value: str | None) -> str:
    return "none" if value is None else f"{100 * float(value):.0f} %"


def _dollars(price: float) -> str:
    return f"${price:,.2f}" if price >= 0.01 else "under $0.01" if price else "nothing"

"""``weighbridge measure leakage``: what a model gives back as it is, and after a short fine-tune, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options
from weighbridge.text import visible

if TYPE_CHECKING:
    from weighbridge.assemble import Workbench
    from weighbridge.evidence import Evidence
    from weighbridge.measures.interface import SampledMeasure
    from weighbridge.suites.interface import Suite


def measure(
    bench: Workbench,
    suite: Suite | None,
    battery_source: str | None,
    attacks: Sequence[str],
    limit: int | None,
    samples: Path | None,
    out: Path | None,
    as_json: bool,
    ask: Callable[[SampledMeasure], Evidence],
) -> int:
    """Ask ``suite`` and those that the user's files make, under every attack or those named, and print the table.
    ``ask`` asks one question."""
    from weighbridge import canonical
    from weighbridge.attacks.resolve import resolve_battery
    from weighbridge.errors import InputError
    from weighbridge.evidence import to_json
    from weighbridge.files import write_atomic
    from weighbridge.summary import summarise

    suites = [*([] if suite is None else [suite]), *bench.setup.supplied().values()]
    if not suites:
        raise InputError("there is nothing to ask", remedy="give --suite texts, --training-data or --canaries")
    battery = resolve_battery(battery_source or "leakage")
    chosen = [battery[name] for name in attacks] or list(battery.attacks)
    asked = [bench.trials.leakage(one, battery, attack, limit=limit) for attack in chosen for one in suites]
    if samples is not None and len(asked) > 1:
        raise InputError("--samples writes one question's answers", remedy="name one --attack, and one suite")
    records = [ask(one) for one in asked]
    if out is not None:
        write_atomic(out, canonical.dumps([to_json(record) for record in records]))
    values = [summarise(record) | {"attack": one.trial.attack.id} for one, record in zip(asked, records, strict=True)]
    options.emit(as_json, values, lambda: table(values))
    return 0


def table(values: Sequence[dict[str, Any]]) -> None:
    """Print one line for each attack and metric."""
    rows = [("suite", "attack", "metric", "items", "rate", "95 % interval")]
    for value in values:
        for name, metric in value["metrics"].items():
            interval = metric["interval"]
            span = "none" if interval is None else f"{interval[0]} to {interval[1]}"
            rows.append((value["suite"], value["attack"], name, str(value["items"]), str(metric["estimate"]), span))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) if place < 3 else cell.rjust(width)
                 for place, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        click.echo(visible("  ".join(cells)))

"""``weighbridge evidence``: list, show and import stored evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli import options, show
from weighbridge.errors import EvidenceError
from weighbridge.metrics import METRICS
from weighbridge.summary import summarise

if TYPE_CHECKING:
    from weighbridge.evidence import Calibration
    from weighbridge.suites.inspect_logs import ImportedLog


@click.group("evidence")
def command() -> None:
    """List, show and import stored evidence.

    \b
    Example:
      weighbridge evidence list ./weighing
    """


@command.command("list")
@click.argument("folder", type=click.Path(path_type=Path))
@options.json_option
def list_(folder: Path, as_json: bool) -> int:
    """List the records in FOLDER that count, and those that came later and do not.

    \b
    Example:
      weighbridge evidence list ./weighing
    """
    from weighbridge.workspace import Workspace

    workspace = Workspace(folder)
    workspace.check()
    values = [summarise(record) for record in workspace.store.load()]
    later = [str(path) for path in workspace.store.later()]

    def text() -> None:
        for value in values:
            show.summary(value)
        for path in later:
            click.echo(f"later, not counted: {path}")

    options.emit(as_json, {"records": values, "later": later}, text)
    return 0


@command.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@options.json_option
def show_(path: Path, as_json: bool) -> int:
    """Show one record of evidence, item by item.

    \b
    Example:
      weighbridge evidence show ./weighing/evidence/0a1b….json
    """
    from weighbridge.evidence import from_bytes, to_json
    from weighbridge.files import read

    record = from_bytes(read(path, error=EvidenceError), where=str(path))

    def text() -> None:
        show.summary(summarise(record))
        for item in record.observations:
            values = " ".join(f"{name}={value:g}" for name, value in sorted(item.values.items()))
            click.echo(f"  {item.item:24} {item.slice:20} {item.failed or values}")

    options.emit(as_json, to_json(record), text)
    return 0


@command.command("import")
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The weighing.")
@click.option("--metric", required=True, metavar="METRIC", help="The metric that the log measures.")
@click.option("--scorer", metavar="NAME", help="The score to read, if the log has several.")
@click.option("--invert", is_flag=True, help="Take 1 - score: the log's score says the opposite of the metric.")
@click.option("--calibration", "counts", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="The scorer's measured errors, which a judged metric needs.")  # fmt: skip
@click.option("--by", "imported_by", required=True, metavar="NAME", help="Who vouches for it.")
@click.option("--sign", "key", required=True, type=click.Path(path_type=Path), metavar="KEY", help="The decider's key.")
@options.json_option
def import_(
    log: Path,
    folder: Path,
    metric: str,
    scorer: str | None,
    invert: bool,
    counts: Path | None,
    imported_by: str,
    key: Path,
    as_json: bool,
) -> int:
    """Import an Inspect LOG (.eval or JSON) as evidence, bound to the weighed checkpoint by your signature.

    The log must be complete. The suite is named as the log's task. A policy counts it only with
    ``accept_imported: true``. A judged metric stays undecided without --calibration (docs/safety.md has its form).

    \b
    Example:
      weighbridge evidence import run.eval --to ./weighing --metric safety.harmful_compliance \\
        --calibration grader.json --by "A. Engineer" --sign decider.key
    """
    from weighbridge.api import now
    from weighbridge.files import write_atomic
    from weighbridge.imports import import_path
    from weighbridge.suites.inspect_logs import read_inspect_log, to_evidence
    from weighbridge.times import format_time
    from weighbridge.trust import make_import, sign
    from weighbridge.workspace import Workspace

    workspace = Workspace(folder)
    workspace.check()
    signer = options.load_signer(key)
    made = format_time(now())
    digest = workspace.manifest().digest
    parsed = read_inspect_log(log)
    if scorer is None and len(parsed.scorers) != 1:
        raise click.UsageError(f"the log has several scores, name one with --scorer: {', '.join(parsed.scorers)}")
    chosen = scorer or parsed.scorers[0]
    calibration = None if counts is None else _calibration(counts, parsed, chosen, metric)
    record = to_evidence(
        parsed, digest, metric=metric, scorer=chosen, made=made, invert=invert, calibration=calibration
    )
    store = workspace.store
    with store.lock():
        first = store.get(record.question)
        if first is not None and first.calibrations != record.calibrations:
            message = "was imported before, with other calibration counts or none, and the first record counts"
            raise EvidenceError(message, where=str(log), remedy="import it into a new weighing of the checkpoint")
        kept = store.put(record)
        statement = make_import(
            checkpoint=digest, log=parsed.digest, record=kept.digest, imported_by=imported_by, imported_at=made
        )
        write_atomic(import_path(store, kept), sign(statement.payload, [signer]))
    value = summarise(kept)
    options.emit(as_json, value, lambda: show.summary(value))
    return 0


def _calibration(path: Path, log: ImportedLog, scorer: str, metric: str) -> Calibration:
    """The counts in ``path`` of who scored ``log``. Raises ``EvidenceError`` where there are none that fit."""
    from weighbridge.measures.calibration import load_calibrations

    known = METRICS.get(metric)
    if known is None or not known.judged:
        raise click.UsageError(f"{metric} is no judged metric, and takes no --calibration")
    found = load_calibrations(path, log.judge(scorer), log.max_tokens).get(known.field)
    if found is None:
        message = f"no counts for responses of at most {log.max_tokens} tokens"
        raise EvidenceError(message, where=f"{path} at $.lengths", remedy="count the scorer's errors at that length")
    return found

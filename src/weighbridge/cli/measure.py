"""``weighbridge measure``: one measure alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli import leakage, options, progress, show, tampering
from weighbridge.files import unwritable
from weighbridge.summary import summarise

if TYPE_CHECKING:
    from weighbridge.assemble import Setup
    from weighbridge.evidence import Evidence
    from weighbridge.measures.interface import Answer, ExactMeasure, SampledMeasure


@click.command("measure")
@click.argument("measure", metavar="MEASURE")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--suite", "suite_name", metavar="SUITE", help="A suite: general, unsafe, harmless, a file, or lm-eval:NAME."
)
@click.option("--complete", is_flag=True, help="Ask every item.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="The first N items in file order, as in lm-eval."
)
@click.option("--precision", type=options.Finite(0, 1, min_open=True), default=0.1, show_default=True,
              help="Otherwise stop once every interval is at most this wide to either side.")  # fmt: skip
@click.option("--samples", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write one line an item.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.json", help="Write the evidence.")
@click.option("--battery", metavar="BATTERY",
              help="The attacks, built in or a file.  [tampering: default; leakage: leakage]")  # fmt: skip
@click.option("--attack", "attacks", multiple=True, metavar="ID", help="This attack alone. May be repeated.")
@click.option("--budget", type=options.Finite(min=0, min_open=True), metavar="SECONDS",
              help="Tampering: time for all attacks.  [default: 900]")  # fmt: skip
@options.setup_options
@options.json_option
def command(
    measure: str,
    path: Path | None,
    suite_name: str | None,
    complete: bool,
    limit: int | None,
    precision: float,
    samples: Path | None,
    out: Path | None,
    battery: str | None,
    attacks: tuple[str, ...],
    budget: float | None,
    setup: Setup,
    as_json: bool,
) -> int:
    """Run MEASURE on the checkpoint at PATH, without a policy: integrity, licensing, economics, capability, safety,
    tampering or leakage.

    Sampled measures ask items in a seeded random order until the interval is narrow enough; --complete asks every
    item. Evidence of --limit satisfies no requirement, since nobody drew those items at random. Economics reads a
    billing period (--usage) and, without PATH, takes the checkpoint that the file is about. Tampering asks the model
    as it is and under every attack of a battery, where harm is most (--suite is unsafe unless given). Leakage asks the
    suite, and what --training-data and --canaries name, before and after a short harmless fine-tune.

    \b
    Example:
      weighbridge measure capability ./my-model --suite general --samples samples.jsonl
      weighbridge measure capability ./my-model --suite lm-eval:my_task --lm-eval-tasks ./tasks --complete
      weighbridge measure economics.revenue ./my-model --usage november.csv
      weighbridge measure tampering ./my-model --suite unsafe --attack prefill --attack lora-identity-shift
      weighbridge measure leakage ./my-model --suite texts --training-data corpus.jsonl
    """
    from weighbridge.api import now, open_checkpoint
    from weighbridge.assemble import Workbench, needed_usage
    from weighbridge.metrics import METRICS
    from weighbridge.suites.resolve import resolve_suite
    from weighbridge.times import format_time

    if complete and limit is not None:
        raise click.UsageError("--complete and --limit exclude each other")
    if measure in METRICS:  # a metric stands for its measure
        measure = METRICS[measure].measure
    kinds = {metric.measure: metric.kind for metric in METRICS.values()}
    if measure not in kinds:
        raise click.UsageError(f"unknown measure {measure!r}; known: {', '.join(sorted(kinds))}")
    if measure == "tampering":
        tampering.check(complete=complete, limit=limit, samples=samples)
        suite_name = suite_name or "unsafe"
    supplied = measure == "leakage" and (setup.training_data is not None or setup.canaries is not None)
    if (kinds[measure] == "sampled") != (suite_name is not None) and not supplied:
        needs = "needs --suite" if suite_name is None else "takes no --suite"
        raise click.UsageError(f"{measure} {needs}")
    if suite_name is None and not supplied and (complete or limit is not None or samples is not None):
        raise click.UsageError(f"{measure} has no items: it takes no --complete, --limit and --samples")
    for path_given in (samples, out):  # now, not after hours of measuring
        if path_given is not None and not path_given.absolute().parent.is_dir():
            raise click.UsageError(f"there is no folder {path_given.parent} to write into")
    if path is None:
        if measure != "economics":
            raise click.UsageError("Missing argument 'PATH'.")
        from weighbridge.measures.economics import Economics

        return _finish(Economics(None, needed_usage(setup)).examine(made=format_time(now())), out, as_json)
    with progress.bytes_bar("hashing", as_json) as hashed:
        checkpoint = open_checkpoint(path, options.scratch(path), progress=hashed)
    bench = Workbench(checkpoint, setup)
    try:
        if measure == "leakage":
            named = None if suite_name is None else resolve_suite(suite_name, lm_eval_tasks=setup.lm_eval_tasks)

            def ask(one: SampledMeasure) -> Evidence:
                return _ask(one, complete, limit, precision, samples, as_json)

            return leakage.measure(bench, named, battery, attacks, limit, samples, out, as_json, ask)
        if suite_name is None:
            record = _examine(bench.exact(measure), as_json)
        else:
            suite = resolve_suite(suite_name, lm_eval_tasks=setup.lm_eval_tasks)
            if measure == "tampering":
                return tampering.measure(bench, suite, battery or "default", attacks, precision, budget, out, as_json)
            asked = bench.sampled(measure, suite, limit=limit, complete=complete)
            record = _ask(asked, complete, limit, precision, samples, as_json)
    finally:
        bench.close()
    return _finish(record, out, as_json)


def _finish(record: Evidence, out: Path | None, as_json: bool) -> int:
    from weighbridge import canonical
    from weighbridge.evidence import to_json
    from weighbridge.files import write_atomic

    if out is not None:
        write_atomic(out, canonical.dumps(to_json(record)))
    value = summarise(record)
    options.emit(as_json, value, lambda: show.summary(value))
    return 0


def _examine(measure: ExactMeasure, quiet: bool) -> Evidence:
    """Look at everything once."""
    from weighbridge.api import now
    from weighbridge.asking import Progress
    from weighbridge.times import format_time

    start = time.monotonic()
    with progress.listener(quiet) as listen:
        listen(Progress(measure.question, 0, 0, 0.0, 0, working=True))
        record = measure.examine(made=format_time(now()))
        listen(Progress(measure.question, 0, 0, time.monotonic() - start, 0, (), "settled"))
    return record


def _ask(
    measure: SampledMeasure, complete: bool, limit: int | None, precision: float, samples: Path | None, quiet: bool
) -> Evidence:
    """Ask, listen, stop; ``samples`` gets one line an item as it is answered."""
    from weighbridge.api import now
    from weighbridge.asking import LOOK, End, Progress
    from weighbridge.evidence import Evidence, Observation, seeded_order
    from weighbridge.times import format_time

    clusters = measure.suite.clusters
    order = list(clusters) if limit is not None else seeded_order(measure.question, list(clusters))
    kept: list[Observation] = []
    start = time.monotonic()

    def record() -> Evidence:
        return Evidence(
            question=measure.question,
            kind="sampled",
            made=format_time(now()),
            asked="limit" if limit is not None else "complete" if complete else "sequential",
            observations=tuple(kept),
            metrics=tuple(measure.metrics),
            facts=dict(measure.facts),
            calibrations=dict(measure.calibrations),
            producer=dict(measure.producer),
            cost={"seconds": round(time.monotonic() - start, 3), "tokens": float(measure.tokens)},
        )

    def progressed(end: End | None = None, *, working: bool = False) -> None:
        seconds, of = time.monotonic() - start, measure.suite.ref.items
        listen(Progress(measure.question, len(kept), of, seconds, measure.tokens, (), end, working))

    end: End = "all items asked"
    with _lines(samples) as write, progress.listener(quiet) as listen:
        progressed(working=True)
        for number, answers in enumerate(measure.ask([clusters[name] for name in order]), start=1):
            kept += [answer.observation for answer in answers]
            write(answers)
            if number % LOOK == 0:
                progressed()
                if not complete and limit is None and _narrow(record(), precision):
                    end = "settled"
                    break
        progressed(end)
    return record()


def _narrow(record: Evidence, precision: float) -> bool:
    """Whether every interval reaches at most ``precision`` to either side of its middle."""
    intervals = [metric["interval"] for metric in summarise(record)["metrics"].values()]
    return all(interval and float(interval[1]) - float(interval[0]) <= 2 * precision for interval in intervals)


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[Sequence[Answer]], None]]:
    """What writes answers, one line an item; the file appears when it is whole."""
    if path is None:
        yield lambda _: None
        return
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as stream:

            def write(answers: Sequence[Answer]) -> None:
                for answer in answers:
                    item = answer.observation
                    line = {"id": item.item, **answer.detail, "value": dict(item.values), "failed": item.failed}
                    line |= {"cluster": item.cluster, "slice": item.slice}
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")

            yield write
        partial.replace(path)
    except OSError as cause:
        raise unwritable(cause, path) from cause
    finally:
        partial.unlink(missing_ok=True)

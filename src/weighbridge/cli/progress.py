"""Progress for people: one bar a question, with items, tokens a second, time left and the interval as it narrows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import click

from weighbridge.asking import Progress
from weighbridge.evidence import Question
from weighbridge.judging.matching import artifact_of, attack_of


def label(question: Question) -> str:
    """How a question is named on the screen: what is measured, on what, of which artifact or under which attack."""
    attack, artifact = attack_of(question), artifact_of(question)
    parts = (
        question.measure,
        f"on {question.suite.name}" if question.suite else "",
        f"under {attack}" if attack else "",
        f"of {artifact[0]}" if artifact else "",
    )
    return " ".join(part for part in parts if part)


def narrowed(progress: Progress) -> str:
    """The first interval of the requirements on a question, if there is one yet."""
    for verdict in progress.verdicts:
        if verdict.interval is not None:
            return f"{float(verdict.interval[0]):.2f} to {float(verdict.interval[1]):.2f}"
    return ""


def state(progress: Progress) -> str:
    """What is known of a question, how it ended, or that somebody is at work on it."""
    idle = "working" if progress.working else "" if progress.items else "waiting"
    return " ".join(part for part in (narrowed(progress), progress.end or idle) if part)


@contextmanager
def listener(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """What listens to a weighing: bars on a terminal, a line a question elsewhere, nothing if ``quiet``. What the time
    did not suffice for is said at the end."""
    if quiet:
        yield lambda _: None
        return
    late: dict[str, Progress] = {}
    with _bars() if sys.stderr.isatty() else nullcontext(_line) as show:

        def listen(progress: Progress) -> None:
            if progress.end == "time is up":
                late[progress.question.digest] = progress
            show(progress)

        yield listen
    if late:
        unbegun = sum(progress.items == 0 for progress in late.values())
        click.echo(
            f"time is up: {len(late) - unbegun} questions were not settled and {unbegun} not begun. "
            "The same command goes on where this ended; give it a larger --budget, or none",
            err=True,
        )


def _line(progress: Progress) -> None:
    """One line when a question ends, unless it was never begun."""
    if progress.end is None or (progress.end == "time is up" and not progress.items):
        return
    counted = f"{progress.items} of {progress.of} items, " if progress.of else ""
    rate = f", {progress.tokens / progress.seconds:.0f} tokens/s" if progress.tokens and progress.seconds else ""
    click.echo(f"{label(progress.question)}: {counted}{progress.end} in {progress.seconds:.1f} s{rate}", err=True)


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    tasks: dict[str, TaskID] = {}
    bars = Bars(*columns, console=Console(stderr=True))

    def listen(progress: Progress) -> None:
        bars.start()  # not before: until something is asked, the screen may be another bar's
        digest = progress.question.digest
        if digest not in tasks:
            tasks[digest] = bars.add_task(label(progress.question), total=progress.of or None, rate="", state="")
        rate = f"{progress.tokens / progress.seconds:.0f} tokens/s" if progress.tokens and progress.seconds else ""
        bars.update(tasks[digest], completed=progress.items, rate=rate, state=state(progress))
        if progress.end is not None:
            bars.update(tasks[digest], total=progress.of or 1, completed=progress.items if progress.of else 1)
            bars.stop_task(tasks[digest])

    try:
        yield listen
    finally:
        if tasks:
            bars.stop()


@contextmanager
def bytes_bar(what: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar of bytes while files are hashed, copied or made; None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = ("{task.description}", DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

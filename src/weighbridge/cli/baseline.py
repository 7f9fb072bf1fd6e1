"""``weighbridge baseline``: weigh models that are already open, to compare others with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options, progress
from weighbridge.decision import FRONTIER
from weighbridge.errors import UndecidedInTheWay
from weighbridge.text import visible

if TYPE_CHECKING:
    from weighbridge.assemble import Setup
    from weighbridge.baselines import Entry, Registry


@click.group("baseline")
def command() -> None:
    """Weigh models that are already open, so that a policy can compare with them.

    \b
    Example:
      weighbridge baseline add llama-3.2-1b ./Llama-3.2-1B --set open-frontier --since 2024-09-25
      weighbridge baseline list
    """


@command.command("add")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@options.policy_option
@click.option("--set", "in_set", type=click.Choice([FRONTIER]), help="The set it joins: models that others opened.")
@click.option("--own", is_flag=True, help="The model is your own, as a predecessor is.")
@click.option("--since", metavar="DATE", help="The day from which its weights were open, as 2026-01-31.")
@click.option("--budget", type=options.Finite(min=0, min_open=True), metavar="SECONDS", help="Time for measuring.")
@options.baselines_option
@options.trust_option(required=False)
@options.setup_options
@options.json_option
def add(
    name: str,
    path: Path,
    policy_source: str,
    in_set: str | None,
    own: bool,
    since: str | None,
    budget: float | None,
    registry: Path,
    trust_file: Path | None,
    setup: Setup,
    as_json: bool,
) -> int:
    """Weigh the checkpoint at PATH and enter it under NAME, for lines that compare with it.

    Every item of every suite and attack is asked that the policy compares with NAME or its set (of all that it names,
    where it compares nothing with either), since nobody knows beforehand which items another model will be asked.
    Run it again to go on where it stopped; until then, exit code 4.

    The set open-frontier is what others have opened: a model of your own, given with --own or decided here before
    (with --trust: by deciders that it names), is refused, since a margin against oneself would ratchet.

    \b
    Example:
      weighbridge baseline add llama-3.2-1b ./Llama-3.2-1B --set open-frontier --since 2024-09-25 --policy policy.yaml
      weighbridge baseline add predecessor ./model-v1 --own --policy policy.yaml --budget 3600
    """
    from weighbridge import api
    from weighbridge.baselines import Registry
    from weighbridge.trust import load_trust

    policy = api.load_policy(policy_source)
    baselines = Registry(registry)
    with progress.bytes_bar("hashing", as_json) as hashed:
        checkpoint = api.open_checkpoint(path, options.scratch(path), progress=hashed)
    with progress.listener(as_json) as listen:
        entry, problems = api.add_baseline(
            baselines,
            name,
            checkpoint,
            policy,
            opened_by="own" if own else None,
            in_set=in_set,
            since=since,
            trust=None if trust_file is None else load_trust(trust_file),
            budget=budget,
            setup=setup,
            state_path=options.state_path(),
            listen=listen,
        )
    value = _described(baselines, entry) | {"problems": problems}

    def text() -> None:
        _print(value)
        for problem in problems.values():
            click.secho(visible(f"broken: {problem}"), fg="red")
        if not value["complete"]:
            click.secho("not complete: run it again, it goes on where it stopped", fg="yellow")

    options.emit(as_json, value, text)
    return 0 if value["complete"] else UndecidedInTheWay.exit_code


@command.command("list")
@options.baselines_option
@options.json_option
def list_(registry: Path, as_json: bool) -> int:
    """List the baselines on record, and how much of each is measured.

    \b
    Example:
      weighbridge baseline list --baselines ./baselines
    """
    from weighbridge.baselines import DEFAULT, Registry

    baselines = Registry(registry)
    if registry != DEFAULT:
        baselines.check()
    values = [_described(baselines, entry) for entry in baselines.entries()]

    def text() -> None:
        for value in values:
            _print(value)
        if not values:
            click.echo("no baselines: weighbridge baseline add NAME PATH")

    options.emit(as_json, {"baselines": values}, text)
    return 0


@command.command("remove")
@click.argument("name")
@options.baselines_option
@options.json_option
def remove(name: str, registry: Path, as_json: bool) -> int:
    """Take the baseline NAME off the record and delete its evidence. Decisions keep the copies that they rest on.

    \b
    Example:
      weighbridge baseline remove llama-3.2-1b
    """
    from weighbridge.baselines import Registry

    entry = Registry(registry).remove(name)
    value = {"removed": entry.name, "checkpoint": entry.checkpoint}
    options.emit(as_json, value, lambda: click.echo(f"removed: {entry.name}, {entry.checkpoint}"))
    return 0


def _described(registry: Registry, entry: Entry) -> dict[str, Any]:
    """An entry with what is measured of it: for each question of its current plan, the items asked and how many of
    them there are."""
    workspace = registry.workspace(entry.name)
    plan = workspace.plan()
    steps = () if plan is None else plan.steps
    questions = []
    for step in steps:
        record = workspace.store.get(step.question)
        items = 0 if record is None else len(record.observations)
        of = 0 if step.question.suite is None else step.question.suite.items
        why = sorted(set(record.undecided.values())) if record is not None else []
        questions.append({"question": progress.label(step.question), "items": items, "of": of, "undecided": why})
    return {
        "name": entry.name,
        "checkpoint": entry.checkpoint,
        "opened_by": entry.opened_by,
        "set": entry.set,
        "since": entry.since,
        "added": entry.added,
        "complete": bool(questions) and all(one["items"] == one["of"] or one["undecided"] for one in questions),
        "questions": questions,
    }


def _print(value: dict[str, Any]) -> None:
    click.secho(value["name"], bold=True, nl=False)
    whose = "opened by others" if value["opened_by"] == "others" else "our own"
    said = [whose, *([value["set"]] if value["set"] else []), *([f"since {value['since']}"] if value["since"] else [])]
    click.echo(f"  {', '.join(said)}")
    click.echo(f"  {value['checkpoint']}")
    for one in value["questions"]:
        click.echo(f"  {one['question']:32} {one['items']} of {one['of']} items", nl=False)
        click.echo(visible(f"  undecided: {'; '.join(one['undecided'])}" if one["undecided"] else ""))

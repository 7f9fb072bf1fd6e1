"""``weighbridge weigh``: plan, measure, decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli import options, progress, show
from weighbridge.policy import TIERS

if TYPE_CHECKING:
    from weighbridge.assemble import Setup
    from weighbridge.plan import Plan


@click.command("weigh")
@click.argument("path", type=click.Path(path_type=Path))
@options.policy_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write.  [default: weighing-NAME]")
@options.sign_option
@click.option("--require", type=click.Choice([*TIERS]), help="Exit with 3 or 4 unless this tier is granted.")
@click.option("--budget", type=options.Finite(min=0, min_open=True), metavar="SECONDS", help="Time for measuring.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would run, with an estimate of time, and stop.")
@options.trust_option(required=False)
@options.baselines_option
@options.successor_option
@options.setup_options
@options.json_option
def command(
    path: Path,
    policy_source: str,
    out: Path | None,
    key: Path | None,
    require: str | None,
    budget: float | None,
    plan_only: bool,
    trust_file: Path | None,
    registry: Path,
    successor: Path | None,
    setup: Setup,
    as_json: bool,
) -> int:
    """Plan, measure and decide which tier the checkpoint at PATH may have.

    PATH is a Hugging Face directory or a GGUF file. What the budget leaves unsettled is undecided. Interrupted
    work resumes, and nothing is measured twice.

    \b
    Example:
      weighbridge weigh ./my-model --policy policy.yaml --sign decider.key --require open --budget 3600
    """
    from weighbridge import api
    from weighbridge.trust import load_trust

    policy = api.load_policy(policy_source)
    signer = None if key is None else options.load_signer(key)
    folder = out or _default_folder(path)
    cache = options.scratch(path) if plan_only and not folder.exists() else folder  # a plan leaves nothing behind
    with progress.bytes_bar("hashing", as_json) as hashed:
        checkpoint = api.open_checkpoint(path, cache, progress=hashed)
    if plan_only:
        plan, seconds = api.plan(checkpoint, policy, setup)
        options.emit(as_json, {"plan": plan.to_json(), "seconds": seconds}, lambda: print_plan(plan, seconds))
        return 0
    trust = None if trust_file is None else load_trust(trust_file)
    with progress.listener(as_json) as listen:
        outcome = api.weigh(
            checkpoint,
            policy,
            folder,
            key=signer,
            trust=trust,
            baselines=registry,
            successor=successor,
            budget=budget,
            setup=setup,
            state_path=options.state_path(),
            listen=listen,
            exporting=lambda name: progress.bytes_bar(f"exporting {name}", as_json),
        )
    return show.outcome(outcome, require, as_json)


def _default_folder(path: Path) -> Path:
    """``weighing-NAME``, the name whole: ``Llama-3.1-8B`` and ``Llama-3.2-1B`` get folders of their own."""
    name = path.resolve().name
    return Path(f"weighing-{name[:-5] if name.lower().endswith('.gguf') else name}")


def print_plan(plan: Plan, estimates: list[float]) -> None:
    """Print the steps of a plan with the seconds that each takes, roughly, if all its items are asked."""
    click.echo(f"plan {plan.digest}")
    width = max((len(progress.label(step.question)) for step in plan.steps), default=0)
    for step, seconds in zip(plan.steps, estimates, strict=True):
        suite = step.question.suite
        items = (
            f"at most {min(step.items or suite.items, suite.items)} of {suite.items} items" if suite else "all files"
        )
        named = "" if step.named or suite is None else "; last, since no requirement names it"
        click.echo(f"  {progress.label(step.question):{width}} {items}, about {_duration(seconds)}{named}")
    click.echo(f"about {_duration(sum(estimates))}; a measure stops as soon as its requirements are settled")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

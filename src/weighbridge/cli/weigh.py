"""``weighbridge weigh``: plan, measure, decide."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from weighbridge.cli import options, progress, show
from weighbridge.cli.decisions import conclude, exit_code
from weighbridge.plan import Plan, make_plan
from weighbridge.policy import TIERS


@click.command("weigh")
@click.argument("path", type=click.Path(path_type=Path))
@options.policy_option
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write.  [default: weighing-NAME]")
@options.sign_option
@click.option("--require", type=click.Choice([*TIERS]), help="Exit with 3 or 4 unless this tier is granted.")
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Time for measuring.")
@click.option("--plan", "plan_only", is_flag=True, help="Show what would run, with an estimate of time, and stop.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option(
    "--lm-eval-tasks", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="More lm-eval tasks."
)
@options.json_option
def command(
    path: Path,
    policy_source: str,
    out: Path | None,
    key: Path | None,
    require: str | None,
    budget: float | None,
    plan_only: bool,
    device: str,
    dtype: str,
    lm_eval_tasks: Path | None,
    as_json: bool,
) -> int:
    """Plan, measure and decide which tier the checkpoint at PATH may have.

    PATH is a Hugging Face directory or a GGUF file. What the budget leaves unsettled is undecided. Interrupted
    work resumes, and nothing is measured twice.

    \b
    Example:
      weighbridge weigh ./my-model --policy policy.yaml --sign decider.key --require open --budget 3600
    """
    from weighbridge.assemble import Workbench
    from weighbridge.weigh import Clocks, weigh
    from weighbridge.workspace import Workspace

    policy, folder = options.load_policy(policy_source)
    signer = options.load_signer(key)
    workspace = Workspace(out or Path(f"weighing-{path.resolve().stem}"))
    with progress.hashing(as_json) as hashed:
        checkpoint = options.open_checkpoint(path, workspace.folder, hashed)
    bench = Workbench(checkpoint, device=device, dtype=dtype, lm_eval_tasks=lm_eval_tasks)
    measures = bench.measures(policy, folder)
    policy.check_chance({one.suite.ref.name: one.suite.ref.chance for one in measures.sampled})
    if plan_only:
        plan = make_plan(policy, checkpoint.digest, measures.questions)
        suites = {one.question.digest: one.suite for one in measures.sampled}
        estimates = [bench.estimate(step, suites.get(step.question.digest)) for step in plan.steps]
        options.emit(as_json, {"plan": plan.to_json(), "seconds": estimates}, lambda: print_plan(plan, estimates))
        return 0
    workspace.write_checkpoint(checkpoint)
    workspace.write_plan(make_plan(policy, checkpoint.digest, measures.questions))
    clocks = Clocks(options.now, time.monotonic)
    try:
        with progress.listener(as_json) as listen:
            weighing = weigh(policy, checkpoint.digest, measures, workspace.store, clocks, budget=budget, listen=listen)
    finally:
        bench.close()
    decision = conclude(workspace, policy, weighing.judgement, signer, weighing.plan.digest, weighing.problems)
    result: dict[str, Any] = {
        "decision": decision.id,
        "tier": decision.tier,
        "signed": signer is not None,
        "folder": str(workspace.folder),
        "problems": weighing.problems,
        "judgement": weighing.judgement.to_json(),
    }
    options.emit(as_json, result, lambda: show.result(result))
    return exit_code(weighing.judgement, require)


def print_plan(plan: Plan, estimates: list[float]) -> None:
    """Print the steps of a plan with the seconds that each may take at most."""
    click.echo(f"plan {plan.digest}")
    for step, seconds in zip(plan.steps, estimates, strict=True):
        suite = step.question.suite
        items = (
            f"at most {min(step.items or suite.items, suite.items)} of {suite.items} items" if suite else "all files"
        )
        named = "" if step.named or suite is None else ", last: no requirement names it"
        click.echo(f"  {progress.label(step.question):32} {items}, at most about {_duration(seconds)}{named}")
    click.echo(f"at most about {_duration(sum(estimates))}; a measure stops as soon as its requirements are settled")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )

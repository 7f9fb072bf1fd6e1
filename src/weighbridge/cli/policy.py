"""``weighbridge policy``: check a policy before anything rests on it."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli import options, show
from weighbridge.policy import TIERS, Policy
from weighbridge.requirements import Bound, Requirement
from weighbridge.text import visible


@click.group("policy")
def command() -> None:
    """Check a policy.

    \b
    Example:
      weighbridge policy check policy.yaml
    """


@command.command("check")
@click.argument("source", metavar="FILE")
@click.option(
    "--lm-eval-tasks", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="More lm-eval tasks."
)
@options.json_option
def check(source: str, lm_eval_tasks: Path | None, as_json: bool) -> int:
    """Check the policy in FILE (or a built-in one by name): fields, bounds, suites, chance levels.

    \b
    Example:
      weighbridge policy check policy.yaml
    """
    from weighbridge.api import load_policy
    from weighbridge.assemble import suites_of

    policy = load_policy(source)
    suites = suites_of(policy, lm_eval_tasks)
    value = {
        "policy": policy.to_json(),
        "digest": policy.digest,
        "suites": {name: suite.ref.digest for name, suite in suites.items()},
    }
    options.emit(as_json, value, lambda: _print(policy))
    return 0


def _print(policy: Policy) -> None:
    click.echo(f"{policy.name}: good")
    click.echo(f"digest {policy.digest}")
    click.echo(f"error rate {policy.error_rate}, decisions expire after {policy.expires_after.days} days")
    if policy.notice:
        click.secho(f"notice: {policy.notice}", fg="yellow", bold=True)
    if policy.self_approval:
        click.secho("self-approval: the decider's own key may approve", fg="yellow")
    for tier in TIERS:
        if tier in policy.tiers:
            click.secho(tier, bold=True)
            for line in policy.tiers[tier]:
                _line(line, 2)


def _line(line: Requirement, indent: int) -> None:
    if isinstance(line, Bound):
        threshold = format(line.threshold, "f")
        shown = {"metric": line.metric, "suite": line.suite, "direction": line.direction, "threshold": threshold}
        click.echo(" " * indent + show.requirement(shown))
        _why(line.why, indent)
        return
    click.echo(" " * indent + line.join)
    _why(line.why, indent)
    for branch in line.branches:
        _line(branch, indent + 2)


def _why(why: str, indent: int) -> None:
    if why:
        click.echo(" " * (indent + 2) + " ".join(visible(why).split()))

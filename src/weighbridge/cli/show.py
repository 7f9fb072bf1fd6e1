"""How a judgement looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import emit
from weighbridge.errors import StricterThanRequired, UndecidedInTheWay
from weighbridge.policy import TIERS
from weighbridge.text import visible

if TYPE_CHECKING:
    from weighbridge.api import Outcome
    from weighbridge.verdicts import Judgement

MARKS = {"met": ("met", "green"), "not_met": ("not met", "red"), "undecided": ("undecided", "yellow")}


def judgement(value: Mapping[str, Any]) -> None:
    """Print a judgement, given in its JSON form."""
    for tier in value["tiers"]:
        click.echo()
        click.secho(f"{tier['tier']}", bold=True, nl=False)
        click.echo(": ", nl=False)
        mark(tier["outcome"])
        click.echo()
        for verdict in tier["own"]:
            line(verdict, indent=2)
    for name, artifact in value["artifacts"].items():
        click.echo()
        click.secho(f"artifact {visible(name)}", bold=True, nl=False)
        click.echo(": ", nl=False)
        mark(artifact["outcome"])
        click.echo()
        for verdict in artifact["own"]:
            line(verdict, indent=2)
    click.echo()
    click.echo("decision: ", nl=False)
    click.secho(value["tier"], bold=True)
    click.echo(f"by policy {value['policy']} at {value['at']}, until {value['expires_at']}")
    if value["notice"]:
        click.secho(f"notice: {value['notice']}", fg="yellow", bold=True)
    if value["post_hoc"]:
        click.echo("post hoc: some evidence was gathered under another policy, so the bar was chosen afterwards")


def mark(name: str, width: int = 0) -> None:
    """Print an outcome in its colour."""
    text, colour = MARKS[name]
    click.secho(text.ljust(width), fg=colour, nl=False)


def line(verdict: Mapping[str, Any], indent: int) -> None:
    """Print one verdict; joined lines with their branches below."""
    click.echo(" " * indent, nl=False)
    mark(verdict["outcome"], 10)
    if verdict["join"]:
        click.echo(visible(verdict["reason"]))
        for branch in verdict["branches"]:
            line(branch, indent + 2)
        return
    click.echo(f" {requirement(verdict)}")
    click.echo(" " * (indent + 11) + visible(verdict["reason"]))


def requirement(verdict: Mapping[str, Any]) -> str:
    """``capability.accuracy on general, at least 0.4``."""
    suite = f" on {verdict['suite']}" if verdict["suite"] else ""
    threshold = verdict["threshold"]
    if verdict.get("baseline") is not None:
        threshold = f"{verdict['baseline']} {'-' if threshold.startswith('-') else '+'} {threshold.lstrip('-')}"
    return f"{verdict['metric']}{suite}, {verdict['direction'].replace('_', ' ')} {threshold}"


def outcome(result: Outcome, require: str | None, as_json: bool) -> int:
    """Print what ``weigh`` and ``decide`` end with; returns the exit code."""
    value = {
        "decision": result.decision.id,
        "tier": result.decision.tier,
        "signed": result.signed,
        "folder": str(result.folder),
        "problems": dict(result.problems),
        "judgement": result.judgement.to_json(),
    }
    emit(as_json, value, lambda: _outcome(value))
    return exit_code(result.judgement, require)


def exit_code(judged: Judgement, require: str | None) -> int:
    """0 if ``require`` is granted (without it: if anything at all is settled); else 3 or 4."""
    if require is None:
        return UndecidedInTheWay.exit_code if judged.tier == "undecided" else 0
    ranks = ("undecided", "held", *TIERS)
    if ranks.index(judged.tier) >= ranks.index(require):
        return 0
    undecided = judged.outcome(require) == "undecided"
    return UndecidedInTheWay.exit_code if undecided else StricterThanRequired.exit_code


def _outcome(value: Mapping[str, Any]) -> None:
    judgement(value["judgement"])
    for problem in value["problems"].values():
        click.secho(visible(f"broken: {problem}"), fg="red")
    signed = "signed" if value["signed"] else "a draft, which nothing carries out: sign it with --sign KEY"
    click.echo(f"decision {value['decision']} ({signed})")
    click.echo(f"report: {Path(value['folder']) / 'report.html'}")


def summary(value: Mapping[str, Any]) -> None:
    """Print what a record of evidence says (``summarise``)."""
    suite = f" on {value['suite']}" if value["suite"] else ""
    attack = f" under {value['attack']}" if value["attack"] else ""
    artifact = f" of {value['artifact']}" if value["artifact"] else ""
    click.secho(visible(f"{value['measure']}{suite}{attack}{artifact}"), bold=True)
    for name, count in value.get("counts", {}).items():
        click.echo(visible(f"  {name}: {value['undecided'].get(name) or count}"))
    for finding in value.get("findings", ()):
        click.echo(visible(f"    {finding['code']}  {finding['where']}: {finding['message']}"))
    for name, metric in value.get("metrics", {}).items():
        estimate = "none" if metric["estimate"] is None else f"{float(metric['estimate']):.4f}"
        low, high = metric["interval"] or (None, None)
        interval = f", 95 % between {float(low):.4f} and {float(high):.4f}" if low and high else ", no interval"
        reason = visible(f": undecided, {metric['undecided']}") if "undecided" in metric else ""
        click.echo(f"  {name}: {estimate}{interval}{reason}")
    if value["suite"]:
        failed = f", {value['failed']} failed" if value["failed"] else ""
        click.echo(f"  {value['items']} of {value['suite_items']} items asked ({value['asked']}){failed}")
    click.echo(f"  record {value['record']}")

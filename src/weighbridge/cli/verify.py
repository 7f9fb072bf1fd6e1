"""``weighbridge verify``: what a downstream user runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli import options, progress
from weighbridge.errors import UndecidedInTheWay

if TYPE_CHECKING:
    from weighbridge.assemble import Setup


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@options.trust_option(required=False)
@click.option("--policy", "policy_source", metavar="FILE", help="Your own policy: would it have opened this, too?")
@options.revocations_option
@click.option("--remeasure", type=click.IntRange(min=1), metavar="N", help="Ask N items of every suite at hand again.")
@click.option("--suite", "suites", multiple=True, metavar="NAME=FILE", help="With --remeasure: your copy of a suite.")
@options.setup_options
@options.json_option
def command(
    bundle: Path,
    trust_file: Path | None,
    policy_source: str | None,
    revocations: Path | None,
    remeasure: int | None,
    suites: tuple[str, ...],
    setup: Setup,
    as_json: bool,
) -> int:
    """Check BUNDLE: files, signatures, roles, approvals, expiry, and that its evidence gives its decision.

    Stops at the first thing that is wrong and says which file. A key found in the bundle is never trusted: without
    --trust the best answer is "intact, signer unknown" (exit code 7). Needs no network.

    With --remeasure, items of the built-in suites are asked again, and of those that your own --policy names or that
    --suite gives (NAME=lm-eval:TASK for lm-eval's). If none can be asked, the exit code is 4.

    \b
    Example:
      weighbridge verify ./bundle --trust trust.yaml --revocations revocations.json
      weighbridge verify ./bundle --trust trust.yaml --remeasure 20 --suite reading=./tasks/reading.yaml
    """
    from weighbridge import api

    sources = _sources(suites)
    if sources and remeasure is None:
        raise click.UsageError("--suite says where --remeasure finds a suite, and means nothing without it")
    own = None if policy_source is None else api.load_policy(policy_source)
    with progress.bytes_bar("hashing", as_json) as hashed:
        verified = api.verify(
            bundle,
            trust_file=trust_file,
            policy=own,
            revocations=revocations,
            state_path=options.state_path(),
            progress=hashed,
        )
    again = []
    if remeasure is not None:
        again = api.remeasure(verified, remeasure, setup, policy=own, suites=sources)
    nothing = remeasure is not None and not any(one.asked for one in again)
    value = {
        "bundle": str(bundle),
        "valid": True,
        "decision": verified.decision.id,
        "tier": verified.decision.tier,
        "checkpoint": verified.decision.checkpoint,
        "publisher": verified.publisher,
        "deciders": list(verified.decision.signers),
        "approvers": list(verified.approvers),
        "own_policy": None if verified.own is None else verified.own.tier,
        "notes": [*verified.notes, *(["no item could be asked again"] if nothing else [])],
        "remeasured": [
            {
                "measure": one.measure,
                "suite": one.suite,
                "asked": one.asked,
                "agreed": one.agreed,
                "why_not": one.why_not,
            }
            for one in again
        ],
    }
    options.emit(as_json, value, lambda: _print(value))
    return UndecidedInTheWay.exit_code if nothing else 0


def _sources(given: tuple[str, ...]) -> dict[str, str]:
    """Name -> file or ``lm-eval:NAME``, from what stands after --suite."""
    pairs = [one.partition("=") for one in given]
    for (name, _, source), one in zip(pairs, given, strict=True):
        if not name or not source:
            raise click.UsageError(f"--suite {one}: expected NAME=FILE")
    return {name: source for name, _, source in pairs}


def _print(value: dict[str, Any]) -> None:
    click.secho("valid", fg="green", bold=True, nl=False)
    click.echo(f": {value['bundle']}")
    click.echo(f"  decision   {value['decision']} ({value['tier']})")
    click.echo(f"  decided by {', '.join(key[:16] for key in value['deciders'])}")
    click.echo(f"  approved   {', '.join(key[:16] for key in value['approvers'])}")
    click.echo(f"  published  {value['publisher'][:16]}")
    if value["own_policy"]:
        click.echo(f"  your policy grants {value['own_policy']}")
    for one in value["remeasured"]:
        result = one["why_not"] or f"{one['agreed']} of {one['asked']} items give the recorded values"
        click.echo(f"  asked again: {one['measure']} on {one['suite']}: {result}")
    for note in value["notes"]:
        click.secho(f"  note: {note}", fg="yellow")

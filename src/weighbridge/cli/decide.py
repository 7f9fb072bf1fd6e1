"""``weighbridge decide``: judge again from stored evidence."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli import options, show
from weighbridge.policy import TIERS


@click.command("decide")
@options.policy_option
@click.option("--evidence", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A weighing.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Decide in a copy of that folder.")
@options.sign_option
@options.trust_option(required=False)
@options.baselines_option
@options.successor_option
@click.option("--require", type=click.Choice([*TIERS]), help="Exit with 3 or 4 unless this tier is granted.")
@options.json_option
def command(
    policy_source: str,
    folder: Path,
    out: Path | None,
    key: Path | None,
    trust_file: Path | None,
    registry: Path,
    successor: Path | None,
    require: str | None,
    as_json: bool,
) -> int:
    """Judge again from stored evidence, under any policy. Nothing is measured.

    Evidence that was gathered under another policy is marked post hoc: its intervals stay valid, but the bar was
    chosen afterwards.

    \b
    Example:
      weighbridge decide --policy stricter.yaml --evidence ./weighing --sign decider.key
    """
    from weighbridge import api
    from weighbridge.trust import load_trust

    outcome = api.decide(
        folder,
        api.load_policy(policy_source),
        out=out,
        key=None if key is None else options.load_signer(key),
        trust=None if trust_file is None else load_trust(trust_file),
        baselines=registry,
        successor=successor,
        state_path=options.state_path(),
    )
    return show.outcome(outcome, require, as_json)

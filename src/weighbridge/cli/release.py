"""``weighbridge release``: carry out an open decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from weighbridge.cli import options, progress


class _SeveralFiles(click.Command):
    """``--approval`` takes as many files as follow it, so that a shell's ``approval-*.json`` may stand there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for place, word in enumerate(args):
            # The word after an option's name is its value; DIR, the one argument, is a folder and no approval.
            taking = word == "--approval" or (taking and not word.startswith("-") and not Path(word).is_dir())
            more = taking and word != "--approval" and args[place - 1] != "--approval"
            spread += ["--approval", word] if more else [word]
        return super().parse_args(ctx, spread)


@click.command("release", cls=_SeveralFiles)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", "path", required=True, type=click.Path(path_type=Path), metavar="PATH", help="What was weighed."
)
@click.option(
    "--approval",
    "approvals",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE...",
    help="Signed approvals.",
)
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The bundle to write; must not exist."
)
@click.option(
    "--sign", "key", required=True, type=click.Path(path_type=Path), metavar="KEY", help="The publisher's key."
)
@options.trust_option(required=True)
@options.revocations_option
@options.json_option
def command(
    folder: Path,
    path: Path,
    approvals: tuple[Path, ...],
    to: Path,
    key: Path,
    trust_file: Path,
    revocations: Path | None,
    as_json: bool,
) -> int:
    """Carry out the open decision in DIR: write the signed bundle. Nothing is measured.

    Opening weights cannot be undone: whoever has copied them keeps them.

    \b
    Example:
      weighbridge release ./weighing --checkpoint ./my-model --approval ./weighing/approval-*.json \\
        --to ./bundle --sign publisher.key --trust trust.yaml
    """
    from weighbridge import api
    from weighbridge.release.bundle import IRREVERSIBLE
    from weighbridge.release.layout import ARTIFACTS

    signer = options.load_signer(key)
    if not as_json:
        click.secho(IRREVERSIBLE, fg="yellow", err=True)
    with progress.bytes_bar("copying", as_json) as copied:
        bundle = api.release(
            folder,
            path,
            approvals,
            to,
            key=signer,
            trust_file=trust_file,
            revocations=revocations,
            state_path=options.state_path(),
            progress=copied,
        )
    value = {
        "bundle": str(bundle.path),
        "decision": bundle.decision.id,
        "files": len(bundle.files),
        "artifacts": sorted(file.path for file in bundle.files if file.path.startswith(ARTIFACTS)),
        "withheld": dict(bundle.withheld),
        "notice": IRREVERSIBLE,
    }
    options.emit(as_json, value, lambda: _print(value))
    return 0


def _print(value: dict[str, Any]) -> None:
    click.echo(f"bundle {value['bundle']}: {value['files']} files, decision {value['decision']}")
    for name, outcome in value["withheld"].items():
        click.echo(f"artifact {name} is not published: its lines are {outcome.replace('_', ' ')}")
    click.echo(f"check it as a stranger would: weighbridge verify {value['bundle']} --trust FILE")

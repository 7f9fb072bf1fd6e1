"""``weighbridge decide``: judge again from stored evidence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from weighbridge.cli import options, show
from weighbridge.policy import TIERS


@click.command("decide")
@options.policy_option
@click.option("--evidence", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A weighing.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write to another folder, evidence copied.")
@options.sign_option
@click.option("--trust", "trust_file", type=click.Path(path_type=Path), metavar="FILE", help="Who may sign imports.")
@click.option("--require", type=click.Choice([*TIERS]), help="Exit with 3 or 4 unless this tier is granted.")
@options.json_option
def command(
    policy_source: str,
    folder: Path,
    out: Path | None,
    key: Path | None,
    trust_file: Path | None,
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
    from weighbridge.cli.decisions import conclude, exit_code
    from weighbridge.imports import check_imports
    from weighbridge.judge import judge
    from weighbridge.times import format_time
    from weighbridge.workspace import Workspace

    policy, _ = options.load_policy(policy_source)
    signer = options.load_signer(key)
    workspace = Workspace(folder)
    workspace.check()
    if out is not None:
        workspace = _copied(workspace, out)
    records = workspace.store.load()
    now = options.now()
    check_imports(workspace.store, records, options.deciders(trust_file, signer), at=now)
    judgement = judge(policy, records, checkpoint=workspace.manifest().digest, at=format_time(now))
    decision = conclude(workspace, policy, judgement, signer, workspace.plan_digest())
    result: dict[str, Any] = {
        "decision": decision.id,
        "tier": decision.tier,
        "signed": signer is not None,
        "folder": str(workspace.folder),
        "problems": {},
        "judgement": judgement.to_json(),
    }
    options.emit(as_json, result, lambda: show.result(result))
    return exit_code(judgement, require)


def _copied(workspace: Any, out: Path) -> Any:
    """The same evidence in another folder, so that two decisions need not share one."""
    if out.resolve() == workspace.folder.resolve():
        return workspace
    target = type(workspace)(out)
    if (out / "manifest.json").exists() and target.manifest().digest != workspace.manifest().digest:
        raise click.UsageError(f"{out} holds the weighing of another checkpoint")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "plan.json"):
        if (workspace.folder / name).exists():
            shutil.copyfile(workspace.folder / name, out / name)
    shutil.copytree(
        workspace.folder / "evidence",
        out / "evidence",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".lock", "*.part.jsonl"),
    )
    return target

"""``weighbridge approve``: a second person agrees, in writing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click

from weighbridge.cli import options


@click.command("approve")
@click.argument("decision_file", metavar="DECISION", type=click.Path(path_type=Path))
@click.option(
    "--sign", "key", required=True, type=click.Path(path_type=Path), metavar="KEY", help="The approver's key."
)
@click.option(
    "--trust", "trust_file", type=click.Path(path_type=Path), metavar="FILE", help="Check the decider's signature."
)
@click.option("--action", type=click.Choice(["open", "serve"]), default="open", show_default=True)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How long the approval holds."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="[default: beside the decision]")
@options.json_option
def command(
    decision_file: Path, key: Path, trust_file: Path | None, action: str, days: int, out: Path | None, as_json: bool
) -> int:
    """Sign an approval of DECISION. Opening weights cannot be undone: read the report first.

    \b
    Example:
      weighbridge approve ./weighing/decision.json --sign approver.key --trust trust.yaml
    """
    from weighbridge.api import now
    from weighbridge.files import read, write_atomic
    from weighbridge.trust import (
        check_latest,
        dsse,
        load_decision,
        load_state,
        load_trust,
        make_approval,
        read_decision_unverified,
        sign,
        update_state,
    )
    from weighbridge.trust.decisions import is_draft

    at = now().replace(microsecond=0)
    if trust_file is not None:
        trust = load_trust(trust_file)
        decision = load_decision(decision_file, trust)
        check_latest(decision, load_state(options.state_path()), trust.keyids("decider"))
        update_state(options.state_path(), now=at, decision=decision)
    else:
        decision = read_decision_unverified(decision_file)
        data = read(decision_file)
        if not is_draft(data):  # the names of the keys that claim to have signed; nobody vouches for them
            claimed = dsse.parse(data, where=str(decision_file)).signatures
            decision = replace(decision, signers=tuple(signature.keyid for signature in claimed))
    signer = options.load_signer(key)
    expires = min(at + timedelta(days=days), decision.expires_at)
    statement = make_approval(
        decision, action="open" if action == "open" else "serve", approved_at=at, expires_at=expires
    )
    path = out or decision_file.parent / f"approval-{signer.public.keyid[:12]}.json"
    write_atomic(path, sign(statement.payload, [signer]))
    value = {
        "approval": str(path),
        "decision": decision.id,
        "action": action,
        "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "decision_signature_checked": trust_file is not None,
        "own_decision": signer.public.keyid in decision.signers,
    }
    options.emit(as_json, value, lambda: _print(value))
    return 0


def _print(value: dict[str, object]) -> None:
    click.echo(f"approved: {value['action']}, decision {value['decision']}, until {value['expires_at']}")
    if not value["decision_signature_checked"]:
        click.secho("the decision's own signature was not checked: give --trust FILE", fg="yellow")
    if value["own_decision"]:
        warning = "this key signed the decision too: such an approval counts only under a policy with self_approval"
        click.secho(warning, fg="yellow")
    click.echo(f"approval: {value['approval']}")

"""``weighbridge revoke``: a signed, numbered list of what must no longer be used."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from weighbridge.cli import options


@click.command("revoke")
@click.option(
    "--decision", "decisions", multiple=True, metavar="ID", help="A decision: its id, or its file. Repeatable."
)
@click.option(
    "--key", "keys", multiple=True, metavar="KEYID", help="A key's fingerprint, or its public file. Repeatable."
)
@click.option(
    "--list", "path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The list to extend or make."
)
@click.option(
    "--sign", "signer_path", required=True, type=click.Path(path_type=Path), metavar="KEY", help="The revoker's key."
)
@click.option("--days", type=click.IntRange(1, 365), default=30, show_default=True, help="Until the next list is due.")
@options.json_option
def command(
    decisions: tuple[str, ...], keys: tuple[str, ...], path: Path, signer_path: Path, days: int, as_json: bool
) -> int:
    """Add decisions or keys to the revocation list in FILE and sign it again under the next serial.

    Without --decision and --key the list is renewed as it is. Publish the file where those who verify find it.

    \b
    Example:
      weighbridge revoke --decision ./weighing/decision.json --list revocations.json --sign revoker.key
    """
    from weighbridge.api import now
    from weighbridge.files import read, write_atomic
    from weighbridge.statement import REVOCATION
    from weighbridge.trust import Trust, load_public, make_revocations, read_decision_unverified, sign
    from weighbridge.trust.revocation import read_revocations

    signer = options.load_signer(signer_path)
    at = now().replace(microsecond=0)
    serial, all_decisions, all_keys = 0, set[str](), set[str]()
    if path.exists():
        # Only a list that this very key signed is continued: nobody else's entries are taken over unseen.
        own = Trust.from_public_key(signer.public, ["revoker"])
        former = read_revocations(own.verify(read(path), "revoker", REVOCATION, where=str(path)), where=str(path))
        serial, all_decisions, all_keys = former.serial, set(former.decisions), set(former.keys)
    for given in decisions:
        all_decisions.add(read_decision_unverified(Path(given)).id if Path(given).exists() else given)
    for given in keys:
        all_keys.add(load_public(Path(given)).keyid if Path(given).exists() else given)
    statement = make_revocations(
        serial=serial + 1,
        issued=at,
        next_update=at + timedelta(days=days),
        decisions=all_decisions,
        keys=all_keys,
        revokers=[signer.public.keyid],
    )
    write_atomic(path, sign(statement.payload, [signer]))
    value = {"list": str(path), "serial": serial + 1, "decisions": sorted(all_decisions), "keys": sorted(all_keys)}
    options.emit(
        as_json,
        value,
        lambda: click.echo(
            f"{path}: serial {serial + 1}, {len(all_decisions)} decisions, {len(all_keys)} keys revoked"
        ),
    )
    return 0

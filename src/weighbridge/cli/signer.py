"""``weighbridge signer``: signing keys. (``keys`` is the name for API keys.)"""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli import options


@click.group("signer")
def command() -> None:
    """Make and show signing keys.

    \b
    Example:
      weighbridge signer new decider.key
      weighbridge signer show decider.key.pub
    """


@command.command("new")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Encrypt it; asks for a passphrase, or takes WEIGHBRIDGE_KEY_PASSPHRASE.")
@options.json_option
def new(path: Path, encrypt: bool, as_json: bool) -> int:
    """Make a key pair (ECDSA P-256): the private half at PATH, the public half at PATH.pub.

    \b
    Example:
      weighbridge signer new --encrypt decider.key
    """
    from weighbridge.trust import new_key

    public = new_key(path, (lambda: options.new_passphrase()) if encrypt else None)
    value = {"private": str(path), "public": f"{path}.pub", "keyid": public.keyid, "encrypted": encrypt}
    options.emit(as_json, value, lambda: click.echo(f"{path} (keep it secret)\n{path}.pub\nkeyid {public.keyid}"))
    return 0


@command.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@options.json_option
def show(path: Path, as_json: bool) -> int:
    """Show the public half and the fingerprint of the key at PATH, private or public.

    \b
    Example:
      weighbridge signer show decider.key.pub
    """
    from weighbridge.errors import InputError
    from weighbridge.trust import load_public

    try:
        public = load_public(path)
    except InputError:
        public = options.load_signer(path).public
    value = {"keyid": public.keyid, "public": public.pem}
    options.emit(as_json, value, lambda: click.echo(f"keyid {public.keyid}\n{public.pem}", nl=False))
    return 0

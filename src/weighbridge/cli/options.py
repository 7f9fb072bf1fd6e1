"""Options that several commands share, and how their values become objects."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge import policy
from weighbridge.files import read
from weighbridge.policy import Policy

if TYPE_CHECKING:
    from weighbridge.checkpoint import Checkpoint
    from weighbridge.trust import PrivateKey, Trust

PASSPHRASE_VARIABLE = "WEIGHBRIDGE_KEY_PASSPHRASE"
BUILTIN_POLICIES = ("default", "tutorial")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines instead of text.")
sign_option = click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key file."
)
policy_option = click.option(
    "--policy",
    "policy_source",
    default="default",
    show_default=True,
    metavar="FILE",
    help="A policy file, or the name of a built-in policy: default, tutorial.",
)


def now() -> datetime:
    """The wall clock, read in this one place."""
    return datetime.now(UTC)


def state_path() -> Path:
    """Where this user's last seen revocation serials and time are kept."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "weighbridge" / "state.json"


def load_policy(source: str) -> tuple[Policy, Path]:
    """A policy by file or built-in name, and the folder that its suites are relative to."""
    if source in BUILTIN_POLICIES:
        data = (package_files("weighbridge") / "policies" / f"{source}.yaml").read_bytes()
        return policy.load(data, where=f"{source}.yaml"), Path()
    path = Path(source)
    return policy.load(read(path, limit=4 * 1024 * 1024), where=source), path.parent


def emit(as_json: bool, value: Any, text: Callable[[], None]) -> None:
    """Print ``value`` as JSON, or call ``text`` to print it for people."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        text()


def load_signer(path: Path | None) -> PrivateKey | None:
    """The private key at ``path``; its passphrase comes from the environment or is asked for."""
    if path is None:
        return None
    from weighbridge.trust import load_private

    may_ask = sys.stdin.isatty() and PASSPHRASE_VARIABLE not in os.environ
    return load_private(path, (lambda: _ask(path)) if may_ask else None)


def _ask(path: Path) -> str:
    answer: str = click.prompt(f"passphrase of {path}", hide_input=True, err=True)
    return answer


def open_checkpoint(path: Path, folder: Path, progress: Callable[[int, int], None] | None) -> Checkpoint:
    """The checkpoint at ``path``; a GGUF file is converted into ``folder`` first. Hashes are remembered there."""
    from weighbridge.checkpoint import open_checkpoint as opened

    return opened(path, cache=folder / "hashes.json", convert_to=folder / "checkpoint", progress=progress)


def deciders(trust_file: Path | None, signer: PrivateKey | None) -> Trust:
    """Whose imports count: the trust file's deciders, else the key that signs the decision, else nobody."""
    from weighbridge.trust import Trust, load_trust

    if trust_file is not None:
        return load_trust(trust_file)
    return Trust.nobody() if signer is None else Trust.from_public_key(signer.public, ["decider"])


def new_passphrase() -> str:
    """A passphrase for a new key: from the environment, or asked for twice."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    answer: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def scratch(path: Path) -> Path:
    """Where hashes are remembered and GGUF files are converted when no weighing's folder is given."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "weighbridge" / name

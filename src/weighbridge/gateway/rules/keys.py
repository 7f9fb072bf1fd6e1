"""API keys: ``wb_<id>_<secret>``. Shown once; only a keyed hash is kept, so a stolen ledger opens nothing.

The key of the hash (32 random bytes) lies in a file that only its owner may read, shared by all gateways of a ledger.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.rules.terms import Presented

_TOKEN = re.compile(r"wb_([a-z0-9]{12})_([a-z2-7]{52})")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Secret:
    """The key of all keyed hashes. Its text form shows nothing."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise InputError("the secret of a gateway has 32 bytes", where="secret")
        self._key = key

    def __repr__(self) -> str:
        return "Secret(...)"

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, that say nothing about those for another."""
        return hmac.digest(self._key, b"weighbridge derive " + purpose.encode(), "sha256")

    def key_digest(self, key_id: str, secret: str) -> bytes:
        """What the ledger keeps of an API key."""
        return hmac.digest(self._key, f"weighbridge key {key_id} {secret}".encode(), "sha256")

    def present(self, token: str) -> Presented | None:
        """What a request's bearer token says, or None if it has not the form of a key. Proves nothing by itself."""
        found = _TOKEN.fullmatch(token)
        return Presented(found[1], self.key_digest(found[1], found[2])) if found else None


def mint(secret: Secret) -> tuple[str, Presented]:
    """A new API key: the text to show once, and what is kept of it."""
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(12))
    text = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    return f"wb_{key_id}_{text}", Presented(key_id, secret.key_digest(key_id, text))


def load_secret(path: Path, *, create: bool = False) -> Secret:
    """The secret in ``path`` (64 hexadecimal digits). With ``create``, made there if nothing is there yet.

    Raises ``StorageError`` if it cannot be read, ``InputError`` if others may read it or it is not a secret.
    """
    if create and not path.exists():
        _write_secret(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor) as file:
            status = os.fstat(file.fileno())
            text = file.read(128)
    except (OSError, UnicodeDecodeError) as cause:
        raise StorageError(f"cannot read the secret: {cause}", where=str(path)) from cause
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0):
        raise InputError("others may read the secret of the gateway", where=str(path), remedy=f"chmod 600 {path}")
    if not re.fullmatch(r"[0-9a-f]{64}\n?", text):
        raise InputError("is not the secret of a gateway", where=str(path), remedy="64 hexadecimal digits, one line")
    return Secret(bytes.fromhex(text.strip()))


def _write_secret(path: Path) -> None:
    """Write beside it, then link: two processes that start at once end with one and the same secret."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if not path.exists():
                os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    except OSError as cause:
        raise StorageError(f"cannot write the secret: {cause}", where=str(path)) from cause

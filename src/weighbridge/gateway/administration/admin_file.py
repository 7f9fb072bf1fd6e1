"""Where a running gateway can be administered: a file with the address and the token, locked for as long as it runs.

The lock tells a living gateway from one that was killed: whoever cannot take it may believe the file, and nobody else
can have the address meanwhile. Only the gateway's user may read the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from weighbridge import errors
from weighbridge.errors import InputError, StorageError, WeighbridgeError
from weighbridge.gateway.administration.acts import ACTIONS
from weighbridge.gateway.ledger.upkeep import is_postgres

PATIENCE = 60.0  # seconds for an answer
MAX_BYTES = 64 * 1024 * 1024
_KINDS: dict[str, type[WeighbridgeError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, WeighbridgeError)
}


def mark(ledger: str) -> str:
    """What stands for a ledger in the file: a URL may hold a password."""
    place = ledger if is_postgres(ledger) else str(Path(ledger).resolve())
    return "sha256:" + hashlib.sha256(place.encode()).hexdigest()


class AdminFile:
    """Written by the gateway once its admin listener listens. ``remove`` it when that ends."""

    def __init__(self, path: Path, *, address: str, token: str, ledger: str) -> None:
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        content = {"address": address, "token": token, "ledger": mark(ledger), "pid": os.getpid()}
        self._path = path
        try:
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                os.write(self._descriptor, json.dumps(content).encode() + b"\n")
                beside.rename(path)
            except BaseException:
                beside.unlink(missing_ok=True)
                os.close(self._descriptor)
                raise
        except OSError as cause:
            raise StorageError(f"cannot write the admin file: {cause.strerror}", where=str(path)) from cause

    def remove(self) -> None:
        """Take the file away, unless another gateway has put its own there."""
        try:
            if os.path.samestat(os.fstat(self._descriptor), self._path.stat(follow_symlinks=False)):
                self._path.unlink()
        except OSError:
            pass  # gone already, or its folder is: without its lock it says nothing
        finally:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Office:
    """The admin listener of a gateway that runs. ``ledger`` is the mark of the ledger that it uses."""

    address: str
    token: str
    ledger: str

    def __repr__(self) -> str:
        return f"Office({self.address})"

    def act(self, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Have an action of the office done there."""
        _, method, template = ACTIONS[action]
        named = {name: quote(str(value), safe="") for name, value in fields.items() if f"{{{name}}}" in template}
        path, rest = template.format(**named), {name: fields[name] for name in fields if name not in named}
        if method == "GET":
            return self.ask(method, f"{path}?{urlencode(rest)}" if rest else path)
        return self.ask(method, path, rest)

    def ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the admin listener. Raises what it reports, ``StorageError`` if it does not answer."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Host": self.address}
            body = None if fields is None else json.dumps(fields)
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            answer = msgspec.json.decode(reply.read(MAX_BYTES), type=dict[str, Any])
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as cause:
            raise StorageError(
                f"the gateway does not answer: {cause}",
                where=f"admin listener {self.address}",
                remedy="see with the same command again whether it was done",
            ) from cause
        finally:
            connection.close()
        if reply.status >= 400:
            error = answer.get("error", {})
            kind = _KINDS.get(str(error.get("kind")), StorageError)
            raise kind(str(error.get("message")), where=error.get("where"), remedy=error.get("remedy"))
        return answer


def find(path: Path) -> Office | None:
    """The gateway that ``path`` leads to; None if there is no file or its gateway has ended.

    Raises ``InputError`` for a file that others could have written or read, ``StorageError`` if it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise StorageError(f"cannot read the admin file: {cause.strerror}", where=str(path)) from cause
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        own = os.geteuid() == 0 or status.st_uid in (0, os.geteuid())
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or not own:
            raise InputError("others could have written or read the admin file", where=str(path), remedy="remove it")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            content = json.loads(file.read(4096))
            return Office(content["address"], content["token"], content["ledger"])
    return None

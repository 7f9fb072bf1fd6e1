"""The admin listener: keys, projects and corrections, and how the gateway does. Raw ASGI, on a loopback address only.

Everything under ``/keys``, ``/projects``, ``/ledger`` and ``/signals`` wants the token of the admin file. ``/metrics``,
``/healthz`` and ``/readyz`` want none, since those who scrape and probe cannot read that file: they name models and
files, and hold no key, project, secret or text. Every request must name the listener's own address as its host, so
that no page in a browser reaches it by a name of its own.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from weighbridge.errors import InputError, WeighbridgeError
from weighbridge.gateway.administration import acts
from weighbridge.gateway.administration.acts import Json, Office
from weighbridge.gateway.ledger.database import LedgerGone, Transaction
from weighbridge.gateway.watch.observe import CONTENT_TYPE

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 64 * 1024
JSON = b"application/json"
ENDS_STREAMS = ("revoke_key", "rotate_key")

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """The ledger, as the admin listener uses it."""

    async def call(self, function: Callable[[Transaction], T]) -> T: ...
    async def read(self, function: Callable[[Transaction], T]) -> T: ...


class Watched(Protocol):
    """The gateway, as far as it can be looked at."""

    def readiness(self) -> tuple[bool, Json]:
        """Whether anything is served, and why not; as ``/readyz`` says it."""

    def signals(self) -> Json: ...

    def metrics(self) -> bytes: ...

    async def end_keys(self) -> None:
        """End what is in flight for keys that have ended."""


class _Fault(Exception):
    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, list(headers)


class Admin:
    """``address``: the host and port that it listens on, as a client would write them."""

    def __init__(self, office: Office, ledger: Ledger, watched: Watched, *, token: str, address: str) -> None:
        port = address.rpartition(":")[2]
        self._hosts = {address.encode(), f"localhost:{port}".encode()}
        self._token = f"Bearer {token}".encode()
        self._office, self._ledger, self._watched = office, ledger, watched

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = []
        kind = JSON
        try:
            status, kind, body = await self._answer(scope, receive)
        except _Fault as fault:
            status, headers = fault.status, fault.headers
            body = _encode({"error": {"kind": "InputError", "message": fault.message}})
        except WeighbridgeError as error:
            status = 400 if isinstance(error, InputError) else 503 if isinstance(error, LedgerGone) else 500
            told = {"kind": _kind(error), "message": error.message, "where": error.where, "remedy": error.remedy}
            body = _encode({"error": told})
        except Exception:
            log.exception("a fault of the admin listener")
            status, body = 500, _encode({"error": {"kind": "WeighbridgeError", "message": "the gateway failed"}})
        headers += [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, bytes, bytes]:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise _Fault(421, "this listener is not what the request's Host names")
        method, path = scope["method"], scope["raw_path"].decode("latin-1").partition("?")[0]
        if path in ("/healthz", "/readyz", "/metrics"):
            if method not in ("GET", "HEAD"):
                raise _Fault(405, "only GET is answered here", (b"allow", b"GET, HEAD"))
            return self._seen(path)
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._token):
            raise _Fault(401, "the token of the admin file is needed", (b"www-authenticate", b"Bearer"))
        if path == "/signals" and method == "GET":
            return 200, JSON, _encode(self._watched.signals())
        action, fields = _routed(method, path)
        if method == "GET":
            fields = {**dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)), **fields}
        else:
            fields = {**await _body(receive), **fields}
        return 200, JSON, _encode(await self._act(action, fields))

    def _seen(self, path: str) -> tuple[int, bytes, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._watched.metrics()
        if path == "/healthz":
            return 200, JSON, b'{"alive":true}'
        ready, state = self._watched.readiness()
        return 200 if ready else 503, JSON, _encode({"ready": ready, **state})

    async def _act(self, action: str, fields: Json) -> Json:
        asked = acts.parse(action, fields)
        if not asked.writes:
            return await self._ledger.read(lambda transaction: self._office.ask(transaction, asked))
        result = await self._ledger.call(lambda transaction: self._office.ask(transaction, asked))
        subject = result.get("id") or result.get("name") or result.get("request")
        log.info("admin", extra={"action": action, "subject": subject})
        if action in ENDS_STREAMS:
            await self._watched.end_keys()
        return result


def _routed(method: str, path: str) -> tuple[str, Json]:
    """The action, and what of its fields the path says."""
    parts = [unquote(part) for part in path.split("/")]
    for action, (_, verb, template) in acts.ACTIONS.items():
        wanted = template.split("/")
        if method == verb and len(parts) == len(wanted):
            pairs = list(zip(wanted, parts, strict=True))
            if all(want == part or want.startswith("{") for want, part in pairs):
                return action, {want[1:-1]: part for want, part in pairs if want.startswith("{")}
    raise _Fault(404, f"there is no {method} {path[:100]}")


async def _body(receive: Receive) -> Json:
    """The fields that a body gives; no body gives none."""
    data = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Fault(400, "the request broke off")
        data += message.get("body", b"")
        more = message.get("more_body", False)
        if len(data) > MAX_BODY:
            raise _Fault(413, f"a body may be {MAX_BODY} bytes long", (b"connection", b"close"))
    if not data:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise _Fault(400, f"the body is no JSON object: {cause}") from cause


def _kind(error: WeighbridgeError) -> str:
    """The nearest class of the public tree of errors."""
    return next(one.__name__ for one in type(error).__mro__ if one.__module__ == WeighbridgeError.__module__)


_encode = msgspec.json.Encoder(order="deterministic").encode

"""The way to an engine: a pool of kept connections to a unix socket or a URL. A request is sent once, never again.

A connection that broke before the first byte of its answer is reported as such: whether the engine worked on the
request is then not known, and only the client may decide to ask again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

from weighbridge.errors import EngineError, InputError
from weighbridge.gateway.backend.wire import Connection, Died

__all__ = ["Died", "Timeouts", "Unreachable", "Upstream"]

KEPT_SECONDS = 2.0  # shorter than the patience of every engine, so that a kept connection is not closed under a request
KEPT_CONNECTIONS = 256


class Unreachable(EngineError):
    """No connection could be made: the engine has not seen the request."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``first_byte``: from dispatch to an answer's headers, or to a stream's first byte; ``idle``: between two
    pieces of an answer, and for a client that does not take what it is sent; ``total``: from dispatch to the end."""

    connect: float = 5.0
    first_byte: float = 300.0
    idle: float = 60.0
    total: float = 900.0


class Upstream:
    """``address``: ``unix:/path/to/socket``, or the URL under which ``/v1`` lies (``http://127.0.0.1:8000``).

    ``authorization`` is sent as that header, for engines that want a key of their own.
    """

    def __init__(self, address: str, *, timeouts: Timeouts | None = None, authorization: str | None = None) -> None:
        self.timeouts = timeouts or Timeouts()
        self._kept: deque[Connection] = deque()
        self._socket: str | None = None
        self._tls: ssl.SSLContext | None = None
        prefix = ""
        if address.startswith("unix:"):
            self._socket, host = address.removeprefix("unix:"), "localhost"
        else:
            url = urlsplit(address)
            if url.scheme not in ("http", "https") or not url.hostname or url.query or url.username:
                raise InputError(
                    f"{address!r} is no address of an engine", remedy="give http://HOST:PORT or unix:/path/to/socket"
                )
            self._host, host, prefix = url.hostname, url.netloc, url.path.rstrip("/").removesuffix("/v1")
            self._port = url.port or (443 if url.scheme == "https" else 80)
            self._tls = ssl.create_default_context() if url.scheme == "https" else None
        extra = f"authorization: {authorization}\r\n" if authorization else ""
        if not (host + prefix + (authorization or "")).isprintable():
            raise InputError("the address or the key of an engine has unprintable characters")
        self._prefix = f"POST {prefix}".encode()
        self._headers = (
            f" HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\ncontent-type: application/json\r\n{extra}"
            "content-length: "
        ).encode()

    async def connect(self) -> Connection:
        """A kept connection, or a new one.

        Raises:
            Unreachable: nobody answers there, or not within ``timeouts.connect``.
        """
        loop = asyncio.get_running_loop()
        while self._kept:
            connection = self._kept.pop()
            if not connection.closed and loop.time() - connection.idle_since < KEPT_SECONDS:
                return connection
            connection.close()
        try:
            async with asyncio.timeout(self.timeouts.connect):
                if self._socket is not None:
                    _, connection = await loop.create_unix_connection(Connection, self._socket)
                else:
                    _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"the engine cannot be reached: {error or 'no answer in time'}") from error
        return connection

    def dispatch(self, connection: Connection, path: str, body: bytes) -> None:
        """Send the one request, ``POST path``."""
        connection.send(b"%b%b%b%d\r\n\r\n%b" % (self._prefix, path.encode("ascii"), self._headers, len(body), body))

    def release(self, connection: Connection) -> None:
        """Take a connection back: kept if its answer was read to the end, else closed, which tells the engine."""
        if connection.reusable and len(self._kept) < KEPT_CONNECTIONS:
            connection.idle_since = asyncio.get_running_loop().time()
            self._kept.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().close()

"""uvicorn's HTTP/1.1 protocol with the deadlines and bounds that it lacks, and errors in OpenAI's form.

A request's headers must be whole within ``HEADERS`` seconds of its first byte and its body within ``BODY`` more; a
deadline is armed only where one piece of data did not hold the whole request, so that most requests pay nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from weighbridge.gateway.api.answers import WHOLE, Headers, error_body, error_headers
from weighbridge.gateway.api.exchange import Message
from weighbridge.gateway.api.refusals import INVALID
from weighbridge.gateway.rules.terms import Refused

HEADERS, BODY = 10.0, 60.0  # seconds
MAX_HEADER_BYTES, MAX_HEADERS = 64 * 1024, 100

MALFORMED = Refused(400, INVALID, "invalid_http", "This is not HTTP/1.1.", should_retry=False)
NO_UPGRADE = Refused(
    400, INVALID, "invalid_http", "Only HTTP/1.1 is spoken here: send no Upgrade header.", should_retry=False
)
TOO_LARGE = Refused(431, INVALID, "headers_too_large", "The headers are too large.", should_retry=False)
TOO_SLOW = Refused(408, INVALID, "request_timeout", "The request did not come in time.")


class _Corked:
    """A transport that writes at the end of the loop's turn: a head and its body leave in one system call."""

    __slots__ = ("_loop", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def push(self, data: bytes) -> None:
        """Write what is in one piece already."""
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """Given to uvicorn as ``http=``."""

    _deadline: asyncio.TimerHandle | None = None
    _refusal: Refused | None = None
    _in_headers = False
    _in_body = False
    _size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Corked(transport, self.loop)))
        self._arm(HEADERS)  # a connection that says nothing at all

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        began_in = (self._in_headers, self._in_body)
        super().data_received(data)
        if self.transport.is_closing():
            self._disarm()
        elif not (self._in_headers or self._in_body):
            if self.cycle is not None:  # else a blank line, say: the first request is still to come
                self._disarm()
        elif began_in != (self._in_headers, self._in_body):
            self._disarm()
            self._arm(HEADERS if self._in_headers else BODY)

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._size += len(url)
        if self._size > MAX_HEADER_BYTES:
            self._refuse(TOO_LARGE)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > MAX_HEADER_BYTES or len(self.headers) >= MAX_HEADERS:
            self._refuse(TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # the parser would take what follows for another protocol, and drop a body
            self._refuse(NO_UPGRADE)
        self._in_headers, self._in_body = False, True
        self.scope["extensions"] = {WHOLE: self.whole}  # type: ignore[dict-item]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def whole(self, scope: Message, status: int, headers: Headers, body: bytes) -> bool:
        """Answer ``scope`` with a whole body at once, as two messages would; False where it must be left to them.

        uvicorn searches each header for what may not be in it, which takes as long as all else that it does with an
        answer; these were all written here, and none of them is ``connection``.
        """
        cycle = self.cycle
        if (
            cycle.scope is not scope  # pipelined: the cycle is that of a later request
            or cycle.disconnected
            or not cycle.keep_alive
            or scope["method"] == "HEAD"
            or self.flow.write_paused
        ):
            return False
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"content-length: %d\r\n\r\n" % len(body), body)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self.transport.push(b"".join(lines))  # type: ignore[attr-defined]  # a ``_Corked``
        cycle.on_response()
        return True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        self._answer(self._refusal or MALFORMED)

    def _refuse(self, refused: Refused) -> None:
        self._refusal = refused
        raise ValueError(refused.message)  # the parser stops, and uvicorn answers through send_400_response

    def _arm(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expired(self) -> None:
        self._refusal = TOO_SLOW
        self._answer(TOO_SLOW)

    def _answer(self, refused: Refused) -> None:
        """An answer of the protocol's own, unless one is on its way already; then the connection ends."""
        cycle: Any = self.cycle
        waiting = cycle is not None and not cycle.response_complete
        if not (waiting and cycle.response_started):
            body = error_body(refused)
            lines = [STATUS_LINE[refused.status], b"content-type: application/json\r\n"]
            lines += [name + b": " + value + b"\r\n" for name, value in error_headers(refused)]
            lines += [b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body), body]
            self.transport.write(b"".join(lines))
        if waiting:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

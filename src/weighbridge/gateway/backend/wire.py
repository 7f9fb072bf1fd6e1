"""One HTTP/1.1 connection to an engine: a request out, a response in, by httptools. It never sends anything twice.

Own code, since a general client cost more than the whole rest of the gateway (docs/benchmarks.md).
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from weighbridge.errors import EngineError

MAX_HEADERS = 64 * 1024
HIGH, LOW = 1024 * 1024, 256 * 1024  # bytes received and not yet taken: reading pauses and resumes here


class Died(EngineError):
    """The connection ended, or what came through it was not HTTP, before the response was complete."""


class Connection(asyncio.Protocol):
    """``send``, then ``head``, then ``chunk`` until it returns b"". Reusable while ``reusable`` says so."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.idle_since = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)  # one answer after the other; one that failed is not reusable
        self._reset()
        self.complete = True  # nothing asked yet: whatever comes is unasked for

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.headed = False
        self.complete = False
        self.keep_alive = True
        self._header_bytes = 0
        self._chunks: list[bytes] = []
        self._held = 0
        self._paused = False
        self._error: str | None = None

    # What the owner calls
    def send(self, payload: bytes) -> None:
        """Write one whole request."""
        if self.closed or self.transport is None:
            raise Died("the connection to the engine is closed")
        self._reset()
        self.transport.write(payload)

    async def head(self) -> int:
        """The status, once all headers are here."""
        while not self.headed:
            await self._wait()
        return self.status

    async def chunk(self) -> bytes:
        """What has arrived of the body and was not taken yet; b"" at its end."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def whole(self, limit: int) -> bytes:
        """The body up to its end.

        Raises:
            Died: it is longer than ``limit`` bytes, or ends early.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.chunk():
            size += len(part)
            if size > limit:
                raise Died(f"the engine's answer is longer than {limit} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def reusable(self) -> bool:
        return self.complete and self.keep_alive and not self.closed and self._error is None and not self._chunks

    def close(self) -> None:
        """End it at once: what is still on its way is dropped, and the engine sees the client leave."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    async def _wait(self) -> None:
        if self._error is not None:
            raise Died(self._error)
        if self.closed:
            raise Died("the connection to the engine ended before its answer was complete")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        if self.complete:  # an answer that nobody asked for: this connection can no longer be trusted
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._error = self._error or "what the engine sent is not HTTP/1.1"
            self.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        unbounded = b"content-length" not in self.headers and b"transfer-encoding" not in self.headers
        if exc is None and self.headed and not self.complete and unbounded:
            self.complete = True  # a body without a length ends with its connection
        self._wake()

    # The parser's side
    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADERS:
            raise ValueError("headers too long")
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self.headed = True
            self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._held += len(body)
        if self._held > HIGH and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if not self.headed:  # 100 Continue and its like: the answer is still to come
            self.headers.clear()
        else:
            self.complete = True

"""An admitted request with its engine: one dispatch, the answer metered and rewritten, its end sealed.

    what happened after the intent was committed                        outcome, and what is billed
    the answer came to its end, with usage                              completed, as reported
    the engine could not be reached, or answered with an error          upstream_error, as reported or 0
    it died, hung or sent nonsense, usage having been reported          upstream_error, the last report
    the client left, usage having been reported                         client_gone, the last report
    its key or model ended, or the gateway, usage having been reported  interrupted, the last report
    the same before it was dispatched                                   interrupted, 0
    any of these without a report                                       unknown

The seal is committed before the last bytes leave. A client that left is drained for, unless the engine reports its
usage in every chunk: then the engine is stopped at the next report.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from weighbridge.gateway.api.answers import (
    EVENT_STREAM,
    JSON,
    Headers,
    Malformed,
    Rendering,
    decode,
    error_body,
    error_headers,
    upstream_refusal,
)
from weighbridge.gateway.api.metering import Meter
from weighbridge.gateway.api.models import Model
from weighbridge.gateway.api.refusals import unavailable, upstream_failed
from weighbridge.gateway.api.sse import DONE, Events, EventTooLong
from weighbridge.gateway.backend.upstream import Died, Unreachable
from weighbridge.gateway.backend.wire import Connection
from weighbridge.gateway.rules.idempotency import LARGEST_COPY
from weighbridge.gateway.rules.terms import Admitted, Outcome, Refused, Retained, Seal, Sealed

MAX_ANSWER = 32 * 1024 * 1024

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Seals(Protocol):
    """The ledger, as far as it is needed once a request is admitted."""

    async def seal(self, seal: Seal) -> Sealed | None: ...


class Reply(Struct, frozen=True):
    """A whole answer to the client. ``code`` names the error that it is, if it is one."""

    status: int
    headers: Headers
    body: bytes
    code: str | None = None


class _Interrupted(Exception):
    pass


class _ClientLeft(Exception):
    pass


class _EngineSaid(Exception):
    """An error of the engine in the midst of its stream."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("the engine reported an error")
        self.payload = payload


class _Watch:
    """Ends a wait when no ``step`` came for ``patience`` seconds, or all time is over.

    A step costs an assignment, not a timer: the one timer looks when the time would be over, and goes on if it is not.
    """

    __slots__ = ("_due", "_ends", "_loop", "_patience", "_timeout", "_timer")

    def __init__(self, timeout: asyncio.Timeout, ends: float, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout, self._ends, self._patience = timeout, ends, patience

    def __enter__(self) -> _Watch:
        self.step()
        self._timer = self._loop.call_at(self._due, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def patience(self, seconds: float) -> None:
        """From now on, so many seconds."""
        self._patience = seconds
        self._timer.cancel()
        self.step()
        self._timer = self._loop.call_at(self._due, self._look)

    def step(self) -> None:
        self._due = min(self._loop.time() + self._patience, self._ends)

    def _look(self) -> None:
        if self._loop.time() >= self._due:
            self._timeout.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_at(self._due, self._look)


class Exchange:
    """``answer`` or ``stream``, once. ``interrupt`` ends it from outside, within moments."""

    def __init__(
        self,
        admitted: Admitted,
        model: Model,
        payload: bytes,
        *,
        path: str,
        rendering: Rendering,
        content: str,
        seals: Seals,
        clock: Callable[[], int],
        retain: bool,
        taken: Callable[[], None],
    ) -> None:
        self.admitted = admitted
        self._payload = payload
        self._taken = taken  # called when the engine has the payload, and it need no longer be held
        self.model = model
        self.meter = Meter()
        self.outcome: Outcome | None = None
        self.sealed: Sealed | None = None
        self.first_byte: float | None = None
        self.code: str | None = None
        self._path = path
        self._rendering = rendering
        self._content = content  # the field without which an answer is none
        self._seals = seals
        self._clock = clock
        self._kept: bytearray | None = bytearray() if retain else None
        self._gone = False
        self._interrupted: Refused | None = None
        self._waiting: asyncio.Timeout | None = None
        self._ends = self._dispatched = 0.0
        self._sending = False
        self._done = False

    def interrupt(self, why: Refused) -> None:
        """End it: the key was revoked, or the model may no longer be served. The client is told ``why``."""
        self._interrupted = why
        if self._waiting is not None:
            with contextlib.suppress(RuntimeError):  # it just ended by itself
                self._waiting.reschedule(asyncio.get_running_loop().time())

    async def abandon(self) -> None:
        """Seal what broke off by a fault of the gateway itself: nothing is known of it."""
        if self.outcome is None:
            await self._seal(Outcome.UNKNOWN, None)

    async def answer(self) -> Reply:
        """The whole answer, sealed and ready to be sent."""
        upstream = self.model.upstream
        connection: Connection | None = None
        try:
            connection = await self._dispatch()
            status, body = await self._within(upstream.timeouts.total, self._received(connection))
            if status != 200:
                return await self._refused_by_engine(status, body)
            fields = decode(body)
            self.meter.see(fields)
            if self._content not in fields:
                raise Malformed("the engine's answer holds no " + self._content)
            reply = Reply(200, [JSON], self._rendering.answer(fields))
        except (Unreachable, Died, Malformed, TimeoutError, _Interrupted) as error:
            return await self._failed(error)
        finally:
            if connection is not None:
                upstream.release(connection)
        await self._seal(self._ended_well(), reply)
        return reply

    async def stream(self, receive: Receive, send: Send, headers: Headers) -> Reply | None:
        """Send the stream, or return what is to be sent where it did not even begin."""
        upstream = self.model.upstream
        connection: Connection | None = None
        failure: Exception | None = None
        watching: asyncio.Task[None] | None = None
        try:
            try:
                connection = await self._dispatch()
                status = await self._within(upstream.timeouts.first_byte, connection.head())
                self._engine_has_it()
                if status != 200:
                    body = await self._within(upstream.timeouts.idle, connection.whole(MAX_ANSWER))
                    return await self._refused_by_engine(status, body)
                if not connection.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                    raise Malformed("the engine did not stream")
            except (Unreachable, Died, Malformed, TimeoutError, _Interrupted) as error:
                return await self._failed(error)
            await send({"type": "http.response.start", "status": 200, "headers": [*headers, *EVENT_STREAM]})
            watching = asyncio.get_running_loop().create_task(self._watch(receive))
            try:
                await self._pump(connection, send)
            except (Died, Malformed, EventTooLong, TimeoutError, _Interrupted, _ClientLeft, _EngineSaid) as error:
                failure = error
            await self._end(failure, send)
            return None
        finally:
            if watching is not None:
                watching.cancel()
            if connection is not None:
                upstream.release(connection)

    # The engine's side
    async def _dispatch(self) -> Connection:
        upstream = self.model.upstream
        if self._interrupted is not None:
            raise _Interrupted
        connection = await upstream.connect()
        if self._interrupted is not None:
            upstream.release(connection)
            raise _Interrupted
        try:
            upstream.dispatch(connection, self._path, self._payload)
        except Died as error:  # it closed before a byte was written
            raise Unreachable(error.message) from error
        self._dispatched = asyncio.get_running_loop().time()
        self._ends = self._dispatched + upstream.timeouts.total
        return connection

    async def _received(self, connection: Connection) -> tuple[int, bytes]:
        status = await connection.head()
        self._engine_has_it()
        self._first_byte_came()
        return status, await connection.whole(MAX_ANSWER)

    async def _within(self, patience: float, awaited: Awaitable[T]) -> T:
        """``awaited``, for so many seconds, never past the end of all patience, and not once interrupted."""
        when = min(asyncio.get_running_loop().time() + patience, self._ends)
        try:
            async with asyncio.timeout_at(when) as self._waiting:
                if self._interrupted is not None:
                    self._waiting.reschedule(0)
                return await awaited
        except TimeoutError:
            if self._interrupted is not None:
                raise _Interrupted from None
            raise

    def _first_byte_came(self) -> None:
        self.first_byte = round(asyncio.get_running_loop().time() - self._dispatched, 6)

    def _engine_has_it(self) -> None:
        self._payload = b""
        self._taken()

    async def _pump(self, connection: Connection, send: Send) -> None:
        """Frames to the client, one by one as they come, up to the end of a good stream."""
        events = Events()
        while not self._done:
            try:
                async with asyncio.timeout(None) as self._waiting:
                    with _Watch(self._waiting, self._ends, self._patience()) as watch:
                        if self._interrupted is not None:
                            raise _Interrupted
                        await self._frames(connection, events, send, watch)
            except TimeoutError:
                if self._interrupted is not None:
                    raise _Interrupted from None
                if not self._sending:
                    raise
                self._sending = False
                self._gone = True  # it takes nothing any more: as good as gone

    def _patience(self) -> float:
        timeouts = self.model.upstream.timeouts
        return timeouts.first_byte if self.first_byte is None else timeouts.idle

    async def _frames(self, connection: Connection, events: Events, send: Send, watch: _Watch) -> None:
        final = False
        while not self._done:
            watch.step()
            data = await connection.chunk()
            if self.first_byte is None:  # the headers of a stream come before the engine has begun to read the prompt
                self._first_byte_came()
                watch.patience(self._patience())
            if not data:
                if final and not events.unfinished:
                    self._done = True  # an engine that forgets to say so
                    return
                raise Died("the engine's stream ended early")
            frames: list[bytes] = []
            try:
                for payload in events.feed(data):
                    if payload == DONE:
                        self._done = True
                        break
                    fields = decode(payload)
                    if "error" in fields:
                        raise _EngineSaid(payload)
                    self.meter.see(fields)
                    final = "usage" in fields and bytes(fields.get("choices", b"")) == b"[]"
                    frames.append(self._rendering.frame(fields))
            finally:
                if given := b"".join(frames):
                    self._keep(given)
                    if not self._gone:
                        self._sending = True
                        await send({"type": "http.response.body", "body": given, "more_body": True})
                        self._sending = False
            if self._gone and self.model.cumulative_usage is not None and self.meter.usage is not None:
                raise _ClientLeft

    # The client's side
    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True

    async def _end(self, failure: Exception | None, send: Send) -> None:
        """Seal a stream, then send its last bytes."""
        if failure is None:
            tail = self._rendering.end(self.meter)
            self._keep(tail)
            kept = self._kept
            headers = [EVENT_STREAM[0]]
            await self._seal(self._ended_well(), Reply(200, headers, bytes(kept)) if kept is not None else None)
        elif isinstance(failure, _ClientLeft):
            tail = b""
            await self._seal(Outcome.CLIENT_GONE, None)
        else:
            refused = self._explained(failure)
            tail = self._rendering.failed(refused, self.meter)
            self.code = refused.code
            await self._seal(self._broken(failure), None)
        if not self._gone:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.model.upstream.timeouts.idle):
                    await send({"type": "http.response.body", "body": tail, "more_body": False})

    def _keep(self, data: bytes) -> None:
        if self._kept is not None:
            if len(self._kept) + len(data) > LARGEST_COPY:
                self._kept = None
            else:
                self._kept += data

    # The end
    def _ended_well(self) -> Outcome:
        if self.meter.usage is None:
            return Outcome.UNKNOWN
        return Outcome.CLIENT_GONE if self._gone else Outcome.COMPLETED

    async def _refused_by_engine(self, status: int, body: bytes) -> Reply:
        """The engine answered with an error: billed what it reports, usually nothing."""
        with contextlib.suppress(Malformed):
            self.meter.see(decode(body))
        reply = self._told(upstream_refusal(status, body))
        await self._seal(Outcome.UPSTREAM_ERROR, reply)
        return reply

    async def _failed(self, error: Exception) -> Reply:
        """The engine gave no answer that could be sent on."""
        reply = self._told(self._explained(error))
        await self._seal(self._broken(error), reply)
        return reply

    def _broken(self, error: Exception) -> Outcome:
        """The outcome of what did not come to its end. Without a report it is known only if nothing was dispatched."""
        if self._ends != 0.0 and self.meter.usage is None:
            return Outcome.UNKNOWN
        if isinstance(error, _Interrupted):
            return Outcome.INTERRUPTED
        return Outcome.CLIENT_GONE if self._gone else Outcome.UPSTREAM_ERROR

    def _told(self, refused: Refused) -> Reply:
        self.code = refused.code
        return Reply(refused.status, [JSON, *error_headers(refused)], error_body(refused), refused.code)

    def _explained(self, error: Exception) -> Refused:
        match error:
            case _Interrupted() if self._interrupted is not None:
                return self._interrupted
            case Unreachable():
                wait = self.model.retry_after
                return unavailable("The engine is not there.", code="engine_unavailable", retry_after=wait).refused
            case TimeoutError():
                return upstream_failed(
                    "The engine did not answer in time.", status=504, code="upstream_timeout"
                ).refused
            case _EngineSaid(payload=payload):
                return upstream_refusal(500, payload)
            case Died():
                return upstream_failed("The engine broke off.", code="upstream_broke_off").refused
            case _:
                return upstream_failed("The engine's answer was malformed.", code="upstream_malformed").refused

    async def _seal(self, outcome: Outcome, reply: Reply | None) -> None:
        retained = None
        dispatched = self._ends != 0.0
        known = outcome is not Outcome.UNKNOWN
        if known and dispatched and self._kept is not None and reply is not None and len(reply.body) <= LARGEST_COPY:
            retained = Retained(reply.status, reply.headers[0][1].decode("ascii"), reply.body)
        self.outcome = outcome
        usage = self.meter.usage if known else None
        seal = Seal(self.admitted.intent, outcome, usage, self._clock(), retained, dispatched)
        self.sealed = await self._seals.seal(seal)

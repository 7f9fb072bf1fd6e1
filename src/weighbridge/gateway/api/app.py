"""The data plane: the one door to the models. Raw ASGI, since it stands between a client and every token.

1. key -> 2. body -> 3. checked request -> 4. model, a place in it -> 5. intent committed -> 6.-8. ``exchange``
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from weighbridge.gateway.api.answers import JSON, WHOLE, Headers, error_body, error_headers, rate_headers
from weighbridge.gateway.api.exchange import Exchange, Message, Receive, Reply, Seals, Send
from weighbridge.gateway.api.models import Model
from weighbridge.gateway.api.observing import Finished, Nobody, Observer
from weighbridge.gateway.api.refusals import INVALID, Rejected, invalid, unavailable
from weighbridge.gateway.api.requests import Request
from weighbridge.gateway.api.routes import ROUTES, Route
from weighbridge.gateway.ledger.database import LedgerGone
from weighbridge.gateway.ledger.refusals import no_model
from weighbridge.gateway.rules.terms import Admitted, Ask, Idempotency, Presented, Refused, Replay

Visible = Callable[[Presented, int], Awaitable[frozenset[str] | Refused | None]]

MODELS = "/v1/models"
BUSY_RETRY = 1000  # milliseconds
MAX_IDEMPOTENCY_KEY = 255
READ = frozenset((b"authorization", b"content-encoding", b"content-length", b"idempotency-key"))

log = logging.getLogger(__name__)


class Door(Seals, Protocol):
    """The ledger, as the data plane uses it. ``admit`` raises ``LedgerGone`` where nothing can be committed."""

    async def admit(self, ask: Ask) -> Admitted | Refused | Replay: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes of request bodies: of each, and of all that are held at one time. Above ``anonymous`` bytes, a body is
    read only for a key that the ledger knows."""

    body: int = 10 * 1024 * 1024
    buffered: int = 32 * 1024 * 1024
    anonymous: int = 64 * 1024


class DataPlane:
    """``present`` makes of a bearer token the key that it claims to be, None where it cannot be one. ``visible`` says
    which models that key may use (None: all), or why it may use nothing."""

    def __init__(
        self,
        models: Mapping[str, Model],
        ledger: Door,
        present: Callable[[str], Presented | None],
        visible: Visible,
        *,
        clock: Callable[[], int],
        observer: Observer | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.models = models
        self.live: dict[str, Exchange] = {}
        self._ledger = ledger
        self._present = present
        self._visible = visible
        self._clock = clock
        self._observer = observer or Nobody()
        self._bounds = bounds or Bounds()
        self._buffered = 0

    def interrupt(self, which: Callable[[Exchange], bool], why: Refused) -> int:
        """End the exchanges in flight for which ``which`` holds; their number."""
        ended = [exchange for exchange in self.live.values() if which(exchange)]
        for exchange in ended:
            exchange.interrupt(why)
        return len(ended)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Visit(self, scope, receive, send).run()
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})


class _Visit:
    """One HTTP request."""

    def __init__(self, plane: DataPlane, scope: Message, receive: Receive, send: Send) -> None:
        self.plane = plane
        self.scope = scope
        self.receive = receive
        self.send = send
        self.at = plane._clock()
        self.id = f"req_{self.at:012x}{os.urandom(10).hex()}"  # by time, so that a ledger's index grows at its end
        self.asked: dict[bytes, str] = {}
        self.held = 0
        self.read_all = False
        self.headers: Headers = [(b"x-request-id", self.id.encode())]
        # What the observer is told
        self.status = 500
        self.code: str | None = None
        self.presented: Presented | None = None
        self.streams = False
        self.model: Model | None = None
        self.exchange: Exchange | None = None
        self.replayed = False

    async def run(self) -> None:
        reply: Reply | None
        try:
            reply = await self._serve()
        except Rejected as rejected:
            reply = self._refusal(rejected.refused)
        except LedgerGone:
            reply = self._refusal(
                unavailable("The ledger is not there.", code="ledger_unavailable", retry_after=BUSY_RETRY).refused
            )
        except _Gone:
            reply = None
        except Exception:
            log.exception("a fault of the gateway", extra={"request_id": self.id})
            fault = Refused(500, "server_error", "internal_error", "The gateway failed.", should_retry=False)
            reply = self._refusal(fault)
            if self.exchange is not None:
                await self.exchange.abandon()
        finally:
            self._let_go()
        if reply is not None:
            await self._reply(reply)
        self._tell()
        self.exchange = None  # it knows this visit as well: without a cycle nothing is left for the collector

    async def _serve(self) -> Reply | None:
        route = self._routed()
        self.asked = self._read_headers()
        presented = self.presented = self._authenticated()
        if route is None:
            return await self._models(presented)
        body = await self._body(presented)
        request = route.parse(body)
        self.streams = request.stream
        model = self.model = self._model(request, route)
        idempotency = self._idempotency(body)
        del body
        model.inflight += 1
        try:
            ask = Ask(
                intent=self.id,
                presented=presented,
                route=route.path,
                served=model.served,
                input_bound=request.input_bound(model.served.context),
                choices=request.choices,
                max_output=request.max_output,
                at=self.at,
                idempotency=idempotency,
            )
            admission = await self.plane._ledger.admit(ask)
            if isinstance(admission, Refused):
                self.headers += rate_headers(admission.requests, admission.tokens)
                return self._refusal(admission)
            if isinstance(admission, Replay):
                return self._replay(admission)
            return await self._exchange(admission, request, model, route, retain=idempotency is not None)
        finally:
            model.inflight -= 1

    async def _exchange(
        self, admitted: Admitted, request: Request, model: Model, route: Route, *, retain: bool
    ) -> Reply | None:
        plane = self.plane
        plane._observer.admitted(request, admitted)
        self.headers += rate_headers(admitted.requests, admitted.tokens)
        exchange = self.exchange = Exchange(
            admitted,
            model,
            request.forward(model.upstream_name, admitted.max_output, model.cumulative_usage),
            path=route.upstream,
            rendering=route.render(request, model.served.name),
            content=route.content,
            seals=plane._ledger,
            clock=plane._clock,
            retain=retain,
            taken=self._let_go,
        )
        plane.live[admitted.intent] = exchange
        try:
            if not request.stream:
                return await exchange.answer()
            self.status = 200
            return await exchange.stream(self.receive, self.send, self.headers)
        finally:
            del plane.live[admitted.intent]

    def _let_go(self) -> None:
        """The body is no longer held."""
        self.plane._buffered -= self.held
        self.held = 0

    # Steps
    def _routed(self) -> Route | None:
        """The route; None for the list of models."""
        path, method = self.scope["path"], self.scope["method"]
        route = ROUTES.get(path)
        listing = path == MODELS or path.startswith(MODELS + "/")
        if route is None and not listing:
            raise invalid(f"Unknown request URL: {method} {path[:200]}.", code="unknown_url", status=404)
        allowed = "GET" if route is None else "POST"
        if method != allowed and not (listing and method == "HEAD"):
            self.headers.append((b"allow", b"GET, HEAD" if route is None else b"POST"))
            raise invalid(f"Only {allowed} is answered here.", code="method_not_allowed", status=405)
        return route

    def _read_headers(self) -> dict[bytes, str]:
        """The headers that are read here.

        Raises:
            Rejected: one is there twice, or is not ASCII.
        """
        found: dict[bytes, str] = {}
        for name, value in self.scope["headers"]:
            if name in READ:
                if name in found or not value.isascii():
                    raise invalid(f"The header {name.decode()} is malformed.", code="invalid_header")
                found[name] = value.decode("ascii")
        return found

    def _authenticated(self) -> Presented:
        value = self.asked.get(b"authorization", "")
        scheme, _, token = value.partition(" ")
        presented = self.plane._present(token.strip()) if scheme.lower() == "bearer" else None
        if presented is None:
            message = "No API key was given." if not value else "Incorrect API key."
            raise Rejected(Refused(401, INVALID, "invalid_api_key", message, should_retry=False))
        return presented

    async def _body(self, presented: Presented) -> bytes:
        bounds = self.plane._bounds
        if self.asked.get(b"content-encoding", "identity") != "identity":
            raise invalid("Compressed bodies are not read.", code="unsupported_encoding", status=415)
        declared = self.asked.get(b"content-length")
        if declared is not None and int(declared) > bounds.body:
            raise self._too_large()
        parts: list[bytes] = []
        known = False
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            part = message.get("body", b"")
            more = message.get("more_body", False)
            self.held += len(part)
            self.plane._buffered += len(part)
            if self.held > bounds.body:
                raise self._too_large()
            if self.plane._buffered > bounds.buffered:
                raise unavailable("Too many bodies are held already.", code="overloaded", retry_after=BUSY_RETRY)
            if self.held > bounds.anonymous and not known:
                visible = await self.plane._visible(presented, self.at)
                if isinstance(visible, Refused):
                    raise Rejected(visible)
                known = True
            parts.append(part)
        self.read_all = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> Rejected:
        most = self.plane._bounds.body
        return invalid(f"A body may be {most} bytes long.", code="request_too_large", status=413)

    def _model(self, request: Request, route: Route) -> Model:
        """The model, if it can take one more request of this kind now."""
        model = self.plane.models.get(request.model)
        if model is None:
            raise Rejected(no_model(request.model[:200]))
        name = model.served.name
        if model.state != "serving":
            wait = None if model.state == "stopped" else model.retry_after
            raise unavailable(f"The model '{name}' is not served now.", code="model_unavailable", retry_after=wait)
        if route.upstream not in model.routes:
            raise invalid(f"The model '{name}' does not answer {route.path}.", code="unsupported_model", param="model")
        if request.choices > 1 and not model.choices_metered and request.max_output != 0:
            raise invalid(f"The model '{name}' gives one choice a request.", code="unsupported_value", param="n")
        if model.max_prompt is not None and request.longer_than(model.max_prompt):
            raise invalid(
                f"This model's maximum context length is {model.served.context} tokens. A prompt of more than "
                f"{model.max_prompt} bytes cannot fit.",
                code="context_length_exceeded",
                param=route.prompt,
            )
        if model.inflight >= model.max_inflight:
            raise unavailable(f"The model '{name}' is busy.", code="engine_overloaded", retry_after=BUSY_RETRY)
        return model

    def _idempotency(self, body: bytes) -> Idempotency | None:
        header = self.asked.get(b"idempotency-key")
        if header is None:
            return None
        if not header or len(header) > MAX_IDEMPOTENCY_KEY or not header.isprintable():
            raise invalid("The Idempotency-Key must be 1 to 255 printable characters.", code="invalid_header")
        return Idempotency(header, hashlib.sha256(body).digest())

    async def _models(self, presented: Presented) -> Reply:
        visible = await self.plane._visible(presented, self.at)
        if isinstance(visible, Refused):
            return self._refusal(visible)
        shown = [
            _described(model)
            for name, model in sorted(self.plane.models.items())
            if model.state != "stopped" and (visible is None or name in visible)
        ]
        asked = self.scope["path"].removeprefix(MODELS).removeprefix("/")
        if not asked:
            return Reply(200, [JSON], msgspec.json.encode({"object": "list", "data": shown}))
        for model in shown:
            if model["id"] == asked:
                return Reply(200, [JSON], msgspec.json.encode(model))
        raise Rejected(no_model(asked[:200]))

    # Answers
    def _refusal(self, refused: Refused) -> Reply:
        return Reply(refused.status, [JSON, *error_headers(refused)], error_body(refused), refused.code)

    def _replay(self, replay: Replay) -> Reply:
        self.replayed = True
        headers = [(b"content-type", replay.content_type.encode("ascii")), (b"idempotent-replayed", b"true")]
        self.headers.append((b"x-original-request-id", replay.intent.encode("ascii")))
        return Reply(replay.status, headers, replay.body)

    async def _reply(self, reply: Reply) -> None:
        self.status, self.code = reply.status, reply.code
        headers = [*self.headers, *reply.headers]
        if self.read_all and self.scope["extensions"][WHOLE](self.scope, reply.status, headers, reply.body):
            return
        headers.append((b"content-length", b"%d" % len(reply.body)))
        if not self.read_all and self.scope["method"] not in ("GET", "HEAD"):
            headers.append((b"connection", b"close"))  # rather than read what nobody wants
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": reply.body, "more_body": False})

    def _tell(self) -> None:
        exchange, model = self.exchange, self.model
        sealed = exchange.sealed if exchange is not None else None
        self.plane._observer.finished(
            Finished(
                request_id=self.id,
                route=self.scope["path"] if self.scope["path"] in ROUTES else "other",
                status=self.status,
                seconds=(self.plane._clock() - self.at) / 1000,
                code=self.code or (exchange.code if exchange is not None else None),
                model=model.served.name if model is not None else None,
                binding=model.served.binding if model is not None else None,
                key_id=self.presented.key_id if self.presented is not None else None,
                project=exchange.admitted.project if exchange is not None else None,
                stream=self.streams,
                replayed=self.replayed,
                outcome=exchange.outcome if exchange is not None else None,
                usage=exchange.meter.usage if exchange is not None else None,
                cost=sealed.cost if sealed is not None else None,
                overshoot=sealed.overshoot if sealed is not None else 0,
                first_byte=exchange.first_byte if exchange is not None else None,
            )
        )


class _Gone(Exception):
    """The client left before its request was whole."""


def _described(model: Model) -> dict[str, object]:
    """As OpenAI lists it, and by what right it is served."""
    served = model.served
    return {
        "id": served.name,
        "object": "model",
        "created": model.created,
        "owned_by": "weighbridge",
        "binding": served.binding,
        "decision": served.decision,
        "model_digest": served.model_digest,
        "context": served.context,
    }

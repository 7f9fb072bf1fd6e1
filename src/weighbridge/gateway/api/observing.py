"""What the data plane tells those who watch it (metrics, logs, guard). Never a prompt's text, never a secret."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from weighbridge.gateway.api.requests import Request
from weighbridge.gateway.rules.terms import Admitted, Binding, Outcome, Usage


class Finished(Struct, frozen=True):
    """One request that was answered. ``outcome`` is None where nothing was dispatched, ``cost`` (nano-units) where no
    seal was committed. ``seconds`` from its headers to its last byte, ``first_byte`` from dispatch to the first
    byte of a stream's body, or the headers of a whole answer. ``code`` is that of the error that the client got."""

    request_id: str
    route: str
    status: int
    seconds: float
    code: str | None = None
    model: str | None = None
    binding: Binding | None = None
    key_id: str | None = None
    project: str | None = None
    stream: bool = False
    replayed: bool = False
    outcome: Outcome | None = None
    usage: Usage | None = None
    cost: int | None = None
    overshoot: int = 0
    first_byte: float | None = None


class Observer(Protocol):
    """Called on the event loop: must return at once, and never raise."""

    def admitted(self, request: Request, admitted: Admitted) -> None:
        """A request was admitted and is about to be dispatched; its text may be read here, and not kept."""

    def finished(self, finished: Finished) -> None:
        """A request was answered."""


class Nobody:
    """Watches nothing."""

    def admitted(self, request: Request, admitted: Admitted) -> None:
        pass

    def finished(self, finished: Finished) -> None:
        pass

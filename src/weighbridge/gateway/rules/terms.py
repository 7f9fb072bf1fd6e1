"""The words that the parts of the gateway share: who asks, what was admitted, what was used. Pure.

Money is in nano-units of a currency (10^-9), whole numbers. Times are milliseconds since 1970 in UTC. Tokens are
counted as the engine reports them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Binding = Literal["verified", "declared"]


class Outcome(StrEnum):
    """How a dispatched request ended. A request refused before dispatch has no row at all."""

    COMPLETED = "completed"
    UPSTREAM_ERROR = "upstream_error"  # billed as reported, or 0
    CLIENT_GONE = "client_gone"  # billed as last reported
    INTERRUPTED = "interrupted"  # by the gateway: key ended, model served no more, shutdown; billed as last reported
    UNKNOWN = "unknown"  # usage missing or a crash: invoiced 0, its hold counts until corrected


@dataclass(frozen=True, slots=True)
class Served:
    """What an intent says of the model that answers it. ``name`` is what clients ask for.

    ``model_digest`` is the checkpoint's, ``decision`` the decision's id, ``flags_digest`` that of the engine's flags,
    ``engine_start`` names one start of the engine process (its counters begin at 0), ``context`` its tokens.
    """

    name: str
    model_digest: str
    decision: str
    flags_digest: str
    binding: Binding
    engine_start: str
    context: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine reports them, cumulative. ``input`` includes ``cached``."""

    input: int
    output: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Presented:
    """The API key that a request carries: its id, and the keyed hash of its secret (32 bytes)."""

    key_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Idempotency:
    """``header``: the Idempotency-Key; ``body``: SHA-256 of the request's body. Scope: (key, route, header)."""

    header: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that wants to be admitted.

    ``input_bound``: min(context, body bytes + 512) tokens for each prompt, summed; ``choices``: n x prompts;
    ``max_output``: tokens for each choice, None where the client set no limit.
    """

    intent: str
    presented: Presented
    route: str
    served: Served
    input_bound: int
    choices: int
    max_output: int | None
    at: int
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A rate limit as the response headers say it: ``limit`` a minute, whole units left, milliseconds until full."""

    limit: int
    remaining: int
    reset: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """An intent that is committed. ``max_output`` is what each choice may have and is always sent upstream."""

    intent: str
    project: str
    key_id: str
    max_output: int
    hold: int
    requests: Bucket | None
    tokens: Bucket | None


@dataclass(frozen=True, slots=True)
class Refused:
    """No admission. ``status`` and ``code`` are what the client sees (OpenAI's error body); nothing was written.

    ``retry_after`` in milliseconds, where waiting helps; ``should_retry`` False where it never does. ``requests`` and
    ``tokens``: the key's rate limits, where they or a budget stood in the way.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after: int | None = None
    should_retry: bool = True
    requests: Bucket | None = None
    tokens: Bucket | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """The stored answer of the first request with this Idempotency-Key, free of charge."""

    intent: str
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Retained:
    """An answer to keep for an Idempotency-Key: the bytes that the client got, stream frames too."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """How an intent ended. ``usage`` None means that the engine reported none. One that was not ``dispatched`` lets go
    of its Idempotency-Key: asked again, it is a new request."""

    intent: str
    outcome: Outcome
    usage: Usage | None
    at: int
    retained: Retained | None = None
    dispatched: bool = True


@dataclass(frozen=True, slots=True)
class Sealed:
    """A committed seal and what it costs in nano-units. ``overshoot``: nano-units above its hold, 0 normally."""

    intent: str
    cost: int
    overshoot: int

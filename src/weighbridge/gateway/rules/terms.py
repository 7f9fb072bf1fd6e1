"""The words that the parts of the gateway share: who asks, what was admitted, what was used. Pure.

Money is in nano-units of a currency (10^-9), whole numbers. Times are milliseconds since 1970 in UTC. Tokens are
counted as the engine reports them. Structs rather than dataclasses: each request makes a dozen of them, each in a
tenth of the time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct

Binding = Literal["verified", "declared"]


class Outcome(StrEnum):
    """How a dispatched request ended. A request refused before dispatch has no row at all."""

    COMPLETED = "completed"
    UPSTREAM_ERROR = "upstream_error"  # billed as reported, or 0
    CLIENT_GONE = "client_gone"  # billed as last reported
    INTERRUPTED = "interrupted"  # by the gateway: key ended, model served no more, shutdown; billed as last reported
    UNKNOWN = "unknown"  # usage missing or a crash: invoiced 0, its hold counts until corrected


class Served(Struct, frozen=True):
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


class Usage(Struct, frozen=True):
    """Tokens as the engine reports them, cumulative. ``input`` includes ``cached``."""

    input: int
    output: int
    cached: int = 0


class Presented(Struct, frozen=True):
    """The API key that a request carries: its id, and the keyed hash of its secret (32 bytes)."""

    key_id: str
    digest: bytes


class Idempotency(Struct, frozen=True):
    """``header``: the Idempotency-Key; ``body``: SHA-256 of the request's body. Scope: (key, route, header)."""

    header: str
    body: bytes


class Ask(Struct, frozen=True):
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


class Bucket(Struct, frozen=True):
    """A rate limit as the response headers say it: ``limit`` a minute, whole units left, milliseconds until full."""

    limit: int
    remaining: int
    reset: int


class Admitted(Struct, frozen=True):
    """An intent that is committed. ``max_output`` is what each choice may have and is always sent upstream."""

    intent: str
    project: str
    key_id: str
    max_output: int
    hold: int
    requests: Bucket | None
    tokens: Bucket | None


class Refused(Struct, frozen=True):
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


class Replay(Struct, frozen=True):
    """The stored answer of the first request with this Idempotency-Key, free of charge."""

    intent: str
    status: int
    content_type: str
    body: bytes


class Retained(Struct, frozen=True):
    """An answer to keep for an Idempotency-Key: the bytes that the client got, stream frames too."""

    status: int
    content_type: str
    body: bytes


class Seal(Struct, frozen=True):
    """How an intent ended. ``usage`` None means that the engine reported none. One that was not ``dispatched`` lets go
    of its Idempotency-Key: asked again, it is a new request."""

    intent: str
    outcome: Outcome
    usage: Usage | None
    at: int
    retained: Retained | None = None
    dispatched: bool = True


class Sealed(Struct, frozen=True):
    """A committed seal and what it costs in nano-units. ``overshoot``: nano-units above its hold, 0 normally."""

    intent: str
    cost: int
    overshoot: int

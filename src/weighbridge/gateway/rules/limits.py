"""What a key may still do: rates as continuously refilled buckets, concurrency, budgets through holds. Pure, exact.

A bucket's level counts parts, 60,000 to a request or token: a limit of n a minute refills n parts each millisecond, in
whole numbers. A request takes one from ``requests`` when it is admitted; ``tokens`` pays at the seal what was used and
may go into debt, at most by concurrency times what one request can use. Budgets go into no debt: a hold is what the
request can cost at most, and it is taken before anything is dispatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from weighbridge.gateway.rules.money import LARGEST, format_amount
from weighbridge.gateway.rules.prices import MILLION, Price, ceiling
from weighbridge.gateway.rules.terms import Bucket, Refused

PARTS = 60_000
DEFAULT_MAX_OUTPUT = 4096
LARGEST_HOLD = LARGEST >> 10
CONCURRENCY_RETRY = 1000
"""Milliseconds after which a client whose key has too many requests in flight may ask again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A key's limits; None is no limit. ``max_output``: tokens of one choice, both the default and the most."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    max_output: int = DEFAULT_MAX_OUTPUT


class Account(Struct, frozen=True):
    """Something with a budget: ``name`` as a refusal says it, what its period has billed, unknown and held."""

    name: str
    budget: int | None
    spent: int


class Wish(Struct, frozen=True):
    """What a request can use at most: input tokens, choices, tokens of a choice (None: not limited), the context."""

    input_bound: int
    choices: int
    max_output: int | None
    context: int


class Grant(Struct, frozen=True):
    """Room for a request. ``hold`` in nano-units; ``tokens`` is the most that it can take from the token bucket."""

    max_output: int
    hold: int
    tokens: int


def refill(level: int, limit: int, elapsed: int) -> int:
    """``level`` after ``elapsed`` milliseconds; a clock that went back adds nothing. At most a minute's worth."""
    return min(level + limit * max(elapsed, 0), limit * PARTS)


def bucket(level: int, limit: int) -> Bucket:
    """A bucket as the response headers say it."""
    return Bucket(limit, max(level // PARTS, 0), -(-(limit * PARTS - level) // limit))


def decide(
    wish: Wish,
    limits: Limits,
    price: Price,
    *,
    accounts: Sequence[Account],
    in_flight: int,
    requests: int,
    tokens: int,
) -> Grant | Refused:
    """Room for ``wish``, or why there is none. ``requests`` and ``tokens`` are the levels of the buckets now."""
    if wish.max_output is not None and wish.max_output > limits.max_output:
        return _too_much(limits.max_output)
    max_output = min(limits.max_output if wish.max_output is None else wish.max_output, wish.context)
    output = wish.choices * max_output
    hold = ceiling(price, wish.input_bound, output)
    if hold > LARGEST_HOLD:
        return _too_much(LARGEST_HOLD * MILLION // max(price.output * wish.choices, 1))
    for account in accounts:
        if account.budget is not None and account.spent + hold > account.budget:
            return _no_budget(account, hold, wish, price, _room(accounts))
    if limits.concurrency is not None and in_flight >= limits.concurrency:
        return _slow("requests", f"{limits.concurrency} requests in flight", CONCURRENCY_RETRY)
    if limits.rpm is not None and requests < PARTS:
        return _slow("requests", f"{limits.rpm} requests a minute", -(-(PARTS - requests) // limits.rpm))
    if limits.tpm is not None and tokens < PARTS:
        return _slow("tokens", f"{limits.tpm} tokens a minute", -(-(PARTS - tokens) // limits.tpm))
    return Grant(max_output, hold, wish.input_bound + output)


def _room(accounts: Sequence[Account]) -> int:
    return min((one.budget - one.spent for one in accounts if one.budget is not None), default=LARGEST)


def fitting_output(room: int, wish: Wish, price: Price) -> int | None:
    """The largest limit for each choice whose hold is at most ``room``; None if not even one token fits."""
    left = room * MILLION - wish.input_bound * max(price.input, price.cached)
    rate = price.output * wish.choices
    if left < rate or room < 0:
        return None
    return left // rate if rate else None


def _no_budget(account: Account, hold: int, wish: Wish, price: Price, room: int) -> Refused:
    fits = fitting_output(room, wish, price)
    advice = f"a max_tokens of at most {fits} would fit" if fits else "no limit on max_tokens makes this request fit"
    assert account.budget is not None  # for the type checker: only an account with a budget refuses
    left = format_amount(max(account.budget - account.spent, 0), price.currency)
    return Refused(
        429,
        "insufficient_quota",
        "insufficient_quota",
        f"The budget of this {account.name} has {left} left and this request may cost "
        f"{format_amount(hold, price.currency)}; {advice}.",
        param="max_tokens" if fits else None,
        should_retry=False,
    )


def _too_much(most: int) -> Refused:
    return Refused(
        400,
        "invalid_request_error",
        "max_tokens_too_large",
        f"max_tokens may be at most {most} with this key.",
        param="max_tokens",
        should_retry=False,
    )


def _slow(kind: str, limit: str, wait: int) -> Refused:
    return Refused(
        429,
        kind,
        "rate_limit_exceeded",
        f"This key's limit of {limit} is reached. Try again in {wait} ms.",
        retry_after=max(wait, 1),
    )

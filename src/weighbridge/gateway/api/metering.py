"""Tokens as an engine reports them, wherever in its answer: the last cumulative report counts, never a sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from weighbridge.gateway.rules.terms import Usage

Number = Annotated[int, Meta(ge=0, le=2**53)]


class _Details(Struct):
    cached_tokens: Number | None = None


class _Reported(Struct):
    prompt_tokens: Number
    completion_tokens: Number = 0
    prompt_tokens_details: _Details | None = None


class _Timings(Struct):
    """llama.cpp's: ``prompt_n`` computed and ``cache_n`` found in its cache make up the input."""

    prompt_n: Number
    predicted_n: Number
    cache_n: Number = 0


_reported = msgspec.json.Decoder(_Reported | None)
_timings = msgspec.json.Decoder(_Timings)


class Meter:
    """``usage``: the last report, None before the first; ``raw``: its words, where it came in OpenAI's form."""

    __slots__ = ("raw", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.raw: Raw | None = None

    def see(self, fields: Mapping[str, Raw]) -> None:
        """Read what one answer, or one chunk of a stream, says of usage. What is no count at all is no report."""
        raw, timings = fields.get("usage"), fields.get("timings")
        if raw is None and timings is None:
            return
        try:
            timed = None if timings is None else _timings.decode(timings)
        except msgspec.DecodeError:
            timed = None
        try:
            reported = None if raw is None else _reported.decode(raw)
        except msgspec.DecodeError:
            reported = None
        if reported is not None:
            details = reported.prompt_tokens_details
            cached = details.cached_tokens if details is not None else None
            if cached is None:
                cached = timed.cache_n if timed is not None else 0
            self.usage = Usage(reported.prompt_tokens, reported.completion_tokens, min(cached, reported.prompt_tokens))
            self.raw = raw
        elif timed is not None:
            self.usage = Usage(timed.prompt_n + timed.cache_n, timed.predicted_n, timed.cache_n)
            self.raw = None


def shown(meter: Meter) -> Raw | None:
    """The last report as a client reads it, in OpenAI's form."""
    usage = meter.usage
    if usage is None or meter.raw is not None:
        return meter.raw
    return Raw(
        msgspec.json.encode(
            {
                "prompt_tokens": usage.input,
                "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
                "prompt_tokens_details": {"cached_tokens": usage.cached},
            }
        )
    )

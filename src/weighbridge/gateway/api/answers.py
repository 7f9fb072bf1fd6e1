"""What goes back to a client: listed fields of the engine's answer, the model under its served name, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from weighbridge.gateway.api.metering import Meter, shown
from weighbridge.gateway.api.sse import END, event
from weighbridge.gateway.rules.terms import Bucket, Refused

Headers = list[tuple[bytes, bytes]]
Fields = dict[str, Raw]

JSON = (b"content-type", b"application/json")
WHOLE = "weighbridge.whole"
"""The ASGI extension by which ``protocol`` takes a whole answer."""
EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_RATE = [
    tuple(b"x-ratelimit-%b-%b" % (what, kind) for what in (b"limit", b"remaining", b"reset"))
    for kind in (b"requests", b"tokens")
]

_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, Raw])
_said = msgspec.json.Decoder()


class Malformed(ValueError):
    """The engine's answer is not what the API says."""


def decode(data: bytes) -> Fields:
    """One JSON object of an engine's answer, its fields left as they are.

    Raises:
        Malformed: it is not one, or not UTF-8.
    """
    try:
        data.decode("utf-8")
        return _fields.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the engine sent no JSON object: {error}") from error


class Rendering(Protocol):
    """How one request's answers are written: ``answer`` a whole one; of a stream, ``frame`` each chunk, and ``end`` or
    ``failed`` the last bytes. Each raises ``Malformed`` for what is no answer."""

    def answer(self, fields: Fields) -> bytes: ...
    def frame(self, fields: Fields) -> bytes: ...
    def end(self, meter: Meter) -> bytes: ...
    def failed(self, refused: Refused, meter: Meter) -> bytes: ...


class Listing:
    """An engine's own answers: of each, the ``listed`` fields, with ``name`` for the model."""

    __slots__ = ("_last", "_listed", "_logprobs", "_model", "_wants_usage")

    def __init__(self, name: str, listed: frozenset[str], *, wants_usage: bool, logprobs: bool) -> None:
        self._model = Raw(_encode(name))
        self._listed = listed
        self._wants_usage = wants_usage
        self._logprobs = logprobs
        self._last: Fields = {}

    def answer(self, fields: Fields) -> bytes:
        """A whole answer. Usage stays where it is."""
        return _encode(self._rewritten(fields))

    def frame(self, fields: Fields) -> bytes:
        """One chunk, without usage; b"" for a chunk that holds nothing else."""
        usage = fields.pop("usage", None)
        if usage is not None and bytes(fields.get("choices", b"[]")) == b"[]":
            if not self._last:
                self._last = self._rewritten(fields)
            return b""
        self._last = rewritten = self._rewritten(fields)
        return event(_encode(rewritten))

    def end(self, meter: Meter) -> bytes:
        """The last bytes of a stream that ended well: usage, where it was asked for and is known, and the end."""
        usage = shown(meter) if self._wants_usage else None
        if usage is None:
            return END
        return event(_encode({**self._last, "model": self._model, "choices": Raw(b"[]"), "usage": usage})) + END

    def failed(self, refused: Refused, meter: Meter) -> bytes:  # noqa: ARG002  # what was used is not said here
        """The last bytes of a stream that broke off."""
        return event(error_body(refused))

    def _rewritten(self, fields: Fields) -> Fields:
        out = {name: value for name, value in fields.items() if name in self._listed}
        if "model" in out:
            out["model"] = self._model
        if self._logprobs and "choices" in out:
            out["choices"] = _coarse(out["choices"])
        return out


def _coarse(choices: Raw) -> Raw:
    """Log-probabilities with two decimals: enough to read, too few to compute weights from."""
    try:
        plain = _said.decode(choices)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"the engine sent malformed choices: {error}") from error
    for choice in plain if isinstance(plain, list) else ():
        if isinstance(choice, dict) and choice.get("logprobs") is not None:
            choice["logprobs"] = _rounded(choice["logprobs"])
    return Raw(_encode(plain))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


def error_body(refused: Refused) -> bytes:
    """OpenAI's error object."""
    error = {"message": refused.message, "type": refused.type, "param": refused.param, "code": refused.code}
    return _encode({"error": error})


def error_headers(refused: Refused) -> Headers:
    """Whether and when to ask again; milliseconds first, since clients read the first that they know."""
    headers: Headers = [(b"x-should-retry", b"true" if refused.should_retry else b"false")]
    if refused.retry_after is not None:
        headers.append((b"retry-after-ms", b"%d" % refused.retry_after))
        headers.append((b"retry-after", b"%d" % -(-refused.retry_after // 1000)))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def rate_headers(requests: Bucket | None, tokens: Bucket | None) -> Headers:
    """``x-ratelimit-*`` for the limits that the key has."""
    headers: Headers = []
    for (limit, remaining, reset), bucket in zip(_RATE, (requests, tokens), strict=True):
        if bucket is not None:
            headers.append((limit, b"%d" % bucket.limit))
            headers.append((remaining, b"%d" % max(0, bucket.remaining)))
            headers.append((reset, _duration(bucket.reset)))
    return headers


def _duration(milliseconds: int) -> bytes:
    """As OpenAI writes it: 20ms, 7.66s, 6m0s."""
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".").encode()
    return b"%dm%bs" % (minutes, seconds) if minutes else seconds + b"s"


def upstream_refusal(status: int, body: bytes) -> Refused:
    """What an engine's error means for the client: its own words where the request is at fault, none otherwise."""
    try:
        said: Any = _said.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    error = said.get("error", said) if isinstance(said, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else None
    kind = error.get("type") if isinstance(error, Mapping) else None
    words = message if isinstance(message, str) else ""
    too_long = (
        kind == "exceed_context_size_error" or "context length" in words or "is too large to process" in words
    )  # the last is llama.cpp of an embedding, with 500
    if words and (status in (400, 413, 422) or too_long):
        code = "context_length_exceeded" if too_long else "upstream_rejected"
        return Refused(400, "invalid_request_error", code, words[:500], should_retry=False)
    if status in (429, 503):
        return Refused(503, "server_error", "engine_overloaded", "The engine is busy.", retry_after=1000)
    if status == 501:
        return Refused(
            400, "invalid_request_error", "unsupported_by_engine", "The engine does not do this.", should_retry=False
        )
    return Refused(502, "server_error", "upstream_error", "The engine failed.", should_retry=False)

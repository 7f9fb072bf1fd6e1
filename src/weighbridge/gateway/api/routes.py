"""The metered routes: each knows how to read a request, where to send it, and how to write the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weighbridge.gateway.api.answers import Listing, Rendering
from weighbridge.gateway.api.models import CHAT, COMPLETIONS, EMBEDDINGS
from weighbridge.gateway.api.requests import Request, parse_chat, parse_completion, parse_embedding
from weighbridge.gateway.api.responses import parse_responses
from weighbridge.gateway.api.responses_writing import render_response

RESPONSES = "/v1/responses"

_COMMON = frozenset(("id", "object", "created", "model", "usage"))
_SAMPLED = _COMMON | {"choices", "system_fingerprint", "service_tier"}


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` is the client's, ``upstream`` the engine's. ``prompt``: the field that says what to answer; ``content``:
    the field without which an engine's answer is none. ``render`` makes the writer of one request's answers, given the
    name under which its model is served."""

    path: str
    upstream: str
    prompt: str
    content: str
    parse: Callable[[bytes], Request]
    render: Callable[[Request, str], Rendering]


def _rendering(listed: frozenset[str]) -> Callable[[Request, str], Rendering]:
    def render(request: Request, name: str) -> Rendering:
        return Listing(name, listed, wants_usage=request.wants_usage, logprobs=request.wants_logprobs)

    return render


ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route(CHAT, CHAT, "messages", "choices", parse_chat, _rendering(_SAMPLED)),
        Route(COMPLETIONS, COMPLETIONS, "prompt", "choices", parse_completion, _rendering(_SAMPLED)),
        Route(RESPONSES, CHAT, "input", "choices", parse_responses, render_response),
        Route(EMBEDDINGS, EMBEDDINGS, "input", "data", parse_embedding, _rendering(_COMMON | {"data"})),
    )
}

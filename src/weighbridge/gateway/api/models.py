"""A model that the data plane can reach: what intents say of it, its state, its engine, its requests in flight.

The enforcement room makes one handle for each served model and sets ``state`` as the binding and the engine come and
go; the data plane only reads it, and counts ``inflight``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weighbridge.gateway.backend.upstream import Upstream
from weighbridge.gateway.rules.terms import Served

State = Literal["starting", "serving", "restarting", "stopped"]  # stopped: no decision allows it any more
CumulativeUsage = Literal["llama.cpp", "vllm"]

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@dataclass(slots=True)
class Model:
    """``upstream_name`` is what the engine calls the model; clients only ever see ``served.name``.

    ``cumulative_usage`` names the dialect in which the engine reports usage in every chunk of a stream, if it does.
    ``choices_metered``: whether its report covers all choices of a request; where it does not (llama.cpp reports each
    choice alone), requests for several are refused. ``routes``: the upstream paths that the engine answers.
    ``retry_after``: milliseconds that a client is told to wait while the engine is not there. ``max_prompt``: bytes of
    text above which a prompt cannot fit into the context, whatever it says; None: not known.
    """

    served: Served
    upstream: Upstream
    upstream_name: str
    state: State = "starting"
    cumulative_usage: CumulativeUsage | None = None
    choices_metered: bool = True
    routes: frozenset[str] = frozenset((CHAT, COMPLETIONS))
    max_inflight: int = 64
    inflight: int = 0
    max_prompt: int | None = None
    retry_after: int = 2_000
    created: int = 0  # seconds since 1970: what /v1/models says

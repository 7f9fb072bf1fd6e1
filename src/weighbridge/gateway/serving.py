"""One served model: its decision bound to files, its engine, and the handle that the data plane reads.

``held_back`` says why it is not served now: for the time being (a stale revocation list, a clock that is behind), or
for good (changed files, a decision that expired or was revoked), when its engine is killed too.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from datetime import datetime

import msgspec
from msgspec.structs import replace

from weighbridge import canonical
from weighbridge.checkpoint.gguf_header import GgufHeader, read_gguf_header
from weighbridge.decision import Decision
from weighbridge.errors import CheckpointError, InputError
from weighbridge.gateway.api.models import CHAT, COMPLETIONS, EMBEDDINGS, Model, State
from weighbridge.gateway.backend.engine import Engine, llama_cpp
from weighbridge.gateway.backend.supervisor import supervised
from weighbridge.gateway.backend.upstream import Upstream
from weighbridge.gateway.binding import ARTIFACT, Bound, bind, check_decision
from weighbridge.gateway.config import Config, EngineConfig, ModelConfig, UpstreamConfig
from weighbridge.gateway.rules.terms import Binding, Served
from weighbridge.trust import RevocationList, Trust, load_decision

REHASH_SECONDS = 86_400.0


class Serving:
    """Made by ``prepare``. ``model`` is shared with the data plane; ``gone`` means that it will not come back."""

    def __init__(self, model: Model, decision: Decision, bound: Bound | None, engine: Engine | None) -> None:
        self.model = model
        self.decision = decision
        self.bound = bound
        self.engine = engine
        self.held_back: str | None = None
        self.gone = False
        self._hashed = time.monotonic()

    async def start(self) -> None:
        """Start the engine and serve.

        Raises ``EngineError``; ``VerificationError`` if the files changed; ``StorageError`` where there is no room for
        the copy that the embedded engine loads.
        """
        if self.engine is not None:
            if self.bound is not None and self.model.served.binding == "verified":
                await self.engine.start(self.bound.copy_artifact)
            else:
                await self.engine.start()
        self.follow()

    async def stop(self) -> None:
        """Serve no more, and end the engine."""
        self.gone, self.model.state = True, "stopped"
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.stop()
        self.model.upstream.close()

    def follow(self) -> None:
        """Set the handle by what is known now; called whenever the engine comes or goes."""
        if self.gone:
            return
        self.model.state = self._state()
        if self.engine is not None:
            self.model.retry_after = int(self.engine.retry_after * 1000)
            if self.engine.ready and self.model.served.engine_start != self.engine.start_id:
                self.model.upstream.close()
                self.model.served = replace(self.model.served, engine_start=self.engine.start_id)

    async def check(self, now: datetime, revocations: RevocationList | None, hindrance: str | None) -> None:
        """Look again whether it may be served; ``hindrance`` holds back every model for the time being.

        One that is ``gone`` admits nothing from here on; its streams and engine are for the caller to end.
        """
        if self.gone:
            return
        try:
            check_decision(self.decision, now, revocations)
            if self.bound is not None:
                await asyncio.to_thread(self._check_files, self.bound)
        except Exception as error:  # whatever it is: what cannot be checked is not served
            self.held_back, self.gone, self.model.state = str(error), True, "stopped"
            return
        self.held_back = hindrance
        self.follow()

    def _check_files(self, bound: Bound) -> None:
        bound.check_files()
        if time.monotonic() - self._hashed > REHASH_SECONDS:
            bound.check_hashes()
            self._hashed = time.monotonic()

    def _state(self) -> State:
        if self.held_back is not None:
            return "stopped"
        return "serving" if self.engine is None or self.engine.ready else "restarting"


def prepare(
    name: str,
    model: ModelConfig,
    config: Config,
    trust: Trust,
    *,
    now: datetime,
    revocations: RevocationList | None,
) -> Serving:
    """Verify the decision, hash the files, and make what serves them; nothing is started yet. Blocks while it hashes.

    Raises ``VerificationError`` where it may not be served, ``InputError`` where the configuration does not fit.
    """
    decision, bound = _bound(model, config, trust, now, revocations)
    if model.upstream is not None:
        return _upstream(name, model, model.upstream, decision, bound)
    assert bound is not None
    if bound.artifact is None:
        raise CheckpointError(
            "the embedded engine reads one GGUF file, and nothing is converted at start",
            where=str(bound.root),
            remedy="weigh and serve a GGUF file, or name a command that serves this folder (docs/serving.md)",
        )
    flags = (model.engine or EngineConfig()).flags
    header = read_gguf_header(bound.artifact)
    if flags.embeddings and not _pools(header):
        raise CheckpointError(
            "says of no pooling that makes embeddings: the engine would refuse every request",
            where=str(bound.artifact),
            remedy="serve a model that is made for embeddings, or leave embeddings out",
        )
    engine = Engine(llama_cpp(f"{{folder}}/{ARTIFACT}", flags), where=f"model {name}", check=bound.check_files)
    handle = Model(
        _served(name, decision, flags.digest, "verified", flags.context),
        Upstream(f"unix:{engine.socket}"),
        name,
        cumulative_usage="llama.cpp",
        choices_metered=False,  # llama.cpp reports the usage of one choice, however many were asked for
        routes=frozenset((EMBEDDINGS,) if flags.embeddings else (CHAT, COMPLETIONS)),
        max_inflight=model.in_flight,
        max_prompt=_longest_prompt(header, flags.context),
        created=int(decision.decided_at.timestamp()),
    )
    return _followed(Serving(handle, decision, bound, engine))


def _pools(header: GgufHeader) -> bool:
    """Whether a model of this header gives one vector for a text (llama.cpp's pooling types: mean, cls, last)."""
    return header.metadata.get(f"{header.metadata.get('general.architecture')}.pooling_type") in (1, 2, 3)


def _longest_prompt(header: GgufHeader, context: int) -> int | None:
    """Bytes of text above which a prompt cannot fit: no token of the model stands for more than its longest.

    An engine would have to tokenise the whole prompt to say the same, for seconds that nobody is billed for.
    """
    return None if header.longest_token is None else header.longest_token * context


def _upstream(
    name: str, model: ModelConfig, upstream: UpstreamConfig, decision: Decision, bound: Bound | None
) -> Serving:
    engine = None
    if upstream.command is not None:
        assert bound is not None
        command = [argument.replace("{checkpoint}", str(bound.root)) for argument in upstream.command]
        engine = Engine(
            supervised(command), where=f"model {name}", check=bound.check_files, probe="/v1/models", inherit=True
        )
    key = None
    if upstream.key_variable is not None:
        key = os.environ.get(upstream.key_variable)
        if not key:
            raise InputError(
                f"the environment has no {upstream.key_variable}", where=f"$.models.{name}.upstream.key_variable"
            )
    address = f"unix:{engine.socket}" if engine is not None else str(upstream.url)
    flags = canonical.digest({"engine": "declared", **msgspec.to_builtins(upstream)})
    handle = Model(
        _served(name, decision, flags, upstream.binding, upstream.context),
        Upstream(address, authorization=None if key is None else f"Bearer {key}"),
        upstream.name or name,
        cumulative_usage=None if upstream.dialect == "openai" else upstream.dialect,
        choices_metered=upstream.dialect != "llama.cpp",
        routes=frozenset((CHAT, COMPLETIONS, *((EMBEDDINGS,) if upstream.embeddings else ()))),
        max_inflight=model.in_flight,
        max_prompt=upstream.max_prompt,
        created=int(decision.decided_at.timestamp()),
    )
    return _followed(Serving(handle, decision, bound, engine))


def _followed(serving: Serving) -> Serving:
    if serving.engine is not None:
        serving.engine.on_change = serving.follow
    return serving


def _bound(
    model: ModelConfig,
    config: Config,
    trust: Trust,
    now: datetime,
    revocations: RevocationList | None,
) -> tuple[Decision, Bound | None]:
    path = config.path(model.decision)
    if model.checkpoint is None:
        decision = load_decision(path, trust)
        check_decision(decision, now, revocations)
        return decision, None
    checkpoint = config.path(model.checkpoint)
    bound = bind(checkpoint, path, trust, now=now, revocations=revocations)
    return bound.decision, bound


def _served(name: str, decision: Decision, flags: str, binding: Binding, context: int) -> Served:
    return Served(name, decision.checkpoint, decision.id, flags, binding, f"declared-{secrets.token_hex(8)}", context)

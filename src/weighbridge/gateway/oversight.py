"""All that looks at a gateway and administers it, put together: metrics, guard, log, readiness, the admin listener."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from weighbridge.gateway.administration.acts import Json, Office
from weighbridge.gateway.administration.admin import Admin
from weighbridge.gateway.administration.admin_file import AdminFile
from weighbridge.gateway.config import Config
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.prices import PriceBook
from weighbridge.gateway.serving import Serving
from weighbridge.gateway.watch.guard import Flag, Guard
from weighbridge.gateway.watch.logs import LogWriter
from weighbridge.gateway.watch.observe import Metric, Metrics, Watcher, guard_metrics, ledger_metrics, model_metrics
from weighbridge.times import format_time
from weighbridge.trust import RevocationList

log = logging.getLogger(__name__)


class Overseen(Protocol):
    """The gateway."""

    config: Config
    secret: Secret
    prices: PriceBook
    ledger: Ledger
    hindrance: str | None
    revocations: RevocationList | None
    stopping: asyncio.Event

    @property
    def servings(self) -> Mapping[str, Serving]: ...

    async def end_keys(self) -> None: ...


class Oversight:
    """Made once the gateway has its ledger. ``observer`` is what the data plane tells; ``writer`` None: no log."""

    def __init__(self, gateway: Overseen, writer: LogWriter | None) -> None:
        self._gateway = gateway
        currencies = {one.currency for one in gateway.prices.lists}
        self._metrics = Metrics(currency=currencies.pop() if len(currencies) == 1 else None)
        self._guard = Guard(gateway.secret, on_flag=self._flagged)
        self._writer = writer
        self._metrics.watch(self._levels)
        self.observer = Watcher(self._metrics, self._guard, writer)

    @contextlib.asynccontextmanager
    async def listening(self, serve: Callable[[Admin], Coroutine[Any, Any, None]], address: str) -> AsyncIterator[None]:
        """Administer through ``serve``, which runs the listener of ``address`` until it is cancelled."""
        config, token = self._gateway.config, secrets.token_urlsafe(32)
        office = Office(self._gateway.secret, config.currency)
        admin = Admin(office, self._gateway.ledger, self, token=token, address=address)
        serving = asyncio.create_task(serve(admin))
        file = AdminFile(config.admin_path, address=address, token=token, ledger=config.ledger_url)
        try:
            yield
        finally:
            file.remove()
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    # What the admin listener shows

    def readiness(self) -> tuple[bool, Json]:
        """Ready is a gateway that can admit a request for at least one model now."""
        gateway = self._gateway
        ledger, listed = gateway.ledger, gateway.revocations
        if gateway.config.revocations is None:
            revocations: object = "revocation list: not configured"
        else:
            revocations = None if listed is None else {"serial": listed.serial, "next": format_time(listed.next_update)}
        models = {name: _described(one) for name, one in gateway.servings.items()}
        serving = any(one.model.state == "serving" for one in gateway.servings.values())
        state = {
            "models": models,
            "revocation_list": revocations,
            "ledger": "gone" if ledger.gone else "there",
            "owed_seals": ledger.owed,
            "clock_behind_ms": ledger.behind,
            "hindrance": gateway.hindrance,
            "stopping": gateway.stopping.is_set(),
        }
        return serving and not (ledger.gone or ledger.clock_behind or gateway.stopping.is_set()), state

    def signals(self) -> Json:
        return self._guard.signals()

    def metrics(self) -> bytes:
        return self._metrics.render()

    async def end_keys(self) -> None:
        await self._gateway.end_keys()

    def _levels(self) -> Iterable[Metric]:
        servings = self._gateway.servings.values()
        yield from model_metrics((one.model, 0 if one.engine is None else one.engine.restarts) for one in servings)
        yield from ledger_metrics(self._gateway.ledger)
        yield from guard_metrics(self._guard, self._writer)

    def _flagged(self, flag: Flag) -> None:
        self._metrics.flag(flag)
        log.warning("guard", extra=asdict(flag))


def _described(one: Serving) -> Json:
    served = one.model.served
    reason = one.held_back
    if reason is None and one.model.state != "serving":
        reason = "its engine is not ready"
    engine = None if one.engine is None else {"start": served.engine_start, "restarts": one.engine.restarts}
    return {
        "state": one.model.state,
        "reason": reason,
        "binding": served.binding,
        "decision": served.decision,
        "expires": format_time(one.decision.expires_at),
        "engine": engine,
    }

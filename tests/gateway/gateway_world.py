"""A gateway, its engine and its ledger, run on an event loop of their own beside the test."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai
import uvicorn
import uvloop
from mock_upstream import MockUpstream

from weighbridge.gateway.access import through
from weighbridge.gateway.api.app import Bounds, DataPlane
from weighbridge.gateway.api.models import CHAT, COMPLETIONS, EMBEDDINGS, Model
from weighbridge.gateway.api.observing import Finished
from weighbridge.gateway.api.protocol import BoundedProtocol
from weighbridge.gateway.backend.upstream import Timeouts, Upstream
from weighbridge.gateway.ledger.accounts import KeyWish, create_key
from weighbridge.gateway.ledger.database import LedgerGone
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.limits import Limits
from weighbridge.gateway.rules.prices import PriceBook, load_price_list
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Presented, Refused, Replay, Seal, Sealed, Served

T = TypeVar("T")
SERVED = Served("small", "sha256:m", "sha256:d", "sha256:f", "verified", "start-1", 2048)
SECRET = Secret(b"s" * 32)
PRICES = b"""
currency: USD
valid_from: 2020-01-01T00:00:00Z
models:
  small: {input: "1.00", cached: "0.50", output: "2.00"}
"""


def now() -> int:
    return time.time_ns() // 1_000_000


class WatchedLedger:
    """The real SQLite ledger, with what passed through it, and faults on request."""

    def __init__(self, ledger: Ledger) -> None:
        self.real = ledger
        self.intents: dict[str, Ask] = {}
        self.seals: dict[str, Seal] = {}
        self.sealed: dict[str, Sealed | None] = {}
        self.refusing: Refused | None = None
        self.gone = False
        self.visible: frozenset[str] | Refused | None = None

    async def admit(self, ask: Ask) -> Admitted | Refused | Replay:
        if self.gone:
            raise LedgerGone("the disk is full")
        if self.refusing is not None:
            return self.refusing
        answer = await self.real.admit(ask)
        if isinstance(answer, Admitted):
            self.intents[ask.intent] = ask
        return answer

    async def seal(self, seal: Seal) -> Sealed | None:
        assert seal.intent not in self.seals, "an intent is sealed once"
        sealed = await self.real.seal(seal)
        self.seals[seal.intent] = seal
        self.sealed[seal.intent] = sealed
        return sealed

    async def sees(self, presented: Presented, at: int) -> frozenset[str] | Refused | None:
        if self.visible is not None:
            return self.visible
        return await through(self.real)(presented, at)


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.all: list[Finished] = []

    def admitted(self, request: Any, admitted: Admitted) -> None:
        assert request.body is not None  # its text can be read now

    def finished(self, finished: Finished) -> None:
        self.all.append(finished)


@dataclass
class World:
    plane: DataPlane
    model: Model
    mock: MockUpstream
    ledger: WatchedLedger
    seen: Seen
    port: int
    loop: asyncio.AbstractEventLoop
    token: str
    closers: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **settings: Any) -> openai.OpenAI:
        options = {"api_key": self.token, "base_url": self.url + "/v1", "max_retries": 0, "timeout": 20.0} | settings
        return self.closers.enter_context(openai.OpenAI(**options))

    def http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"}
        return self.closers.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=20.0))

    def run(self, awaitable: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(20)

    def key(self, **limits: int) -> str:
        """Another key of the project, with these limits."""
        wish = KeyWish(limits=Limits(**limits))
        return self.run(self.ledger.real.call(lambda one: create_key(one, SECRET, "acme", wish)))[0]

    @property
    def key_id(self) -> str:
        return self.token.split("_")[1]

    def sealed(self) -> Seal:
        """The only intent's seal, once it is there."""
        self.wait(lambda: len(self.ledger.seals) == len(self.ledger.intents) == 1)
        return next(iter(self.ledger.seals.values()))

    def outcome(self) -> tuple[Outcome, tuple[int, int, int] | None]:
        seal = self.sealed()
        usage = seal.usage
        return seal.outcome, (usage.input, usage.output, usage.cached) if usage is not None else None

    def wait(self, condition: Any, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.005)

    def at_rest(self) -> None:
        """Nothing is held and nobody is stuck."""
        self.wait(lambda: self.model.inflight == 0 and not self.plane.live and self.plane._buffered == 0)


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        pass

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def running(
    *, timeouts: Timeouts | None = None, bounds: Bounds | None = None, socket: str | None = None
) -> Iterator[World]:
    """A world with one model, ``small``. ``socket``: the engine listens there and not on TCP."""
    ready: threading.Event = threading.Event()
    folder = tempfile.mkdtemp()
    made: list[World] = []
    stop: list[Any] = []

    async def live() -> None:
        mock = MockUpstream()
        await mock.start(socket)
        address = f"unix:{socket}" if socket else f"http://127.0.0.1:{mock.port}"
        patience = timeouts or Timeouts(connect=2, first_byte=5, idle=5, total=20)
        model = Model(
            SERVED,
            Upstream(address, timeouts=patience),
            "engine-name",
            state="serving",
            routes=frozenset((CHAT, COMPLETIONS, EMBEDDINGS)),
            created=1_700_000_000,
        )
        prices = PriceBook([load_price_list(PRICES, where="prices.yaml")])
        real = Ledger.open(Path(folder) / "ledger.db", secret=SECRET, prices=prices, instance="test", clock=now)
        wish = KeyWish(limits=Limits(rpm=600, tpm=6_000_000))
        token, _ = await real.call(lambda one: create_key(one, SECRET, "acme", wish))
        ledger, seen = WatchedLedger(real), Seen()
        plane = DataPlane(
            {"small": model},
            ledger,
            SECRET.present,
            ledger.sees,
            clock=now,
            observer=seen,
            bounds=bounds,
        )
        config = uvicorn.Config(
            plane, host="127.0.0.1", port=0, http=BoundedProtocol, lifespan="off", log_level="critical",
            access_log=False, server_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        made.append(World(plane, model, mock, ledger, seen, port, asyncio.get_running_loop(), token))
        ended = asyncio.Event()
        stop.append(ended)
        ready.set()
        await ended.wait()
        server.should_exit = True
        await serving
        model.upstream.close()
        await mock.stop()
        await real.close()

    thread = threading.Thread(target=lambda: uvloop.run(live()), daemon=True)
    thread.start()
    assert ready.wait(20)
    world = made[0]
    try:
        with world.closers:
            yield world
    finally:
        world.loop.call_soon_threadsafe(stop[0].set)
        thread.join(20)
        assert not thread.is_alive()
        shutil.rmtree(folder)

"""The gateway put together: ledger, models, listeners, and the watch over all of them.

start: trust -> revocations -> ledger -> decisions and files -> engines -> listeners
watch: every 5 s the files, decisions, revocation list and clock; every 2 s the keys of streams in flight
stop:  no new request, those in flight end, engines, ledger
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import uvicorn

from weighbridge import canonical
from weighbridge.errors import InputError, StorageError, WeighbridgeError
from weighbridge.files import read
from weighbridge.gateway.access import through
from weighbridge.gateway.api.app import DataPlane
from weighbridge.gateway.api.protocol import BoundedProtocol
from weighbridge.gateway.backend.engine import Counters
from weighbridge.gateway.binding import pinned_trust
from weighbridge.gateway.config import Config, split_address
from weighbridge.gateway.ledger import accounts
from weighbridge.gateway.ledger.database import LedgerGone, Transaction
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.oversight import Oversight
from weighbridge.gateway.revocations import RevocationFile, record_serial, recorded_serial
from weighbridge.gateway.rules.clock import now_ms
from weighbridge.gateway.rules.keys import load_secret
from weighbridge.gateway.rules.prices import PriceBook, load_price_list, parse_price_list
from weighbridge.gateway.rules.terms import Refused, Served
from weighbridge.gateway.serving import Serving, prepare
from weighbridge.gateway.watch.logs import LogWriter
from weighbridge.trust import RevocationList

WATCH_SECONDS = 5.0
KEYS_SECONDS = 2.0
COUNT_SECONDS = 15.0
DRAIN_SECONDS = 30.0

STOPPED = Refused(503, "server_error", "model_stopped", "The model is served no more.", should_retry=False)
KEY_ENDED = Refused(401, "invalid_request_error", "invalid_api_key", "This API key has ended.", should_retry=False)
DRAINED = Refused(503, "server_error", "shutting_down", "The gateway is shutting down.", should_retry=True)

log = logging.getLogger(__name__)


class Gateway:
    """``start``, ``run`` until something sets ``stopping``, ``stop``. Everything in it runs on one event loop.

    ``hindrance`` is why no model at all is served at present; None if nothing is in the way.
    """

    def __init__(self, config: Config, *, writer: LogWriter | None = None) -> None:
        """``writer`` logs each request."""
        self.config = config
        self.servings: dict[str, Serving] = {}
        self.stopping = asyncio.Event()
        self.hindrance: str | None = None
        self.revocations: RevocationList | None = None
        self._writer = writer
        self._revocation_file: RevocationFile | None = None
        self._recorded = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._known_starts: set[str] = set()

    async def start(self) -> None:
        """Open the ledger, verify, start the engines. Whatever was started is stopped again if it raises."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        trust = pinned_trust([config.path(one) for one in config.trust])
        check_tls(config)
        if config.revocations is not None:
            revokers = [config.path(one) for one in config.revocations.trust]
            listed = pinned_trust(revokers, revokers) if revokers else trust
            self._revocation_file = RevocationFile(config.path(config.revocations.file), listed)
        self.secret = load_secret(config.secret_path, create=True)
        self.prices = load_prices(config)
        self.ledger = Ledger.open(
            config.ledger_url, secret=self.secret, prices=self.prices, instance=socket.gethostname(), clock=now_ms
        )
        self.revocations = await self._read_revocations()
        for name, model in config.models.items():
            self.servings[name] = await asyncio.to_thread(
                prepare, name, model, config, trust, now=_now(), revocations=self.revocations
            )
        await asyncio.gather(*(one.start() for one in self.servings.values()))
        self.oversight = Oversight(self, self._writer)
        self.plane = DataPlane(
            {name: one.model for name, one in self.servings.items()},
            self.ledger,
            self.secret.present,
            through(self.ledger),
            clock=now_ms,
            observer=self.oversight.observer,
        )
        for seconds, step in ((WATCH_SECONDS, self.watch), (KEYS_SECONDS, self.end_keys), (COUNT_SECONDS, self.count)):
            self._tasks.append(asyncio.create_task(_every(seconds, step)))

    async def run(self) -> None:
        """Listen until ``stopping`` is set; then take no more, and wait for what is in flight."""
        config = self.config
        with open_socket(config.listen) as public, open_socket(config.admin_listen) as private:
            async with self.oversight.listening(
                lambda admin: listener(admin, config, tls=False).serve(sockets=[private]), address_of(private)
            ):
                await self._listen(public)

    async def _listen(self, public: socket.socket) -> None:
        server = listener(self.plane, self.config)
        listening = asyncio.create_task(server.serve(sockets=[public]))
        waiting = asyncio.create_task(self.stopping.wait())
        await asyncio.wait((listening, waiting), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self.plane.live:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self.plane.interrupt(lambda _: True, DRAINED)
        await listening
        waiting.cancel()

    async def stop(self) -> None:
        """End engines and ledger; twice is as good as once."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self.servings and hasattr(self, "ledger"):
            with contextlib.suppress(WeighbridgeError):
                await self.count()
        for one in self.servings.values():
            await one.stop()
        self.servings.clear()
        if hasattr(self, "ledger"):
            await self.ledger.close()
            del self.ledger

    async def watch(self) -> None:
        """Look whether each model may still be served; end the streams of those that may not."""
        try:
            self.revocations = await self._read_revocations()
            self.hindrance = "the clock is behind the ledger" if self.ledger.clock_behind else None
        except Exception as error:  # whatever it is: what cannot be checked is not served
            self.hindrance = str(error)
        for name, one in self.servings.items():
            was = one.model.state
            await one.check(_now(), self.revocations, self.hindrance)
            if one.model.state == "stopped":
                if was != "stopped":
                    log.error("model stopped", extra={"model": name, "reason": one.held_back})
                self.plane.interrupt(lambda exchange, one=one: exchange.model is one.model, STOPPED)  # type: ignore[misc]
            if one.gone:
                await one.stop()

    async def count(self) -> None:
        """Write down what each engine counts, for ``reconcile``."""
        for one in self.servings.values():
            served, counters = one.model.served, None if one.engine is None else await one.engine.counters()
            if counters is not None or served.engine_start not in self._known_starts:
                await self.ledger.call(lambda t, s=served, c=counters: record_engine(t, s, c))  # type: ignore[misc]
                self._known_starts.add(served.engine_start)

    async def end_keys(self) -> None:
        """End what is in flight for keys that were revoked or have expired."""
        keys = {exchange.admitted.key_id for exchange in self.plane.live.values()}
        if keys:
            ended = await self.ledger.call(lambda t: accounts.ended(t, sorted(keys), now_ms()))
            self.plane.interrupt(lambda exchange: exchange.admitted.key_id in ended, KEY_ENDED)

    async def _read_revocations(self) -> RevocationList | None:
        file = self._revocation_file
        if file is None:
            return None
        revokers = file.trust.keyids("revoker")
        with contextlib.suppress(LedgerGone):  # what is in flight goes on, under what was read before
            self._recorded = await self.ledger.call(lambda t: recorded_serial(t, revokers))
        listed = await asyncio.to_thread(file.read, self._recorded, _now())
        if listed.serial > self._recorded:
            self._recorded = listed.serial
            with contextlib.suppress(LedgerGone):
                await self.ledger.call(lambda t: record_serial(t, revokers, listed.serial))
        return listed


def check(config: Config) -> list[Serving]:
    """Trust, prices, decisions and files, as ``start`` would check them.

    Opens no ledger, so nobody could say whether the revocation list is the current one: it is not read.
    """
    trust = pinned_trust([config.path(one) for one in config.trust])
    check_tls(config)
    load_prices(config)
    return [prepare(name, model, config, trust, now=_now(), revocations=None) for name, model in config.models.items()]


def check_tls(config: Config) -> None:
    """Raises ``InputError`` if the certificate and key of the configuration cannot be used."""
    if config.tls is None:
        return
    pair = config.path(config.tls.certificate), config.path(config.tls.key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password="")  # nobody is there to be asked
    except (OSError, ValueError) as cause:
        raise InputError(
            f"cannot be used for TLS: {cause}",
            where=f"{pair[0]}, {pair[1]}",
            remedy="name a certificate in PEM, and the key that belongs to it, without a passphrase",
        ) from cause


def load_prices(config: Config) -> PriceBook:
    """The price lists of the configuration. Without any, everything costs nothing, and is metered all the same."""
    if config.prices:
        paths = [config.path(one) for one in config.prices]
        return PriceBook(load_price_list(read(path), where=str(path)) for path in paths)
    free = {"input": 0, "cached": 0, "output": 0}
    value = {
        "currency": config.currency,
        "from": 0,
        "until": None,
        "models": dict.fromkeys(sorted(config.models), free),
    }
    return PriceBook([parse_price_list(canonical.dumps(value).decode(), where="no price list")])


def record_engine(transaction: Transaction, served: Served, counters: Counters | None) -> None:
    """Write down a start of an engine, and the tokens that it has counted by now."""
    counted = (None, None, None) if counters is None else (transaction.now, counters.prompt, counters.output)
    row = (served.engine_start, served.name, served.model_digest, served.flags_digest, transaction.now, *counted)
    transaction.insert(
        "engine_starts",
        [(*row, transaction.seq)],
        " ON CONFLICT (id) DO UPDATE SET counted = excluded.counted, input = excluded.input,"
        " output = excluded.output, last = excluded.last",
    )


class Listener(uvicorn.Server):
    """uvicorn without hands on the process's signals: the gateway decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listener(app: object, config: Config, *, tls: bool = True) -> Listener:
    """A server of ``app``, to be given its socket."""
    pair = config.tls if tls else None
    return Listener(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client must not choose what address it is logged under
            timeout_graceful_shutdown=int(DRAIN_SECONDS) + 5,
            ssl_certfile=None if pair is None else str(config.path(pair.certificate)),
            ssl_keyfile=None if pair is None else str(config.path(pair.key)),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        )
    )


def open_socket(address: str) -> socket.socket:
    """A listening socket. Raises ``StorageError`` where the address cannot be had."""
    host, port = split_address(address, where="listen")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as cause:
        raise StorageError(
            f"cannot listen: {cause.strerror or cause}", where=address, remedy="choose another --listen"
        ) from cause


def address_of(listening: socket.socket) -> str:
    """Host and port as a client writes them."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _every(seconds: float, step: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await step()  # type: ignore[misc]
        except WeighbridgeError as error:
            log.warning("a check could not be made", extra={"reason": str(error)})
        except Exception:
            log.exception("a fault of the gateway")


def _now() -> datetime:
    return datetime.now(UTC)

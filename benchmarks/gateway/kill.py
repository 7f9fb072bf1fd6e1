"""Gateways killed (kill -9) at random moments under load: what they sealed, billed and allowed, against two journals.

    python benchmarks/gateway/kill.py [--kills 1000] [--seed 1] [--json FILE]

The upstream and the clients live here and write down what they did. Each request carries a number (its max_tokens),
which the intent, the upstream's journal and the client's have in common. Half of the kills are of a gateway with
SQLite, a quarter of one with PostgreSQL, a quarter of one of two that share a PostgreSQL. Then it is required that

- an answer that a client got whole is sealed, with the usage that the upstream reported, at the right price;
- no request was dispatched twice, or without a committed intent, or has two intents; refused ones have none;
- nothing is sealed that the upstream did not report; counters, holds and rows agree;
- only intents of killed gateways are recovered, and in the end none is open;
- what the upstream really worked is never above the budget by more than the reports that passed their hold.

Of a killed gateway's lease the rest (up to 30 s) is not waited for: it is set to 0 in the database.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import uvloop
from place import MODEL, POSTGRES, Gateway, Place, listens, machine, postgres_schema

from weighbridge.gateway.ledger import accounts
from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.gateway.rules.limits import Limits
from weighbridge.gateway.rules.money import divide_half_even

BASE = 100_000  # the first request's number
OVER = 500_000  # tokens that some reports are above all holds
PRICE = (100_000_000, 50_000_000, 400_000_000)  # nano-units for a million tokens: input, cached, output
WORKERS = 24
_WHOLE = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
EACH = 50  # kills of one ledger


@dataclass(frozen=True)
class Fate:
    """What becomes of a request, by its number."""

    stream: bool
    again: str | None  # its Idempotency-Key
    leaves: bool
    status: int
    delay: float
    report: tuple[int, int, int] | None  # input, cached, output

    @property
    def cost(self) -> int:
        if self.report is None:
            return 0
        given, cached, output = self.report
        return divide_half_even((given - cached) * PRICE[0] + cached * PRICE[1] + output * PRICE[2], 1_000_000)


def fate(seed: int, number: int) -> Fate:
    chance = random.Random(f"{seed} {number}")
    kind = chance.random()
    given = chance.randint(1, 400)
    cached, output = chance.randint(0, given), chance.randint(1, 100_000)
    report: tuple[int, int, int] | None = (given, cached, output)
    if kind < 0.06:
        report = None
    elif kind < 0.08:
        report = (given, cached, number + OVER)
    return Fate(
        stream=chance.random() < 0.4,
        again=f"again-{number}" if chance.random() < 0.4 else None,
        leaves=chance.random() < 0.05,
        status=500 if kind < 0.03 else 200,
        delay=chance.random() ** 2 * 0.08,
        report=report,
    )


@dataclass
class Heard:
    """What a client heard of one request. ``whole``: (input, cached, output) of an answer that came to its end."""

    statuses: list[int | None] = field(default_factory=list)  # None: cut off
    whole: tuple[int, int, int] | None = None
    complete: bool = False


class Upstream:
    """Answers, and journals each request before it does. ``dispatched``: numbers, in order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dispatched: list[int] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                asked = json.loads(await reader.readexactly(length))
                number = int(asked["max_tokens"])
                self.dispatched.append(number)
                one = fate(self.seed, number)
                assert bool(asked.get("stream")) == one.stream
                await asyncio.sleep(one.delay)
                for piece in self._answer(one):
                    if writer.is_closing():
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(one.delay / 8 if one.stream else 0)
        writer.close()

    def _answer(self, one: Fate) -> list[bytes]:
        if one.status != 200:
            body = json.dumps({"error": {"message": "broken", "code": 500}}).encode()
            return [
                b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            ]
        usage = {}
        if one.report is not None:
            given, cached, output = one.report
            details = {"prompt_tokens_details": {"cached_tokens": cached}}
            total = given + output
            usage = {"usage": {"prompt_tokens": given, "completion_tokens": output, "total_tokens": total, **details}}
        base = {"id": "gen", "created": 1_700_000_000, "model": "engine"}
        if not one.stream:
            choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
            body = json.dumps({**base, "object": "chat.completion", "choices": [choice], **usage}).encode()
            return [
                b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            ]
        base["object"] = "chat.completion.chunk"
        words = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in ("y", "e", "s")]
        frames: list[Any] = [{**base, "choices": [word]} for word in words]
        frames.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage:
            frames.append({**base, "choices": [], **usage})
        lines = [b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames] + [b"data: [DONE]\n\n"]
        chunks = [b"%x\r\n%b\r\n" % (len(line), line) for line in lines]
        return [
            b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            *chunks,
            b"0\r\n\r\n",
        ]


class Clients:
    """Workers that ask until ``stop``; those that an Idempotency-Key protects ask again when they were cut off."""

    def __init__(self, seed: int, urls: list[str], tokens: list[str]) -> None:
        self.seed, self.urls, self.tokens = seed, urls, tokens
        self.heard: dict[int, Heard] = {}
        self.stopping = False
        self.answered = asyncio.Event()  # set at each answer that came whole
        self._next = BASE

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            await asyncio.gather(*(self._work(session, place) for place in range(WORKERS)))

    async def _work(self, session: aiohttp.ClientSession, place: int) -> None:
        chance = random.Random(f"{self.seed} worker {place}")
        while not self.stopping:
            number, self._next = self._next, self._next + 1
            one = fate(self.seed, number)
            heard = self.heard[number] = Heard()
            token = self.tokens[number % len(self.tokens)]
            for _ in range(5 if one.again else 1):
                while not self.stopping:
                    url = chance.choice(self.urls)
                    try:
                        heard.statuses.append(await self._ask(session, url, token, number, one, heard))
                        break
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.02)  # nobody is there: it was not asked
                    except (aiohttp.ClientError, ConnectionError, TimeoutError):
                        heard.statuses.append(None)
                        break
                if not heard.statuses or heard.statuses[-1] not in (None, 409):
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.02 if 429 in heard.statuses else 0)

    async def _ask(
        self, session: aiohttp.ClientSession, url: str, token: str, number: int, one: Fate, heard: Heard
    ) -> int | None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Is it so?"}], "max_tokens": number}
        if one.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        headers = {"authorization": f"Bearer {token}"}
        if one.again:
            headers["idempotency-key"] = one.again
        async with session.post(url + "/v1/chat/completions", json=body, headers=headers) as reply:
            if one.leaves and reply.status == 200 and one.stream:
                await reply.content.readany()
                reply.close()
                return None
            text = await reply.text()
        if reply.status == 200:
            self._read(text, one, heard)
        return reply.status

    def _read(self, text: str, one: Fate, heard: Heard) -> None:
        if one.stream:
            if not text.endswith("data: [DONE]\n\n"):
                return  # an error in the stream
            frames = [json.loads(line[6:]) for line in text.split("\n\n")[:-2]]
            said = next((frame["usage"] for frame in frames if frame.get("usage")), None)
        else:
            said = json.loads(text).get("usage")
        heard.complete = True
        self.answered.set()
        if said is not None:
            cached = said.get("prompt_tokens_details", {}).get("cached_tokens", 0)
            heard.whole = (said["prompt_tokens"], cached, said["completion_tokens"])


class Nursery:
    """A process that has imported the gateway and forks itself into one: what is killed begins 1 s sooner."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "--nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def bear(self, gateway: Gateway) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{gateway.name}\t{gateway.config_file}\t{gateway.log}\n".encode())
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def nursery() -> None:
    """The loop of that process. Exactly what ``weighbridge serve --config`` runs is run in each child."""
    import weighbridge.gateway.ledger.postgres  # noqa: F401
    from weighbridge.gateway.config import load_config
    from weighbridge.gateway.main import run

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        name, config, log = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        socket.gethostname = lambda name=name: name  # as if each had a machine of its own
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = 1
        try:
            code = uvloop.run(run(load_config(Path(config)), as_json=False))
        finally:
            os._exit(code)


class Campaign:
    """One ledger, one or two gateways, so many kills."""

    def __init__(self, folder: Path, ledger: str, gateways: int, kills: int, seed: int, cradle: Nursery) -> None:
        self.folder, self.ledger, self.count, self.kills, self.seed = folder, ledger, gateways, kills, seed
        self.cradle = cradle
        self.chance = random.Random(f"{seed} kills")
        self.dead: set[str] = set()
        self.pids: list[int] = []
        self.found: Counter[str] = Counter()
        self.faults: list[str] = []
        self.budget = 0

    async def run(self) -> None:
        self.upstream = Upstream(self.seed)
        port = await self.upstream.start()
        self.place = Place(self.folder, f"http://127.0.0.1:{port}", ledger=self.ledger, context=1 << 23)
        limits = Limits(max_output=1 << 22, concurrency=64)
        tokens = [
            self.place.key("tight", KeyWish(limits=limits), budget=0),
            self.place.key("wide", KeyWish(limits=limits)),
        ]
        self.gateways = [self.place.gateway(f"gateway-{index}") for index in range(self.count)]
        self.clients = Clients(self.seed, [one.url for one in self.gateways], tokens)
        self.pids = [await self._start(one) for one in self.gateways]
        asking = asyncio.create_task(self.clients.run())
        for _ in range(self.kills):
            await self._round()
        await asyncio.sleep(0.5)
        self.clients.stopping = True
        await asking
        for gateway, pid in zip(self.gateways, self.pids, strict=True):
            await self._listening(gateway, pid)
            os.kill(pid, signal.SIGTERM)
            await _ended(pid, 60)
        last = await self._start(self.gateways[0])  # recovers what is left
        await self._until(self._none_open, "intents are still open at the end")
        os.kill(last, signal.SIGTERM)
        await _ended(last, 60)
        self.check()

    async def _round(self) -> None:
        """Somewhat more budget (it is used up in many rounds), a random moment, a kill, a new start."""
        await asyncio.to_thread(self._raise_budget)
        index = self.chance.randrange(self.count)
        if self.chance.random() < 0.8:
            self.clients.answered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.clients.answered.wait(), 20)
            await asyncio.sleep(self.chance.random() * 0.4)
        else:  # while it starts, or recovers
            await asyncio.sleep(self.chance.random() * 0.1)
        os.kill(self.pids[index], signal.SIGKILL)
        await _ended(self.pids[index], 10)
        await asyncio.to_thread(self._bury, self.gateways[index].name)
        self.pids[index] = await self._start(self.gateways[index], wait=self.chance.random() < 0.8)

    async def _start(self, gateway: Gateway, *, wait: bool = True) -> int:
        pid = await asyncio.to_thread(self.cradle.bear, gateway)
        if wait:
            await self._listening(gateway, pid)
        return pid

    async def _listening(self, gateway: Gateway, pid: int) -> None:
        await self._until(lambda: listens(gateway.port), "the gateway does not start", lambda: _alive(pid))

    async def _until(
        self, condition: Callable[[], bool], complaint: str, hope: Callable[[], bool] = lambda: True
    ) -> None:
        end = time.monotonic() + 60
        while not await asyncio.to_thread(condition):
            if time.monotonic() > end or not hope():
                logs = "".join(one.log.read_text()[-2000:] for one in self.gateways)
                raise SystemExit(f"{complaint}\n{logs}")
            await asyncio.sleep(0.03)

    # The ledger, from outside
    def _bury(self, name: str) -> None:
        """Nobody of this name lives: note its lives, and end the leases that they still have."""

        def end(transaction: Transaction) -> list[Any]:
            lives = transaction.rows("SELECT id FROM instances WHERE name = ? AND lease > 0", name)
            transaction.run("UPDATE instances SET lease = 0 WHERE name = ?", name)
            return lives

        with self.place.database() as database:
            self.dead.update(row[0] for row in database.transact(end))

    def _raise_budget(self) -> None:
        """Check the budget that was, then allow a random number of requests more."""
        with self.place.database() as database:
            spent = database.read(_spent)
            self._check_budget(spent)
            self.budget = max(self.budget, spent + self.chance.randint(2, 40) * 50_000_000)
            database.transact(lambda one: accounts.set_project_budget(one, "tight", self.budget, "lifetime"))

    def _none_open(self) -> bool:
        with self.place.database() as database:
            return database.read(lambda t: t.rows("SELECT COUNT(*) FROM holds"))[0][0] == 0

    # The oracle
    def _check_budget(self, spent: int) -> None:
        """What the ledger counts, and what the upstream really did, for the project with a budget."""
        done = {number for number in self.upstream.dispatched if number % 2 == 0}
        fates = {number: fate(self.seed, number) for number in done}
        over = sum(max(one.cost - _limit(number), 0) for number, one in fates.items())
        work = sum(_work(number, one) for number, one in fates.items())
        for name, amount in (("the ledger counts", spent), ("the upstream worked", work)):
            if amount > self.budget + over:
                self.faults.append(f"{name} {amount} with a budget of {self.budget} and {over} above holds")

    def check(self) -> None:
        """Both journals against the ledger's rows."""
        with self.place.database() as database:
            self.faults += database.read(discrepancies)
            self._check_budget(database.read(_spent))
            rows = database.read(lambda t: t.rows(_ROWS))
        times = Counter(self.upstream.dispatched)
        intents: dict[int, list[Row]] = {}
        for one in (Row(*row) for row in rows):
            intents.setdefault(one.number, []).append(one)
            self._check_row(one, times)
        for number, count in times.items():
            if count > 1:
                self.faults.append(f"{number}: dispatched {count} times")
            if number not in intents:
                self.faults.append(f"{number}: dispatched without an intent")
        for number, several in intents.items():
            if sum(not _void(one, times) for one in several) > 1:
                self.faults.append(f"{number}: {len(several)} intents")
        for number, heard in self.clients.heard.items():
            self._check_heard(number, heard, intents.get(number, []))
        self.found["dispatched"] += len(times)
        self.found["intents"] += len(rows)
        self.found["asked"] += len(self.clients.heard)

    def _check_row(self, one: Row, times: Counter[int]) -> None:
        expected = fate(self.seed, one.number)
        kind = "void" if _void(one, times) else "sealed" if one.outcome else "recovered" if one.recovered else "open"
        self.found[kind] += 1
        if one.outcome and one.recovered:
            self.found["sealed late"] += 1
        if kind == "open":
            self.faults.append(f"{one.number}: still open")
        if one.recovered and one.recovered not in self.dead:
            self.faults.append(f"{one.number}: recovered from {one.recovered}, which lived")
        if one.usage is None:
            if one.cost:
                self.faults.append(f"{one.number}: costs {one.cost} without a report")
        elif one.number not in times or one.usage != expected.report:
            self.faults.append(f"{one.number}: sealed {one.usage}, reported {expected.report}")
        elif (one.cost, one.overshoot) != (expected.cost, max(expected.cost - one.hold, 0)):
            self.faults.append(f"{one.number}: costs {one.cost}, should be {expected.cost}; hold {one.hold}")

    def _check_heard(self, number: int, heard: Heard, intents: list[Row]) -> None:
        expected = fate(self.seed, number)
        self.found["cut off"] += None in heard.statuses
        self.found["refused"] += 429 in heard.statuses
        self.found["answered"] += heard.complete
        self.found["asked again"] += len(heard.statuses) > 1
        self.found["answered when asked again"] += heard.complete and len(heard.statuses) > 1
        if heard.complete:
            if heard.whole != expected.report:
                self.faults.append(f"{number}: the client was told {heard.whole}, reported was {expected.report}")
            wanted = "unknown" if expected.report is None else "completed"
            if not any((one.outcome, one.usage) == (wanted, expected.report) for one in intents):
                self.faults.append(f"{number}: answered, but the ledger says {intents}")
        if heard.statuses and set(heard.statuses) == {429} and intents:
            self.faults.append(f"{number}: refused, but it has an intent")


_ROWS = """SELECT i.max_output, i.hold, s.outcome, s.input, s.cached, s.output, s.cost, s.overshoot, r.instance
FROM intents i LEFT JOIN seals s ON s.intent = i.id LEFT JOIN recoveries r ON r.intent = i.id"""


class Row:
    """An intent with its seal and recovery (the instance that it was recovered from), if any."""

    def __init__(self, number: int, hold: int, outcome: str | None, *sealed: Any) -> None:
        given, cached, output, cost, overshoot, self.recovered = sealed
        self.number, self.hold, self.outcome = number, hold, outcome
        self.usage = None if given is None else (given, cached, output)
        self.cost, self.overshoot = cost or 0, overshoot or 0

    def __repr__(self) -> str:
        return f"{self.outcome} {self.usage} recovered from {self.recovered}"


def _void(one: Row, times: Counter[int]) -> bool:
    return one.outcome == "upstream_error" and one.usage is None and one.number not in times


def _limit(number: int) -> int:
    """What the output alone of a request may cost."""
    return number * PRICE[2] // 1_000_000


def _work(number: int, one: Fate) -> int:
    """The most that the upstream can have done for a request."""
    return one.cost if one.report is not None or one.status != 200 else _limit(number)


def _spent(transaction: Transaction) -> int:
    sums = "SELECT COALESCE(SUM(billed + unknown + held), 0) FROM counters WHERE scope = 'project' AND id = 'tight'"
    return int(transaction.rows(sums)[0][0])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _ended(pid: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while _alive(pid):
        if time.monotonic() > end:
            raise SystemExit(f"process {pid} does not end")
        await asyncio.sleep(0.005)


def campaign(kills: int, seed: int, *, postgres: bool) -> dict[str, Any]:
    """All parts, one after the other; what was found, and the faults."""
    shares = [("SQLite", 1, kills)]
    if postgres:
        shares = [
            ("SQLite", 1, kills - kills // 2),
            ("PostgreSQL", 1, kills // 4),
            ("PostgreSQL", 2, kills // 2 - kills // 4),
        ]
    cradle = Nursery()
    results: dict[str, Any] = {}
    try:
        for name, gateways, share in shares:
            found: Counter[str] = Counter()
            faults: list[str] = []
            for part, first in enumerate(range(0, share, EACH)):
                number = min(EACH, share - first)
                with contextlib.ExitStack() as stack:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    ledger = "ledger.db" if name == "SQLite" else stack.enter_context(postgres_schema())
                    one = Campaign(folder, ledger, gateways, number, seed * 1000 + part, cradle)
                    uvloop.run(one.run())
                found.update(one.found)
                found["kills"] += number
                faults += one.faults
            results[f"{name}, {gateways} gateway{'s' if gateways > 1 else ''}"] = {**found, "faults": faults}
            print(f"{name}, {gateways}: {dict(found)}; faults: {len(faults)} {faults[:5]}", flush=True)
    finally:
        cradle.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the moments of the kills and the requests follow from it")
    parser.add_argument("--json", type=Path, help="also write what was found there")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.nursery:
        nursery()
        return
    try:
        psycopg.connect(POSTGRES, connect_timeout=5).close()
        postgres = True
    except psycopg.Error as error:
        print(f"no PostgreSQL, everything on SQLite: {str(error).splitlines()[0]}")
        postgres = False
    print(machine(), flush=True)
    began = time.monotonic()
    results = campaign(options.kills, options.seed, postgres=postgres)
    faults = sum(len(one["faults"]) for one in results.values())
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s, seed {options.seed}: {faults} faults")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

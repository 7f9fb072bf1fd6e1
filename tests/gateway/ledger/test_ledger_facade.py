"""The ledger as the gateway uses it: commits before answers, groups, a database that goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ledger_world import SECRET, SMALL, Bench, book

from weighbridge.errors import InputError
from weighbridge.gateway.ledger import accounts, owed, recovery, sqlite, upkeep, writer
from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.database import Database, LedgerGone
from weighbridge.gateway.ledger.sqlite import Claim, SQLite
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.limits import Limits
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Presented, Refused, Retained, Seal, Sealed, Usage

T = TypeVar("T")


def clock() -> int:
    return int(time.time() * 1000)


class Gateway:
    """A running ledger, a key, and intents with names of their own."""

    def __init__(self, url: str, now: Callable[[], int] = clock) -> None:
        self.ledger = Ledger.open(url, secret=SECRET, prices=book(), instance="one", clock=now)
        self.now = now
        self.key: Presented | None = None

    async def prepare(self, **wish: Any) -> Gateway:
        text, _ = await self.ledger.call(lambda one: accounts.create_key(one, SECRET, "acme", KeyWish(**wish)))
        self.key = SECRET.present(text)
        return self

    def ask(self) -> Ask:
        assert self.key is not None
        return Ask(f"req_{uuid.uuid4().hex}", self.key, "/v1/chat/completions", SMALL, 100, 1, 50, self.now())

    async def admit(self) -> Admitted:
        result = await self.ledger.admit(self.ask())
        assert isinstance(result, Admitted), result
        return result

    def seal(self, intent: str) -> Awaitable[Sealed | None]:
        return self.ledger.seal(Seal(intent, Outcome.COMPLETED, Usage(1, 1), self.now()))

    async def wrong(self) -> list[str]:
        return await self.ledger.call(discrepancies)

    async def outcomes(self) -> list[str]:
        return await self.ledger.call(
            lambda one: [row[0] for row in one.rows("SELECT outcome FROM charges ORDER BY seq")]
        )


def play(url: str, story: Callable[[Gateway], Awaitable[T]], **wish: Any) -> T:
    async def run() -> T:
        gateway = await Gateway(url).prepare(**wish)
        try:
            result = await story(gateway)
            if not gateway.ledger.gone:
                assert await gateway.wrong() == []
            return result
        finally:
            await gateway.ledger.close()

    return asyncio.run(asyncio.wait_for(run(), 60))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


def other(url: str) -> Database:
    return upkeep.connect(url, clock, readonly=True)


def test_an_admission_is_committed_when_it_is_answered(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        seen = other(url)
        for _ in range(5):
            admitted = await gateway.admit()
            assert seen.fetch("SELECT COUNT(*) FROM intents WHERE id = ?", (admitted.intent,)) == [(1,)]
            sealed = await gateway.seal(admitted.intent)
            assert sealed is not None
            assert seen.fetch("SELECT cost FROM seals WHERE intent = ?", (admitted.intent,)) == [(sealed.cost,)]
        seen.close()

    play(url, story)


def test_what_waits_is_committed_together(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        before = gateway.ledger.groups
        admitted = await asyncio.gather(*(gateway.admit() for _ in range(200)))
        sealed = await asyncio.gather(*(gateway.seal(one.intent) for one in admitted))
        assert all(sealed)
        assert gateway.ledger.groups - before < 40
        assert await gateway.outcomes() == ["completed"] * 200

    play(url, story)


def test_the_budget_holds_among_many_at_once(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        results = await asyncio.gather(*(gateway.ledger.admit(gateway.ask()) for _ in range(50)))
        assert sum(isinstance(one, Admitted) for one in results) == 7
        assert {one.code for one in results if isinstance(one, Refused)} == {"insufficient_quota"}

    play(url, story, budget=7 * 200_000 + 1)


def test_an_impossible_operation_spoils_no_other(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        good = [gateway.ask() for _ in range(4)]
        twice = good[0]
        results = await asyncio.gather(*map(gateway.ledger.admit, [*good, twice]), return_exceptions=True)
        assert sum(isinstance(one, Admitted) for one in results) == 4
        assert sum(isinstance(one, InputError) for one in results) == 1
        seals = [gateway.seal(one.intent) for one in good]
        results = await asyncio.gather(*seals, gateway.seal("req_nobody"), return_exceptions=True)
        assert [isinstance(one, Sealed) for one in results] == [True] * 4 + [False]

        def broken(_: object) -> None:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await gateway.ledger.call(broken)
        await gateway.admit()

    play(url, story)


def test_an_asker_that_is_gone_leaves_nothing_held(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        tasks = [asyncio.create_task(gateway.ledger.admit(gateway.ask())) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for one in results:
            if isinstance(one, Admitted):
                await gateway.seal(one.intent)
        assert sorted(await gateway.outcomes()) == ["completed"] * 10 + ["upstream_error"] * 10

    play(url, story)


def test_revoked_is_revoked_at_once(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        key = gateway.key
        assert key is not None
        asks = [asyncio.create_task(gateway.ledger.admit(gateway.ask())) for _ in range(5)]
        await gateway.ledger.call(lambda one: accounts.revoke(one, key.key_id))
        after = await asyncio.gather(*(gateway.ledger.admit(gateway.ask()) for _ in range(5)))
        assert {one.code for one in after if isinstance(one, Refused)} == {"invalid_api_key"}
        assert len([one for one in after if isinstance(one, Refused)]) == 5
        await asyncio.gather(*asks)

    play(url, story)


def test_reports_are_read_beside_the_writer(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        await gateway.admit()
        assert await gateway.ledger.read(lambda one: one.rows("SELECT COUNT(*) FROM intents")) == [(1,)]
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            await gateway.ledger.read(lambda one: one.run("DELETE FROM holds"))

    play(url, story)


def test_a_second_process_is_refused_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    path = str(tmp_path / "ledger.db")

    async def story(gateway: Gateway) -> None:
        with pytest.raises(InputError, match="another process"):
            Gateway(path)

    play(path, story)
    play(path, lambda gateway: gateway.admit())  # once it has ended, the next may


def test_a_gateway_waits_for_the_former_one_to_end(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    former = Claim(path)
    ending = threading.Timer(0.3, former.close)
    ending.start()
    play(str(path), lambda gateway: gateway.admit())
    ending.join()


def test_two_gateways_share_postgresql(postgres_url: str) -> None:
    async def story(one: Gateway) -> None:
        two = Gateway(postgres_url)
        two.key = one.key
        results = await asyncio.gather(
            *(gateway.ledger.admit(gateway.ask()) for _ in range(20) for gateway in (one, two))
        )
        admitted = [each for each in results if isinstance(each, Admitted)]
        assert len(admitted) == 10
        await asyncio.gather(*(two.seal(each.intent) for each in admitted))  # either may seal
        assert one.key is not None
        key_id = one.key.key_id
        await one.ledger.call(lambda tx: accounts.revoke(tx, key_id))
        assert isinstance(await two.ledger.admit(two.ask()), Refused)
        await two.ledger.close()

    play(postgres_url, story, budget=10 * 200_000)


def test_another_secret_opens_nothing(url: str) -> None:
    play(url, lambda gateway: gateway.admit())
    with pytest.raises(InputError, match="another secret"):
        Ledger.open(url, secret=Secret(b"o" * 32), prices=book(), instance="one", clock=clock)
    play(url, lambda gateway: gateway.admit())


def test_what_a_former_life_left_is_recovered_and_sealed_late(tmp_path: Path) -> None:
    path = str(tmp_path / "ledger.db")
    left: list[str] = []

    async def first(gateway: Gateway) -> None:
        left.append((await gateway.admit()).intent)

    async def second(gateway: Gateway) -> None:
        await gateway.ledger.call(lambda one: None)
        assert await gateway.outcomes() == ["unknown"]
        assert await gateway.seal(left[0]) is not None
        assert await gateway.outcomes() == ["completed"]

    play(path, first)
    play(path, second)


def test_recovery_takes_some_at_a_time_and_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MOST", 2)
    monkeypatch.setattr(recovery, "_LAPSED", recovery._LAPSED.replace("LIMIT 256", "LIMIT 2"))
    path = str(tmp_path / "ledger.db")

    async def first(gateway: Gateway) -> None:
        await asyncio.gather(*(gateway.admit() for _ in range(7)))

    async def second(gateway: Gateway) -> None:
        while "open" in await gateway.outcomes():
            await asyncio.sleep(0.01)
        assert await gateway.outcomes() == ["unknown"] * 7

    play(path, first)
    play(path, second)


def test_a_living_gateway_keeps_its_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LEASE", 600)
    monkeypatch.setattr(writer, "BEAT", 0.2)

    async def story(gateway: Gateway) -> None:
        await gateway.admit()
        await asyncio.sleep(1.0)
        assert await gateway.outcomes() == ["open"]

    play(url, story)


def test_a_gateway_that_stood_still_is_recovered_by_another(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LEASE", 300)
    monkeypatch.setattr(writer, "BEAT", 0.1)

    async def story(one: Gateway) -> None:
        admitted = await one.admit()
        two = Gateway(postgres_url)
        gate = threading.Event()
        try:
            beat = one.ledger._beat
            monkeypatch.setattr(one.ledger, "_beat", lambda: (gate.wait(), beat()))  # stands still, in no transaction
            end = time.monotonic() + 10
            while await two.outcomes() != ["unknown"]:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            gate.set()
            assert await one.seal(admitted.intent) is not None
            assert await two.outcomes() == ["completed"]
            assert await two.wrong() == []
        finally:
            gate.set()
            await two.ledger.close()

    play(postgres_url, story)


# The ledger goes away


def test_a_full_disk_refuses_admissions_keeps_seals_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "ledger.db")
    monkeypatch.setattr(writer, "RETRY", 0.05)
    full = False
    real = SQLite.commit

    def commit(self: SQLite) -> None:
        if full:
            raise self._translated(sqlite3.OperationalError("database or disk is full"))
        real(self)

    monkeypatch.setattr(SQLite, "commit", commit)

    async def story(gateway: Gateway) -> None:
        nonlocal full
        running = [await gateway.admit() for _ in range(3)]
        full = True
        with pytest.raises(LedgerGone):
            await gateway.admit()
        assert gateway.ledger.gone
        assert [await gateway.seal(one.intent) for one in running] == [None] * 3
        with pytest.raises(LedgerGone):
            await gateway.admit()
        with pytest.raises(LedgerGone):
            await gateway.ledger.call(lambda one: None)
        await asyncio.sleep(0.3)
        assert gateway.ledger.gone
        assert gateway.ledger.owed >= 3
        full = False
        await until(lambda: not gateway.ledger.gone)
        await gateway.admit()
        assert gateway.ledger.owed == 0
        assert await gateway.outcomes() == ["completed"] * 3 + ["open"]

    play(path, story)


def test_a_really_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit on pages gives the error of a full disk, from within."""
    path = str(tmp_path / "ledger.db")
    monkeypatch.setattr(writer, "RETRY", 0.05)
    limit = 0
    real = SQLite.begin

    def begin(self: SQLite) -> Any:
        size = self.pragma("page_count")
        self.change(f"PRAGMA max_page_count = {size if limit else 1 << 30}", ())
        return real(self)

    monkeypatch.setattr(SQLite, "begin", begin)

    async def story(gateway: Gateway) -> None:
        nonlocal limit
        limit = 1
        done = 0
        while not gateway.ledger.gone:
            with contextlib.suppress(LedgerGone):
                done += await gateway.seal((await gateway.admit()).intent) is not None
        assert "full" in str(gateway.ledger.trouble)
        limit = 0
        await until(lambda: not gateway.ledger.gone)
        await gateway.admit()
        outcomes = await gateway.outcomes()
        assert outcomes.count("completed") >= done
        assert outcomes.count("open") == 1

    play(path, story)


def test_a_file_that_vanishes_stops_service_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    monkeypatch.setattr(writer, "RETRY", 0.05)

    async def story(gateway: Gateway) -> None:
        running = await gateway.admit()
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"ledger.db{end}").rename(tmp_path / f"away.db{end}")
        with pytest.raises(LedgerGone, match="gone"):
            await gateway.admit()
        assert await gateway.seal(running.intent) is None
        Bench(path).close()  # somebody puts an empty one there: it is not this ledger
        await asyncio.sleep(0.3)
        assert gateway.ledger.gone
        for end in ("", "-wal", "-shm"):
            (tmp_path / f"ledger.db{end}").unlink(missing_ok=True)
        for end in ("-wal", "-shm", ""):
            (tmp_path / f"away.db{end}").rename(tmp_path / f"ledger.db{end}")
        await until(lambda: not gateway.ledger.gone)
        assert await gateway.outcomes() == ["completed"]

    play(str(path), story)


def test_a_database_that_drops_the_connection_is_connected_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.05)

    async def story(gateway: Gateway) -> None:
        running = await gateway.admit()
        pid = (await gateway.ledger.call(lambda one: one.rows("SELECT pg_backend_pid()")))[0][0]
        database = upkeep.connect(postgres_url, clock)
        database.fetch("SELECT pg_terminate_backend(?)", (pid,))
        database.close()
        assert await gateway.seal(running.intent) is None
        await until(lambda: not gateway.ledger.gone)
        await gateway.admit()
        assert await gateway.outcomes() == ["completed", "open"]

    play(postgres_url, story)


def test_whether_a_lost_commit_was_made_does_not_matter(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks after the commit: admitted intents are voided, sealed ones are sealed once."""
    monkeypatch.setattr(writer, "RETRY", 0.05)
    breaking = False
    database = (
        SQLite
        if not upkeep.is_postgres(url)
        else __import__("weighbridge.gateway.ledger.postgres", fromlist=["Postgres"]).Postgres
    )
    real = database.commit

    def commit(self: Any) -> None:
        nonlocal breaking
        real(self)
        if breaking:
            breaking = False
            raise LedgerGone("the connection broke after the commit")

    monkeypatch.setattr(database, "commit", commit)

    async def story(gateway: Gateway) -> None:
        nonlocal breaking
        breaking = True
        with pytest.raises(LedgerGone):
            await gateway.admit()
        await until(lambda: not gateway.ledger.gone)
        admitted = await gateway.admit()
        breaking = True
        assert await gateway.seal(admitted.intent) is None
        await until(lambda: not gateway.ledger.gone)
        await gateway.ledger.call(lambda one: None)
        assert await gateway.outcomes() == ["upstream_error", "completed"]
        assert await gateway.ledger.call(lambda one: one.rows("SELECT COUNT(*) FROM seals")) == [(2,)]

    play(url, story)


def test_memory_for_seals_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed, "LARGEST", 3)
    monkeypatch.setattr(owed, "LARGEST_COPIES", 1)
    monkeypatch.setattr(writer, "RETRY", 0.05)
    path = tmp_path / "ledger.db"

    async def story(gateway: Gateway) -> None:
        running = [await gateway.admit() for _ in range(5)]
        path.rename(tmp_path / "away.db")
        copy = Retained(200, "text/plain", b"x")
        for one in running:
            seal = Seal(one.intent, Outcome.COMPLETED, Usage(1, 1), clock(), copy)
            assert await gateway.ledger.seal(seal) is None
        assert gateway.ledger.owed == 3
        assert gateway.ledger.lost_seals == 2
        (tmp_path / "away.db").rename(path)
        await until(lambda: not gateway.ledger.gone)
        assert await gateway.ledger.call(lambda one: one.rows("SELECT COUNT(*) FROM copies")) == [(1,)]
        # those that were lost are not left open for ever
        assert sorted(await gateway.outcomes()) == ["completed"] * 3 + ["unknown"] * 2

    play(str(path), story)


def test_a_clock_behind_is_said(tmp_path: Path) -> None:
    shift = 0

    def shifted() -> int:
        return clock() + shift

    async def run() -> None:
        nonlocal shift
        gateway = await Gateway(str(tmp_path / "ledger.db"), shifted).prepare()
        try:
            await gateway.admit()
            assert not gateway.ledger.clock_behind
            shift = -10 * 60_000
            assert gateway.ledger.clock_behind
            assert 590_000 < gateway.ledger.behind <= 600_000
            refused = await gateway.ledger.admit(gateway.ask())
            assert isinstance(refused, Refused)
            assert refused.code == "clock_behind"
        finally:
            await gateway.ledger.close()

    asyncio.run(run())


def test_a_closed_ledger_answers_nobody(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        admitted = await gateway.admit()
        closing = asyncio.create_task(gateway.ledger.close())
        await asyncio.sleep(0)
        for late in (gateway.admit(), gateway.seal(admitted.intent), gateway.ledger.call(lambda one: None)):
            with pytest.raises(LedgerGone):
                await late
        await closing

    play(url, story)


def test_what_nobody_foresaw_stops_admission_not_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY", 0.05)
    monkeypatch.setattr(writer, "BEAT", 0.05)
    broken = False
    real = upkeep.forget_copies

    def forget(transaction: Any) -> None:
        if broken:
            raise ZeroDivisionError("a mistake of ours")
        real(transaction)

    monkeypatch.setattr(upkeep, "forget_copies", forget)

    async def story(gateway: Gateway) -> None:
        nonlocal broken
        broken = True
        await until(lambda: gateway.ledger.gone)
        assert gateway.ledger.trouble == "a mistake of ours"
        broken = False
        await until(lambda: not gateway.ledger.gone)
        await gateway.admit()

    play(str(tmp_path / "ledger.db"), story)


def test_limits_reach_the_headers(url: str) -> None:
    async def story(gateway: Gateway) -> None:
        admitted = await gateway.admit()
        assert admitted.requests is not None
        assert admitted.tokens is not None
        assert (admitted.requests.limit, admitted.requests.remaining) == (60, 59)
        assert (admitted.tokens.limit, admitted.tokens.remaining, admitted.tokens.reset) == (100, 100, 0)

    play(url, story, limits=Limits(rpm=60, tpm=100))

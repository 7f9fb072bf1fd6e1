"""The ledger as the gateway uses it: one thread writes, what waits meanwhile is committed together.

A result is given back only when its transaction is committed and synced. If the database is gone, admissions are
refused, seals wait in bounded memory, and the thread tries to come back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from weighbridge.errors import InputError
from weighbridge.gateway.ledger import recovery, upkeep
from weighbridge.gateway.ledger.database import Conflict, Database, LedgerGone, Transaction
from weighbridge.gateway.ledger.operations import SKEW, Operation, Result, Terms, Void, settle
from weighbridge.gateway.ledger.owed import Owed
from weighbridge.gateway.ledger.sqlite import Claim
from weighbridge.gateway.rules.idempotency import Copies
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.prices import PriceBook
from weighbridge.gateway.rules.terms import Admitted, Ask, Refused, Replay, Seal, Sealed

T = TypeVar("T")

GROUP = 256
"""Operations that one transaction holds at most."""

BEAT = upkeep.LEASE // 3 / 1000
"""Seconds between renewals of the lease; each also recovers what lapsed."""

RETRY = 1.0
"""Seconds between attempts to come back to a ledger that is gone."""


class _Job(NamedTuple):
    """``work``: an operation, or a function of a transaction. ``future`` None: nobody waits."""

    work: Any
    future: asyncio.Future[Any] | None


_STOP = _Job(None, None)


class Ledger:
    """Use ``open``; then ``admit``, ``seal``, ``call`` and ``close`` from one event loop."""

    def __init__(
        self,
        connect: Callable[[bool], Database],
        claim: Claim | None,
        terms: Terms,
        name: str,
        clock: Callable[[], int],
    ) -> None:
        self._connect, self._claim, self._terms, self._name, self._clock = connect, claim, terms, name, clock
        self._database: Database | None = None
        self._identity: str | None = None
        self._queue: SimpleQueue[list[_Job]] = SimpleQueue()
        self._turn: list[_Job] = []
        self._owed = Owed()
        self._beat_at = 0.0
        self._newest = 0
        self._reader_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._closed = False
        self.gone = False
        self.trouble: str | None = None  # why it is gone, in words
        self.groups = 0
        self.operations = 0

    @classmethod
    def open(
        cls, url: str | Path, *, secret: Secret, prices: PriceBook, instance: str, clock: Callable[[], int]
    ) -> Ledger:
        """The ledger at ``url`` (a path, or ``postgresql://...``), made if there is none.

        Raises ``InputError`` if another process uses the SQLite file, the form of the ledger or the secret is another;
        ``StorageError`` if it is not durable there; ``LedgerGone`` if it cannot be reached.
        """
        claim = None if upkeep.is_postgres(url) else Claim(Path(url), wait=True)
        try:
            database = upkeep.connect(url, clock, create=True)
            try:
                upkeep.prepare(database, where=str(url))
                database.transact(lambda one: upkeep.check_secret(one, secret, where=str(url)))
            finally:
                database.close()
            terms = Terms(prices, Copies(secret), _life(instance), {})
            ledger = cls(lambda readonly: upkeep.connect(url, clock, readonly=readonly), claim, terms, instance, clock)
            ledger._enter()
        except BaseException:
            if claim is not None:
                claim.close()
            raise
        ledger._thread.start()
        return ledger

    @property
    def behind(self) -> int:
        """Milliseconds by which this gateway's clock is behind the ledger's newest intent, 0 if it is not."""
        return max(self._newest - self._clock(), 0)

    @property
    def clock_behind(self) -> bool:
        """Whether the clock is so far behind that nothing is admitted."""
        return self.behind > SKEW

    @property
    def owed(self) -> int:
        """Seals that wait in memory for a ledger that is gone."""
        return len(self._owed)

    @property
    def lost_seals(self) -> int:
        """Seals that found no room while the ledger was gone; their intents become unknown."""
        return self._owed.lost

    async def admit(self, ask: Ask) -> Admitted | Refused | Replay:
        """Decide on ``ask``. An ``Admitted`` intent is committed. Raises ``LedgerGone``."""
        if self.gone:
            raise LedgerGone("the ledger is gone; nothing is admitted")
        future = self._ask(ask)
        try:
            return cast("Admitted | Refused | Replay", await future)
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._abandon(future.result())
            raise

    async def seal(self, seal: Seal) -> Sealed | None:
        """Commit ``seal``. None: the ledger is gone, the seal waits in memory and is written when it is back.

        The same seal again gives the same result; another one for the same intent raises ``InputError``.
        """
        return cast("Sealed | None", await self._ask(seal))

    async def call(self, function: Callable[[Transaction], T]) -> T:
        """``function`` in a transaction of its own, after all that was asked before. Raises what it raises."""
        return cast(T, await self._ask(function))

    async def read(self, function: Callable[[Transaction], T]) -> T:
        """``function``, which only reads, on a connection of its own: long reports hold nobody up."""
        return await asyncio.to_thread(self._read, function)

    async def close(self) -> None:
        """Write what waits, give the lease back, end. Seals still owed to a ledger that is gone are lost then."""
        self._closed = True
        self._send()
        self._queue.put([_STOP])
        await asyncio.to_thread(self._thread.join)

    # In the event loop

    def _ask(self, work: Any) -> asyncio.Future[Any]:
        """Queue ``work`` with all else that this turn of the loop brings: the thread is woken once for all of it."""
        if self._closed:
            raise LedgerGone("the ledger is closed")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._turn:
            loop.call_soon(self._send)
        self._turn.append(_Job(work, future))
        return future

    def _send(self) -> None:
        turn, self._turn = self._turn, []
        self._queue.put(turn)

    def _abandon(self, result: object) -> None:
        """The asker is gone: what was admitted for it is never dispatched."""
        if isinstance(result, Admitted):
            self._queue.put([_Job(Void(result.intent, self._clock()), None)])

    def _deliver(self, results: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
        for future, value, error in results:
            if future.done():
                self._abandon(value)
            elif error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def _read(self, function: Callable[[Transaction], T]) -> T:
        with self._reader_lock:
            database = self._connect(True)
            try:
                return database.read(function)
            finally:
                database.close()

    # In the thread

    def _run(self) -> None:
        running = True
        while running:
            jobs = self._gather()
            if jobs and jobs[-1] is _STOP:
                running = False
                jobs.pop()
            if time.monotonic() >= self._beat_at:
                self._beat()
            group: list[_Job] = []
            for job in jobs:
                if callable(job.work):
                    self._settle(group)
                    group = []
                    self._alone(job)
                else:
                    group.append(job)
            self._settle(group)
        self._leave()

    def _gather(self) -> list[_Job]:
        """What waits, about a group; nothing if nothing comes until the next beat."""
        jobs: list[_Job] = []
        try:
            jobs += self._queue.get(timeout=max(self._beat_at - time.monotonic(), 0.0))
            while len(jobs) < GROUP and not (jobs and jobs[-1] is _STOP):
                jobs += self._queue.get_nowait()
        except Empty:
            pass
        return jobs

    def _settle(self, group: list[_Job]) -> None:
        if not group:
            return
        if self.gone:
            self._refuse(group, LedgerGone("the ledger is gone; nothing is admitted"))
            return
        try:
            results = self._commit([job.work for job in group])
        except LedgerGone as error:
            self._lose(group, error)
        except Exception as error:
            if len(group) > 1:  # one of them is impossible: each for itself, so that it does not spoil the others
                for job in group:
                    self._settle([job])
            else:
                self._give([(group[0].future, None, _shown(error))])
        else:
            self.groups += 1
            self.operations += len(group)
            self._give([(job.future, result, None) for job, result in zip(group, results, strict=True)])

    def _commit(self, operations: Sequence[Operation]) -> list[Result]:
        return self._connected().transact(lambda one: self._apply(one, operations))

    def _apply(self, transaction: Transaction, operations: Sequence[Operation]) -> list[Result]:
        results = settle(transaction, operations, self._terms, self._clock())
        self._newest = transaction.newest
        return results

    def _connected(self) -> Database:
        if self._database is None:
            raise LedgerGone("the ledger is gone")
        return self._database

    def _alone(self, job: _Job) -> None:
        try:
            if self.gone:
                raise LedgerGone("the ledger is gone")
            result = self._connected().transact(job.work)
        except LedgerGone as error:
            if not self.gone:
                self._lose([], error)
            self._give([(job.future, None, error)])
        except Exception as error:
            self._give([(job.future, None, _shown(error))])
        else:
            self._give([(job.future, result, None)])

    def _lose(self, group: list[_Job], error: LedgerGone) -> None:
        """The database failed under ``group``; whether it was committed is not known."""
        self._fail(error)
        self._refuse(group, error)
        for job in group:
            if isinstance(job.work, Ask):  # perhaps committed, certainly never dispatched
                self._owed.add(Void(job.work.intent, job.work.at))

    def _refuse(self, group: list[_Job], error: LedgerGone) -> None:
        for job in group:
            if not isinstance(job.work, Ask):
                self._owed.add(job.work)
        self._give([(job.future, None, error if isinstance(job.work, Ask) else None) for job in group])

    def _give(self, results: list[tuple[asyncio.Future[Any] | None, Any, BaseException | None]]) -> None:
        waiting = [(future, value, error) for future, value, error in results if future is not None]
        if not waiting:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            waiting[0][0].get_loop().call_soon_threadsafe(self._deliver, waiting)

    # Lease, recovery, return

    def _beat(self) -> None:
        """Renew the lease, recover what lapsed, and come back to a ledger that was gone."""
        try:
            if self.gone:
                self._enter()
                self._owed.pay(self._commit)
                self.gone, self.trouble = False, None
            more = self._connected().transact(self._tend) == recovery.MOST
            self._beat_at = time.monotonic() + (0 if more else BEAT)
        except Exception as error:  # whatever it is: without lease and recovery nothing is admitted
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.gone, self.trouble = True, str(error)
        self._beat_at = time.monotonic() + RETRY

    def _tend(self, transaction: Transaction) -> int:
        upkeep.renew(transaction, self._terms.instance)
        recovered = recovery.recover(transaction, self._terms.instance)
        upkeep.forget_copies(transaction)
        self._newest = transaction.newest
        return recovered

    def _enter(self) -> None:
        """Connect, be sure that it is the same ledger, and enter it under the lease of this gateway."""
        if self._database is not None:
            with contextlib.suppress(LedgerGone):
                self._database.close()
            self._database = None
        database = self._connect(False)
        try:
            identity = database.transact(self._introduce)
        except BaseException:
            database.close()
            raise
        self._identity = identity
        self._database = database
        self._beat_at = 0.0

    def _introduce(self, transaction: Transaction) -> str:
        identity = upkeep.identity(transaction)
        if self._identity is None:
            if self._claim is not None:  # whoever had the file before has ended: no need to wait for its lease
                transaction.run("UPDATE instances SET lease = 0")
            upkeep.enter(transaction, self._terms.instance, self._name)
        elif self._identity != identity:
            raise LedgerGone("another ledger is there now", remedy="restart the gateway")
        elif self._owed.overflowed:  # so that what was lost does not stay open: it is recovered from the former life
            upkeep.leave(transaction, self._terms.instance)
            self._terms.instance = _life(self._name)
            upkeep.enter(transaction, self._terms.instance, self._name)
        else:
            upkeep.renew(transaction, self._terms.instance)
        upkeep.remember_prices(transaction, self._terms.prices)
        self._newest = transaction.newest
        return identity

    def _leave(self) -> None:
        """Give the lease back, if the ledger can be written; nobody is left waiting."""
        if self.gone:
            self._beat()
        database = self._database
        if database is not None:
            with contextlib.suppress(LedgerGone):
                if not self.gone:
                    database.transact(lambda one: upkeep.leave(one, self._terms.instance))
                database.close()
        self.gone = True
        with contextlib.suppress(Empty):
            while True:
                left = self._queue.get_nowait()
                self._give([(job.future, None, LedgerGone("the ledger is closed")) for job in left])
        if self._claim is not None:
            self._claim.close()


def _life(name: str) -> str:
    """A gateway's instance id: another one for each of its lives."""
    return f"{name}/{secrets.token_hex(8)}"


def _shown(error: Exception) -> Exception:
    return InputError(str(error), where="ledger") if isinstance(error, Conflict) else error

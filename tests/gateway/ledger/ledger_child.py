"""A gateway's ledger in a process that is there to be killed: it says on its output what it was told is committed.

ledger_child.py URL NAME [PRAGMA]      lines: ask ID, admitted ID HOLD, refused ID CODE, sealed ID COST
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from typing import Any

from ledger_world import SECRET, SMALL, book

from weighbridge.gateway.ledger import accounts, upkeep
from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.database import Database
from weighbridge.gateway.ledger.writer import Ledger
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Presented, Refused, Seal, Usage

WORKERS = 4
BUDGET = 400 * 200_000


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def clock() -> int:
    return int(time.time() * 1000)


async def work(ledger: Ledger, key: Presented, names: itertools.count[int], name: str) -> None:
    while True:
        intent = f"{name}_{next(names):06}"
        say("ask", intent)
        result = await ledger.admit(Ask(intent, key, "/v1/chat/completions", SMALL, 100, 1, 50, clock()))
        if isinstance(result, Refused):
            say("refused", intent, result.code)
            await asyncio.sleep(0.01)
            continue
        assert isinstance(result, Admitted)
        say("admitted", intent, result.hold)
        chance = random.random()
        usage = Usage(random.randint(1, 100), random.randint(0, 50)) if chance < 0.9 else None
        sealed = await ledger.seal(Seal(intent, Outcome.COMPLETED, usage, clock()))
        assert sealed is not None
        say("sealed", intent, sealed.cost)


def weaken(*pragmas: str) -> None:
    """Have SQLite less durable than a ledger accepts."""
    connect = upkeep.connect

    def weak(*options: Any, **named: Any) -> Database:
        database = connect(*options, **named)
        for pragma in pragmas:
            database.change(f"PRAGMA {pragma}", ())
        return database

    upkeep.connect = weak
    upkeep.check_durability = lambda database, *, where: None


async def main(url: str, name: str, *pragmas: str) -> None:
    if pragmas:
        weaken(*pragmas)
    ledger = Ledger.open(url, secret=SECRET, prices=book(), instance=name, clock=clock)
    text, _ = await ledger.call(lambda one: accounts.create_key(one, SECRET, "acme", KeyWish(budget=BUDGET)))
    key = SECRET.present(text)
    assert key is not None
    await ledger.call(lambda one: accounts.set_project_budget(one, "acme", 10 * BUDGET, "lifetime"))
    say("ready")
    names = itertools.count()
    await asyncio.gather(*(work(ledger, key, names, name) for _ in range(WORKERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

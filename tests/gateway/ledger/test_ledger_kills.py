"""Processes killed at random moments, and writes that were never synced thrown away: nothing committed is lost.

The oracle is what the killed process said before it was killed. It says that something is committed only when the
ledger told it so.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from ledger_child import BUDGET
from ledger_world import Bench

from weighbridge.gateway.ledger import upkeep

HERE = Path(__file__).parent
KILLS = int(os.environ.get("WEIGHBRIDGE_KILLS", "15"))


class Child:
    def __init__(self, url: str, name: str, *pragmas: str, preload: Path | None = None) -> None:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]))
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        command = [sys.executable, str(HERE / "ledger_child.py"), url, name, *pragmas]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = b""

    def listen(self) -> int:
        """Take up what was said; the number of complete lines so far."""
        assert self.process.stdout is not None
        self.said += self.process.stdout.read() or b""
        return self.said.count(b"\n")

    def until(self, lines: int, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while self.listen() < lines:
            assert self.process.poll() is None, f"the child ended by itself: {self.process.returncode}"
            assert time.monotonic() < end, "the child is stuck"
            time.sleep(0.005)

    def kill(self) -> list[list[str]]:
        """Kill it; all that it ever said."""
        self.process.kill()
        self.process.wait()
        self.listen()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return [line.split() for line in self.said.decode().split("\n")[:-1]]


def check(bench: Bench, journal: list[list[str]]) -> Counter[str]:
    """The ledger against what was said: nothing lost, nothing twice, nothing invented, no budget passed."""
    heard = Counter(words[0] for words in journal)
    asked = {words[1] for words in journal if words[0] == "ask"}
    admitted = {words[1]: int(words[2]) for words in journal if words[0] == "admitted"}
    sealed = {words[1]: int(words[2]) for words in journal if words[0] == "sealed"}
    intents = bench.database.fetch("SELECT id, hold FROM intents", ())
    seals = bench.database.fetch("SELECT intent, cost FROM seals", ())
    assert len(dict(intents)) == len(intents)
    assert len(dict(seals)) == len(seals)
    assert dict(intents).keys() <= asked
    assert admitted.items() <= dict(intents).items(), "a committed intent was lost"
    assert sealed.items() <= dict(seals).items(), "a committed seal was lost"
    outcomes = dict(bench.database.fetch("SELECT intent, outcome FROM charges", ()))
    assert {one for one, outcome in outcomes.items() if outcome == "open"} == set()
    assert {one for one, outcome in outcomes.items() if outcome == "unknown"} >= outcomes.keys() - dict(seals).keys()
    for scope, most in (("key", BUDGET), ("project", 10 * BUDGET)):
        spent = bench.database.fetch(
            "SELECT SUM(billed + unknown + held) FROM counters WHERE scope = ? GROUP BY id", (scope,)
        )
        assert all(row[0] <= most for row in spent)
    bench.agrees()
    return heard


@pytest.mark.parametrize("gateways", [1, 2])
def test_killed_at_random_moments(url: str, gateways: int) -> None:
    if gateways > 1 and not upkeep.is_postgres(url):
        pytest.skip("SQLite is for one gateway")
    generator = random.Random(gateways)
    journal: list[list[str]] = []
    for life in range(-(-KILLS // gateways)):
        children = [Child(url, f"g{number}life{life}") for number in range(gateways)]
        for child in children:
            child.until(generator.randint(1, 60))
            time.sleep(generator.random() * 0.05)
            journal += child.kill()
    bench = Bench(url, instance="after")
    try:
        bench.database.transact(lambda one: one.run("UPDATE instances SET lease = 0 WHERE id <> 'after'"))
        while bench.recover("after"):
            pass
        heard = check(bench, journal)
        assert heard["admitted"] > KILLS
        assert heard["sealed"] > KILLS // 2
    finally:
        bench.close()


@pytest.fixture(scope="session")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and a preloaded library (Linux)")
    library = tmp_path_factory.mktemp("synced") / "synced.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "synced.c", "-ldl"], check=True)
    return library


def after_power_loss(folder: Path) -> Path:
    """The ledger as it would be found: of each file only what was synced."""
    found = folder / "found"
    found.mkdir()
    for end in ("", "-wal"):
        kept = folder / f"ledger.db{end}.synced"
        if kept.exists():
            shutil.copy(kept, found / f"ledger.db{end}")
    return found / "ledger.db"


@pytest.mark.parametrize("lines", [20, 150, 600])
def test_writes_that_were_never_synced_may_all_be_lost(tmp_path: Path, synced: Path, lines: int) -> None:
    child = Child(str(tmp_path / "ledger.db"), "one", preload=synced)
    child.until(lines)
    journal = child.kill()
    bench = Bench(after_power_loss(tmp_path), instance="after")
    try:
        bench.lapse(bench.database.fetch("SELECT id FROM instances WHERE name = 'one'", ())[0][0])
        while bench.recover("after"):
            pass
        assert check(bench, journal)["sealed"] > 0
    finally:
        bench.close()


def test_that_test_would_notice(tmp_path: Path, synced: Path) -> None:
    """With ``synchronous = NORMAL`` commits return before they are synced, and are lost."""
    child = Child(str(tmp_path / "ledger.db"), "one", "synchronous = NORMAL", preload=synced)
    child.until(150)
    journal = child.kill()
    bench = Bench(after_power_loss(tmp_path), instance="after")
    try:
        intents = {row[0] for row in bench.database.fetch("SELECT id FROM intents", ())}
        assert {words[1] for words in journal if words[0] == "admitted"} - intents
    finally:
        bench.close()

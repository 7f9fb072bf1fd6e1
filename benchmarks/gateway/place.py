"""What the gateway's benchmarks share: a gateway as a process of its own, mock servers beside it, and their clocks.

The decision is signed by a key that is made here and forgotten afterwards; the gateway pins it and serves a mock
upstream, ``binding: declared``. Nothing is switched off: keys, limits, budgets, guard, metrics, synced ledger.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec

from weighbridge import canonical
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.decision import make_decision
from weighbridge.gateway.ledger import accounts, upkeep
from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.database import Database
from weighbridge.gateway.rules.keys import load_secret
from weighbridge.trust import PrivateKey, sign

T = TypeVar("T")
POSTGRES = os.environ.get("WEIGHBRIDGE_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
MODEL = "small"
CONTEXT = 8192
PRICES = """currency: USD
valid_from: 2020-01-01T00:00:00Z
models:
  small: {input: "0.10", cached: "0.05", output: "0.40"}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def decided(folder: Path) -> None:
    """A signed decision for a made-up checkpoint, and the public key that it is to be trusted by."""
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
    now = datetime.now(UTC).replace(microsecond=0)
    digest = canonical.digest("made for a benchmark")
    decision = make_decision(
        manifest=Manifest((FileEntry("model.safetensors", 1, secrets.token_hex(32)),)),
        judgement={"tier": "api", "tiers": [{"tier": "api", "outcome": "met", "own": []}], "evidence": [digest]},
        policy={"version": 1, "name": "benchmark", "error_rate": "0.05", "notice": "not for release", "tiers": {}},
        evidence=[(digest, digest)],
        plan=None,
        decided_at=now,
        expires_at=now + timedelta(days=30),
    )
    (folder / "decision.json").write_bytes(sign(decision.payload, [key]))
    (folder / "decider.pub").write_text(key.public.pem)


class Place:
    """A folder with a configuration, and the ledger that it names; ``gateway`` starts a process on it."""

    def __init__(self, folder: Path, upstream: str, *, ledger: str = "ledger.db", **declared: Any) -> None:
        self.folder = folder
        self.ledger = ledger if upkeep.is_postgres(ledger) else str(folder / ledger)
        folder.mkdir(parents=True, exist_ok=True)
        decided(folder)
        (folder / "prices.yaml").write_text(PRICES)
        model = {
            "decision": "decision.json",
            "in_flight": 1024,
            "upstream": {"url": upstream, "binding": "declared", "name": "engine", "context": CONTEXT} | declared,
        }
        self.config = {
            "version": 1,
            "ledger": ledger,
            "secret": "gateway.key",
            "prices": ["prices.yaml"],
            "trust": ["decider.pub"],
            "models": {MODEL: model},
        }
        self.secret = load_secret(folder / "gateway.key", create=True)
        with self.database() as database:
            upkeep.prepare(database, where=self.ledger)
            database.transact(lambda one: upkeep.check_secret(one, self.secret, where=self.ledger))

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The ledger itself, beside the gateway or without it."""
        database = upkeep.connect(self.ledger, lambda: time.time_ns() // 1_000_000, create=True)
        try:
            yield database
        finally:
            database.close()

    def key(self, project: str, wish: KeyWish, *, budget: int | None = None) -> str:
        """A new API key; ``budget`` is its project's, in nano-units for its lifetime."""
        with self.database() as database:
            text, _ = database.transact(lambda one: accounts.create_key(one, self.secret, project, wish))
            if budget is not None:
                database.transact(lambda one: accounts.set_project_budget(one, project, budget, "lifetime"))
        return text

    def gateway(self, name: str = "gateway") -> Gateway:
        return Gateway(self, name)


class Gateway:
    """``weighbridge serve``, a process. ``start``, then ``ready``."""

    def __init__(self, place: Place, name: str) -> None:
        self.place, self.name = place, name
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        admin = {"admin_file": f"{name}.admin.json"}
        config = place.config | {"listen": f"127.0.0.1:{self.port}", **admin}
        self.config_file = place.folder / f"{name}.yaml"
        self.config_file.write_text(json.dumps(config))
        self.log = place.folder / f"{name}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "weighbridge", "serve", "--config", str(self.config_file)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def ready(self, seconds: float = 60.0) -> None:
        """Wait until it listens."""
        end = time.monotonic() + seconds
        while not listens(self.port):
            if self.process is None or self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the gateway did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if self.process.wait(60):
                raise SystemExit(f"the gateway ended badly: {self.log.read_text()[-2000:]}")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(port: int, what: str, seconds: float = 60.0) -> None:
    """Wait until somebody listens there."""
    end = time.monotonic() + seconds
    while not listens(port):
        if time.monotonic() > end:
            raise SystemExit(f"{what} does not listen on port {port}")
        time.sleep(0.05)


def cpu_seconds(*pids: int) -> float:
    """User and system time of processes so far, all threads."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def memory(pid: int, field: str = "VmRSS") -> int:
    """Bytes resident now (``VmRSS``) or at the peak (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} on this system")


def descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += descendants(int(child))
    return found


@contextmanager
def postgres_schema() -> Iterator[str]:
    """The address of a schema that is dropped afterwards."""
    name = f"wb_{secrets.token_hex(6)}"
    with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
        try:
            yield f"{POSTGRES}?options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")  # type: ignore[arg-type]


def machine() -> str:
    """What the figures were made on."""
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    packages = ("uvicorn", "uvloop", "httptools", "msgspec", "psycopg", "prometheus-client")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    load = os.getloadavg()
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{versions}; load {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}"
    )

"""A gateway as a process of its own, in front of a mock engine that runs in the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from mock_upstream import MockUpstream

import trust_world as tw

CONFIG = """version: 1
listen: 127.0.0.1:{port}
trust: [decider.pub]
prices: [prices.yaml]
{more}
models:
  small:
    decision: decision.json
    upstream: {{url: "http://127.0.0.1:{engine}", binding: declared, context: 4096}}
"""
PRICES = """currency: USD
valid_from: 2020-01-01T00:00:00Z
models:
  small: {input: "1.00", cached: "0.50", output: "2.00"}
"""
READY_SECONDS = 60.0


def weighbridge(*words: str) -> list[str]:
    return [sys.executable, "-m", "weighbridge", *words]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in its own process, in ``folder``."""
    return subprocess.run(weighbridge(*words), cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@dataclass
class Served:
    folder: Path
    port: int
    mock: MockUpstream
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def office(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "gateway.admin.json").read_text()))

    def admin(self, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        office = self.office
        headers = {"authorization": f"Bearer {token or office['token']}", **more.pop("headers", {})}
        method = more.pop("method", "GET")
        return httpx.request(method, f"http://{office['address']}{path}", headers=headers, timeout=20, **more)

    def command(self, *words: str) -> Any:
        """What a command says in JSON, in a process of its own."""
        done = run(self.folder, *words, "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def ask(self, token: str, **changes: Any) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 50} | changes
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=30)

    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextlib.contextmanager
def engine(mock: MockUpstream) -> Iterator[None]:
    """Run ``mock`` on an event loop of its own."""
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        await mock.start()
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await mock.stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def write_world(folder: Path, engine_port: int, *, port: int, more: str = "") -> None:
    """Decision, its key, prices and configuration."""
    now = datetime.now(UTC).replace(microsecond=0)
    (folder / "decision.json").write_bytes(tw.signed(tier="api", decided_at=now, expires_at=now + timedelta(days=30)))
    (folder / "decider.pub").write_text(tw.key("decider").public.pem)
    (folder / "prices.yaml").write_text(PRICES)
    (folder / "config.yaml").write_text(CONFIG.format(port=port, engine=engine_port, more=more))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start(folder: Path) -> subprocess.Popen[bytes]:
    """``weighbridge serve``, once it can be administered; its standard error in ``log``."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(weighbridge("serve", "--config", "config.yaml"), cwd=folder, stderr=log)
    end = time.monotonic() + READY_SECONDS
    while not (folder / "gateway.admin.json").exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < end, "the gateway did not start in time"
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def serving(folder: Path, *, more: str = "") -> Iterator[Served]:
    mock = MockUpstream()
    with engine(mock):
        port = free_port()
        write_world(folder, mock.port, port=port, more=more)
        process = start(folder)
        try:
            yield Served(folder, port, mock, process)
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
            process.wait(40)

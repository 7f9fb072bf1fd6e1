"""One request in flight: what each wait was, and what the disk takes at the same pace.

wrk does not say that: where an answer took long, it also counts the requests that would have come meanwhile at the mean
pace. A stall of 50 ms in 1,000 requests of 2 ms each is one slow wait of 1,000 here, and 25 there. ``corrected`` counts
as wrk does, so that both figures come from the same requests.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

import httptools

WORDS = ("scale", "wagon", "load", "axle", "yard", "ticket", "tare", "gross", "net", "seal", "plate", "beam")
COMMIT = 7 * 4096  # bytes that an admission or a seal writes to SQLite's log, about
LOG = 32 * 2**20


class _Answer:
    def __init__(self) -> None:
        self.complete = False

    def on_message_complete(self) -> None:
        self.complete = True


def bodies(model: str) -> list[bytes]:
    """Chat requests that differ."""
    chance = random.Random(7)
    asked = {"model": model, "max_tokens": 64, "temperature": 0.7}
    system = {"role": "system", "content": "You are brief."}
    texts = (" ".join(chance.choices(WORDS, k=40)) for _ in range(512))
    return [json.dumps(asked | {"messages": [system, {"role": "user", "content": text}]}).encode() for text in texts]


def waits(url: str, token: str, model: str, seconds: float) -> list[float]:
    """Milliseconds from each request's first byte to its answer's last, one after the other on one connection."""
    parts = urlsplit(url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n"
    head += "content-type: application/json\r\ncontent-length: "
    asked = [b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body) for body in bodies(model)]
    took: list[float] = []
    with socket.create_connection((parts.hostname or "", parts.port or 80), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.sendall(asked[len(took) % len(asked)])
            answer = _Answer()
            parser = httptools.HttpResponseParser(answer)
            while not answer.complete:
                parser.feed_data(connection.recv(65536))
            took.append((time.perf_counter() - began) * 1000)
            if parser.get_status_code() != 200:
                raise SystemExit(f"{url} answered {parser.get_status_code()}")
    return took


def corrected(took: list[float]) -> list[float]:
    """With the requests that a steady client would have sent during each long wait, as wrk adds them."""
    pace = statistics.mean(took)
    added = list(took)
    for wait in took:
        added += [wait - turn * pace for turn in range(1, int(wait / pace)) if wait > 2 * pace]
    return added


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def syncs(folder: Path, seconds: float) -> list[float]:
    """Milliseconds that the disk takes to write and sync over a part of a file, as commits do, at a request's pace."""
    path, took, data = folder / "sync-probe", [], bytes(COMMIT)
    with path.open("w+b", buffering=0) as file:
        file.write(bytes(LOG))
        os.fsync(file.fileno())
        end, at = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            began = time.perf_counter()
            os.pwrite(file.fileno(), data, at)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
            at = (at + COMMIT) % (LOG - COMMIT)
            time.sleep(0.0004)
    path.unlink()
    return took

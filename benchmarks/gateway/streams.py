"""256 streams at once, paced: whether each frame arrives as it was sent, and how long the gateway holds it up.

    python benchmarks/gateway/streams.py [--streams 256] [--frames 200] [--pace 0.05]

The upstream (a process of its own) writes the time into each frame; the clients (another one) note when it came. The
same is measured without the gateway. Every frame must equal the upstream's after the documented rewrites: the model by
its served name, usage only where it was asked for and at the end, log-probabilities with two decimals, fields that the
API does not list left out. Half of the streams ask for log-probabilities, a third for usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httptools
import uvloop
from place import MODEL, Place, cpu_seconds, free_port, machine, memory, wait_for

from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.rules.limits import Limits

ASKED = 0.050  # seconds
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LISTED = {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier"}


def frame(number: int, logprobs: bool, now: int) -> dict[str, Any]:
    """What the upstream says at a time: ``now`` in nanoseconds, which stands in the text."""
    choice: dict[str, Any] = {"index": 0, "delta": {"content": f" {now}"}, "finish_reason": None}
    if logprobs:
        choice["logprobs"] = {"content": [{"token": "x", "logprob": -number / 7, "bytes": [120], "top_logprobs": []}]}
    return {
        "id": "gen",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "/hidden/engine",
        "system_fingerprint": "f",
        "choices": [choice],
        "timings": {"prompt_n": 9, "predicted_n": number},
        "__verbose": {"prompt": "hidden"},
    }


def rewritten(sent: dict[str, Any]) -> dict[str, Any]:
    """What a client must get of a frame: written down here once more, not taken from the gateway."""
    given = {name: value for name, value in sent.items() if name in LISTED} | {"model": MODEL}
    for choice in given["choices"]:
        for token in (choice.get("logprobs") or {}).get("content", ()):
            token["logprob"] = round(token["logprob"], 2)
    return given


def usage(frames: int) -> dict[str, int]:
    return {"prompt_tokens": 9, "completion_tokens": frames, "total_tokens": 9 + frames}


class Sender(asyncio.Protocol):
    """The upstream: one request a connection at a time, answered with a paced stream."""

    def __init__(self, frames: int, pace: float) -> None:
        self.frames, self.pace = frames, pace
        self.parser: Any = httptools.HttpRequestParser(self)
        self.body = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        asked, self.body = json.loads(self.body), b""
        self.parser = httptools.HttpRequestParser(self)
        self.task = asyncio.get_running_loop().create_task(self.stream(bool(asked.get("logprobs"))))

    async def stream(self, logprobs: bool) -> None:
        loop = asyncio.get_running_loop()
        self.transport.write(HEAD)
        due = loop.time()
        for number in range(self.frames):
            due += self.pace
            await asyncio.sleep(max(due - loop.time(), 0))
            self.event(json.dumps(frame(number, logprobs, time.monotonic_ns())).encode())
        last = {**frame(self.frames, False, 0), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        self.event(json.dumps(last).encode())
        self.event(json.dumps({**last, "choices": [], "usage": usage(self.frames)}).encode())
        self.event(b"[DONE]")
        self.transport.write(b"0\r\n\r\n")

    def event(self, data: bytes) -> None:
        self.transport.write(b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data))


def upstream(port: int, frames: int, pace: float) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Sender(frames, pace), "127.0.0.1", port, backlog=1024)
        await asyncio.Event().wait()

    uvloop.run(serve())


class Reader(asyncio.Protocol):
    """A client of one stream: ``came`` holds (nanoseconds, data) of each event."""

    def __init__(self, request: bytes, done: asyncio.Future[None]) -> None:
        self.request, self.done = request, done
        self.parser = httptools.HttpResponseParser(self)
        self.rest, self.now = b"", 0
        self.came: list[tuple[int, bytes]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.now = time.monotonic_ns()
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        self.came += [(self.now, event) for event in events]

    def on_message_complete(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the stream was cut"))


def request(number: int, token: str) -> bytes:
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": f"Number {number}."}]}
    asked |= {"stream": True, "max_tokens": 1000}
    if number % 2:
        asked |= {"logprobs": True, "top_logprobs": 1}
    if number % 3 == 0:
        asked["stream_options"] = {"include_usage": True}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def collect(port: int, streams: int, token: str) -> list[list[tuple[int, bytes]]]:
    """All events of so many streams that begin within a second."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> list[tuple[int, bytes]]:
        await asyncio.sleep(number / streams)
        done: asyncio.Future[None] = loop.create_future()
        _, reader = await loop.create_connection(lambda: Reader(request(number, token), done), "127.0.0.1", port)
        await done
        return reader.came

    return await asyncio.gather(*map(one, range(streams)))


def delays(number: int, events: list[tuple[int, bytes]], frames: int, expect: Callable[[Any], Any]) -> list[float]:
    """Check one stream's events; how long each frame took in seconds. ``expect``: what becomes of a sent frame."""
    took: list[float] = []
    for position, (came, event) in enumerate(events[:frames]):
        got = json.loads(event.removeprefix(b"data: "))
        at = int(got["choices"][0]["delta"]["content"])
        wanted = expect(frame(position, bool(number % 2), at))
        if got != wanted:
            raise SystemExit(f"stream {number}, frame {position}: {got} instead of {wanted}")
        took.append((came - at) / 1e9)
    return took


def check_end(number: int, events: list[tuple[int, bytes]], frames: int) -> None:
    """The end of a stream through the gateway: the last choice, usage if it was asked for, and [DONE]."""
    last = {**frame(frames, False, 0), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    wanted: list[Any] = [rewritten(last)]
    if number % 3 == 0:
        wanted.append({**rewritten(last), "choices": [], "usage": usage(frames)})
    got = [json.loads(event.removeprefix(b"data: ")) for _, event in events[frames:-1]]
    if got != wanted or events[-1][1] != b"data: [DONE]":
        raise SystemExit(f"stream {number} ends with {got} instead of {wanted}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between the frames of a stream")
    options = parser.parse_args()
    port = free_port()
    process = multiprocessing.Process(target=upstream, args=(port, options.frames, options.pace), daemon=True)
    process.start()
    wait_for(port, "the upstream")
    with tempfile.TemporaryDirectory(dir=os.environ.get("WEIGHBRIDGE_BENCH")) as folder:
        place = Place(Path(folder), f"http://127.0.0.1:{port}")
        token = place.key("acme", KeyWish(limits=Limits(rpm=10**9, tpm=10**9, concurrency=4096)), budget=10**16)
        gateway = place.gateway()
        gateway.start()
        gateway.ready()
        print(machine(), flush=True)
        found: dict[str, list[float]] = {}
        for name, at in (("directly", port), ("through the gateway", gateway.port), ("directly, again", port)):
            before = cpu_seconds(gateway.pid)
            streams = uvloop.run(collect(at, options.streams, token))
            expect = rewritten if at == gateway.port else dict
            took = found[name] = []
            for number, events in enumerate(streams):
                took += delays(number, events, options.frames, expect)
                if at == gateway.port:
                    check_end(number, events, options.frames)
            low, median, high = min(took), statistics.median(took), statistics.quantiles(took, n=1000)
            print(
                f"{name}: {len(took)} frames, delay min {low * 1e3:.2f} ms, median {median * 1e3:.2f} ms, "
                f"p99 {high[989] * 1e3:.2f} ms, p99.9 {high[998] * 1e3:.2f} ms, max {max(took) * 1e3:.2f} ms; "
                f"gateway {cpu_seconds(gateway.pid) - before:.2f} CPU-seconds, {memory(gateway.pid) / 2**20:.0f} MB",
                flush=True,
            )
        gateway.stop()
    worst = max(found["through the gateway"])
    print(
        f"every frame is as documented; the latest came {worst * 1e3:.1f} ms after it was sent, {ASKED * 1e3:.0f} asked"
    )
    process.terminate()


if __name__ == "__main__":
    main()

"""An engine that answers as an OpenAI-compatible server does, and misbehaves on request.

The behaviour is set on the object, not in requests, since a gateway forwards only what it knows. ``journal`` holds
every request that arrived: what the gateway really asked, and how often.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WORDS = ("One", " two", " three", " four", " five")
JSON_ANSWER = '{"answer": 42}'
ARGUMENTS = '{"city": "Bern"}'


@dataclass
class Behaviour:
    """What the next answers are like. ``dialect``: how usage is reported along a stream (None: at its end)."""

    words: tuple[str, ...] = WORDS
    reasoning: str | None = None  # said before a whole answer
    finish: str = "stop"
    dialect: str | None = None  # "llama.cpp" | "vllm"
    prompt_tokens: int = 9
    cached_tokens: int | None = None
    usage: str = "end"  # "end" | "none" | "twice" | "everywhere" | "nonsense"
    status: int = 200
    error: dict[str, Any] | None = None
    delay: float = 0.0  # before the headers
    pace: float = 0.0  # before each frame
    hang_after: int | None = None  # frames, then silence
    die_after: int | None = None  # frames, then the connection is cut; -1: before the headers
    malformed_after: int | None = None  # frames, then one that is no JSON
    error_after: int | None = None  # frames, then an error in the stream
    raw: bytes | None = None  # these bytes instead of any answer
    body: bytes | None = None  # this body instead of the usual one
    done: bool = True  # whether [DONE] is said
    crlf: bool = False
    split: int | None = None  # write the stream in pieces of so many bytes


@dataclass
class MockUpstream:
    behaviour: Behaviour = field(default_factory=Behaviour)
    journal: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    left: int = 0  # clients (the gateway) that left in the midst of a stream
    finished: int = 0  # answers that were written to their end
    port: int = 0
    arrived: Callable[[], None] = lambda: None  # when the first bytes of a request are here

    async def start(self, path: str | None = None) -> None:
        if path is not None:
            self._server: asyncio.Server = await asyncio.start_unix_server(self._serve, path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection goes on."""
        first = await reader.readexactly(1)
        self.arrived()
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        asked = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        self.journal.append((path, asked, headers))
        how = self.behaviour
        await asyncio.sleep(how.delay)
        if how.die_after == -1:
            writer.transport.abort()
            return False
        if how.raw is not None:
            writer.write(how.raw)
            await writer.drain()
            return False
        if how.hang_after == -1:
            await self._until_left(reader)
            return False
        if how.status != 200 or how.error is not None:
            self._write(writer, how.status, json.dumps(how.error or {}).encode())
            return True
        if how.body is not None:
            self._write(writer, 200, how.body)
            return True
        if asked.get("stream"):
            return await self._stream(path, asked, reader, writer)
        answer = self._embedding(asked) if path.endswith("/embeddings") else self._whole(path, asked)
        self._write(writer, 200, json.dumps(answer).encode())
        self.finished += 1
        return True

    def _write(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        await reader.read(1)
        self.left += 1

    async def _stream(
        self, path: str, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        how = self.behaviour
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await writer.drain()
        leaving = asyncio.ensure_future(self._until_left(reader))
        try:
            for number, frame in enumerate([*self._frames(path, asked), None]):
                if number == how.hang_after:
                    await leaving
                    return False
                if number == how.die_after:
                    writer.transport.abort()
                    return False
                if number == how.malformed_after:
                    await self._event(writer, b'data: {"choices": [oops\n\n')
                if number == how.error_after:
                    await self._event(writer, b'data: {"error": {"message": "secret detail", "code": 500}}\n\n')
                if frame is None:
                    break
                await asyncio.sleep(how.pace)
                if leaving.done():
                    return False
                await self._event(writer, b"data: " + json.dumps(frame).encode() + b"\n\n")
            if how.done:
                await self._event(writer, b"data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
            self.finished += 1
            return False  # one stream a connection: the watcher above reads from it
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving

    async def _event(self, writer: asyncio.StreamWriter, event: bytes) -> None:
        if self.behaviour.crlf:
            event = event.replace(b"\n", b"\r\n")
        step = self.behaviour.split or len(event)
        for start in range(0, len(event), step):
            piece = event[start : start + step]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            if self.behaviour.split:
                await asyncio.sleep(0)

    def usage(self, output: int) -> dict[str, Any]:
        how = self.behaviour
        usage: dict[str, Any] = {
            "prompt_tokens": how.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": how.prompt_tokens + output,
        }
        if how.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": how.cached_tokens}
        return usage

    def timings(self, output: int) -> dict[str, Any]:
        cached = self.behaviour.cached_tokens or 0
        prompt = self.behaviour.prompt_tokens - cached
        return {"prompt_n": prompt, "cache_n": cached, "predicted_n": output, "predicted_ms": 1.5}

    def _frames(self, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """All chunks of a stream, in the engine's own words."""
        how, chat = self.behaviour, path.endswith("/chat/completions")
        base = {
            "id": "gen-1",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": 1_700_000_000,
            "model": "/secret/path/engine-name",
            "system_fingerprint": "b1234",
        }
        frames = []
        calling = chat and _calls(asked)
        deltas = _call_deltas(asked) if calling else [{"content": word} for word in _words(how.words, asked)]
        for number, delta in enumerate(deltas, start=1):
            word = str(delta.get("content"))
            part: dict[str, Any] = {"delta": delta} if chat else {"text": word}
            if asked.get("logprobs"):
                part["logprobs"] = {"content": [{"token": word, "logprob": -0.123456, "top_logprobs": [
                    {"token": word, "logprob": -0.123456, "bytes": [1]}]}]}  # fmt: skip
            frame = base | {"choices": [{"index": 0, **part, "finish_reason": None}]}
            if how.dialect == "llama.cpp" and asked.get("timings_per_token"):
                frame["timings"] = self.timings(number)
            if how.dialect == "vllm" and asked["stream_options"].get("continuous_usage_stats"):
                frame["usage"] = self.usage(number)
            if how.usage == "everywhere":
                frame["usage"] = self.usage(number)
            frames.append(frame)
        last: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        reason = "tool_calls" if calling else how.finish
        frames.append(base | {"choices": [{"index": 0, **last, "finish_reason": reason}]})
        if asked.get("stream_options", {}).get("include_usage") and how.usage in ("end", "twice", "everywhere"):
            for _ in range(2 if how.usage == "twice" else 1):
                frames.append(base | {"choices": [], "usage": self.usage(len(how.words))})
        if how.usage == "nonsense":
            frames.append(base | {"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}})
        return frames

    def _whole(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        how, chat = self.behaviour, path.endswith("/chat/completions")
        text = "".join(how.words)
        logprobs = None
        if asked.get("logprobs"):
            logprobs = {"content": [{"token": text, "logprob": -1.23456, "top_logprobs": []}]}
        if chat and _calls(asked):
            name = asked["tools"][0]["function"]["name"]
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": ARGUMENTS}}
            choice: dict[str, Any] = {
                "message": {"role": "assistant", "content": None, "tool_calls": [call]},
                "finish_reason": "tool_calls",
            }
        elif chat:
            if asked.get("response_format", {}).get("type") == "json_schema":
                text = JSON_ANSWER
            message = {"role": "assistant", "content": text}
            if how.reasoning:
                message["reasoning_content"] = how.reasoning
            choice = {"message": message, "finish_reason": how.finish}
        else:
            choice = {"text": text, "finish_reason": "stop"}
        prompts = asked.get("prompt")
        several = len(prompts) if isinstance(prompts, list) and not isinstance(prompts[0], int) else 1
        number = asked.get("n", 1) * several
        answer: dict[str, Any] = {
            "id": "gen-1",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1_700_000_000,
            "model": "/secret/path/engine-name",
            "choices": [{"index": index, "logprobs": logprobs, **choice} for index in range(number)],
            "timings": self.timings(len(how.words)),
            "__verbose": {"prompt": "the whole prompt"},
        }
        if how.usage == "nonsense":
            answer["usage"] = {"prompt_tokens": "nine"}
        elif how.usage != "none":
            answer["usage"] = self.usage(len(how.words) * number)
        if how.usage in ("none", "nonsense"):
            del answer["timings"]
        return answer

    def _embedding(self, asked: dict[str, Any]) -> dict[str, Any]:
        inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"object": "embedding", "index": i, "embedding": [0.25, -0.5, 1e-9]} for i in range(len(inputs))]
        usage = {"prompt_tokens": 4 * len(inputs), "total_tokens": 4 * len(inputs)}
        return {"object": "list", "model": "engine-name", "data": data, "usage": usage}


def _calls(asked: dict[str, Any]) -> bool:
    """Whether it answers with a call: once for each question, so that agents come to an end."""
    return bool(asked.get("tools")) and asked["messages"][-1]["role"] != "tool"


def _words(words: tuple[str, ...], asked: dict[str, Any]) -> tuple[str, ...]:
    return (JSON_ANSWER,) if asked.get("response_format", {}).get("type") == "json_schema" else words


def _call_deltas(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """A call in five pieces, the first with its name."""
    name = asked["tools"][0]["function"]["name"]
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    size = -(-len(ARGUMENTS) // 4)
    pieces = [ARGUMENTS[start : start + size] for start in range(0, len(ARGUMENTS), size)]
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    return [{"tool_calls": [delta]} for delta in (first, *rest)]

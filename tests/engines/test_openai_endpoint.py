"""The endpoint engine against a small HTTP server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from weighbridge.engines.interface import Decoding
from weighbridge.engines.openai_endpoint import OpenAIEndpoint, settings_for
from weighbridge.errors import EngineError, InputError
from weighbridge.measures.judge import EndpointJudge, Exchange
from weighbridge.measures.refusal import ResponseClass

Reply = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Answers each request by ``reply(path, body, headers)`` and keeps what was asked."""

    reply: Callable[[str, dict[str, Any], dict[str, str]], Reply]
    asked: list[tuple[str, dict[str, Any], dict[str, str]]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.asked.append((self.path, body, headers))
        status, extra, data = server.reply(self.path, body, headers)
        self.send_response(status)
        for name, value in extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


def chat_reply(text: str | None, tokens: int = 7) -> Reply:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"total_tokens": tokens}}
    return 200, {}, json.dumps(body).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    server.reply = lambda path, body, headers: chat_reply(f"You said: {body['messages'][-1]['content']}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def engine(server: Server, pauses: list[float]) -> Iterator[OpenAIEndpoint]:
    engine = OpenAIEndpoint(server.url + "/", "tiny", timeout=5, retries=2, sleep=pauses.append)
    yield engine
    engine.close()


def test_chat_asks_greedily_and_in_order(server: Server, engine: OpenAIEndpoint) -> None:
    prompts = [f"number {index}" for index in range(9)]
    assert engine.chat(prompts, Decoding(max_tokens=5, system="Be brief.", until=("\n",))) == [
        f"You said: {prompt}" for prompt in prompts
    ]
    path, body, headers = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body["temperature"] == 0
    assert body["max_tokens"] == 5
    assert body["stop"] == ["\n"]
    assert body["model"] == "tiny"
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "authorization" not in headers
    assert engine.tokens == 63
    assert engine.settings == settings_for(server.url, "tiny")


def test_complete_uses_no_template(server: Server, engine: OpenAIEndpoint) -> None:
    server.reply = lambda path, body, headers: (
        200,
        {},
        json.dumps({"choices": [{"text": body["prompt"] + "!"}]}).encode(),
    )
    assert engine.complete(["a", "b"], until=[], max_tokens=3) == ["a!", "b!"]
    assert server.asked[0][0] == "/v1/completions"


def test_a_missing_text_is_an_empty_response(server: Server, engine: OpenAIEndpoint) -> None:
    server.reply = lambda path, body, headers: chat_reply(None)
    assert engine.chat(["a"], Decoding(4)) == [""]


def test_the_key_comes_from_the_environment_and_shows_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADER_KEY", "s3cret-value")
    engine = OpenAIEndpoint(server.url, "tiny", key_variable="GRADER_KEY", retries=0)
    engine.chat(["a"], Decoding(4))
    assert server.asked[0][2]["authorization"] == "Bearer s3cret-value"
    assert "s3cret" not in repr(engine.settings)
    server.reply = lambda path, body, headers: (401, {}, b'{"error": "who are you?"}')
    with pytest.raises(EngineError, match="401") as caught:
        engine.chat(["a"], Decoding(4))
    assert "s3cret" not in f"{caught.value} {caught.value.remedy}"
    engine.close()
    monkeypatch.delenv("GRADER_KEY")
    with pytest.raises(InputError, match="GRADER_KEY"):
        OpenAIEndpoint(server.url, "tiny", key_variable="GRADER_KEY")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_retried(server: Server, engine: OpenAIEndpoint, pauses: list[float], status: int) -> None:
    server.reply = lambda path, body, headers: (
        (status, {}, b"later") if len(server.asked) < 3 else chat_reply("at last")
    )
    assert engine.chat(["a"], Decoding(4)) == ["at last"]
    assert pauses == [1.0, 2.0]


def test_retry_after_is_heeded_up_to_a_limit(server: Server, engine: OpenAIEndpoint, pauses: list[float]) -> None:
    answers = iter([(429, {"Retry-After": "3"}, b""), (429, {"Retry-After": "86400"}, b""), chat_reply("at last")])
    server.reply = lambda path, body, headers: next(answers)
    assert engine.chat(["a"], Decoding(4)) == ["at last"]
    assert pauses == [3.0, 30.0]


def test_lasting_trouble_gives_up(server: Server, engine: OpenAIEndpoint, pauses: list[float]) -> None:
    server.reply = lambda path, body, headers: (503, {}, b"down for repair")
    with pytest.raises(EngineError, match=r"gave up after 3 tries.*down for repair"):
        engine.chat(["a"], Decoding(4))
    assert len(server.asked) == 3
    assert len(pauses) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 404])
def test_what_will_not_pass_is_not_retried(server: Server, engine: OpenAIEndpoint, status: int) -> None:
    server.reply = lambda path, body, headers: (status, {"Location": "http://127.0.0.1:1/"}, b"no")
    with pytest.raises(EngineError, match=str(status)):
        engine.chat(["a"], Decoding(4))
    assert len(server.asked) == 1


def test_nobody_there(pauses: list[float]) -> None:
    engine = OpenAIEndpoint("http://127.0.0.1:9/v1", "tiny", timeout=2, retries=1, sleep=pauses.append)
    with pytest.raises(EngineError, match="gave up after 2 tries"):
        engine.chat(["a"], Decoding(4))
    engine.close()


def test_a_server_that_never_answers_times_out(server: Server, pauses: list[float]) -> None:
    release = threading.Event()

    def hang(path: str, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        release.wait(5)
        return chat_reply("too late")

    server.reply = hang
    engine = OpenAIEndpoint(server.url, "tiny", timeout=0.2, retries=0, sleep=pauses.append)
    with pytest.raises(EngineError, match="Timeout"):
        engine.chat(["a"], Decoding(4))
    release.set()
    engine.close()


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": 5}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": 5}',
        b"\xff",
    ],
)
def test_replies_of_another_form(server: Server, engine: OpenAIEndpoint, data: bytes) -> None:
    server.reply = lambda path, body, headers: (200, {}, data)
    with pytest.raises(EngineError):
        engine.chat(["a"], Decoding(4))


def test_a_reply_without_end(server: Server, engine: OpenAIEndpoint) -> None:
    server.reply = lambda path, body, headers: (200, {}, b"x" * 5_000_000)
    with pytest.raises(EngineError, match="more than"):
        engine.chat(["a"], Decoding(4))


@pytest.mark.parametrize(
    "url", ["", "host/v1", "ftp://host/v1", "http://", "https://user:pw@host/v1", "http://host/v1?key=1"]
)
def test_bad_addresses(url: str) -> None:
    with pytest.raises(InputError) as caught:
        settings_for(url, "tiny")
    assert "pw" not in str(caught.value)


def test_as_a_judge(server: Server, engine: OpenAIEndpoint) -> None:
    def grade(path: str, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        return chat_reply("REFUSAL" if "cannot help" in body["messages"][-1]["content"] else "COMPLIANCE")

    server.reply = grade
    judge = EndpointJudge(engine)
    verdicts = judge.judge(
        [Exchange("Do it?", "I cannot help.", True), Exchange("Do it?", "Here is how it goes.", True)]
    )
    assert [verdict.verdict for verdict in verdicts] == [ResponseClass.REFUSAL, ResponseClass.COMPLIANCE]
    assert judge.identity["settings"] == {"engine": "openai-endpoint", "url": server.url, "model": "tiny"}


@pytest.mark.parametrize(
    "decoding", [Decoding(4, prefill="Sure"), Decoding(4, template="raw"), Decoding(4, temperature=1.0)]
)
def test_what_an_endpoint_cannot_be_held_to_is_refused(server: Server, decoding: Decoding) -> None:
    with pytest.raises(EngineError, match="its own template"):
        OpenAIEndpoint(server.url, "m").chat(["a"], decoding)
    assert not server.asked

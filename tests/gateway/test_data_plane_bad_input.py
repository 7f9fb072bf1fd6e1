"""What clients send that is wrong, broken or meant to harm: an error in OpenAI's form, nothing dispatched."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_world import World, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.gateway.api import protocol
from weighbridge.gateway.api.app import Bounds
from weighbridge.gateway.api.refusals import Rejected
from weighbridge.gateway.api.requests import parse_chat, parse_completion, parse_embedding

CHAT = "/v1/chat/completions"
GOOD: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with running() as world:
        yield world
        world.at_rest()


def refused(world: World, body: bytes | dict[str, Any], path: str = CHAT) -> dict[str, Any]:
    """The error that the body meets; nothing is dispatched and no intent written."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = world.http().post(path, content=content)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-should-retry"] == "false"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert not world.mock.journal
    assert not world.ledger.intents
    return {"status": answer.status_code} | error


@pytest.mark.parametrize(
    "name",
    [
        "n_probs", "prompt_logprobs", "chat_template", "chat_template_kwargs", "lora", "id_slot", "logit_bias",
        "cache_prompt", "grammar", "n_predict", "timings_per_token", "guided_json", "min_tokens", "ignore_eos",
        "return_tokens", "samplers", "best_of", "echo", "top_k", "service_tier", "functions", "modalities", "é\n",
        "add_generation_prompt", "continue_final_message", "documents", "speculative.n_max", "return_progress",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_refused_by_name(shared: World, name: str) -> None:
    error = refused(shared, GOOD | {name: 1})
    assert (error["status"], error["code"], error["param"]) == (400, "unsupported_parameter", name)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (GOOD | {"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        (GOOD | {"stream": True, "stream_options": {"continuous_usage_stats": True}}, "unsupported_parameter",
         "stream_options.continuous_usage_stats"),
        (GOOD | {"messages": []}, "invalid_value", "messages"),
        (GOOD | {"messages": [{"role": "user", "content": "a", "cache_control": 1}]}, "unsupported_parameter",
         "messages[0].cache_control"),
        (GOOD | {"messages": [{"role": "root", "content": "a"}]}, "invalid_value", "messages[0].role"),
        (GOOD | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
         "invalid_value", "messages[0].content[0].type"),
        (GOOD | {"messages": [{"content": "a"}]}, "missing_required_parameter", "messages[0].role"),
        ({"model": "small"}, "missing_required_parameter", "messages"),
        (GOOD | {"model": 3}, "invalid_type", "model"),
        (GOOD | {"max_tokens": -1}, "invalid_value", "max_tokens"),
        (GOOD | {"max_tokens": 0}, "invalid_value", "max_tokens"),
        (GOOD | {"max_tokens": 1.5}, "invalid_type", "max_tokens"),
        (GOOD | {"max_tokens": 2**40}, "invalid_value", "max_tokens"),
        (GOOD | {"max_tokens": 1, "max_completion_tokens": 2}, "invalid_value", "max_completion_tokens"),
        (GOOD | {"n": 129}, "invalid_value", "n"),
        (GOOD | {"n": True}, "invalid_type", "n"),
        (GOOD | {"temperature": 2.1}, "invalid_value", "temperature"),
        (GOOD | {"seed": 2**64}, "invalid_value", "seed"),
        (GOOD | {"stop": ["a"] * 5}, "invalid_value", "stop"),
        (GOOD | {"store": True}, "unsupported_value", "store"),
        (GOOD | {"tools": [{"type": "web_search"}]}, "invalid_value", "tools[0].type"),
        (GOOD | {"tool_choice": "whatever"}, "invalid_value", "tool_choice"),
        (GOOD | {"response_format": {"type": "json_object", "schema": {}}}, "unsupported_parameter",
         "response_format.schema"),
        (GOOD | {"response_format": {"type": "grammar"}}, "invalid_value", "response_format.type"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(shared: World, body: dict[str, Any], code: str, param: str) -> None:
    error = refused(shared, body)
    assert (error["status"], error["param"]) == (400, param)
    assert error["code"] == code


def test_a_deep_schema_is_refused(shared: World) -> None:
    schema: dict[str, Any] = {}
    for _ in range(80):
        schema = {"items": schema}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert refused(shared, GOOD | {"tools": [tool]})["param"] == "tools[0].function.parameters"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"model": "\xff"}', b"{}{}", b"NaN",
        b'{"model":"small","messages":[{"role":"user","content":"a"}],"temperature":NaN}',
        b'{"model":"small","messages":[{"role":"user","content":"a"}],"temperature":Infinity}',
        b'{"model":"small","messages":[{"role":"user","content":"a"}],"temperature":1e999}',
        b'{"model":"small","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"small","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":'
        b'{"name":"f","parameters":{"x":"\xff"}}}]}',
        b'{"model":"small","messages":' + b"[" * 200_000,
        b'{"model":"small","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":'
        b'{"name":"f","parameters":' + b"[" * 100_000 + b"]" * 100_000 + b"}}]}",
        b'{"a":' * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_json_object(shared: World, body: bytes) -> None:
    assert refused(shared, body)["status"] == 400


def test_a_field_given_twice_is_read_once(world: World) -> None:
    """The engine gets what was checked, not what was written."""
    body = b'{"model":"small","max_tokens":5,"messages":[{"role":"user","content":"a"}],"max_tokens":6}'
    assert world.http().post(CHAT, content=body).status_code == 200
    assert world.mock.journal[0][1]["max_tokens"] == 6
    assert next(iter(world.ledger.intents.values())).max_output == 6


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "small", "prompt": []}),
        ("/v1/completions", {"model": "small", "prompt": ["a", 1]}),
        ("/v1/completions", {"model": "small", "prompt": [[1], "a"]}),
        ("/v1/completions", {"model": "small", "prompt": [1, [1]]}),
        ("/v1/completions", {"model": "small", "prompt": [-1]}),
        ("/v1/completions", {"model": "small", "prompt": ["a"] * 129}),
        ("/v1/completions", {"model": "small", "prompt": ["a"] * 65, "n": 2}),
        ("/v1/completions", {"model": "small", "prompt": "a", "n": 3, "best_of": 2}),
        ("/v1/completions", {"model": "small", "prompt": "a", "best_of": 2, "stream": True}),
        ("/v1/completions", {"model": "small", "prompt": "a", "echo": True}),
        ("/v1/completions", {"model": "small", "prompt": "a", "suffix": "b"}),
        ("/v1/completions", {"model": "small", "prompt": "a", "logprobs": 6}),
        ("/v1/embeddings", {"model": "small", "input": ["a"] * 2049}),
        ("/v1/embeddings", {"model": "small", "input": ""} | {"encoding_format": "hex"}),
    ],
)
def test_the_other_routes(shared: World, path: str, body: dict[str, Any]) -> None:
    assert refused(shared, body, path)["status"] == 400


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, GOOD | {"messages": [{"role": "user", "content": "é" * 501}]}, "messages"),
        (CHAT, GOOD | {"messages": [{"role": "user", "content": [{"type": "text", "text": "a" * 600}] * 2}]},
         "messages"),
        (CHAT, GOOD | {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [
            {"type": "function", "id": "1", "function": {"name": "f", "arguments": "a" * 1001}}]}]}, "messages"),
        (CHAT, GOOD | {"tools": [{"type": "function", "function": {"name": "f", "description": "a" * 1001}}]},
         "messages"),
        ("/v1/completions", {"model": "small", "prompt": "a" * 1001}, "prompt"),
        ("/v1/completions", {"model": "small", "prompt": ["a", "a" * 1001]}, "prompt"),
        ("/v1/embeddings", {"model": "small", "input": "a" * 1001}, "input"),
        ("/v1/responses", {"model": "small", "input": "a" * 1001}, "input"),
    ],
)  # fmt: skip
def test_a_prompt_that_cannot_fit_is_refused_before_dispatch(
    shared: World, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], param: str
) -> None:
    monkeypatch.setattr(shared.model, "max_prompt", 1000)
    error = refused(shared, body, path)
    assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", param)
    assert "maximum context length is 2048 tokens" in error["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": "\x01" * 1000}]},  # 6,000 bytes of JSON
        {"messages": [{"role": "user", "content": "a" * 500}] * 2},
        {"user": "a" * 5000},
    ],
)
def test_a_prompt_counts_by_its_text(world: World, changes: dict[str, Any]) -> None:
    world.model.max_prompt = 1000
    assert world.http().post(CHAT, json=GOOD | changes).status_code == 200


def test_routes_that_do_not_exist(shared: World) -> None:
    http = shared.http()
    for method, path, status in (
        ("GET", CHAT, 405), ("HEAD", CHAT, 405), ("PUT", CHAT, 405), ("OPTIONS", CHAT, 405),
        ("DELETE", "/v1/models", 405), ("POST", "/v1/models", 405), ("POST", "/v1/messages", 404),
        ("GET", "/", 404), ("GET", "/metrics", 404),
        ("GET", "/v1/chat/completions/", 404), ("POST", "/v1//chat/completions", 404), ("GET", "/v1/files", 404),
        ("POST", "/v1/audio/speech", 404), ("POST", "/tokenize", 404), ("GET", "/v1/models/none", 404),
    ):  # fmt: skip
        answer = http.request(method, path)
        assert answer.status_code == status, (method, path)
        if method != "HEAD":
            assert answer.json()["error"]["type"] == "invalid_request_error"
        if status == 405:
            assert answer.headers["allow"] in ("POST", "GET, HEAD")
    assert http.head("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "wb_acme"}, {"authorization": "Basic wb_acme"}, {"authorization": "Bearer"},
        {"authorization": "Bearer sk-1"}, {"authorization": "Bearer wb_abcdefghijkl_" + "a" * 51},
    ],
)  # fmt: skip
def test_without_a_key(shared: World, headers: dict[str, str]) -> None:
    import httpx

    for path in (CHAT, "/v1/models"):
        answer = httpx.request("GET" if path.endswith("models") else "POST", shared.url + path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def spoken(world: World, data: bytes, *, wait: float = 5.0) -> bytes:
    """What comes back for these bytes until the gateway closes the connection, or says nothing for ``wait``."""
    with socket.create_connection(("127.0.0.1", world.port), timeout=wait) as plug:
        plug.sendall(data)
        said = b""
        try:
            while part := plug.recv(65536):
                said += part
        except (TimeoutError, ConnectionResetError):
            pass
        return said


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
KEY = b"authorization: Bearer wb_abcdefghijkl_" + b"a" * 52 + b"\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (HEAD + KEY + KEY + b"content-length: 2\r\n\r\n{}", 400),
        (HEAD + KEY + b"idempotency-key: a\r\nidempotency-key: b\r\ncontent-length: 2\r\n\r\n{}", 400),
        (HEAD + KEY + b"idempotency-key: \xc3\xa9\r\ncontent-length: 2\r\n\r\n{}", 400),
        (HEAD + KEY + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", 415),
        (HEAD + KEY + b"content-length: 99999999\r\n\r\n{}", 413),
        (HEAD + KEY + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", 400),
        (HEAD + KEY + b"content-length: -2\r\n\r\n{}", 400),
        (HEAD + b"x: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (HEAD + b"x: y\r\n" * 200 + b"\r\n", 431),
        (b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
        (HEAD + b"bad header\r\n\r\n", 400),
        (HEAD + b"x: a\x00b\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ],
)
def test_http_that_is_wrong(shared: World, data: bytes, status: int) -> None:
    said = spoken(shared, data, wait=2)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"%d" % status, said[:200]
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert not shared.ledger.intents


@pytest.mark.parametrize("other", [b"websocket", b"h2c"])
def test_no_other_protocol_is_spoken(shared: World, other: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn")
    asked = b"connection: Upgrade\r\nupgrade: %b\r\n" % other
    for data in (HEAD + KEY + asked + b"content-length: 2\r\n\r\n{}", b"GET /v1/models HTTP/1.1\r\n" + asked + b"\r\n"):
        head, _, body = spoken(shared, data, wait=2).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in head
        assert "Upgrade" in json.loads(body)["error"]["message"]
    assert "WebSocket" not in caplog.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, b'{"model":"small","messages":[{"role":"user","content":"%b"}]}'),
        (CHAT, b'{"model":"%b","messages":[{"role":"user","content":"a"}]}'),
        (CHAT, b'{"model":"small","%b":1,"messages":[{"role":"user","content":"a"}]}'),
        (CHAT, b'{"model":"small","user":"%b","messages":[{"role":"user","content":"a"}]}'),
        (CHAT, b'{"model":"small","metadata":{"%b":"a"},"messages":[{"role":"user","content":"a"}]}'),
        (CHAT, b'{"model":"small","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":'
         b'{"name":"f","parameters":{"description":"%b"}}}]}'),
        (CHAT, b'{"model":"small","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema",'
         b'"json_schema":{"name":"f","schema":{"%b":1}}}}'),
        ("/v1/completions", b'{"model":"small","prompt":["a","%b"]}'),
        ("/v1/embeddings", b'{"model":"small","input":"%b"}'),
        ("/v1/responses", b'{"model":"small","input":"%b"}'),
        ("/v1/responses", b'{"model":"small","input":[{"type":"message","role":"user","content":"%b"}]}'),
        ("/v1/responses", b'{"model":"small","input":"a","text":{"format":{"type":"json_schema","name":"f",'
         b'"schema":{"a":"%b"}}}}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("half", [b"\\ud800", b"\\udc00", b"\\ud800\\ud800", b"a\\ud83dz", b"\xed\xa0\x80"])
def test_half_a_character_is_refused(shared: World, path: str, body: bytes, half: bytes) -> None:
    """A surrogate without its other half: no text, and nothing that an engine or a ledger could write down."""
    assert refused(shared, body % half, path)["status"] == 400


def test_headers_cannot_be_injected(world: World) -> None:
    """Nothing that a client writes comes back in a header, and nothing goes to the engine but the fixed ones."""
    answer = world.http().post(
        CHAT, json=GOOD | {"user": "a\r\nx-evil: 1"}, headers={"x-request-id": "mine", "x-evil": "1", "cookie": "a=b"}
    )
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    assert answer.headers["x-request-id"] != "mine"
    _, asked, headers = world.mock.journal[0]
    assert "user" not in asked
    assert set(headers) == {"host", "accept-encoding", "content-type", "content-length"}


def test_an_unknown_model_with_a_name_of_control_characters(shared: World) -> None:
    error = refused(shared, GOOD | {"model": "a\r\nx-evil: 1\x00" * 100})
    assert error["code"] == "model_not_found"
    assert len(error["message"]) < 2000


def test_slow_headers_and_slow_bodies_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS", 0.3)
    monkeypatch.setattr(protocol, "BODY", 0.6)
    for data, least in (
        (b"", 0.3), (b"POST /v1/chat", 0.3), (HEAD + KEY, 0.3), (HEAD + KEY + b"content-length: 50\r\n\r\n{", 0.6)
    ):  # fmt: skip
        began = time.monotonic()
        said = spoken(world, data)
        assert least - 0.1 < time.monotonic() - began < 3
        assert said.startswith(b"HTTP/1.1 408 ")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    world.at_rest()
    with socket.create_connection(("127.0.0.1", world.port), timeout=5) as plug:  # a byte now and then does not help
        began = time.monotonic()
        plug.sendall(HEAD + KEY + b"content-length: 50\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 2:
                plug.sendall(b"{")
                time.sleep(0.03)
        assert time.monotonic() - began < 2
    world.at_rest()


def test_a_client_that_leaves_in_the_midst_of_its_body(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port)) as plug:
        plug.sendall(HEAD + KEY + b"content-length: 5000\r\n\r\n{")
        time.sleep(0.1)
    world.at_rest()
    assert not world.ledger.intents


def test_bodies_are_bounded_each_and_together() -> None:
    with running(bounds=Bounds(body=300_000, buffered=500_000, anonymous=1000)) as world:
        long = GOOD | {"messages": [{"role": "user", "content": "x" * 290_000}]}
        assert world.http().post(CHAT, json=long).status_code == 200
        longer = GOOD | {"messages": [{"role": "user", "content": "x" * 310_000}]}
        assert world.http().post(CHAT, json=longer).status_code == 413
        chunked = world.http().post(CHAT, content=(b"x" * 10_000 for _ in range(40)))
        assert chunked.status_code == 413
        assert chunked.json()["error"]["code"] == "request_too_large"
        world.at_rest()
        world.mock.behaviour.delay = 1.0
        answers: list[int] = []

        def ask() -> None:
            answers.append(world.http().post(CHAT, json=long).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) in ([200, 503, 503], [200, 200, 503])
        assert 503 in answers
        world.at_rest()
        world.mock.behaviour.delay = 0
        assert world.http().post(CHAT, json=long).status_code == 200  # it recovers by itself


def test_a_long_body_is_only_read_for_a_known_key(world: World) -> None:
    world.token = world.token[:-1] + ("b" if world.token.endswith("a") else "a")
    answer = world.http().post(CHAT, json=GOOD | {"messages": [{"role": "user", "content": "x" * 100_000}]})
    assert answer.status_code == 401
    world.at_rest()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["model", "messages", "prompt", "input", "stream", "stream_options", "n", "stop", "tools", "tool_choice",
     "logprobs", "top_logprobs", "response_format", "max_tokens", "best_of", "echo", "seed",
     "metadata", "encoding_format"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_json_is_checked_or_refused(body: dict[str, Any]) -> None:
    """No body breaks a parser; what passes has a bound on its input and output."""
    for parse in (parse_chat, parse_completion, parse_embedding):
        for base in ({}, GOOD, {"model": "m", "prompt": "p"}, {"model": "m", "input": "i"}):
            try:
                request = parse(json.dumps(base | body).encode())
            except Rejected as rejected:
                assert rejected.refused.status == 400  # noqa: PT017
            else:
                assert request.choices >= 1
                assert request.input_bound(4096) > 0
                sent = json.loads(request.forward("engine", 7, "vllm"))
                assert sent["model"] == "engine"
                assert sent.get("max_tokens", 7) == 7
                assert not sent.keys() & {"user", "metadata", "store", "max_completion_tokens"}


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes) -> None:
    for parse in (parse_chat, parse_completion, parse_embedding):
        with pytest.raises(Rejected):
            parse(body)

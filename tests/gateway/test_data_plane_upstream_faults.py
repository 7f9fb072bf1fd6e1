"""An engine that hangs, dies, lies or forgets: a clean end for the client, and the right row in the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from gateway_world import World, running

from weighbridge.gateway.backend.upstream import Timeouts, Upstream
from weighbridge.gateway.rules.terms import Outcome, Refused

HELLO = [{"role": "user", "content": "Hello"}]
ASKED: dict[str, Any] = {"model": "small", "messages": HELLO}


@pytest.fixture
def hasty() -> Iterator[World]:
    """A world whose patience is short."""
    with running(timeouts=Timeouts(connect=0.5, first_byte=0.4, idle=0.4, total=1.5)) as world:
        yield world
        world.at_rest()


def streamed(world: World) -> tuple[str, openai.APIError | None]:
    """The text that a client got, and the error that ended it."""
    text = ""
    try:
        for chunk in world.client().chat.completions.create(stream=True, **ASKED):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    except openai.APIError as error:
        return text, error
    return text, None


def test_nobody_listens(world: World) -> None:
    world.model.upstream = Upstream("http://127.0.0.1:1")
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().chat.completions.create(**ASKED)
    assert (failed.value.status_code, failed.value.code) == (503, "engine_unavailable")
    assert failed.value.response.headers["retry-after"] == "2"
    assert world.outcome() == (Outcome.UPSTREAM_ERROR, None)


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_never_dispatched_may_be_asked_again_with_its_key(world: World, stream: bool) -> None:
    """A client that obeys Retry-After must not be given the same 503 for a day."""
    there, world.model.upstream = world.model.upstream, Upstream("http://127.0.0.1:1")
    ask = world.client().chat.completions.create
    keyed: dict[str, Any] = {"extra_headers": {"Idempotency-Key": "once"}, "stream": stream, **ASKED}
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            ask(**keyed)
    world.model.upstream = there
    for _ in range(2):  # asked, then replayed
        answer = ask(**keyed)
        if stream:
            assert len(list(answer)) == 6
    assert len(world.mock.journal) == 1
    outcomes = [seal.outcome for seal in world.ledger.seals.values()]
    assert outcomes == [Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_ERROR, Outcome.COMPLETED]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "said", "told", "code"),
    [
        (400, {"error": {"message": "bad schema", "type": "x"}}, 400, "upstream_rejected"),
        (400, {"error": {"message": "too long", "type": "exceed_context_size_error"}}, 400, "context_length_exceeded"),
        (400, {"message": "maximum context length is 5"}, 400, "context_length_exceeded"),
        (401, {"error": {"message": "gateway's own key is wrong"}}, 502, "upstream_error"),
        (429, {}, 503, "engine_overloaded"),
        (500, {"error": {"message": "/root/secret trace"}}, 502, "upstream_error"),
        (501, {"error": {"message": "no"}}, 400, "unsupported_by_engine"),
    ],
)
def test_an_error_of_the_engine_costs_nothing(
    world: World, stream: bool, status: int, said: dict[str, Any], told: int, code: str
) -> None:
    world.mock.behaviour.status, world.mock.behaviour.error = status, said
    with pytest.raises(openai.APIStatusError) as failed:
        world.client(max_retries=0).chat.completions.create(stream=stream, **ASKED)
    assert (failed.value.status_code, failed.value.code) == (told, code)
    assert "secret" not in str(failed.value)
    assert world.outcome() == (Outcome.UPSTREAM_ERROR, None)
    assert len(world.mock.journal) == 1


def test_an_error_with_usage_is_billed_as_reported(world: World) -> None:
    world.mock.behaviour.status = 500
    world.mock.behaviour.error = {"error": {"message": "x"}, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    with pytest.raises(openai.InternalServerError):
        world.client().chat.completions.create(**ASKED)
    assert world.outcome() == (Outcome.UPSTREAM_ERROR, (3, 1, 0))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "how", [{"die_after": -1}, {"raw": b"SSH-2.0-OpenSSH_9\r\n\r\n"}, {"raw": b"HTTP/1.1 200 OK\r\n"}]
)
def test_it_dies_before_it_answers(world: World, stream: bool, how: dict[str, Any]) -> None:
    vars(world.mock.behaviour).update(how)
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().chat.completions.create(stream=stream, **ASKED)
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_broke_off")
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert world.outcome() == (Outcome.UNKNOWN, None)
    assert len(world.mock.journal) == 1  # dispatched once, whatever happened


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"choices": [', b'{"error": "x"}', b'{"choices": [\xff]}', b"", b"null", b"[" * 100_000]
)
def test_an_answer_that_is_none(world: World, body: bytes) -> None:
    world.mock.behaviour.body = body
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().chat.completions.create(**ASKED)
    assert failed.value.code == "upstream_malformed"
    assert world.outcome() == (Outcome.UNKNOWN, None)


def test_an_answer_cut_short(world: World) -> None:
    world.mock.behaviour.raw = b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"choices": ['
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().chat.completions.create(**ASKED)
    assert failed.value.code == "upstream_broke_off"
    assert world.outcome() == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("stream", [False, True])
def test_it_never_answers(hasty: World, stream: bool) -> None:
    hasty.mock.behaviour.hang_after = -1
    with pytest.raises(openai.InternalServerError) as failed:
        hasty.client().chat.completions.create(stream=stream, **ASKED)
    assert (failed.value.status_code, failed.value.code) == (504, "upstream_timeout")
    assert hasty.outcome() == (Outcome.UNKNOWN, None)
    hasty.wait(lambda: hasty.mock.left == 1)  # the engine sees that nobody waits any more


@pytest.mark.parametrize("dialect", [None, "llama.cpp", "vllm"])
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"hang_after": 2}, "upstream_timeout"),
        ({"die_after": 2}, "upstream_broke_off"),
        ({"malformed_after": 2}, "upstream_malformed"),
        ({"error_after": 2}, "upstream_error"),
    ],
)
def test_a_stream_that_breaks(hasty: World, dialect: str | None, how: dict[str, Any], code: str) -> None:
    hasty.model.cumulative_usage = hasty.mock.behaviour.dialect = dialect  # type: ignore[assignment]
    vars(hasty.mock.behaviour).update(how)
    text, error = streamed(hasty)
    assert text == "One two"
    assert error is not None
    assert error.code == code
    assert "secret" not in str(error)
    expected = (Outcome.UNKNOWN, None) if dialect is None else (Outcome.UPSTREAM_ERROR, (9, 2, 0))
    assert hasty.outcome() == expected


def test_a_stream_that_outlives_all_patience(hasty: World) -> None:
    hasty.mock.behaviour.words, hasty.mock.behaviour.pace = ("x",) * 100, 0.1
    began = time.monotonic()
    text, error = streamed(hasty)
    assert 1.3 < time.monotonic() - began < 3
    assert len(text) > 5
    assert error is not None
    assert error.code == "upstream_timeout"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", ["none", "nonsense"])
def test_it_forgets_usage(world: World, stream: bool, usage: str) -> None:
    world.mock.behaviour.usage = usage
    answer = world.client().chat.completions.create(stream=stream, **ASKED)
    text = (
        "".join(c.choices[0].delta.content or "" for c in answer if c.choices)
        if stream
        else answer.choices[0].message.content
    )
    assert text == "One two three four five"  # the client has its answer
    assert world.outcome() == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("usage", ["twice", "everywhere"])
def test_usage_twice_is_the_last_report(world: World, usage: str) -> None:
    world.mock.behaviour.usage = usage
    answer = world.client().chat.completions.create(stream=True, stream_options={"include_usage": True}, **ASKED)
    reports = [chunk.usage for chunk in answer if chunk.usage is not None]
    assert [report.completion_tokens for report in reports] == [5]
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_an_end_without_done(world: World) -> None:
    world.mock.behaviour.done = False
    assert streamed(world) == ("One two three four five", None)
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_an_end_without_done_and_usage_is_no_end(world: World) -> None:
    world.mock.behaviour.done, world.mock.behaviour.usage = False, "none"
    text, error = streamed(world)
    assert text == "One two three four five"
    assert error is not None
    assert world.outcome() == (Outcome.UNKNOWN, None)


def test_json_instead_of_a_stream(world: World) -> None:
    world.mock.behaviour.body = b'{"choices": []}'
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().chat.completions.create(stream=True, **ASKED)
    assert failed.value.code == "upstream_malformed"
    assert world.outcome() == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("dialect", [None, "llama.cpp", "vllm"])
def test_a_client_that_leaves(world: World, dialect: str | None) -> None:
    """Stopped at the next report where there are reports; otherwise drained to the end."""
    world.model.cumulative_usage = world.mock.behaviour.dialect = dialect  # type: ignore[assignment]
    world.mock.behaviour.words, world.mock.behaviour.pace = ("x",) * 40, 0.02
    with httpx.stream(
        "POST", f"{world.url}/v1/chat/completions", json=ASKED | {"stream": True},
        headers={"authorization": f"Bearer {world.token}"},
    ) as answer:  # fmt: skip
        for number, _ in enumerate(answer.iter_lines()):
            if number == 8:
                break
    assert world.model.inflight == 1  # the slot is kept
    outcome, usage = world.outcome()
    assert outcome is Outcome.CLIENT_GONE
    assert usage is not None
    if dialect is None:
        assert usage == (9, 40, 0)
        assert (world.mock.finished, world.mock.left) == (1, 0)
    else:
        assert 4 <= usage[1] < 30
        world.wait(lambda: world.mock.left == 1)


def test_a_client_that_leaves_an_engine_that_then_hangs(hasty: World) -> None:
    hasty.mock.behaviour.hang_after = 3
    with httpx.stream(
        "POST", f"{hasty.url}/v1/chat/completions", json=ASKED | {"stream": True},
        headers={"authorization": f"Bearer {hasty.token}"},
    ) as answer:  # fmt: skip
        next(answer.iter_lines())
    assert hasty.outcome() == (Outcome.UNKNOWN, None)


def test_a_client_that_takes_nothing(hasty: World) -> None:
    """It is as good as gone: the engine is drained, and nobody is stuck."""
    hasty.mock.behaviour.words = ("x" * 400_000,) * 60
    import socket

    body = json.dumps(ASKED | {"stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hasty.port)) as plug:
        plug.sendall(head % (hasty.token.encode(), len(body)) + body)
        outcome, _ = hasty.outcome()
        assert outcome in (Outcome.CLIENT_GONE, Outcome.UNKNOWN)
        hasty.at_rest()


@pytest.mark.parametrize("dialect", [None, "llama.cpp"])
def test_streams_end_when_their_key_is_revoked(world: World, dialect: str | None) -> None:
    world.model.cumulative_usage = world.mock.behaviour.dialect = dialect  # type: ignore[assignment]
    world.mock.behaviour.hang_after = 3
    why = Refused(401, "invalid_request_error", "key_revoked", "The key was revoked.", should_retry=False)
    chunks = iter(world.client().chat.completions.create(stream=True, **ASKED))
    assert [next(chunks).choices[0].delta.content for _ in range(3)] == ["One", " two", " three"]
    assert world.run(_called(world.plane.interrupt, lambda one: one.admitted.key_id == "other", why)) == 0
    assert world.run(_called(world.plane.interrupt, lambda one: one.admitted.key_id == world.key_id, why)) == 1
    with pytest.raises(openai.APIError) as ended:
        next(chunks)
    assert ended.value.code == "key_revoked"
    expected = (Outcome.UNKNOWN, None) if dialect is None else (Outcome.INTERRUPTED, (9, 3, 0))
    assert world.outcome() == expected
    world.wait(lambda: world.mock.left == 1)


async def _called(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def test_an_answer_is_interrupted_too(world: World) -> None:
    import threading

    world.mock.behaviour.hang_after = -1
    told: list[openai.APIStatusError] = []

    def ask() -> None:
        with pytest.raises(openai.APIStatusError) as ended:
            world.client().chat.completions.create(**ASKED)
        told.append(ended.value)

    thread = threading.Thread(target=ask)
    thread.start()
    world.wait(lambda: world.mock.journal)
    why = Refused(503, "server_error", "model_unavailable", "The decision was revoked.", should_retry=False)
    world.run(_called(world.plane.interrupt, lambda exchange: True, why))
    thread.join(10)
    assert [error.code for error in told] == ["model_unavailable"]
    assert world.outcome() == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_interrupted_before_its_dispatch_costs_nothing(
    world: World, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = Refused(503, "server_error", "shutting_down", "The gateway is shutting down.")
    connect = world.model.upstream.connect

    async def slowly() -> Any:
        connection = await connect()
        world.plane.interrupt(lambda _: True, why)
        return connection

    monkeypatch.setattr(world.model.upstream, "connect", slowly)
    with pytest.raises(openai.InternalServerError) as ended:
        world.client().chat.completions.create(stream=stream, **ASKED)
    assert (ended.value.status_code, ended.value.code) == (503, "shutting_down")
    assert world.outcome() == (Outcome.INTERRUPTED, None)
    assert not world.mock.journal


def test_the_ledger_goes_while_an_answer_is_on_its_way(world: World) -> None:
    world.mock.behaviour.pace = 0.05
    chunks = []
    for chunk in world.client().chat.completions.create(stream=True, **ASKED):
        chunks.append(chunk)
        world.ledger.gone = True
    assert len(chunks) == 6
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))
    with pytest.raises(openai.InternalServerError):
        world.client().chat.completions.create(**ASKED)


def test_connections_are_kept_and_a_desynchronised_one_is_not(world: World) -> None:
    client = world.client()
    for _ in range(3):
        client.chat.completions.create(**ASKED)
    assert len(world.model.upstream._kept) == 1
    body = b'{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
    once = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    world.mock.behaviour.raw = once + once.replace(b": 1", b": 7")  # an answer that nobody asked for
    client.chat.completions.create(**ASKED)
    world.mock.behaviour.raw = None
    client.chat.completions.create(**ASKED)
    assert [seal.usage.input for seal in world.ledger.seals.values() if seal.usage] == [9, 9, 9, 1, 9]


def test_the_cap_of_a_model_and_its_state(world: World) -> None:
    world.model.max_inflight = 0
    with pytest.raises(openai.InternalServerError) as busy:
        world.client().chat.completions.create(**ASKED)
    assert (busy.value.status_code, busy.value.code) == (503, "engine_overloaded")
    assert busy.value.response.headers["retry-after"] == "1"
    for state, retry in (("starting", "true"), ("restarting", "true"), ("stopped", "false")):
        world.model.state = state  # type: ignore[assignment]
        with pytest.raises(openai.InternalServerError) as away:
            world.client().chat.completions.create(**ASKED)
        assert away.value.code == "model_unavailable"
        assert away.value.response.headers["x-should-retry"] == retry
    assert not world.ledger.intents

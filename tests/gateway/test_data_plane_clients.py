"""What openai-python, written by others, does through the gateway."""

from __future__ import annotations

import gc
import json
import re
import socket

import openai
import pytest
from gateway_world import World

from weighbridge.gateway.api.answers import rate_headers
from weighbridge.gateway.api.exchange import Exchange
from weighbridge.gateway.ledger.accounts import set_project_budget
from weighbridge.gateway.rules.terms import Bucket, Outcome, Refused

HELLO = [{"role": "user", "content": "Hello"}]


def test_a_chat_answer_and_its_headers(world: World) -> None:
    raw = world.client().chat.completions.with_raw_response.create(
        model="small", messages=HELLO, max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=["x"], user="someone",
        presence_penalty=0.1, frequency_penalty=-0.1, metadata={"a": "b"}, store=False, n=1,
    )  # fmt: skip
    answer = raw.parse()
    assert answer.choices[0].message.content == "One two three four five"
    assert answer.model == "small"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 5)
    assert b"secret" not in raw.http_response.content
    assert b"verbose" not in raw.http_response.content
    assert raw.headers["x-ratelimit-limit-requests"] == "600"
    assert raw.headers["x-ratelimit-remaining-requests"] == "599"
    assert raw.headers["x-ratelimit-reset-requests"] == "100ms"
    assert raw.headers["x-ratelimit-limit-tokens"] == "6000000"
    assert raw.headers["x-ratelimit-remaining-tokens"] == "6000000"
    path, asked, _ = world.mock.journal[0]
    assert path == "/v1/chat/completions"
    assert asked == {
        "model": "engine-name", "messages": HELLO, "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3,
        "stop": ["x"], "presence_penalty": 0.1, "frequency_penalty": -0.1, "n": 1,
    }  # fmt: skip
    seal = world.sealed()
    assert raw.headers["x-request-id"] == seal.intent
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))
    ask = world.ledger.intents[seal.intent]
    assert (ask.route, ask.choices, ask.max_output) == ("/v1/chat/completions", 1, 7)


def test_a_missing_limit_is_always_sent_upstream(world: World) -> None:
    world.client().chat.completions.create(model="small", messages=HELLO)
    assert world.mock.journal[0][1]["max_tokens"] == 2048  # the key allows 4,096, the context less


@pytest.mark.parametrize("dialect", [None, "llama.cpp", "vllm"])
@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_with_and_without_usage(world: World, dialect: str | None, include_usage: bool) -> None:
    world.model.cumulative_usage = world.mock.behaviour.dialect = dialect  # type: ignore[assignment]
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(
        world.client().chat.completions.create(
            model="small", messages=HELLO, stream=True, max_completion_tokens=9, **options
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "One two three four five"
    assert {c.model for c in chunks} == {"small"}
    with_usage = [c for c in chunks if c.usage is not None]
    assert len(with_usage) == include_usage
    if include_usage:
        assert chunks[-1].usage is not None
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 5
        assert chunks[-1].id == "gen-1"
    assert all("timings" not in (c.model_extra or {}) for c in chunks)
    asked = world.mock.journal[0][1]
    assert asked["stream_options"]["include_usage"] is True
    assert asked["max_tokens"] == 9
    assert "max_completion_tokens" not in asked
    assert asked.get("timings_per_token", False) == (dialect == "llama.cpp")
    assert asked["stream_options"].get("continuous_usage_stats", False) == (dialect == "vllm")
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_frames_are_the_upstreams_after_the_documented_rewrites(world: World) -> None:
    with world.http().stream(
        "POST", "/v1/chat/completions", json={"model": "small", "messages": HELLO, "stream": True}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    asked = world.mock.journal[0][1]
    expected = [f | {"model": "small"} for f in world.mock._frames("/v1/chat/completions", asked) if f["choices"]]
    assert [json.loads(line.removeprefix("data: ")) for line in lines[:-1]] == expected


@pytest.mark.parametrize(("crlf", "split"), [(True, None), (False, 1), (True, 1), (False, 7)])
def test_frames_however_they_are_cut(world: World, crlf: bool, split: int | None) -> None:
    world.mock.behaviour.crlf, world.mock.behaviour.split = crlf, split
    chunks = world.client().completions.create(model="small", prompt="Hello", stream=True)
    assert "".join(c.choices[0].text for c in chunks) == "One two three four five"
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_tools_and_a_json_schema(world: World) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema, "strict": True}}
    answer = world.client().chat.completions.create(
        model="small", messages=HELLO, tools=[tool], tool_choice="auto", parallel_tool_calls=False
    )
    message = answer.choices[0].message
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Bern"}
    again = [*HELLO, message, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    world.client().chat.completions.create(
        model="small", messages=again, tools=[tool], tool_choice={"type": "function", "function": {"name": "weather"}}
    )
    first, second = (asked for _, asked, _ in world.mock.journal)
    assert first["tools"] == [tool]
    assert first["tool_choice"] == "auto"
    assert second["messages"][1]["tool_calls"][0]["function"]["name"] == "weather"
    assert second["messages"][1]["content"] is None
    assert second["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": {"type": "object"}, "strict": True}}
    answer = world.client().chat.completions.create(model="small", messages=HELLO, response_format=form)
    assert json.loads(answer.choices[0].message.content or "") == {"answer": 42}
    assert world.mock.journal[2][1]["response_format"] == form


def test_log_probabilities_have_two_decimals(world: World) -> None:
    answer = world.client().chat.completions.create(model="small", messages=HELLO, logprobs=True, top_logprobs=5)
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert answer.choices[0].logprobs.content[0].logprob == -1.23
    chunks = list(world.client().chat.completions.create(model="small", messages=HELLO, logprobs=True, stream=True))
    assert chunks[0].choices[0].logprobs is not None
    assert chunks[0].choices[0].logprobs.content is not None
    token = chunks[0].choices[0].logprobs.content[0]
    assert (token.logprob, token.top_logprobs[0].logprob) == (-0.12, -0.12)
    for wrong in ({"logprobs": True, "top_logprobs": 6}, {"top_logprobs": 2}):
        with pytest.raises(openai.BadRequestError) as refused:
            world.client().chat.completions.create(model="small", messages=HELLO, **wrong)
        assert refused.value.param == "top_logprobs"


def test_completions_and_what_multiplies_them(world: World) -> None:
    client = world.client()
    answer = client.completions.create(model="small", prompt=["a", "bb"], n=2, best_of=3, max_tokens=4, logprobs=2)
    assert len(answer.choices) == 4
    assert answer.choices[0].text == "One two three four five"
    ask = next(iter(world.ledger.intents.values()))
    assert (ask.choices, ask.max_output, ask.input_bound) == (6, 4, 513 + 514)
    client.completions.create(model="small", prompt=[5, 6, 7])
    ask = list(world.ledger.intents.values())[1]
    assert (ask.choices, ask.max_output, ask.input_bound) == (1, None, 515)
    client.completions.create(model="small", prompt="x" * 5000)
    assert list(world.ledger.intents.values())[2].input_bound == 2048  # the context bounds it


def test_an_engine_that_meters_one_choice_gives_one(world: World) -> None:
    world.model.choices_metered = False
    with pytest.raises(openai.BadRequestError) as refused:
        world.client().chat.completions.create(model="small", messages=HELLO, n=2)
    assert refused.value.param == "n"
    assert not world.ledger.intents
    world.client().embeddings.create(model="small", input=["a", "b"])


def test_embeddings(world: World) -> None:
    answer = world.client().embeddings.create(model="small", input=["a", "b"], encoding_format="float")
    assert [each.embedding for each in answer.data] == [[0.25, -0.5, 1e-9]] * 2
    assert answer.usage.prompt_tokens == 8
    assert world.outcome() == (Outcome.COMPLETED, (8, 0, 0))
    assert next(iter(world.ledger.intents.values())).max_output == 0
    world.model.routes = frozenset(("/v1/chat/completions",))
    with pytest.raises(openai.BadRequestError) as refused:
        world.client().embeddings.create(model="small", input="a")
    assert refused.value.code == "unsupported_model"


def test_models_that_the_key_may_use(world: World) -> None:
    (listed,) = world.client().models.list().data
    assert (listed.id, listed.owned_by, listed.created) == ("small", "weighbridge", 1_700_000_000)
    assert (listed.model_extra or {})["binding"] == "verified"
    assert world.client().models.retrieve("small").id == "small"
    world.ledger.visible = frozenset(("other",))
    assert world.client().models.list().data == []
    with pytest.raises(openai.NotFoundError):
        world.client().models.retrieve("small")
    world.ledger.visible = None
    world.token = world.token[:-1] + ("b" if world.token.endswith("a") else "a")
    with pytest.raises(openai.AuthenticationError):
        world.client().models.list()


def test_cached_tokens_are_counted(world: World) -> None:
    world.mock.behaviour.cached_tokens = 4
    world.client().chat.completions.create(model="small", messages=HELLO)
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 4))


def test_refusals_reach_the_client_as_it_knows_them(world: World) -> None:
    client = world.client()
    with pytest.raises(openai.AuthenticationError):
        world.client(api_key="sk-other").chat.completions.create(model="small", messages=HELLO)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="unknown", messages=HELLO)
    assert missing.value.code == "model_not_found"
    world.ledger.refusing = Refused(
        429, "insufficient_quota", "insufficient_quota", "The budget is spent; max_tokens 12 would fit.",
        should_retry=False,
    )  # fmt: skip
    with pytest.raises(openai.RateLimitError) as quota:
        world.client(max_retries=3).chat.completions.create(model="small", messages=HELLO)
    assert quota.value.response.headers["x-should-retry"] == "false"
    world.ledger.refusing = Refused(429, "requests", "rate_limit_exceeded", "Slow down.", retry_after=1500)
    with pytest.raises(openai.RateLimitError) as slow:
        client.chat.completions.create(model="small", messages=HELLO)
    headers = slow.value.response.headers
    assert (headers["retry-after-ms"], headers["retry-after"]) == ("1500", "2")
    names = [name.lower() for name in headers]
    assert names.index("retry-after-ms") < names.index("retry-after")
    world.ledger.gone = True
    with pytest.raises(openai.InternalServerError) as gone:
        client.chat.completions.create(model="small", messages=HELLO)
    assert gone.value.status_code == 503
    assert gone.value.code == "ledger_unavailable"
    assert "disk" not in str(gone.value)
    assert world.mock.journal == []
    assert world.ledger.intents == {}


@pytest.mark.parametrize("stream", [False, True])
def test_the_intent_is_committed_before_the_first_byte_and_the_seal_before_the_last(world: World, stream: bool) -> None:
    """As another connection to the ledger's file sees it."""

    def rows() -> tuple[int, ...]:
        database = world.ledger.real._connect(True)
        try:
            counts = "SELECT (SELECT COUNT(*) FROM intents), (SELECT COUNT(*) FROM seals)"
            return database.read(lambda one: one.rows(counts)[0])
        finally:
            database.close()

    seen = [rows()]
    world.mock.arrived = lambda: seen.append(rows())
    body = {"model": "small", "messages": HELLO, "stream": stream}
    with world.http().stream("POST", "/v1/chat/completions", json=body) as answer:
        text = b""
        for piece in answer.iter_raw():
            text += piece
            if text.endswith(b"[DONE]\n\n" if stream else b"}"):
                break
        seen.append(rows())
    assert seen == [(0, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize("limit", ["rpm", "tpm", "concurrency"])
def test_a_limit_that_is_reached_says_so_in_headers(world: World, limit: str) -> None:
    """The bucket of requests after one of two, that of tokens in debt, or a slot that is taken."""
    limits = {"rpm": 2, "tpm": 2, "concurrency": 1} | {limit: 1}
    if limit != "concurrency":
        limits["concurrency"] = 9
    client = world.client(api_key=world.key(**limits))
    if limit == "concurrency":
        world.mock.behaviour.hang_after = 1
        stream = client.chat.completions.create(model="small", messages=HELLO, stream=True)
        next(iter(stream))
    else:
        client.chat.completions.create(model="small", messages=HELLO)
    with pytest.raises(openai.RateLimitError) as slow:
        client.chat.completions.create(model="small", messages=HELLO)
    if limit == "concurrency":
        stream.close()
        world.mock.behaviour.hang_after = None
    headers = slow.value.response.headers
    assert slow.value.code == "rate_limit_exceeded"
    assert headers["x-should-retry"] == "true"
    assert int(headers["retry-after"]) >= 1
    assert int(headers["retry-after-ms"]) > 0
    shown = {name: headers[f"x-ratelimit-{name}"] for name in ("limit-requests", "remaining-requests", "limit-tokens")}
    left = "0" if limit == "rpm" else "1"
    assert shown == {
        "limit-requests": str(limits["rpm"]), "remaining-requests": left, "limit-tokens": str(limits["tpm"])
    }  # fmt: skip
    assert headers["x-ratelimit-remaining-tokens"] == ("2" if limit == "concurrency" else "0")
    assert {"x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"} <= set(headers)


def test_a_budget_that_is_spent_says_so_in_headers(world: World) -> None:
    key = world.key(rpm=5, max_output=4)
    world.run(world.ledger.real.call(lambda one: set_project_budget(one, "acme", 1, "month")))
    with pytest.raises(openai.RateLimitError) as refused:
        world.client(api_key=key).chat.completions.create(model="small", messages=HELLO)
    headers = refused.value.response.headers
    assert (headers["x-should-retry"], headers["x-ratelimit-remaining-requests"]) == ("false", "5")
    assert "retry-after" not in headers


def test_a_finished_request_is_replayed_and_not_dispatched_again(world: World) -> None:
    client = world.client()
    keyed = {"extra_headers": {"Idempotency-Key": "once"}}
    first = client.chat.completions.with_raw_response.create(model="small", messages=HELLO, **keyed)
    again = client.chat.completions.with_raw_response.create(model="small", messages=HELLO, **keyed)
    assert again.http_response.content == first.http_response.content
    assert again.headers["idempotent-replayed"] == "true"
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="small", messages=HELLO, temperature=1, **keyed)
    keyed = {"extra_headers": {"Idempotency-Key": "a stream"}}
    streams = [
        [c.model_dump() for c in client.chat.completions.create(model="small", messages=HELLO, stream=True, **keyed)]
        for _ in range(2)
    ]
    assert streams[0] == streams[1]
    assert len(streams[0]) == 6
    assert len(world.mock.journal) == 2
    assert world.run(world.ledger.real.call(lambda one: one.row("SELECT count(*) FROM intents"))) == (2,)


def test_an_answer_above_a_megabyte_is_not_kept(world: World) -> None:
    world.mock.behaviour.words = ("x" * 600_000, "y" * 600_000)
    keyed = {"extra_headers": {"Idempotency-Key": "long"}}
    list(world.client().chat.completions.create(model="small", messages=HELLO, stream=True, **keyed))
    assert world.sealed().retained is None


def test_the_engine_may_listen_on_a_unix_socket(tmp_path) -> None:
    from gateway_world import running

    with running(socket=str(tmp_path / "engine.sock")) as world:
        for _ in range(3):
            world.client().chat.completions.create(model="small", messages=HELLO)
        assert len(world.mock.journal) == 3


def test_what_observers_are_told(world: World) -> None:
    world.client().chat.completions.create(model="small", messages=HELLO)
    list(world.client().chat.completions.create(model="small", messages=HELLO, stream=True))
    with pytest.raises(openai.NotFoundError):
        world.client().chat.completions.create(model="unknown", messages=HELLO)
    world.wait(lambda: len(world.seen.all) == 3)
    whole, streamed, refused = world.seen.all
    assert (whole.route, whole.status, whole.model, whole.project) == ("/v1/chat/completions", 200, "small", "acme")
    assert (whole.outcome, whole.cost, whole.stream) == (Outcome.COMPLETED, 19_000, False)
    assert whole.usage is not None
    assert whole.first_byte is not None
    assert (streamed.status, streamed.stream, streamed.outcome) == (200, True, Outcome.COMPLETED)
    assert (refused.status, refused.code, refused.outcome, refused.model) == (404, "model_not_found", None, None)


def test_durations_are_written_as_openai_writes_them() -> None:
    bucket = [Bucket(60, 59, reset) for reset in (0, 20, 7_660, 360_000)]
    written = [dict(rate_headers(one, None))[b"x-ratelimit-reset-requests"] for one in bucket]
    assert written == [b"0ms", b"20ms", b"7.66s", b"6m0s"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_leaves_nothing_for_the_collector(world: World, stream: bool) -> None:
    client = world.client()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            answer = client.chat.completions.create(model="small", messages=HELLO, stream=stream)
            assert not stream or list(answer)
        world.at_rest()
        world.wait(lambda: len(world.seen.all) == 3)
        world.wait(lambda: not any(type(one) is Exchange for one in gc.get_objects()))
    finally:
        gc.enable()


def test_requests_one_behind_the_other_on_one_connection(world: World) -> None:
    """Pipelined: answered in order, each whole, and the connection ends where the client asks for it."""
    asked = b""
    for limit, last in ((1, b""), (2, b""), (3, b"connection: close\r\n")):
        body = json.dumps({"model": "small", "messages": HELLO, "max_tokens": limit}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.token}\r\n".encode()
        asked += head + last + b"content-length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", world.port), timeout=10) as plug:
        plug.sendall(asked)
        said = b"".join(iter(lambda: plug.recv(65536), b""))
    ids, closing = [], []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        (size,) = re.findall(rb"content-length: (\d+)", head)
        answer, said = json.loads(said[: int(size)]), said[int(size) :]
        assert answer["choices"][0]["message"]["content"]
        ids += re.findall(rb"x-request-id: (\w+)", head)
        closing.append(b"connection: close" in head)
    assert closing == [False, False, True]
    assert [world.ledger.intents[one.decode()].max_output for one in ids] == [1, 2, 3]
    world.at_rest()

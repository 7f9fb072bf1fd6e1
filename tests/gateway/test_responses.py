"""/v1/responses as openai-python uses it: stateless, translated, metered like every other route."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_world import World
from openai.types.responses import Response
from pydantic import BaseModel, TypeAdapter

from weighbridge.gateway.rules.terms import Outcome

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "now", "parameters": SCHEMA, "strict": True}
TEXT = "One two three four five"


class Reply(BaseModel):
    answer: int


def test_a_whole_answer(world: World) -> None:
    raw = world.client().responses.with_raw_response.create(
        model="small", input="Hello", instructions="Be brief.", max_output_tokens=40, temperature=0.5, top_p=0.9,
        metadata={"a": "b"}, store=False, user="someone", truncation="disabled", parallel_tool_calls=False,
    )  # fmt: skip
    answer = raw.parse()
    assert answer.output_text == TEXT
    assert (answer.object, answer.status, answer.model, answer.error) == ("response", "completed", "small", None)
    assert (answer.instructions, answer.max_output_tokens, answer.metadata) == ("Be brief.", 40, {"a": "b"})
    assert (answer.temperature, answer.top_p, answer.parallel_tool_calls) == (0.5, 0.9, False)
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (9, 5, 14)
    assert answer.output[0].status == "completed"  # type: ignore[union-attr]
    assert json.loads(raw.http_response.content)["store"] is False
    TypeAdapter(Response).validate_json(raw.http_response.content, strict=True)
    path, asked, _ = world.mock.journal[0]
    assert path == "/v1/chat/completions"
    assert asked == {
        "model": "engine-name",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "max_tokens": 40, "temperature": 0.5, "top_p": 0.9, "parallel_tool_calls": False,
    }  # fmt: skip
    seal = world.sealed()
    assert raw.headers["x-request-id"] == seal.intent
    assert raw.headers["x-ratelimit-limit-requests"] == "600"
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))
    ask = world.ledger.intents[seal.intent]
    assert (ask.route, ask.choices, ask.max_output) == ("/v1/responses", 1, 40)
    assert world.ledger.sealed[seal.intent].cost == 19_000  # type: ignore[union-attr]


def test_cached_and_reasoning_tokens(world: World) -> None:
    world.mock.behaviour.cached_tokens = 4
    world.mock.behaviour.reasoning = "Let me count."
    answer = world.client().responses.create(model="small", input="Hello")
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].content[0].text == "Let me count."  # type: ignore[union-attr,index]
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.cached_tokens == 4
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 4))


@pytest.mark.parametrize("dialect", [None, "llama.cpp", "vllm"])
def test_the_events_of_a_text(world: World, dialect: Any) -> None:
    world.model.cumulative_usage = world.mock.behaviour.dialect = dialect
    events = list(world.client().responses.create(model="small", input="Hello", stream=True, metadata={"a": "b"}))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 5,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(13))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    last = events[-1].response  # type: ignore[union-attr]
    assert last.output_text == TEXT
    assert last.id == events[0].response.id  # type: ignore[union-attr]
    assert last.output[0].id == events[2].item.id  # type: ignore[union-attr]
    assert events[0].response.usage is None  # type: ignore[union-attr]
    assert (last.status, last.usage.input_tokens, last.usage.output_tokens) == ("completed", 9, 5)
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_every_event_is_what_the_api_says(world: World) -> None:
    """The names before the data agree with it, and pydantic's strictest reading takes each."""
    from openai.types.responses import ResponseStreamEvent

    events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for more in ({}, {"tools": [WEATHER]}):
        body = {"model": "small", "input": "Hello", "stream": True, **more}
        with world.http().stream("POST", "/v1/responses", json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            frames = [frame.split("\n") for frame in "".join(answer.iter_text()).split("\n\n") if frame]
        for name, data in frames:
            events.validate_json(data.removeprefix("data: "), strict=True)
            assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")


def test_openai_pythons_own_accumulation_agrees(world: World) -> None:
    with world.client().responses.stream(model="small", input="Hello", text_format=Reply) as stream:
        final = stream.until_done().get_final_response()
    assert final.output_parsed == Reply(answer=42)
    with world.client().responses.stream(model="small", input="Hello", tools=[WEATHER]) as stream:
        call = stream.get_final_response().output[0]
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city": "Bern"}')  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_call_and_its_output(world: World, stream: bool) -> None:
    client = world.client()

    def ask(given: Any) -> Any:
        more: dict[str, Any] = {"model": "small", "tools": [WEATHER], "tool_choice": "auto", "store": False}
        if not stream:
            return client.responses.create(input=given, **more)
        events = list(client.responses.create(input=given, stream=True, **more))
        return events[-1].response  # type: ignore[union-attr]

    question: list[Any] = [{"role": "user", "content": [{"type": "input_text", "text": "Weather in Bern?"}]}]
    first = ask(question)
    (call,) = first.output
    assert (call.type, call.name, call.call_id) == ("function_call", "weather", "call_1")
    assert json.loads(call.arguments) == {"city": "Bern"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = ask([*question, *(item.to_dict() for item in first.output), output])
    assert second.output_text == TEXT
    third = ask([*question, *first.output, output, *second.output, {"role": "user", "content": "Thanks"}])
    assert third.status == "completed"
    asked = [one for _, one, _ in world.mock.journal]
    assert asked[0]["tools"] == [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}]
    assert asked[0]["messages"] == [{"role": "user", "content": "Weather in Bern?"}]
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    conversation = [
        {"role": "user", "content": "Weather in Bern?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    assert asked[1]["messages"] == conversation
    rest = [{"role": "assistant", "content": TEXT}, {"role": "user", "content": "Thanks"}]
    assert asked[2]["messages"] == conversation + rest
    assert len(world.ledger.seals) == 3


def test_the_events_of_a_call(world: World) -> None:
    events = list(world.client().responses.create(model="small", input="Hello", tools=[WEATHER], stream=True))
    assert [event.type for event in events[2:]] == [
        "response.output_item.added",
        *["response.function_call_arguments.delta"] * 4,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-3].arguments == '{"city": "Bern"}'  # type: ignore[union-attr]
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_calls_that_an_engine_writes_at_the_same_time(world: World) -> None:
    def delta(index: int, **function: str) -> dict[str, Any]:
        call = {"index": index, "function": function} | ({"id": f"call_{index}"} if "name" in function else {})
        return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}

    frames: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": "Both."}}]},
        delta(0, name="a", arguments=""), delta(1, name="b", arguments='{"x"'),
        delta(0, arguments="{}"), delta(1, arguments=":1}"),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    ]  # fmt: skip
    data = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames) + b"data: [DONE]\n\n"
    world.mock.behaviour.raw = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + data
    events = list(world.client().responses.create(model="small", input="Hello", stream=True))
    output = events[-1].response.output  # type: ignore[union-attr]
    assert output[0].content[0].text == "Both."
    assert [(call.name, call.call_id, call.arguments) for call in output[1:]] == [
        ("a", "call_0", "{}"),
        ("b", "call_1", '{"x":1}'),
    ]
    assert world.outcome() == (Outcome.COMPLETED, (3, 4, 0))


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema(world: World, stream: bool) -> None:
    form = {"type": "json_schema", "name": "reply", "schema": SCHEMA, "strict": True, "description": "d"}
    answer: Any = world.client().responses.create(model="small", input="Hello", text={"format": form}, stream=stream)
    if stream:
        answer = list(answer)[-1].response
    assert json.loads(answer.output_text) == {"answer": 42}
    assert answer.text.format.schema_ == SCHEMA
    named = {key: value for key, value in form.items() if key != "type"}
    assert world.mock.journal[0][1]["response_format"] == {"type": "json_schema", "json_schema": named}
    parsed = world.client().responses.parse(model="small", input="Hello", text_format=Reply)
    assert parsed.output_parsed == Reply(answer=42)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_met_its_limit_is_incomplete(world: World, stream: bool) -> None:
    world.mock.behaviour.finish = "length"
    answer: Any = world.client().responses.create(model="small", input="Hello", max_output_tokens=5, stream=stream)
    if stream:
        last = list(answer)[-1]
        assert last.type == "response.incomplete"
        answer = last.response
    assert answer.status == answer.output[0].status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 5
    assert world.outcome() == (Outcome.COMPLETED, (9, 5, 0))


def test_a_stream_that_breaks_off_fails(world: World) -> None:
    world.mock.behaviour.die_after = 3
    events = list(world.client().responses.create(model="small", input="Hello", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert (last.response.status, last.response.output_text) == ("failed", "One two three")
    assert last.response.error is not None
    assert last.response.error.code == "upstream_broke_off"
    assert last.response.usage is None
    assert world.outcome() == (Outcome.UNKNOWN, None)


def test_a_stream_that_breaks_off_is_billed_as_reported(world: World) -> None:
    world.model.cumulative_usage = world.mock.behaviour.dialect = "llama.cpp"
    world.mock.behaviour.die_after = 3
    last = list(world.client().responses.create(model="small", input="Hello", stream=True))[-1]
    assert last.type == "response.failed"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 3
    assert world.outcome() == (Outcome.UPSTREAM_ERROR, (9, 3, 0))


def test_an_answer_without_usage_is_unknown(world: World) -> None:
    world.mock.behaviour.usage = "none"
    answer = world.client().responses.create(model="small", input="Hello")
    assert (answer.output_text, answer.usage) == (TEXT, None)
    assert world.outcome() == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 5}}]}',
                                  b'{"choices": [{"message": {"tool_calls": [{"function": {}}]}}]}'])  # fmt: skip
def test_an_engine_that_answers_nonsense(world: World, body: bytes) -> None:
    world.mock.behaviour.body = body
    with pytest.raises(openai.InternalServerError) as failed:
        world.client().responses.create(model="small", input="Hello")
    assert failed.value.code == "upstream_malformed"
    assert world.outcome() == (Outcome.UNKNOWN, None)


def test_a_replayed_stream_is_the_same_and_free(world: World) -> None:
    keyed: Any = {"extra_headers": {"Idempotency-Key": "again"}, "stream": True}
    streams = [
        [event.model_dump() for event in world.client().responses.create(model="small", input="Hello", **keyed)]
        for _ in range(2)
    ]
    assert streams[0] == streams[1]
    assert len(world.mock.journal) == len(world.ledger.intents) == 1


ITEM = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_value"),
        ({"store": True}, "store", "unsupported_value"),
        ({"reasoning": {"effort": "low"}}, "reasoning", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"top_logprobs": 2}, "top_logprobs", "unsupported_parameter"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "invalid_value"),
        ({"include": ["file_search_call.results"]}, "include[0]", "invalid_value"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [5]}, "input[0]", "invalid_type"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input", "invalid_value"),
        ({"input": [ITEM, {"type": "item_reference", "id": "msg_1"}]}, "input[1].type", "unsupported_value"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0].type", "unsupported_value"),
        ({"input": [ITEM | {"weight": 1}]}, "input[0].weight", "unsupported_parameter"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        ({"tools": [WEATHER, {"type": "function"}]}, "tools[1].name", "missing_required_parameter"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "tools[0].defer_loading", "unsupported_parameter"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type", "invalid_value"),
    ],
)
def test_what_is_refused(world: World, given: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        world.client().responses.create(**({"model": "small", "input": "Hello"} | given))
    assert (refused.value.param, refused.value.code) == (param, code)
    assert not world.ledger.intents
    assert not world.mock.journal


@pytest.mark.parametrize(
    "kind",
    ["web_search", "web_search_preview", "file_search", "code_interpreter", "mcp", "image_generation",
     "computer_use_preview", "local_shell", "shell", "apply_patch", "custom", "namespace", "tool_search"],
)  # fmt: skip
def test_hosted_tools_are_refused_by_name(world: World, kind: str) -> None:
    tools: Any = [WEATHER, {"vector_store_ids": ["vs"], "type": kind, "server_url": "x"}]
    with pytest.raises(openai.BadRequestError, match=kind) as refused:
        world.client().responses.create(model="small", input="Hello", tools=tools)
    assert (refused.value.param, refused.value.code) == ("tools[1].type", "unsupported_value")
    assert not world.ledger.intents


def test_nothing_is_stored(world: World) -> None:
    answer = world.client().responses.create(model="small", input="Hello")
    with pytest.raises(openai.NotFoundError) as missing:
        world.client().responses.retrieve(answer.id)
    assert missing.value.code == "unknown_url"


def test_long_instructions_are_used_and_not_repeated(world: World) -> None:
    long = "Be brief. " * 7000
    answer = world.client().responses.create(model="small", input="Hello", instructions=long, tools=[WEATHER])
    assert (answer.instructions, answer.tools) == (None, [])
    assert world.mock.journal[0][1]["messages"][0]["content"] == long
    assert len(world.mock.journal[0][1]["tools"]) == 1

"""The data plane before the real llama.cpp: what it reports is what is billed, and it stops when a client leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_world import World, running

from gguf_making import write_gguf
from weighbridge.checkpoint import read_gguf_header
from weighbridge.gateway.backend.engine import Engine, Flags, llama_cpp
from weighbridge.gateway.backend.upstream import Timeouts, Upstream
from weighbridge.gateway.rules.terms import Outcome

ASKED: dict[str, Any] = {
    "model": "small",
    "messages": [{"role": "user", "content": "Count from one to ten."}],
    "seed": 1,
}


def nothing() -> None:
    """The check of a file that nobody changes."""


@pytest.fixture(scope="module")
def real(real_gguf: Path) -> Iterator[World]:
    with running() as world:
        engine = Engine(llama_cpp(real_gguf, Flags(context=2048, parallel=2, threads=1)), where="model", check=nothing)
        world.run(engine.start())
        world.wait(lambda: engine.ready, 60)
        world.model.upstream = Upstream(f"unix:{engine.socket}", timeouts=Timeouts(first_byte=110, idle=60, total=110))
        world.model.cumulative_usage, world.model.choices_metered = "llama.cpp", False
        try:
            yield world
            world.at_rest()
        finally:
            world.run(engine.stop())


def last(world: World) -> tuple[Outcome, tuple[int, int, int] | None]:
    world.wait(lambda: len(world.ledger.seals) == len(world.ledger.intents), 110)
    seal = list(world.ledger.seals.values())[-1]
    return seal.outcome, None if seal.usage is None else (seal.usage.input, seal.usage.output, seal.usage.cached)


def test_whole_and_streamed_bill_what_is_shown(real: World) -> None:
    whole = real.client(timeout=120).chat.completions.create(max_tokens=12, temperature=0, **ASKED)
    assert whole.usage is not None
    outcome, usage = last(real)
    assert outcome is Outcome.COMPLETED
    assert usage is not None
    assert usage[:2] == (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert usage[1] == 12
    chunks = list(
        real.client(timeout=120).chat.completions.create(
            max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}, **ASKED
        )
    )
    assert chunks[-1].usage is not None
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    outcome, usage = last(real)
    assert outcome is Outcome.COMPLETED
    assert usage is not None
    assert usage[:2] == (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
    assert usage[0] == whole.usage.prompt_tokens
    assert 0 < usage[2] < usage[0]  # the prompt was cached by then
    assert {c.model for c in chunks} == {"small"}


def test_a_client_that_leaves_stops_the_engine(real: World) -> None:
    stream = real.client(timeout=120).chat.completions.create(max_tokens=1500, temperature=0, stream=True, **ASKED)
    for number, _ in enumerate(stream):
        if number == 5:
            break
    stream.close()
    outcome, usage = last(real)
    assert outcome is Outcome.CLIENT_GONE
    assert usage is not None
    assert 5 <= usage[1] < 500
    assert usage[0] > 10


def test_a_schema_log_probabilities_and_plain_completions(real: World) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2, 3]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    answer = real.client(timeout=120).chat.completions.create(
        max_tokens=80, temperature=0, response_format=form, logprobs=True, top_logprobs=3, **ASKED
    )
    assert json.loads(answer.choices[0].message.content or "")["n"] in (1, 2, 3)
    assert answer.choices[0].logprobs is not None
    for token in answer.choices[0].logprobs.content or []:
        assert len(token.top_logprobs) <= 3
        assert all(round(one.logprob, 2) == one.logprob for one in [token, *token.top_logprobs])
    text = real.client(timeout=120).completions.create(model="small", prompt="One, two,", max_tokens=4, temperature=0)
    assert text.usage is not None
    assert text.usage.completion_tokens == 4
    chunks = list(
        real.client(timeout=120).completions.create(model="small", prompt="One, two,", max_tokens=4, stream=True)
    )
    assert len(chunks) >= 4
    assert last(real)[0] is Outcome.COMPLETED


def test_what_the_engine_refuses_costs_nothing(real: World) -> None:
    long = ASKED | {"messages": [{"role": "user", "content": "word " * 6000}]}
    with pytest.raises(openai.BadRequestError) as refused:
        real.client(timeout=120).chat.completions.create(max_tokens=4, **long)
    assert refused.value.code == "context_length_exceeded"
    assert last(real) == (Outcome.UPSTREAM_ERROR, None)


def test_no_text_that_fits_is_too_long_to_be_asked(real: World, real_gguf: Path) -> None:
    """The bound of a prompt's bytes: its longest token, as often as the context has room."""
    header = read_gguf_header(real_gguf)
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    longest = max(tokens, key=len).replace("\u0120", " ")
    prompt = longest * 20
    text = real.client(timeout=120).completions.create(model="small", prompt=prompt, max_tokens=1)
    assert header.longest_token is not None
    assert text.usage is not None
    assert text.usage.prompt_tokens * header.longest_token >= len(prompt.encode())


def test_embeddings_are_billed_as_the_engine_counts(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf", more={"llama.pooling_type": 1})
    flags = Flags(context=64, parallel=1, threads=1, embeddings=True)
    with running() as world:
        engine = Engine(llama_cpp(tmp_path / "tiny.gguf", flags), where="model", check=nothing)
        world.run(engine.start())
        try:
            world.model.upstream = Upstream(f"unix:{engine.socket}")
            world.model.choices_metered = False
            client = world.client()
            answer = client.embeddings.create(model="small", input=["hello", "12 world"])
            assert [len(one.embedding) for one in answer.data] == [32, 32]
            assert last(world) == (Outcome.COMPLETED, (answer.usage.prompt_tokens, 0, 0))
            counters = world.run(engine.counters())
            assert counters is not None
            assert counters.prompt == answer.usage.prompt_tokens
            with pytest.raises(openai.BadRequestError) as refused:
                client.embeddings.create(model="small", input="hello " * 200)
            assert refused.value.code == "context_length_exceeded"
            assert last(world) == (Outcome.UPSTREAM_ERROR, None)
        finally:
            world.run(engine.stop())


def test_responses_say_and_bill_what_chat_does(real: World) -> None:
    client = real.client(timeout=120)
    limits: Any = {"model": "small", "temperature": 0}
    chat = client.chat.completions.create(max_tokens=12, messages=ASKED["messages"], **limits)
    whole = client.responses.create(input=ASKED["messages"], max_output_tokens=12, **limits)
    assert whole.output_text == chat.choices[0].message.content
    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert chat.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (chat.usage.prompt_tokens, 12)
    events = list(client.responses.create(input=ASKED["messages"], max_output_tokens=12, stream=True, **limits))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.usage is not None
    outcome, usage = last(real)
    assert outcome is Outcome.COMPLETED
    assert usage is not None
    assert usage[:2] == (events[-1].response.usage.input_tokens, events[-1].response.usage.output_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_responses_keep_to_a_schema(real: World, stream: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}}, "required": ["city"]}
    answer: Any = real.client(timeout=120).responses.create(
        model="small", input="Name a city.", temperature=0, max_output_tokens=100, stream=stream,
        text={"format": {"type": "json_schema", "name": "place", "schema": schema}},
    )  # fmt: skip
    if stream:
        answer = list(answer)[-1].response
    assert answer.status == "completed"
    assert json.loads(answer.output_text)["city"] in ("Bern", "Rome")
    assert last(real)[1] is not None

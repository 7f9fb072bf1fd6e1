"""Clients that nobody here wrote, through the gateway: LangChain, Microsoft's Agent Framework, the ``llm`` command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import openai
import pytest
from gateway_world import World
from pydantic import BaseModel

from weighbridge.gateway.rules.terms import Outcome

TEXT = "One two three four five"


def weather(city: Annotated[str, "The city."]) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class Reply(BaseModel):
    answer: int


def check_ledger(world: World, count: int, route: str) -> None:
    """Every request of the engine has its intent, and every intent its seal with what the engine reported."""
    world.wait(lambda: len(world.ledger.seals) == count)
    assert len(world.mock.journal) == len(world.ledger.intents) == count
    assert {ask.route for ask in world.ledger.intents.values()} == {route}
    for seal in world.ledger.seals.values():
        assert seal.outcome is Outcome.COMPLETED
        assert seal.usage is not None
        assert (seal.usage.input, seal.usage.output) == (9, 5)
    rows = world.run(world.ledger.real.call(lambda one: one.row("SELECT count(*), sum(cost) FROM seals")))
    assert rows == (count, count * 19_000)


ROUTES = pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])


def langchain(world: World, route: str) -> Any:
    from langchain_openai import ChatOpenAI

    through_responses = route == "/v1/responses"
    return ChatOpenAI(
        model="small", api_key=world.token, base_url=world.url + "/v1", max_retries=0, timeout=20,
        use_responses_api=through_responses, stream_usage=True,
    )  # fmt: skip


@ROUTES
def test_langchain_asks_and_streams(world: World, route: str) -> None:
    chat = langchain(world, route)
    whole = chat.invoke([("system", "Be brief."), ("human", "Hello")])
    assert whole.text == TEXT
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (9, 5)
    chunks = list(chat.stream("Hello"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.text == TEXT
    assert (total.usage_metadata["input_tokens"], total.usage_metadata["output_tokens"]) == (9, 5)
    check_ledger(world, 2, route)


@ROUTES
@pytest.mark.parametrize("stream", [False, True])
def test_langchain_calls_tools(world: World, route: str, stream: bool) -> None:
    from langchain_core.messages import HumanMessage, ToolMessage

    chat = langchain(world, route).bind_tools([weather])

    def ask(messages: list[Any]) -> Any:
        if not stream:
            return chat.invoke(messages)
        chunks = list(chat.stream(messages))
        total = chunks[0]
        for chunk in chunks[1:]:
            total += chunk
        return total

    messages: list[Any] = [HumanMessage("Weather in Bern?")]
    answer = ask(messages)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Bern"})
    answer = ask([*messages, answer, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])])
    assert answer.text == TEXT
    assert world.mock.journal[1][1]["messages"][-1]["content"] == "sunny in Bern"
    check_ledger(world, 2, route)


@ROUTES
def test_langchain_reads_a_structure(world: World, route: str) -> None:
    assert langchain(world, route).with_structured_output(Reply, method="json_schema").invoke("Hello") == Reply(
        answer=42
    )
    check_ledger(world, 1, route)


@contextlib.asynccontextmanager
async def agent_client(world: World, route: str) -> AsyncIterator[Any]:
    """It closes no connection by itself, so that is done for it."""
    from agent_framework_openai import OpenAIChatClient, OpenAIChatCompletionClient

    kind = OpenAIChatClient if route == "/v1/responses" else OpenAIChatCompletionClient
    async with openai.AsyncOpenAI(api_key=world.token, base_url=world.url + "/v1", max_retries=0) as http:
        yield kind(model="small", async_client=http)


@ROUTES
@pytest.mark.parametrize("stream", [False, True])
def test_agent_framework_runs_an_agent_with_a_tool(world: World, route: str, stream: bool) -> None:
    from agent_framework import Agent

    async def scenario() -> str:
        async with agent_client(world, route) as client:
            agent = Agent(client, "Use your tools.", tools=[weather], default_options={"store": False})
            if not stream:
                return (await agent.run("Weather in Bern?")).text
            updates = agent.run("Weather in Bern?", stream=True)
            assert "".join([update.text async for update in updates]).startswith(TEXT)
            return str((await updates.get_final_response()).text)

    assert asyncio.run(scenario()) == TEXT
    asked = world.mock.journal[1][1]
    assert asked["messages"][-1]["content"] == "sunny in Bern"
    check_ledger(world, 2, route)


@ROUTES
def test_agent_framework_keeps_a_conversation_itself(world: World, route: str) -> None:
    from agent_framework import Agent

    async def scenario() -> None:
        async with agent_client(world, route) as client:
            agent = Agent(client, default_options={"store": False})
            session = agent.create_session()
            first = await agent.run("Hello", session=session)
            assert first.usage_details is not None
            assert (first.usage_details["input_token_count"], first.usage_details["output_token_count"]) == (9, 5)
            await agent.run("And again", session=session)

    asyncio.run(scenario())
    assert [one["role"] for one in world.mock.journal[1][1]["messages"]] == ["user", "assistant", "user"]
    check_ledger(world, 2, route)


def llm(world: World, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    models = [
        {"model_id": "chat", "supports_tools": True, "supports_schema": True},
        {"model_id": "responses", "supports_tools": True, "supports_schema": True, "responses": True},
        {"model_id": "plain", "completion": True},
    ]
    common = {"model_name": "small", "api_base": world.url + "/v1", "api_key_name": "weighbridge"}
    (folder / "extra-openai-models.yaml").write_text(json.dumps([one | common for one in models]))
    (folder / "keys.json").write_text(json.dumps({"weighbridge": world.token}))
    command = [sys.executable, "-m", "llm", *arguments]
    environment = {**os.environ, "LLM_USER_PATH": str(folder), "LLM_LOAD_PLUGINS": ""}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("options", [["--no-stream"], []])
@pytest.mark.parametrize(
    ("model", "route"),
    [("chat", "/v1/chat/completions"), ("responses", "/v1/responses"), ("plain", "/v1/completions")],
)
def test_the_llm_command(world: World, tmp_path: Path, model: str, route: str, options: list[str]) -> None:
    done = llm(world, tmp_path, "-m", model, *options, "Hello")
    assert done.stdout.strip() == TEXT, done.stderr
    check_ledger(world, 1, route)


@pytest.mark.parametrize(("model", "route"), [("chat", "/v1/chat/completions"), ("responses", "/v1/responses")])
def test_the_llm_command_with_a_tool(world: World, tmp_path: Path, model: str, route: str) -> None:
    tool = 'def weather(city: str) -> str:\n    "The weather"\n    return "sunny in " + city'
    done = llm(world, tmp_path, "-m", model, "--functions", tool, "Weather in Bern?")
    assert done.stdout.strip() == TEXT, done.stderr
    assert world.mock.journal[1][1]["messages"][-1]["content"] == "sunny in Bern"
    check_ledger(world, 2, route)


def test_the_llm_command_says_why_it_was_refused(world: World, tmp_path: Path) -> None:
    world.ledger.visible = None
    done = llm(world, tmp_path, "-m", "chat", "-o", "logit_bias", '{"50256": -100}', "Hello")
    assert done.returncode == 1
    assert "logit_bias" in done.stderr
    assert not world.mock.journal

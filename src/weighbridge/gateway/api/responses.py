"""``POST /v1/responses`` without state: a body of the Responses API as a chat request.

Nothing is stored here, so whatever names something stored is refused (``previous_response_id``, ``conversation``,
``item_reference``, ``store: true``, ``background: true``), and so are the tools that a host would run. Items that a
client sends back as they came are understood; of reasoning nothing is sent on, as nobody could say whose it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from weighbridge.gateway.api.refusals import Rejected, invalid
from weighbridge.gateway.api.requests import (
    AnyJson,
    ChatBody,
    Function,
    FunctionCall,
    FunctionName,
    JsonSchema,
    Listed,
    Message,
    NamedSchema,
    NamedTool,
    PlainText,
    RefusalPart,
    Request,
    Schema,
    TextPart,
    Tokens,
    Tool,
    ToolCall,
    check_schema,
    decode,
)

MAX_ITEMS = 4096
MAX_ECHO = 64 * 1024  # bytes of instructions and tools that an answer repeats


class InputText(Listed, tag_field="type", tag="input_text"):
    text: str


class OutputText(Listed, tag_field="type", tag="output_text"):
    text: str
    annotations: list[Raw] | None = None
    logprobs: list[Raw] | None = None


class MessageItem(Listed):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText | OutputText | RefusalPart]
    type: Literal["message"] = "message"
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class CallItem(Listed, tag_field="type", tag="function_call"):
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    namespace: None = None
    caller: None = None
    later: None = msgspec.field(default=None, name="async")


class CallOutputItem(Listed, tag_field="type", tag="function_call_output"):
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    status: str | None = None


class ReasoningItem(Listed, tag_field="type", tag="reasoning"):
    """Accepted and not sent on."""

    id: str | None = None
    summary: list[Raw] | None = None
    content: list[Raw] | None = None
    encrypted_content: str | None = None
    status: str | None = None


Item = MessageItem | CallItem | CallOutputItem | ReasoningItem


class FunctionTool(Listed, tag_field="type", tag="function"):
    name: str
    description: str | None = None
    parameters: Schema | UnsetType = UNSET
    strict: bool | None = None


class FunctionChoice(Listed, tag_field="type", tag="function"):
    name: str


class SchemaFormat(Listed, tag_field="type", tag="json_schema"):
    name: str
    schema: Schema
    description: str | None = None
    strict: bool | None = None


class TextOptions(Listed):
    format: PlainText | AnyJson | SchemaFormat | None = None


AnyItem = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/InputItem"})]
AnyTool = Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/FunctionTool"})]


class ResponsesBody(Listed):
    """Items and tools are checked one by one, so that of an unknown one the type is named, not its first field."""

    model: str
    input: str | Annotated[list[AnyItem], Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    tools: Annotated[list[AnyTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    user: str | None = None
    truncation: Literal["disabled"] | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None  # of which there is none
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Raw | UnsetType = UNSET


class Echo(msgspec.Struct, kw_only=True):
    """What an answer repeats of its request. Long instructions and tools are not kept for it: None and none."""

    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    temperature: float | None
    text: TextOptions
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice
    tools: list[FunctionTool]
    top_p: float | None
    user: str | None


@dataclass(slots=True)
class ResponsesRequest(Request):
    echo: Echo


def parse_responses(body: bytes) -> ResponsesRequest:
    """The chat request that a body amounts to.

    Raises:
        Rejected: it is not what is listed, or wants something kept.
    """
    asked = decode(_body, body)
    _check_stateless(asked)
    tools = [_tool(raw, f"tools[{index}]") for index, raw in enumerate(asked.tools or ())]
    form = asked.text.format if asked.text is not None else None
    if isinstance(form, SchemaFormat):
        check_schema(form.schema, "text.format.schema")
    chat = ChatBody(
        model=asked.model,
        stream=asked.stream,
        messages=_messages(asked),
        max_completion_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        tools=[Tool(function=Function(**msgspec.structs.asdict(tool))) for tool in tools] or None,
        tool_choice=_choice(asked.tool_choice),
        parallel_tool_calls=asked.parallel_tool_calls,
        response_format=_format(form),
    )
    return ResponsesRequest(
        model=asked.model,
        stream=bool(asked.stream),
        wants_usage=True,
        wants_logprobs=False,
        sizes=(len(body),),
        choices=1,
        max_output=asked.max_output_tokens,
        body=chat,
        echo=_echo(asked, tools),
    )


_body = msgspec.json.Decoder(ResponsesBody)
_message = msgspec.json.Decoder(MessageItem)
_call = msgspec.json.Decoder(CallItem)
_call_output = msgspec.json.Decoder(CallOutputItem)
_reasoning = msgspec.json.Decoder(ReasoningItem)
_function = msgspec.json.Decoder(FunctionTool)


class _Kind(msgspec.Struct):
    type: str = "message"


_kind = msgspec.json.Decoder(_Kind)


def _check_stateless(asked: ResponsesBody) -> None:
    if asked.previous_response_id is not None:
        raise _stored("previous_response_id")
    if asked.conversation is not UNSET and bytes(asked.conversation) != b"null":
        raise _stored("conversation")
    if asked.store:
        raise invalid("Nothing is stored here: store must be false.", code="unsupported_value", param="store")
    if asked.background:
        raise invalid(
            "Nothing runs in the background here: background must be false.",
            code="unsupported_value",
            param="background",
        )


def _stored(param: str) -> Rejected:
    message = f"Nothing is stored here, so there is no '{param}': send the whole input."
    return invalid(message, code="unsupported_parameter", param=param)


def _messages(asked: ResponsesBody) -> list[Message]:
    messages = [Message(role="system", content=asked.instructions)] if asked.instructions is not None else []
    if isinstance(asked.input, str):
        return [*messages, Message(role="user", content=asked.input)]
    for index, raw in enumerate(asked.input):
        at = f"input[{index}]"
        kind = decode(_kind, raw, at).type
        if kind not in _ITEMS:
            raise invalid(f"Items of type '{kind[:80]}' are not read.", code="unsupported_value", param=f"{at}.type")
        _ITEMS[kind](messages, raw, at)
    if not messages:
        raise invalid("The input says nothing.", code="invalid_value", param="input")
    return messages


def _add_message(messages: list[Message], raw: Raw, at: str) -> None:
    item = decode(_message, raw, at)
    messages.append(Message(role=item.role, content=_text(item.content)))


def _add_call(messages: list[Message], raw: Raw, at: str) -> None:
    """A call belongs to the assistant's message before it, as it did when it was made."""
    item = decode(_call, raw, at)
    if not messages or messages[-1].role != "assistant":
        messages.append(Message(role="assistant", content=None))
    call = ToolCall(id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments))
    messages[-1].tool_calls = [*(messages[-1].tool_calls or ()), call]


def _add_call_output(messages: list[Message], raw: Raw, at: str) -> None:
    item = decode(_call_output, raw, at)
    messages.append(Message(role="tool", tool_call_id=item.call_id, content=_text(item.output)))


def _add_nothing(messages: list[Message], raw: Raw, at: str) -> None:  # noqa: ARG001  # one of _ITEMS
    decode(_reasoning, raw, at)


_ITEMS: dict[str, Callable[[list[Message], Raw, str], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_call_output,
    "reasoning": _add_nothing,
}


def _text(
    content: str | list[InputText] | list[InputText | OutputText | RefusalPart],
) -> str | list[TextPart | RefusalPart]:
    """Text as every engine takes it: one part is a plain string, and a refusal is what was said."""
    if isinstance(content, str):
        return content
    said = [part.refusal if isinstance(part, RefusalPart) else part.text for part in content]
    return said[0] if len(said) == 1 else [TextPart(text=text) for text in said]


def _tool(raw: Raw, at: str) -> FunctionTool:
    kind = decode(_kind, raw, at).type
    if kind != "function":
        raise invalid(
            f"Only function tools, which the client runs, are served: not '{kind[:80]}'.",
            code="unsupported_value",
            param=f"{at}.type",
        )
    tool = decode(_function, raw, at)
    if tool.parameters is not UNSET and bytes(tool.parameters) == b"null":
        tool.parameters = UNSET
    check_schema(tool.parameters, f"{at}.parameters")
    return tool


def _choice(
    choice: Literal["none", "auto", "required"] | FunctionChoice | None,
) -> Literal["none", "auto", "required"] | NamedTool | None:
    if isinstance(choice, FunctionChoice):
        return NamedTool(function=FunctionName(name=choice.name))
    return choice


def _format(form: PlainText | AnyJson | SchemaFormat | None) -> PlainText | AnyJson | JsonSchema | None:
    if isinstance(form, SchemaFormat):
        return JsonSchema(json_schema=NamedSchema(**msgspec.structs.asdict(form)))
    return form


def _echo(asked: ResponsesBody, tools: list[FunctionTool]) -> Echo:
    size = len(asked.instructions or "") + sum(len(bytes(raw)) for raw in asked.tools or ())
    brief = size <= MAX_ECHO
    return Echo(
        instructions=asked.instructions if brief else None,
        max_output_tokens=asked.max_output_tokens,
        metadata=asked.metadata or {},
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        temperature=asked.temperature,
        text=TextOptions(format=_brief(asked.text.format) if asked.text and asked.text.format else PlainText()),
        tool_choice=asked.tool_choice or "auto",
        tools=tools if brief else [],
        top_p=asked.top_p,
        user=asked.user,
    )


def _brief(form: PlainText | AnyJson | SchemaFormat) -> PlainText | AnyJson | SchemaFormat:
    """A long schema is not repeated."""
    if isinstance(form, SchemaFormat) and len(bytes(form.schema)) > MAX_ECHO:
        return SchemaFormat(name=form.name, schema=Raw(b"{}"), description=form.description, strict=form.strict)
    return form

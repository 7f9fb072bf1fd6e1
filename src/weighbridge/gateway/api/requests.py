"""What a client may ask: the listed fields of each route, checked, and what is sent on of them.

A field that is not listed is refused by name, since an unknown one could evade metering, the guard or the decision.
What goes to the engine is written anew from the checked values, so that client and engine cannot read the same bytes
differently (a field given twice, say). ``user``, ``metadata`` and ``store`` are accepted and not sent on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from weighbridge.gateway.api.models import CumulativeUsage
from weighbridge.gateway.api.refusals import Rejected, invalid, unsupported

MAX_PROMPTS, MAX_INPUTS = 128, 2048
MAX_DEPTH = 64  # of a JSON schema
MAX_SAID = 300  # characters of a client's own words in what it is told
OVERHEAD = 512  # tokens that a chat template may add to a prompt's bytes

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Meta(ge=1, le=MAX_PROMPTS)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Stop = str | Annotated[list[str], Meta(max_length=4)]
Schema = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]  # passed on as it is
Prompt = str | list[str | TokenId | list[TokenId]]


class Listed(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An object of which only the listed fields exist; what was not given, or null, is not sent on."""


class TextPart(Listed, tag_field="type", tag="text"):
    text: str


class RefusalPart(Listed, tag_field="type", tag="refusal"):
    refusal: str


class FunctionCall(Listed):
    name: str
    arguments: str


class ToolCall(Listed, tag_field="type", tag="function"):
    id: str
    function: FunctionCall


class Message(Listed):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | RefusalPart] | UnsetType | None = UNSET
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    annotations: Annotated[list[Raw], Meta(max_length=0)] | None = None  # clients send answers back as they came
    audio: None = None
    function_call: None = None


class Function(Listed):
    name: str
    description: str | None = None
    parameters: Schema | UnsetType = UNSET
    strict: bool | None = None


class Tool(Listed, tag_field="type", tag="function"):
    function: Function


class FunctionName(Listed):
    name: str


class NamedTool(Listed, tag_field="type", tag="function"):
    function: FunctionName


class PlainText(Listed, tag_field="type", tag="text"):
    pass


class AnyJson(Listed, tag_field="type", tag="json_object"):
    pass


class NamedSchema(Listed):
    name: str
    schema: Schema | UnsetType = UNSET
    description: str | None = None
    strict: bool | None = None


class JsonSchema(Listed, tag_field="type", tag="json_schema"):
    json_schema: NamedSchema


class StreamOptions(Listed):
    include_usage: bool | None = None


class MeteredOptions(StreamOptions):
    """What is sent on: never what the client wrote."""

    continuous_usage_stats: bool | None = None


class Sampled(Listed):
    """What chat and plain completions share."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    n: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    user: str | None = None


class ChatBody(Sampled, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainText | AnyJson | JsonSchema | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None


class CompletionBody(Sampled, kw_only=True):
    prompt: Prompt
    best_of: Count | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None


class EmbeddingBody(Listed):
    model: str
    input: Prompt
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Tokens | None = None
    user: str | None = None


@dataclass(slots=True)
class Request:
    """A checked request. ``sizes``: the bytes of each prompt; ``choices``: answers in all (n x prompts);
    ``max_output``: tokens for each, as the client limits it, 0 where the route has no output."""

    model: str
    stream: bool
    wants_usage: bool
    wants_logprobs: bool
    sizes: tuple[int, ...]
    choices: int
    max_output: int | None
    body: ChatBody | CompletionBody | EmbeddingBody | None

    def input_bound(self, context: int) -> int:
        """The most tokens that its prompts can be, for a model of this context."""
        return sum(min(context, size + OVERHEAD) for size in self.sizes)

    def longer_than(self, most: int) -> bool:
        """Whether the text of one of its prompts is more than ``most`` bytes. A chat's messages and tools are one."""
        if max(self.sizes) <= most:
            return False
        return not isinstance(self.body, ChatBody) or _text_size(self.body) > most

    def forward(self, name: str, max_output: int, usage: CumulativeUsage | None) -> bytes:
        """The body for the engine, which calls the model ``name``: limited, asked for usage, nothing personal.

        Once: the text is then let go, since an answer may take minutes.
        """
        body, self.body = self.body, None
        if body is None:
            raise RuntimeError("a request is forwarded once")
        body.model = name
        body.user = None
        if isinstance(body, EmbeddingBody):
            return _encode(body)
        body.max_tokens = max_output
        if isinstance(body, ChatBody):
            body.max_completion_tokens = body.metadata = body.store = None
        if not self.stream:
            return _encode(body)
        body.stream_options = MeteredOptions(
            include_usage=True, continuous_usage_stats=True if usage == "vllm" else None
        )
        if usage == "llama.cpp":
            return _encode(body)[:-1] + b',"timings_per_token":true}'
        return _encode(body)


def parse_chat(body: bytes) -> Request:
    """``POST /v1/chat/completions``. Each parser raises ``Rejected`` for a body that cannot be forwarded."""
    asked = decode(_chat, body)
    _check_sampled(asked)
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise invalid(
            "Give max_completion_tokens or max_tokens, not both.", code="invalid_value", param="max_completion_tokens"
        )
    if asked.top_logprobs is not None and not asked.logprobs:
        raise invalid("top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
    if asked.store:
        raise invalid("Nothing is stored here: store must be false.", code="unsupported_value", param="store")
    for index, tool in enumerate(asked.tools or ()):
        check_schema(tool.function.parameters, f"tools[{index}].function.parameters")
    if isinstance(asked.response_format, JsonSchema):
        check_schema(asked.response_format.json_schema.schema, "response_format.json_schema.schema")
    for message in asked.messages:
        message.annotations = None
    return Request(
        model=asked.model,
        stream=bool(asked.stream),
        wants_usage=_wants_usage(asked),
        wants_logprobs=bool(asked.logprobs),
        sizes=(len(body),),
        choices=asked.n or 1,
        max_output=asked.max_completion_tokens or asked.max_tokens,
        body=asked,
    )


def parse_completion(body: bytes) -> Request:
    """``POST /v1/completions``."""
    asked = decode(_completion, body)
    _check_sampled(asked)
    if asked.echo:
        raise invalid("The prompt is not echoed: echo must be false.", code="unsupported_value", param="echo")
    asked.echo = None
    sizes = _prompt_sizes(asked.prompt, "prompt", MAX_PROMPTS)
    each = max(asked.n or 1, asked.best_of or 1)
    if asked.best_of is not None and (asked.best_of < (asked.n or 1) or asked.stream):
        raise invalid("best_of must be at least n, and cannot stream.", code="invalid_value", param="best_of")
    if each * len(sizes) > MAX_PROMPTS:
        raise invalid(f"At most {MAX_PROMPTS} choices in one request.", code="invalid_value", param="n")
    return Request(
        model=asked.model,
        stream=bool(asked.stream),
        wants_usage=_wants_usage(asked),
        wants_logprobs=asked.logprobs is not None,
        sizes=sizes,
        choices=each * len(sizes),
        max_output=asked.max_tokens,
        body=asked,
    )


def parse_embedding(body: bytes) -> Request:
    """``POST /v1/embeddings``: input only, so its output is limited to 0."""
    asked = decode(_embedding, body)
    sizes = _prompt_sizes(asked.input, "input", MAX_INPUTS)
    return Request(
        model=asked.model,
        stream=False,
        wants_usage=False,
        wants_logprobs=False,
        sizes=sizes,
        choices=len(sizes),
        max_output=0,
        body=asked,
    )


_encode = msgspec.json.Encoder().encode
_chat = msgspec.json.Decoder(ChatBody)
_completion = msgspec.json.Decoder(CompletionBody)
_embedding = msgspec.json.Decoder(EmbeddingBody)

T = TypeVar("T")

_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_WRONG = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


def decode(decoder: msgspec.json.Decoder[T], body: bytes | Raw, at: str = "") -> T:
    """What a client sent, checked; ``at`` says where in its body, if it is a part of it.

    Raises:
        Rejected: it is not JSON, or not what is listed.
    """
    try:
        bytes(body).decode("utf-8")  # parts that are passed on as they are (schemas) are checked here only
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(str(error), at) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The body is not valid JSON in UTF-8: {error}.", code="invalid_json") from error
    except RecursionError as error:
        raise invalid("The body is nested too deeply.", code="invalid_json") from error


def _explained(message: str, at: str) -> Rejected:
    """The decoder's finding as OpenAI's clients know it: the parameter by name, and a code."""
    message = message[:MAX_SAID]
    if found := _UNKNOWN.match(message):
        return unsupported(_joined(at, found["path"], found["name"]))
    if found := _MISSING.match(message):
        name = _joined(at, found["path"], found["name"])
        return invalid(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
    found = _WRONG.match(message)
    what, path = (found["what"], _joined(at, found["path"])) if found else (message, at)
    code = "invalid_type" if re.match(r"Expected `[^`]*`, got", what) else "invalid_value"
    return invalid(f"Invalid value{f' for {path!r}' if path else ''}: {what}.", code=code, param=path or None)


def _joined(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def _text_size(body: ChatBody) -> int:
    """Bytes of what a chat template can put into the prompt: as text, where the request's JSON may be longer."""
    size = 0 if body.tools is None else len(_encode(body.tools))
    for message in body.messages:
        content = message.content or ""
        texts = [content] if isinstance(content, str) else [_said(part) for part in content]
        texts += (message.reasoning_content or "", message.refusal or "")
        for call in message.tool_calls or ():
            texts += (call.function.name, call.function.arguments)
        size += sum(len(text.encode()) for text in texts)
    return size


def _said(part: TextPart | RefusalPart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal


def _check_sampled(asked: Sampled) -> None:
    if asked.stream_options is not None and not asked.stream:
        raise invalid("stream_options needs stream: true.", code="invalid_value", param="stream_options")


def _wants_usage(asked: Sampled) -> bool:
    return asked.stream_options is not None and bool(asked.stream_options.include_usage)


def check_schema(schema: Raw | UnsetType, param: str) -> None:
    """Refuse what is no object, or is nested too deeply."""
    root = None if schema is UNSET else msgspec.json.decode(schema)
    if not isinstance(root, dict | None):
        raise invalid("A schema is an object.", code="invalid_type", param=param)
    level: list[Any] = [root]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise invalid(f"A schema may be {MAX_DEPTH} levels deep.", code="invalid_value", param=param)
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]


def _prompt_sizes(prompt: Prompt, param: str, most: int) -> tuple[int, ...]:
    """Bytes (of text) or tokens (of token lists) for each prompt."""
    if isinstance(prompt, str):
        return (len(prompt.encode()),)
    if not prompt:
        raise invalid(f"'{param}' is empty.", code="invalid_value", param=param)
    if isinstance(prompt[0], int):
        if not all(isinstance(token, int) for token in prompt):
            raise _mixed(param)
        return (len(prompt),)
    kind = type(prompt[0])
    if not all(isinstance(each, kind) for each in prompt):
        raise _mixed(param)
    if len(prompt) > most:
        raise invalid(f"'{param}' may hold {most} prompts.", code="invalid_value", param=param)
    return tuple(len(each.encode()) if isinstance(each, str) else len(each) for each in prompt)  # type: ignore[arg-type]


def _mixed(param: str) -> Rejected:
    return invalid(f"'{param}' mixes text and tokens.", code="invalid_type", param=param)

"""What ``/v1/responses`` answers: an engine's chat answer as items, whole or as the API's sequence of events.

    response.created, response.in_progress
    for each item      output_item.added
      its text         content_part.added, output_text.delta...            (refusal.delta, reasoning_text.delta)
      or its call      function_call_arguments.delta...
    at the end         ....done for each, then response.completed, .incomplete or .failed, with usage

All items stay open until the end, so that an engine may write several calls at a time. The last events are sent when
the request's seal is committed. There is no ``[DONE]``.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from weighbridge.gateway.api.answers import Fields, Malformed
from weighbridge.gateway.api.metering import Meter
from weighbridge.gateway.api.requests import Request
from weighbridge.gateway.api.responses import Echo, ResponsesRequest
from weighbridge.gateway.api.sse import event
from weighbridge.gateway.rules.terms import Refused

Status = Literal["in_progress", "completed", "incomplete", "failed"]
PartKind = Literal["output_text", "refusal", "reasoning_text"]
MAX_TEXT = 32 * 1024 * 1024


# What the engine says, as far as it is read
class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Said(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the same, as vLLM calls it
    tool_calls: list[_Call] | None = None


class _Choice(Struct):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


_choices = msgspec.json.Decoder(list[_Choice])


class ReasoningDetails(Struct):
    reasoning_tokens: int = 0


class _Detailed(Struct):
    completion_tokens_details: ReasoningDetails | None = None


_detailed = msgspec.json.Decoder(_Detailed)


# What the client reads
class TextOut(Struct, tag_field="type", tag="output_text"):
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class RefusalOut(Struct, tag_field="type", tag="refusal"):
    refusal: str


class ReasoningOut(Struct, tag_field="type", tag="reasoning_text"):
    text: str


class MessageOut(Struct, tag_field="type", tag="message", kw_only=True):
    id: str
    status: Status
    role: Literal["assistant"] = "assistant"
    content: list[TextOut | RefusalOut]


class ReasoningItemOut(Struct, tag_field="type", tag="reasoning"):
    id: str
    status: Status
    summary: list[Any]
    content: list[ReasoningOut]


class CallOut(Struct, tag_field="type", tag="function_call"):
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str


class InputDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int = 0  # nothing is charged for it


class UsageOut(Struct):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: ReasoningDetails
    total_tokens: int


class Why(Struct):
    reason: Literal["max_output_tokens", "content_filter"]


class ErrorOut(Struct):
    code: str
    message: str


class Response(Echo, kw_only=True):
    """``usage`` is null where the engine did not report any, and until the end."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    model: str
    output: list[MessageOut | ReasoningItemOut | CallOut]
    error: ErrorOut | None = None
    incomplete_details: Why | None = None
    usage: UsageOut | None = None
    background: Literal[False] = False
    previous_response_id: None = None
    store: Literal[False] = False
    truncation: Literal["disabled"] = "disabled"


@dataclass(slots=True)
class _Part:
    kind: PartKind
    pieces: list[str] = field(default_factory=list)

    def shown(self) -> TextOut | RefusalOut | ReasoningOut:
        return _PARTS[self.kind]("".join(self.pieces))


_PARTS: dict[PartKind, type[TextOut] | type[RefusalOut] | type[ReasoningOut]] = {
    "output_text": TextOut,
    "refusal": RefusalOut,
    "reasoning_text": ReasoningOut,
}


@dataclass(slots=True)
class _Item:
    """``parts`` of a message or of reasoning; ``name``, ``call_id`` and ``pieces`` (its arguments) of a call."""

    kind: Literal["message", "reasoning", "function_call"]
    index: int
    id: str
    parts: list[_Part] = field(default_factory=list)
    name: str = ""
    call_id: str = ""
    pieces: list[str] = field(default_factory=list)

    def shown(self, status: Status) -> MessageOut | ReasoningItemOut | CallOut:
        content: list[Any] = [part.shown() for part in self.parts]
        if self.kind == "message":
            return MessageOut(id=self.id, status=status, content=content)
        if self.kind == "reasoning":
            return ReasoningItemOut(self.id, status, [], content)
        return CallOut(self.id, status, self.call_id, self.name, "".join(self.pieces))


class ResponseWriter:
    """The rendering of one request's answer. See ``answers.Rendering``."""

    def __init__(self, request: ResponsesRequest, name: str) -> None:
        self._echo = {one: getattr(request.echo, one) for one in Echo.__struct_fields__}
        self._model = name
        self._id = "resp_" + _random()
        self._created = int(time.time())
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}
        self._finish: str | None = None
        self._sequence = 0
        self._size = 0

    def answer(self, fields: Fields) -> bytes:
        choice = self._read(fields)
        if choice is None or choice.message is None:
            raise Malformed("the engine's answer holds no message")
        self._take(choice.message)
        meter = Meter()
        meter.see(fields)
        return _encode(self._ended(meter))

    def frame(self, fields: Fields) -> bytes:
        begun = self._begin()
        choice = self._read(fields)
        if choice is None or choice.delta is None:
            return begun
        return begun + b"".join(self._take(choice.delta))

    def end(self, meter: Meter) -> bytes:
        response = self._ended(meter)
        events = [self._begin()]
        for item, shown in zip(self._items, response.output, strict=True):
            events += self._closed(item, shown)
        return b"".join(events) + self._event(f"response.{response.status}", response=response)

    def failed(self, refused: Refused, meter: Meter) -> bytes:
        response = self._response("failed", "incomplete")
        response.error = ErrorOut(refused.code, refused.message)
        response.usage = _usage(meter)
        return self._begin() + self._event("response.failed", response=response)

    # The engine's side
    def _read(self, fields: Fields) -> _Choice | None:
        """The one choice; None for a chunk without any."""
        try:
            choices = _choices.decode(fields.get("choices", b"[]"))
        except (msgspec.DecodeError, RecursionError) as error:
            raise Malformed(f"the engine sent malformed choices: {error}") from error
        if not choices:
            return None
        self._finish = choices[0].finish_reason or self._finish
        return choices[0]

    def _take(self, said: _Said) -> list[bytes]:
        """Keep what was said, and say it in events."""
        events: list[bytes] = []
        if reasoning := said.reasoning_content or said.reasoning:
            events += self._text("reasoning", "reasoning_text", reasoning)
        if said.content:
            events += self._text("message", "output_text", said.content)
        if said.refusal:
            events += self._text("message", "refusal", said.refusal)
        for number, call in enumerate(said.tool_calls or ()):
            events += self._call(number if call.index is None else call.index, call)
        return events

    def _text(self, kind: Literal["message", "reasoning"], part_kind: PartKind, text: str) -> list[bytes]:
        self._grow(text)
        events: list[bytes] = []
        item = self._items[-1] if self._items else None
        if item is None or item.kind != kind:
            item = self._opened(kind)
            events.append(self._added(item))
        if not item.parts or item.parts[-1].kind != part_kind:
            item.parts.append(_Part(part_kind))
            events.append(self._on_part("response.content_part.added", item, part=item.parts[-1].shown()))
        item.parts[-1].pieces.append(text)
        more: dict[str, Any] = {"logprobs": []} if part_kind == "output_text" else {}
        events.append(self._on_part(f"response.{part_kind}.delta", item, delta=text, **more))
        return events

    def _call(self, index: int, call: _Call) -> list[bytes]:
        events: list[bytes] = []
        item = self._calls.get(index)
        if item is None:
            if not call.function.name:
                raise Malformed("the engine sent a call without a name")
            item = self._calls[index] = self._opened("function_call")
            item.name = call.function.name
            item.call_id = call.id or "call_" + _random()
            events.append(self._added(item))
        if arguments := call.function.arguments:
            self._grow(arguments)
            item.pieces.append(arguments)
            events.append(self._on_item("response.function_call_arguments.delta", item, delta=arguments))
        return events

    def _opened(self, kind: Literal["message", "reasoning", "function_call"]) -> _Item:
        prefix = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_"}[kind]
        item = _Item(kind, len(self._items), prefix + _random())
        self._items.append(item)
        return item

    def _grow(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise Malformed("the engine's answer has no end")

    # The client's side
    def _begin(self) -> bytes:
        if self._sequence:
            return b""
        response = self._response("in_progress", "in_progress")
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _closed(self, item: _Item, shown: MessageOut | ReasoningItemOut | CallOut) -> list[bytes]:
        events: list[bytes] = []
        if isinstance(shown, CallOut):
            done = {"name": item.name, "arguments": shown.arguments}
            events.append(self._on_item("response.function_call_arguments.done", item, **done))
        else:
            for number, part in enumerate(shown.content):
                said: dict[str, Any]
                said = {"refusal": part.refusal} if isinstance(part, RefusalOut) else {"text": part.text}
                if isinstance(part, TextOut):
                    said["logprobs"] = []
                kind = item.parts[number].kind
                events.append(self._on_item(f"response.{kind}.done", item, content_index=number, **said))
                events.append(self._on_item("response.content_part.done", item, content_index=number, part=part))
        events.append(self._event("response.output_item.done", output_index=item.index, item=shown))
        return events

    def _added(self, item: _Item) -> bytes:
        return self._event("response.output_item.added", output_index=item.index, item=item.shown("in_progress"))

    def _on_part(self, kind: str, item: _Item, **fields: Any) -> bytes:
        return self._on_item(kind, item, content_index=len(item.parts) - 1, **fields)

    def _on_item(self, kind: str, item: _Item, **fields: Any) -> bytes:
        return self._event(kind, item_id=item.id, output_index=item.index, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = _encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return event(data, kind.encode())

    def _ended(self, meter: Meter) -> Response:
        why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(self._finish or "")
        status: Status = "completed" if why is None else "incomplete"
        response = self._response(status, status)
        if why is None:
            response.completed_at = int(time.time())
        else:
            response.incomplete_details = Why(why)  # type: ignore[arg-type]
        response.usage = _usage(meter)
        return response

    def _response(self, status: Status, last: Status) -> Response:
        """As it stands now; ``last`` is how its last item stands."""
        count = len(self._items)
        shown = [item.shown(last if item.index == count - 1 else "completed") for item in self._items]
        return Response(
            id=self._id, created_at=self._created, status=status, model=self._model, output=shown, **self._echo
        )


def render_response(request: Request, name: str) -> ResponseWriter:
    """The writer for a request that ``parse_responses`` read."""
    if not isinstance(request, ResponsesRequest):
        raise TypeError("not a request of /v1/responses")
    return ResponseWriter(request, name)


def _usage(meter: Meter) -> UsageOut | None:
    usage = meter.usage
    if usage is None:
        return None
    total = usage.input + usage.output
    return UsageOut(usage.input, InputDetails(usage.cached), usage.output, _reasoning(meter.raw), total)


def _reasoning(raw: Raw | None) -> ReasoningDetails:
    try:
        details = None if raw is None else _detailed.decode(raw).completion_tokens_details
    except msgspec.DecodeError:
        details = None
    return details or ReasoningDetails()


def _random() -> str:
    return os.urandom(16).hex()


_encode = msgspec.json.Encoder().encode

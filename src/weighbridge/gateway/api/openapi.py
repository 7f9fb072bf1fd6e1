"""The OpenAPI 3.1 document: exactly the routes that exist, with exactly the fields that are read.

Requests and the answers that the gateway writes itself are described by the types that read and write them, so the
document cannot say anything else than the code does.
"""

from __future__ import annotations

from typing import Any

import msgspec

from weighbridge import __version__
from weighbridge.gateway.api.app import MODELS
from weighbridge.gateway.api.models import CHAT, COMPLETIONS, EMBEDDINGS
from weighbridge.gateway.api.requests import ChatBody, CompletionBody, EmbeddingBody
from weighbridge.gateway.api.responses import (
    CallItem,
    CallOutputItem,
    FunctionTool,
    MessageItem,
    ReasoningItem,
    ResponsesBody,
)
from weighbridge.gateway.api.responses_writing import Response
from weighbridge.gateway.api.routes import RESPONSES, ROUTES

Json = dict[str, Any]

TITLES = {
    CHAT: "An answer to a conversation",
    COMPLETIONS: "The continuation of a text",
    EMBEDDINGS: "Vectors of texts",
    RESPONSES: "An answer, without state: nothing is stored",
}
BODIES: dict[str, type[msgspec.Struct]] = {
    CHAT: ChatBody, COMPLETIONS: CompletionBody, EMBEDDINGS: EmbeddingBody, RESPONSES: ResponsesBody,
}  # fmt: skip
ERRORS = {
    400: "The request is wrong, or the engine rejects it; `param` names the field",
    401: "No API key, a wrong one, or one that has ended",
    404: "No such URL, or no such model for this key",
    405: "Another method is answered here",
    408: "The request did not come in time",
    409: "The first request with this Idempotency-Key is in flight, or its answer is not kept",
    413: "The body is too large",
    415: "The body is compressed",
    422: "This Idempotency-Key was used with another body",
    429: "A limit: `rate_limit_exceeded` passes with time, `insufficient_quota` does not",
    431: "The headers are too large",
    500: "The gateway failed",
    502: "The engine failed",
    503: "Not now: busy, restarting, or the ledger is not there",
    504: "The engine did not answer in time",
}
READ_ERRORS = (400, 401, 404, 405, 408, 429, 431, 500, 503)

_NUMBER = {"type": "integer", "minimum": 0}
_ANY = {"type": "object", "additionalProperties": True}


def document(server: str = "http://127.0.0.1:8321") -> Json:
    """The whole document, JSON-ready. ``server``: the address that clients use."""
    types = [*BODIES.values(), MessageItem, CallItem, CallOutputItem, ReasoningItem, FunctionTool, Response]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    items = ("MessageItem", "CallItem", "CallOutputItem", "ReasoningItem")
    schemas["InputItem"] = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in items]}
    schemas |= _answers()
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Weighbridge",
            "version": __version__,
            "description": "OpenAI's API for models that a signed decision lets be served. See docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "security": [{"key": []}],
        "paths": {
            **{path: {"post": _post(path)} for path in ROUTES},
            MODELS: {"get": _get("listModels", "The models that the key may use", "ModelList")},
            MODELS + "/{model}": {
                "get": _get("readModel", "One model", "Model"),
                "parameters": [
                    {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                ],
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "wb_<id>_<secret>"}},
            "headers": _headers(),
            "responses": {str(status): _error(status) for status in ERRORS},
        },
    }


def _post(path: str) -> Json:
    body = BODIES[path]
    answer = {CHAT: "ChatAnswer", COMPLETIONS: "CompletionAnswer", EMBEDDINGS: "EmbeddingAnswer"}.get(path, "Response")
    content: Json = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    if "stream" in body.__struct_fields__:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": "create" + path.removeprefix("/v1/").title().replace("/", ""),
        "summary": TITLES[path],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key and body again: the first answer again, free of charge",
                "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}},
        },
        "responses": {
            "200": {"description": "The answer", "headers": _shown(LIMITED), "content": content},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in ERRORS},
        },
    }


def _get(name: str, title: str, schema: str) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        "operationId": name,
        "summary": title,
        "responses": {
            "200": {"description": title, "headers": _shown(("x-request-id",)), "content": content},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in READ_ERRORS},
        },
    }


def _error(status: int) -> Json:
    return {
        "description": ERRORS[status],
        "headers": _shown(("x-request-id", "x-should-retry", "retry-after", "retry-after-ms")),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


HEADERS = {
    "x-request-id": "The request's id, as in the ledger",
    "x-should-retry": "`true` or `false`: whether asking again may help",
    "retry-after": "Seconds",
    "retry-after-ms": "Milliseconds",
    "idempotent-replayed": "`true`: this is a copy of the first answer",
    "x-original-request-id": "Of a copy: the id of the request that was charged",
    **{
        f"x-ratelimit-{what}-{kind}": f"{said} of the key's {kind} a minute, if it has such a limit"
        for kind in ("requests", "tokens")
        for what, said in (("limit", "The limit"), ("remaining", "What is left"), ("reset", "Time until all is back"))
    },
}
LIMITED = ("x-request-id", *(name for name in HEADERS if name.startswith(("x-ratelimit", "x-orig", "idem"))))


def _headers() -> Json:
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in HEADERS.items()}


def _shown(names: tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _answers() -> Json:
    """What an engine answers, of which the listed fields are sent on, and what only the gateway says."""
    text: Json = {"type": ["string", "null"]}
    usage = {
        "type": "object",
        "required": ["prompt_tokens"],
        "properties": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _NUMBER),
    }
    common: Json = {
        "id": {"type": "string"}, "object": {"type": "string"}, "created": _NUMBER, "model": {"type": "string"},
        "usage": usage,
    }  # fmt: skip
    sampled = common | {"system_fingerprint": text, "service_tier": text}
    error = {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": {"type": "string"}}
    model: Json = {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": _NUMBER,
        "owned_by": {"const": "weighbridge"},
        "binding": {"enum": ["verified", "declared"]},
        "decision": {"type": "string"},
        "model_digest": {"type": "string"},
        "context": {"type": "integer", "minimum": 1},
    }
    return {
        "ChatAnswer": _object(sampled | {"choices": _list(_ANY)}, ["choices"]),
        "CompletionAnswer": _object(sampled | {"choices": _list(_ANY)}, ["choices"]),
        "EmbeddingAnswer": _object(common | {"data": _list(_ANY)}, ["data"]),
        "Model": _object(model, list(model)),
        "ModelList": _object(
            {"object": {"const": "list"}, "data": _list({"$ref": "#/components/schemas/Model"})}, ["object", "data"]
        ),
        "Error": _object({"error": _object(error, list(error))}, ["error"]),
    }


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}

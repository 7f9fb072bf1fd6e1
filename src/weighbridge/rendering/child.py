"""The process that renders: ``python -m weighbridge.rendering.child DIALECT``, a module with ``generate``.

``generate(source, variables)`` yields the pieces of text. Requests come on standard input and replies go to standard
output, each as four bytes of length (big-endian) and that many bytes of JSON: first ``{"ready": true}``, then for
each ``{"source": ..., "variables": ...}`` either ``{"text": ...}`` or ``{"error": ...}``.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from jinja2 import TemplateSyntaxError

from weighbridge.rendering import limits

_MOST_TOLD = 500  # characters of an error, which a template can make as long as it likes

Generate = Callable[[str, Mapping[str, Any]], Iterable[str]]


def main() -> None:
    """Serve until standard input ends."""
    generate: Generate = importlib.import_module(sys.argv[1]).generate
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    limits.confine()
    _send(outgoing, {"ready": True})
    while len(head := incoming.read(4)) == 4:
        request = json.loads(incoming.read(int.from_bytes(head)))
        limits.start_clock()
        reply = _answer(generate, request)
        limits.stop_clock()
        _send(outgoing, reply)


def _answer(generate: Generate, request: Mapping[str, Any]) -> dict[str, str]:
    pieces: list[str] = []
    size = 0
    try:
        for piece in generate(request["source"], request["variables"]):
            size += len(piece)
            if size > limits.MAX_CHARACTERS:
                return {"error": f"the text is longer than {limits.MAX_CHARACTERS} characters"}
            pieces.append(piece)
    except Exception as error:  # a template can raise anything that Python can
        return {"error": _say(error)}
    return {"text": "".join(pieces)}


def _say(error: Exception) -> str:
    if isinstance(error, TemplateSyntaxError):
        return f"not a Jinja template: {str(error.message)[:_MOST_TOLD]} (line {error.lineno})"
    if isinstance(error, MemoryError):
        return f"it needs more than {limits.MEMORY >> 20} MB of memory"
    return str(error)[:_MOST_TOLD] or type(error).__name__


def _send(stream: BinaryIO, reply: Mapping[str, Any]) -> None:
    data = json.dumps(reply).encode("ascii")
    stream.write(len(data).to_bytes(4) + data)
    stream.flush()


if __name__ == "__main__":
    main()

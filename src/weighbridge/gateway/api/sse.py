"""Server-sent events: bytes in any cut to the data of whole events, and back."""

from __future__ import annotations

DONE = b"[DONE]"
END = b"data: [DONE]\n\n"
MAX_EVENT = 16 * 1024 * 1024


class EventTooLong(ValueError):
    """An event without an end."""


class Events:
    """``feed`` returns the data of the events that became whole. Comments and other fields are dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        text = self._rest + piece if self._rest else piece
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):  # half of a line's end, perhaps
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *whole, rest = text.split(b"\n\n")
        self._rest = rest + held
        if len(self._rest) > MAX_EVENT:
            raise EventTooLong("an event has no end")
        return [data for event in whole if (data := _data(event)) is not None]

    @property
    def unfinished(self) -> bool:
        """Whether an event has begun that did not end."""
        return bool(self._rest.strip())


def _data(event: bytes) -> bytes | None:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def event(data: bytes, kind: bytes | None = None) -> bytes:
    """One event of one line, by name if it has one."""
    return b"data: %b\n\n" % data if kind is None else b"event: %b\ndata: %b\n\n" % (kind, data)

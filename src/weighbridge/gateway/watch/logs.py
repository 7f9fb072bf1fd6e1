"""Structured logs: one JSON object a line on standard error, written by a thread, so that a slow reader stops nobody.

A line has ``time`` (seconds since 1970), ``level`` and ``event``; a request's line has what ``Finished`` has. Of an
exception its type and place are written and not its message, which might quote what a client sent.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections import deque
from typing import Any

import msgspec

from weighbridge.gateway.api.observing import Finished

WAITING, GROUP = 20_000, 500  # lines that wait, and that one system call writes
PERIOD = 0.2  # seconds
_PLAIN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))

_encode = msgspec.json.Encoder(enc_hook=str).encode
Line = tuple[float, Finished] | dict[str, Any]


class LogWriter(logging.Handler):
    """Takes requests and log records, drops what finds no room, and writes the rest within moments."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[Line] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def request(self, finished: Finished) -> None:
        """Log a request that was answered."""
        self._put((time.time(), finished))

    def emit(self, record: logging.LogRecord) -> None:
        extra = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        line = {"time": record.created, "level": record.levelname.lower(), "event": record.getMessage(), **extra}
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            line["exception"] = record.exc_info[0].__name__
            line["at"] = [f"{os.path.basename(one.filename)}:{one.lineno} {one.name}" for one in frames]  # noqa: PTH119
        self._put(line)

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._stopping.set()
        self._thread.join(1.0)
        super().close()

    def _put(self, line: Line) -> None:
        if len(self._lines) >= WAITING:
            self.dropped += 1
        else:
            self._lines.append(line)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD):
            self._write()
        self._write()

    def _write(self) -> None:
        while self._lines:
            lines = [_rendered(self._lines.popleft()) for _ in range(min(len(self._lines), GROUP))]
            data = b"".join(lines)
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:  # nobody reads, or the disk is full: the ledger is what must not lose anything
                self.dropped += len(lines)


def _rendered(line: Line) -> bytes:
    if isinstance(line, dict):
        return _encode(line) + b"\n"
    at, finished = line
    level = b"warning" if finished.status >= 500 or finished.outcome == "unknown" else b"info"
    return b'{"time":%.3f,"level":"%b","event":"request",%b\n' % (at, level, _encode(finished)[1:])

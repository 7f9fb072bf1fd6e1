"""Renders templates of strangers in a child process, which may be killed; see ``child`` and ``limits``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.errors import WeighbridgeError
from weighbridge.rendering import limits

# What an interpreter needs to start, and the clock's zone. The rest of the environment (keys, tokens) stays here.
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TZ")
_MOST_BYTES = 12 * limits.MAX_CHARACTERS + 1000  # a character outside the BMP is two escapes of six bytes


class Renderer:
    """Renders the templates of one owner, one at a time; safe to share among threads.

    ``dialect`` is the module that the child renders with, ``error`` what is raised for a template that fails and
    ``remedy`` what to do about it. The child starts with the first template, serves all that follow, and is replaced
    after a template that had to be stopped. It ends with this object. A template whose time ran out once is not tried
    again, or it would have its second for each of many prompts.
    """

    def __init__(self, dialect: str, *, error: type[WeighbridgeError], remedy: str) -> None:
        self._dialect = dialect
        self._error = error
        self._remedy = remedy
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._too_slow: set[str] = set()

    def render(self, source: str, variables: Mapping[str, Any], *, where: str) -> str:
        """The text that ``source`` gives with ``variables`` (JSON values), of at most ``MAX_CHARACTERS``.

        Raises the owner's error at ``where`` for a template that fails, takes more than ``CPU_SECONDS`` of processor
        time, or more memory or text than it may.
        """
        with self._lock:
            try:
                if source in self._too_slow:
                    raise _OutOfTime
                if self._child is None:
                    self._child = _Child(self._dialect)
                reply = self._child.ask({"source": source, "variables": variables})
            except _Ended as ended:
                if isinstance(ended, _OutOfTime):
                    self._too_slow.add(source)
                self._drop()
                raise self._error(f"the template fails: {ended}", where=where, remedy=self._remedy) from None
            except _NeverBegan as cause:
                remedy = f"`python -m weighbridge.rendering.child {self._dialect}` says why"
                raise self._error(f"no template can be rendered: {cause}", where=where, remedy=remedy) from cause
            except BaseException:  # interrupted between question and answer: the next answer would be the wrong one
                self._drop()
                raise
        if not isinstance(text := reply.get("text"), str):
            raise self._error(f"the template fails: {reply.get('error')}", where=where, remedy=self._remedy)
        return text

    def close(self) -> None:
        """End the child. Idempotent; a later template starts another."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


class _NeverBegan(Exception):
    """The child cannot be started."""


class _Ended(Exception):
    """The child ended, or was given up, while it rendered."""


class _OutOfTime(_Ended):
    """The template took all its time."""

    def __str__(self) -> str:
        return f"it takes more than {limits.CPU_SECONDS:g} s of processor time"


class _Child:
    """A running child: one question, one answer. Raises ``_NeverBegan`` where there is none to be had."""

    def __init__(self, dialect: str) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(limits.WALL_SECONDS)
        with theirs:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "weighbridge.rendering.child", dialect],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                )
            except OSError as cause:
                ours.close()
                raise _NeverBegan(f"{sys.executable!r} does not start: {cause.strerror}") from cause
        self._process = process
        self._socket = ours
        self.end = weakref.finalize(self, _end, process, ours)
        try:
            self._receive()
        except _Ended as cause:
            self.end()
            raise _NeverBegan(f"its process ends at once with status {process.returncode}") from cause

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(request).encode("ascii")
        try:
            self._socket.sendall(len(data).to_bytes(4) + data)
        except OSError as cause:
            raise self._ended() from cause
        return self._receive()

    def _receive(self) -> dict[str, Any]:
        size = int.from_bytes(self._take(4))
        if size > _MOST_BYTES:
            raise _Ended("its process gives what is no answer")
        try:
            reply = json.loads(self._take(size))
        except ValueError as cause:
            raise _Ended("its process gives what is no answer") from cause
        return reply if isinstance(reply, dict) else {}

    def _take(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                more = self._socket.recv(size - len(data))
            except OSError as cause:
                raise self._ended() from cause
            if not more:
                raise self._ended()
            data += more
        return bytes(data)

    def _ended(self) -> _Ended:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return _Ended(f"its process gives no answer for {limits.WALL_SECONDS:g} s")
        if status == -signal.SIGPROF:
            return _OutOfTime()
        return _Ended(f"its process ended with status {status}")


def _environment() -> dict[str, str]:
    """That of the child: it imports from where this process does, and from no current directory."""
    path = os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute())
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": path}


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    ours.close()
    process.kill()
    process.wait()

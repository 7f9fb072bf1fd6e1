"""An engine as a child process on a unix socket: watched, and started again with backoff.

    starting -> ready -> (exit) -> waiting -> starting ...        stopped for good by ``stop``

While it is not ready, requests get a clean 503 with the time to wait. The embedded engine is llama.cpp; its flags come
from a fixed list, and their digest goes into every row of the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import aiohttp

from weighbridge import canonical, leftovers
from weighbridge.errors import EngineError, InputError, StorageError, WeighbridgeError
from weighbridge.gateway.backend.listening import listeners

_PREFIX = "weighbridge-engine-"
_READY_SECONDS = 600.0  # a large model is read from a slow disk
_POLL_SECONDS = 0.05
_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_STEADY_SECONDS = 60.0  # after so long a run, the next crash starts the backoff anew
_TERM_SECONDS = 2.0
_LAST_LINES = 20
_COUNTERS = {
    "llamacpp:prompt_tokens_total": "prompt",
    "llamacpp:prompt_tokens_cached_total": "cached",
    "llamacpp:tokens_predicted_total": "output",
}


@dataclass(frozen=True, slots=True)
class Flags:
    """All that may be set of the engine. ``context``: tokens of one request; ``parallel``: requests at a time;
    ``threads``: CPU threads; ``embeddings``: serve embeddings (and then nothing else)."""

    context: int = 2048
    parallel: int = 4
    threads: int = 2
    embeddings: bool = False

    def __post_init__(self) -> None:
        limits = {"context": (16, 1 << 22), "parallel": (1, 256), "threads": (1, 1024)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{getattr(self, name)} is not between {low} and {high}", where=f"engine.{name}")

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the flags and the engine's version."""
        return canonical.digest({"engine": "llama.cpp", "xllamacpp": version("xllamacpp"), **asdict(self)})


@dataclass(frozen=True, slots=True)
class Counters:
    """Tokens since this start of the engine, as it counts them itself. ``prompt`` leaves out what was cached."""

    prompt: int
    cached: int
    output: int


def llama_cpp(artifact: Path | str, flags: Flags) -> list[str]:
    """The command that serves ``artifact`` (which may begin with ``{folder}``) on ``{socket}``."""
    command = [sys.executable, "-m", "weighbridge.gateway.backend.engine_child", "--parent", str(os.getpid())]
    command += ["--model", str(artifact), "--socket", "{socket}"]
    for name in ("context", "parallel", "threads"):
        command += [f"--{name}", str(getattr(flags, name))]
    return [*command, "--embeddings"] if flags.embeddings else command


class Engine:
    """One engine process. In its ``command``, ``{socket}`` stands for the socket that it must listen on, ``{folder}``
    for its private ``folder`` (mode 0700, made by ``start`` and removed by ``stop``).

    ``start_id`` names the present start; ``retry_after`` (seconds) is when it may be back, and is meaningful while it
    is not ready. ``log`` holds the last lines that it printed. ``on_change`` is called whenever it becomes ready or is
    ready no more; ``check`` raises if the files that it loaded are no longer those that were hashed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        where: str,
        check: Callable[[], None],
        on_change: Callable[[], None] = lambda: None,
        probe: str = "/health",
        inherit: bool = False,
    ) -> None:
        """``where`` names it in errors; ``probe`` answers 200 once it is ready; ``inherit`` the whole environment."""
        self.ready = False
        self.start_id = ""
        self.retry_after = 1.0
        self.restarts = 0
        self.log: deque[str] = deque(maxlen=_LAST_LINES)
        self._where = where
        self._check = check
        self.on_change = on_change
        self._probe = probe
        self._environment = dict(os.environ) if inherit else _environment()
        self.folder = Path(tempfile.gettempdir(), f"{_PREFIX}{secrets.token_hex(8)}")
        self._held: int | None = None
        self.socket = self.folder / "engine.sock"
        places = {"{socket}": str(self.socket), "{folder}": str(self.folder)}
        self._command = [_filled(argument, places) for argument in command]
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, fill: Callable[[Path], object] = lambda _: None) -> None:
        """Have ``fill`` put into its folder what it needs, start it, and wait until it is ready.

        Raises ``EngineError``, ``StorageError`` where there can be no folder, or what ``fill`` or ``check`` raise.
        """
        try:
            leftovers.remove(self.folder.parent, _PREFIX)  # weights that a killed gateway had copied
            self.folder.mkdir(mode=0o700)
            self._held = leftovers.hold(self.folder)
        except OSError as cause:
            raise StorageError(f"no private folder can be made: {cause.strerror}", where=str(self.folder)) from cause
        await asyncio.to_thread(fill, self.folder)
        await self._launch()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Kill the process and start it no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    async def counters(self) -> Counters | None:
        """What the engine has counted since its start; None if it does not say."""
        if not self.ready:
            return None
        try:
            text = await _get(self.socket, "/metrics")
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        found = {}
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name in _COUNTERS:
                found[_COUNTERS[name]] = int(float(value))
        return Counters(**found) if set(found) == set(_COUNTERS.values()) else None

    async def _keep(self) -> None:
        """Start it again whenever it ends, ever more slowly."""
        failures = 0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            if self._process is not None:
                await self._process.wait()
                _end_group(self._process)
            self._set_ready(False)
            failures = 0 if clock() - began > _STEADY_SECONDS else failures
            self.retry_after = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
            failures += 1
            await asyncio.sleep(self.retry_after)
            self.restarts += 1
            with contextlib.suppress(WeighbridgeError):  # said in the log; the next attempt follows
                await self._launch()

    async def _launch(self) -> None:
        self.socket.unlink(missing_ok=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except OSError as cause:
            raise EngineError(f"cannot be started: {cause.strerror or cause}", where=self._where) from cause
        reader = asyncio.create_task(self._read_log(self._process))
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._wait_ready(self._process)
            if found := listeners(self._process.pid):
                raise EngineError(f"the engine can be reached on the network: {', '.join(found)}", where=self._where)
            self._check()
        except TimeoutError as cause:
            await self._kill()
            raise EngineError(f"not ready after {_READY_SECONDS:.0f} s", where=self._where) from cause
        except BaseException:
            await self._kill()
            raise
        finally:
            if self._process is None:
                reader.cancel()
        self.start_id = secrets.token_hex(8)
        self._set_ready(True)

    async def _wait_ready(self, process: asyncio.subprocess.Process) -> None:
        while True:
            if process.returncode is not None:
                tail = self.log[-1] if self.log else "it printed nothing"
                raise EngineError(f"the engine ended with code {process.returncode}: {tail:.200}", where=self._where)
            if self.socket.exists():
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await _get(self.socket, self._probe)
                    return
            await asyncio.sleep(_POLL_SECONDS)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # a line longer than the buffer: what follows is not kept
            while line := await process.stdout.readline():
                self.log.append(line.decode("utf-8", "replace").rstrip())
        while await process.stdout.read(65536):
            pass

    async def _kill(self) -> None:
        process, self._process = self._process, None
        self._set_ready(False)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()  # a supervisor also ends what has left its group
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TERM_SECONDS):
                await process.wait()
        _end_group(process)
        await process.wait()

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self.on_change()


def _end_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _filled(argument: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        argument = argument.replace(name, value)
    return argument


def _environment() -> dict[str, str]:
    """Only what Python needs: llama.cpp takes flags from its environment too, and those are not on the list."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}


async def _get(socket: Path, path: str) -> str:
    connector = aiohttp.UnixConnector(path=str(socket))
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, raise_for_status=True) as session,
        session.get(f"http://engine{path}") as reply,
    ):
        return await reply.text()

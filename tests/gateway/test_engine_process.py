"""The embedded engine on the real model: a child on a unix socket, gone with its gateway, back after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weighbridge.errors import EngineError, InputError, VerificationError
from weighbridge.gateway.backend.engine import Counters, Engine, Flags, llama_cpp
from weighbridge.gateway.backend.listening import listeners
from weighbridge.gateway.backend.processes import below
from weighbridge.gateway.backend.supervisor import supervised

MOCK = Path(__file__).with_name("mock_engine.py")
FLAGS = Flags(context=512, parallel=1, threads=1)


def nothing() -> None:
    """The check of a file that nobody changes."""


async def running(engine: Engine) -> bool:
    """Wait up to a minute until it is ready."""
    for _ in range(600):
        if engine.ready:
            return True
        await asyncio.sleep(0.1)
    return False


def test_it_serves_on_a_private_socket_and_comes_back_after_a_crash(real_gguf: Path) -> None:
    async def scenario() -> None:
        changes = []
        engine = Engine(
            llama_cpp(real_gguf, FLAGS),
            where="model",
            on_change=lambda: changes.append(engine.ready),
            check=nothing,
        )
        await engine.start()
        try:
            assert engine.socket.parent.stat().st_mode & 0o777 == 0o700
            assert await engine.counters() == Counters(0, 0, 0)
            first, process = engine.start_id, engine._process
            assert process is not None
            assert listeners(process.pid) == []
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.sleep(0.3)
            assert not engine.ready
            assert await engine.counters() is None
            assert await running(engine)
            assert engine.start_id != first
            assert changes == [True, False, True]
        finally:
            folder = engine.socket.parent
            await engine.stop()
        assert not engine.ready
        assert not folder.exists()

    asyncio.run(scenario())


def test_a_file_that_changed_while_it_was_loaded_is_not_served(real_gguf: Path) -> None:
    def changed() -> None:
        raise VerificationError("changed while it was served")

    async def scenario() -> None:
        engine = Engine(llama_cpp(real_gguf, FLAGS), where="model", check=changed)
        with pytest.raises(VerificationError):
            await engine.start()
        assert not engine.ready
        await engine.stop()

    asyncio.run(scenario())


def test_a_file_that_is_no_model_is_an_error_with_the_engines_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "bad.gguf").write_bytes(b"GGUF and then nothing that it could read")
        engine = Engine(llama_cpp(tmp_path / "bad.gguf", FLAGS), where="bad.gguf", check=nothing)
        with pytest.raises(EngineError, match="ended with code"):
            await engine.start()
        await engine.stop()

    asyncio.run(scenario())


def test_it_dies_with_the_gateway(real_gguf: Path) -> None:
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from weighbridge.gateway.backend.engine import Engine, Flags, llama_cpp\n"
        "async def main():\n"
        "    engine = Engine(llama_cpp(Path(sys.argv[1]), Flags(512, 1, 1)), where='m', check=lambda: None)\n"
        "    await engine.start()\n    print(engine._process.pid, flush=True)\n    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(real_gguf)], stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout is not None
        engine = int(gateway.stdout.readline())
        gateway.kill()
    for _ in range(100):
        try:
            os.kill(engine, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{engine}/stat").read_text().split(")")[1].split()[0] == "Z":
            return  # dead; whoever inherited it has not asked for its code yet
        time.sleep(0.1)
    pytest.fail("the engine outlived its gateway")


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_command_ends_with_the_gateway_and_so_does_what_it_started(end: str) -> None:
    """Also what went into a session of its own, and its parent has ended."""
    program = (
        "import asyncio, sys\nfrom weighbridge.gateway.backend.engine import Engine\n"
        "from weighbridge.gateway.backend.supervisor import supervised\n"
        "async def main():\n"
        "    engine = Engine(supervised(sys.argv[1:]), where='m', check=lambda: None, probe='/v1/models')\n"
        "    await engine.start()\n    print(engine._process.pid, flush=True)\n    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    script = f"(setsid sleep 600 &) ; {sys.executable} {MOCK} $0"
    words = [sys.executable, "-c", program, "sh", "-c", script, "{socket}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout is not None
        started = below(int(gateway.stdout.readline()))
        getattr(gateway, end)()
    assert len(started) == 4  # supervisor, shell, server, what sleeps elsewhere
    for _ in range(200):
        if not any(map(alive, started)):
            return
        time.sleep(0.05)
    pytest.fail("something outlived the gateway")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its code does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nowhere/engine"], "ended with code 127: /nowhere/engine: No such file"),
        (["sh", "-c", "(setsid sleep 600 &) ; echo no such flag; exit 3"], "ended with code 3: no such flag"),
        (["sh", "-c", "kill -9 $$"], "ended with code 137"),
    ],
)
def test_a_command_that_fails_says_why(command: list[str], said: str) -> None:
    async def scenario() -> None:
        engine = Engine(supervised(command), where="command", check=nothing)
        with pytest.raises(EngineError, match=said):
            await engine.start()
        await engine.stop()

    asyncio.run(scenario())


def test_an_engine_that_listens_elsewhere_is_found(tmp_path: Path) -> None:
    """Its listener has a process group of its own."""
    ready = tmp_path / "ready"
    listener = f"import socket, time; s = socket.create_server(('127.0.0.1', 0)); open('{ready}', 'w'); time.sleep(600)"
    wait = f"while [ ! -e {ready} ]; do sleep 0.05; done"
    script = f'(setsid {sys.executable} -c "{listener}" &) ; {wait} ; exec {sys.executable} {MOCK} $0'

    async def scenario() -> None:
        engine = Engine(supervised(["sh", "-c", script, "{socket}"]), where="command", check=found, probe="/v1/models")
        with pytest.raises(EngineError, match="reached on the network"):
            await engine.start()
        await engine.stop()

    def found() -> None:
        pytest.fail("it was not seen")

    asyncio.run(scenario())


def test_an_engine_that_listens_on_the_network_is_refused() -> None:
    program = (
        "import http.server, socket, socketserver, sys\nopen_door = socket.create_server(('127.0.0.1', 0))\n"
        "class Server(socketserver.UnixStreamServer):\n    def get_request(self):\n"
        "        return super().get_request()[0], ('', 0)\n"
        "class Ok(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n"
        "        self.send_response(200)\n        self.end_headers()\n"
        "Server(sys.argv[1], Ok).serve_forever()\n"
    )

    async def scenario() -> None:
        engine = Engine([sys.executable, "-c", program, "{socket}"], where="command", check=nothing)
        with pytest.raises(EngineError, match="reached on the network"):
            await engine.start()
        assert engine._process is None
        await engine.stop()

    asyncio.run(scenario())


def test_a_command_that_is_not_there_is_an_error() -> None:
    async def scenario() -> None:
        engine = Engine(["/nowhere/engine", "{socket}"], where="command", check=nothing)
        with pytest.raises(EngineError, match="cannot be started"):
            await engine.start()
        await engine.stop()

    asyncio.run(scenario())


def test_listening_is_seen() -> None:
    program = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\nprint(1, flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert [address.split()[0] for address in listeners(process.pid)] == ["tcp"]
        finally:
            process.kill()


def test_a_group_without_processes_proves_nothing() -> None:
    with pytest.raises(EngineError):
        listeners(2**22 + 1)


def test_a_unix_socket_is_no_listener(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        own = listeners(os.getpgid(0))
        assert all(address.startswith(("tcp", "udp")) for address in own)


@pytest.mark.parametrize("change", [{"context": 1}, {"parallel": 0}, {"threads": 100000}])
def test_flags_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Flags(**change)


def test_the_digest_names_every_flag() -> None:
    others = [Flags(context=64), Flags(parallel=1), Flags(threads=3), Flags(embeddings=True)]
    assert len({Flags().digest, *(flags.digest for flags in others)}) == 5

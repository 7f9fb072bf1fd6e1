"""What is served stays what was decided, for as long as the decision holds: the whole gateway, watched."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import trust_world as tw
from gguf_making import write_gguf
from weighbridge.checkpoint.manifest import FileEntry, Manifest
from weighbridge.errors import CheckpointError, InputError, VerificationError
from weighbridge.gateway import serve
from weighbridge.gateway.config import Config, from_json
from weighbridge.gateway.ledger import accounts, sqlite
from weighbridge.gateway.rules.clock import now_ms
from weighbridge.gateway.serve import Gateway, check

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b"[]"}
NOW = datetime.now(UTC).replace(microsecond=0)
ENGINE = str(Path(__file__).with_name("mock_engine.py"))


def configure(root: Path, *, pace: float = 0.0, tier: str = "api", dialect: str = "openai", **more: Any) -> Config:
    """A folder with a checkpoint, its decision, the pinned keys, and the configuration that serves it."""
    (root / "model").mkdir()
    for name, data in FILES.items():
        (root / "model" / name).write_bytes(data)
    entries = [FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(FILES.items())]
    decision = tw.signed(
        manifest=Manifest(tuple(entries)), tier=tier, decided_at=NOW, expires_at=NOW + timedelta(days=9)
    )
    (root / "decision.json").write_bytes(decision)
    for name in ("decider", "revoker"):
        (root / f"{name}.pub").write_text(tw.key(name).public.pem)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, ENGINE, "{socket}", str(pace), dialect]
    upstream = {"command": command, "binding": "declared", "context": 2048, "dialect": dialect}
    value = {
        "version": 1,
        "listen": f"127.0.0.1:{port}",
        "trust": ["decider.pub"],
        "models": {"small": {"checkpoint": "model", "decision": "decision.json", "upstream": upstream}},
        "folder": str(root),
        **more,
    }
    return from_json(value, where="test")


def revoke(root: Path, serial: int, *, decisions: list[str], valid: timedelta = timedelta(days=1)) -> None:
    issued = NOW - timedelta(hours=1) if valid > timedelta(0) else NOW - timedelta(days=3)
    listed = tw.revocations(serial=serial, issued=issued, next_update=NOW + valid, decisions=decisions, keys=[])
    (root / "revoked.json").write_bytes(listed)


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Gateway, aiohttp.ClientSession]]:
    gateway = Gateway(config)
    await gateway.start()
    serving = asyncio.create_task(gateway.run())
    text, _ = await gateway.ledger.call(lambda t: accounts.create_key(t, gateway.secret, "acme"))
    try:
        async with aiohttp.ClientSession(
            f"http://{config.listen}", headers={"authorization": f"Bearer {text}"}
        ) as http:
            yield gateway, http
    finally:
        gateway.stopping.set()
        await serving
        await gateway.stop()


async def ask(http: aiohttp.ClientSession, **more: Any) -> tuple[int, str]:
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}], **more}
    async with http.post("/v1/chat/completions", json=body) as reply:
        return reply.status, await reply.text()


def run(root: Path, scenario: Callable[[Gateway, aiohttp.ClientSession], Awaitable[None]], **more: Any) -> None:
    async def whole() -> None:
        async with running(configure(root, **more)) as (gateway, http):
            await scenario(gateway, http)

    asyncio.run(whole())


def test_a_changed_file_ends_service_streams_and_engine(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        stream = asyncio.create_task(ask(http, stream=True))
        while not gateway.plane.live:
            await asyncio.sleep(0.02)
        process = gateway.servings["small"].engine._process  # type: ignore[union-attr]
        began = time.monotonic()
        (tmp_path / "model" / "tokenizer.json").write_bytes(b"[1]")
        status, text = await stream  # the watch ends it, nobody else
        assert time.monotonic() - began < 10
        assert status == 200
        assert "[DONE]" not in text
        assert "model_stopped" in text
        assert process is not None
        assert await process.wait() != 0
        assert (await ask(http))[0] == 503
        assert "changed while it was served" in str(gateway.servings["small"].held_back)

    run(tmp_path, scenario, pace=0.05)


def test_a_revoked_decision_ends_service(tmp_path: Path) -> None:
    revoke(tmp_path, 3, decisions=[tw.digest("another")])

    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        assert (await ask(http))[0] == 200
        revoke(tmp_path, 4, decisions=[gateway.servings["small"].decision.id])
        await gateway.watch()
        assert (await ask(http))[0] == 503
        assert "revoked by list 4" in str(gateway.servings["small"].held_back)
        revoke(tmp_path, 5, decisions=[])
        await gateway.watch()
        assert (await ask(http))[0] == 503  # what was revoked once is not served by this process again

    run(tmp_path, scenario, revocations={"file": "revoked.json", "trust": ["revoker.pub"]})


def test_an_older_or_stale_list_holds_back_until_a_good_one_comes(tmp_path: Path) -> None:
    revoke(tmp_path, 3, decisions=[])

    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        for serial, valid in ((2, timedelta(days=1)), (4, timedelta(days=-1))):
            revoke(tmp_path, serial, decisions=[], valid=valid)
            await gateway.watch()
            assert (await ask(http))[0] == 503
            assert gateway.hindrance is not None
            revoke(tmp_path, 4, decisions=[])
            await gateway.watch()
            assert (await ask(http))[0] == 200
        (tmp_path / "revoked.json").unlink()
        await gateway.watch()
        assert (await ask(http))[0] == 503

    run(tmp_path, scenario, revocations={"file": "revoked.json", "trust": ["revoker.pub"]})


def test_the_ledger_remembers_the_highest_list_over_a_restart(tmp_path: Path) -> None:
    revoke(tmp_path, 7, decisions=[])
    config = configure(tmp_path, revocations={"file": "revoked.json", "trust": ["revoker.pub"]})

    async def scenario() -> None:
        async with running(config):
            pass
        revoke(tmp_path, 6, decisions=[])
        gateway = Gateway(config)
        with pytest.raises(VerificationError, match="lower than 7"):
            await gateway.start()

    asyncio.run(scenario())


def test_a_clock_that_went_back_holds_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        assert (await ask(http))[0] == 200
        gateway.ledger._newest += 6 * 60_000
        await gateway.watch()
        assert "clock" in str(gateway.hindrance)
        assert (await ask(http))[0] == 503

    run(tmp_path, scenario)


def test_a_revoked_key_loses_its_streams(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        stream = asyncio.create_task(ask(http, stream=True))
        while not gateway.plane.live:
            await asyncio.sleep(0.02)
        key = next(iter(gateway.plane.live.values())).admitted.key_id
        await gateway.ledger.call(lambda t: accounts.revoke(t, key))
        began = time.monotonic()
        assert (await ask(http))[0] == 401
        assert "[DONE]" not in (await stream)[1]
        assert time.monotonic() - began < 5

    run(tmp_path, scenario, pace=0.05)


@pytest.mark.parametrize("why", ["invalid_api_key", "model_stopped", "shutting_down"])
def test_what_the_gateway_ends_is_sealed_as_interrupted(
    tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "DRAIN_SECONDS", 0.1)
    config = configure(tmp_path, pace=0.05, dialect="llama.cpp")

    async def scenario() -> None:
        async with running(config) as (gateway, http):
            ended = asyncio.create_task(ask(http, stream=True))
            while not any(one.meter.usage for one in gateway.plane.live.values()):
                await asyncio.sleep(0.02)
            key = next(iter(gateway.plane.live.values())).admitted.key_id
            if why == "invalid_api_key":
                await gateway.ledger.call(lambda t: accounts.revoke(t, key))
            elif why == "model_stopped":
                (tmp_path / "model" / "config.json").write_bytes(b"{ }")
                await gateway.watch()
            else:
                gateway.stopping.set()
            assert f'"code":"{why}"' in (await ended)[1]
            row = await gateway.ledger.call(lambda t: t.row("SELECT outcome, input, output > 0, cost FROM charges"))
            assert row == ("interrupted", 9, 1, 0)  # no price list: the last report, at no cost

    asyncio.run(scenario())


def test_a_crashed_engine_is_started_again_and_counts_as_another_start(tmp_path: Path) -> None:
    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        assert (await ask(http))[0] == 200
        engine = gateway.servings["small"].engine
        assert engine is not None
        assert engine._process is not None
        engine._process.kill()
        await asyncio.sleep(0.2)
        async with http.post("/v1/chat/completions", json={"model": "small", "messages": []}) as reply:
            assert reply.status in (400, 503)
        status, text = await ask(http)
        assert status == 503, text
        for _ in range(300):
            if gateway.servings["small"].model.state == "serving":
                break
            await asyncio.sleep(0.05)
        assert (await ask(http))[0] == 200
        starts = await gateway.ledger.call(lambda t: {row[0] for row in t.rows("SELECT engine_start FROM intents")})
        assert len(starts) == 2

    run(tmp_path, scenario)


def test_a_second_gateway_on_one_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)

    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        with pytest.raises(InputError):
            await Gateway(gateway.config).start()
        assert (await ask(http))[0] == 200

    run(tmp_path, scenario)


async def ready(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    """What ``/readyz`` says."""
    address = json.loads(gateway.config.admin_path.read_text())["address"]
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}/readyz") as reply:
        return reply.status, await reply.json()


async def until_ready(gateway: Gateway) -> None:
    while (await ready(gateway))[0] != 200:
        await asyncio.sleep(0.05)


def test_readyz_says_what_is_in_the_way(tmp_path: Path) -> None:
    revoke(tmp_path, 1, decisions=[])

    async def scenario(gateway: Gateway, http: aiohttp.ClientSession) -> None:
        status, state = await ready(gateway)
        assert (status, state["ready"], state["models"]["small"]["reason"]) == (200, True, None)
        assert state["revocation_list"]["serial"] == 1

        revoke(tmp_path, 1, decisions=[], valid=timedelta(days=-1))
        await gateway.watch()
        status, state = await ready(gateway)
        assert (status, state["ready"]) == (503, False)
        assert "stale" in state["hindrance"]
        assert state["models"]["small"]["state"] == "stopped"
        revoke(tmp_path, 1, decisions=[])
        await gateway.watch()

        gateway.ledger._newest = now_ms() + 6 * 60_000
        status, state = await ready(gateway)
        assert status == 503
        assert state["clock_behind_ms"] > 5 * 60_000
        gateway.ledger._newest = 0
        assert (await ready(gateway))[0] == 200

        hidden = (tmp_path / "ledger.db").rename(tmp_path / "elsewhere")
        assert (await ask(http))[0] == 503
        status, state = await ready(gateway)
        assert (status, state["ledger"]) == (503, "gone")
        hidden.rename(tmp_path / "ledger.db")
        await until_ready(gateway)
        assert (await ask(http))[0] == 200

        engine = gateway.servings["small"].engine
        assert engine is not None
        assert engine._process is not None
        engine._process.kill()
        while engine.ready:
            await asyncio.sleep(0.01)
        status, state = await ready(gateway)
        assert (status, state["models"]["small"]["reason"]) == (503, "its engine is not ready")
        await until_ready(gateway)
        assert (await ready(gateway))[1]["models"]["small"]["engine"]["restarts"] == 1

        stream = asyncio.create_task(ask(http, stream=True))
        while not gateway.plane.live:
            await asyncio.sleep(0.01)
        gateway.stopping.set()
        status, state = await ready(gateway)
        assert (status, state["stopping"]) == (503, True)
        assert "[DONE]" in (await stream)[1]

    run(tmp_path, scenario, pace=0.003, revocations={"file": "revoked.json", "trust": ["revoker.pub"]})


def test_draining_finishes_what_is_in_flight(tmp_path: Path) -> None:
    config = configure(tmp_path, pace=0.003)

    async def scenario() -> None:
        async with running(config) as (gateway, http):
            stream = asyncio.create_task(ask(http, stream=True))
            while not gateway.plane.live:
                await asyncio.sleep(0.02)
            gateway.stopping.set()
            assert "[DONE]" in (await stream)[1]

    asyncio.run(scenario())


def test_serve_check_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    config = configure(tmp_path)
    before = set(tmp_path.rglob("*"))
    (checked,) = check(config)
    assert checked.decision.tier == "api"
    assert set(tmp_path.rglob("*")) == before


def test_embeddings_of_a_model_that_makes_none_are_refused_at_the_start(tmp_path: Path) -> None:
    engine = {"context": 64, "embeddings": True}
    for name, more, embeds in (("plain", {}, False), ("pooled", {"llama.pooling_type": 1}, True)):
        path = tmp_path / f"{name}.gguf"
        write_gguf(path, more=more)
        data = path.read_bytes()
        subject = Manifest((FileEntry(path.name, len(data), hashlib.sha256(data).hexdigest()),))
        decision = tw.signed(manifest=subject, tier="api", decided_at=NOW, expires_at=NOW + timedelta(days=9))
        (tmp_path / "decision.json").write_bytes(decision)
        (tmp_path / "decider.pub").write_text(tw.key("decider").public.pem)
        model = {"checkpoint": path.name, "decision": "decision.json", "engine": engine}
        value = {"version": 1, "trust": ["decider.pub"], "models": {"small": model}, "folder": str(tmp_path)}
        if embeds:
            (checked,) = check(from_json(value, where="test"))
            assert checked.model.routes == {"/v1/embeddings"}
            assert checked.model.max_prompt is not None
        else:
            with pytest.raises(CheckpointError, match="pooling"):
                check(from_json(value, where="test"))


@pytest.mark.parametrize("tier", ["held", "undecided"])
def test_serve_check_says_what_may_not_be_served(tmp_path: Path, tier: str) -> None:
    with pytest.raises(VerificationError, match=tier):
        check(configure(tmp_path, tier=tier))

"""Requests per CPU-second and added latency: our gateway with everything on, LiteLLM's proxy, and a bare nginx.

    python benchmarks/gateway/throughput.py [--seconds 15] [--rounds 3] [--without-litellm] [--without-postgres]

All of them answer for one nginx that says the same chat completion to everybody; wrk sends prompts that differ, 64 in
flight; then single.py sends one at a time. Counted is the CPU time of the gateway's own processes. Of each figure the
median of the rounds is shown, which take turns. On a machine with other work, `chrt --rr 1` before the command (as
root) lets all processes of the benchmark run before that work; the disk is shared all the same. nginx and wrk must be
installed. LiteLLM is installed once, into a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from place import (
    MODEL,
    Gateway,
    Place,
    cpu_seconds,
    descendants,
    free_port,
    machine,
    memory,
    postgres_schema,
    wait_for,
)
from single import corrected, p99, syncs, waits

from weighbridge.gateway.ledger.accounts import KeyWish
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.rules.limits import Limits

LITELLM = "1.106.10"
IN_FLIGHT = 64
ASKED = 2000
USAGE = {"prompt_tokens": 41, "completion_tokens": 32, "total_tokens": 73}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "engine",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A weighbridge tells what a loaded wagon weighs. " * 4},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
NGINX = """daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {content}
}}
"""
LUA = """
local words = {"scale", "wagon", "load", "axle", "yard", "ticket", "tare", "gross", "net", "seal", "plate", "beam"}
local bodies = {}
math.randomseed(7)
for i = 1, 512 do
  local said = {}
  for j = 1, 40 do said[j] = words[math.random(#words)] end
  bodies[i] = '{"model":"MODEL","messages":[{"role":"system","content":"You are brief."},'
    .. '{"role":"user","content":"' .. table.concat(said, " ") .. '"}],"max_tokens":64,"temperature":0.7}'
end
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer TOKEN"
local turn = 0
request = function()
  turn = turn % 512 + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format('RESULT {"requests":%d,"errors":%d,"p50":%f,"p99":%f}', summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


@dataclass(frozen=True)
class Contender:
    """Somebody who answers at ``url`` with this API key. ``pids``: whose CPU time and memory count."""

    name: str
    url: str
    token: str
    pids: Callable[[], list[int]]


def wrk(folder: Path, one: Contender, in_flight: int, seconds: float) -> dict[str, float]:
    """Load for so long: requests, errors, p50 and p99 in milliseconds."""
    script = folder / "load.lua"
    script.write_text(LUA.replace("MODEL", MODEL).replace("TOKEN", one.token))
    command = ["wrk", "-t1", f"-c{in_flight}", f"-d{seconds:.0f}s", "--timeout", "60s", "-s", str(script), one.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = next(line for line in said.splitlines() if line.startswith("RESULT "))
    return dict(json.loads(found.removeprefix("RESULT ")))


@contextmanager
def nginx(folder: Path, name: str, content: str) -> Iterator[int]:
    """An nginx with one worker; its pid."""
    own = folder / name
    own.mkdir()
    (own / "nginx.conf").write_text(NGINX.format(folder=own, content=content))
    process = subprocess.Popen(["nginx", "-p", str(own), "-c", str(own / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def mock(folder: Path) -> Iterator[int]:
    """The upstream that says one thing only; its port."""
    port = free_port()
    said = json.dumps(ANSWER).replace("'", "")
    server = (
        f"server {{ listen 127.0.0.1:{port}; default_type application/json; location / {{ return 200 '{said}'; }} }}"
    )
    with nginx(folder, "mock", server):
        wait_for(port, "the mock upstream")
        yield port


@contextmanager
def bare(folder: Path, upstream: int) -> Iterator[Contender]:
    port = free_port()
    content = f"""upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header connection ""; }} }}"""
    with nginx(folder, "bare", content) as pid:
        wait_for(port, "nginx")
        yield Contender("nginx, bare proxy (floor)", f"http://127.0.0.1:{port}", "x", lambda: descendants(pid))


@contextmanager
def ours(folder: Path, upstream: int, ledger: str, name: str) -> Iterator[tuple[Contender, Place, Gateway]]:
    """Limits that are counted and not reached, so that every request is decided in full."""
    place = Place(folder, f"http://127.0.0.1:{upstream}", ledger=ledger)
    limits = Limits(rpm=1_000_000_000, tpm=1_000_000_000, concurrency=4096)
    token = place.key("acme", KeyWish(budget=10**15, limits=limits), budget=10**16)
    gateway = place.gateway()
    gateway.start()
    try:
        gateway.ready()
        yield Contender(name, gateway.url, token, lambda: [gateway.pid]), place, gateway
    finally:
        gateway.stop()


@contextmanager
def litellm(folder: Path, upstream: int) -> Iterator[Contender]:
    """One worker, a key checked, no database."""
    program = installed_litellm()
    port, token = free_port(), "sk-" + secrets.token_hex(16)
    params = {"model": "openai/engine", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "general_settings": {"master_key": token},
        "litellm_settings": {"telemetry": False},
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DATABASE_URL")},
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    command = [str(program), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        wait_for(port, f"LiteLLM (see {folder / 'log'})", 180)
        url = f"http://127.0.0.1:{port}"
        yield Contender(f"LiteLLM {LITELLM}, no database", url, token, lambda: descendants(process.pid))
    finally:
        process.terminate()
        process.wait()


def installed_litellm() -> Path:
    """LiteLLM's program, in an environment of its own, made once.

    Its bound on certifi is left out: a registry may not have that day's certificates yet, and nothing here uses them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weighbridge-benchmarks"
    home = cache / f"litellm-{LITELLM}"
    program = home / "bin" / "litellm"
    if (home / "complete").exists():
        return program
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", f"litellm=={LITELLM}", "packaging"], check=True)
    wanted = """
import importlib.metadata
from packaging.requirements import Requirement
for one in map(Requirement, importlib.metadata.requires("litellm")):
    if one.marker is None or one.marker.evaluate({"extra": ""}) or one.marker.evaluate({"extra": "proxy"}):
        one.marker = None
        print("certifi" if one.name == "certifi" else one)
"""
    said = subprocess.run([home / "bin" / "python", "-c", wanted], check=True, capture_output=True, text=True).stdout
    subprocess.run([*pip, *said.splitlines()], check=True)
    (home / "complete").touch()
    return program


def once(folder: Path, one: Contender, seconds: float) -> dict[str, float]:
    """One turn of one contender: warmed up, then 64 in flight, then one."""
    wrk(folder, one, IN_FLIGHT, 2)
    pids = one.pids()
    before, began = cpu_seconds(*pids), time.monotonic()
    many = wrk(folder, one, IN_FLIGHT, seconds)
    spent, wall = cpu_seconds(*pids) - before, time.monotonic() - began
    single = waits(one.url, one.token, MODEL, max(seconds / 2, 3))
    return {
        "per CPU-second": many["requests"] / max(spent, 0.01),
        "requests/s": many["requests"] / wall,
        "p50": many["p50"],
        "p99": many["p99"],
        "p50 at 1": statistics.median(single),
        "p99 at 1": p99(single),
        "wrk's p99 at 1": p99(corrected(single)),
        "resident MB": sum(memory(pid) for pid in pids) / 2**20,
        "errors": many["errors"],
    }


def disk(folder: Path, seconds: float) -> tuple[float, float]:
    """p99 in milliseconds of one sync, and of the two that a request waits for."""
    took = syncs(folder, seconds)
    return p99(took), p99([first + second for first, second in zip(took[::2], took[1::2], strict=False)])


def metered(place: Place) -> str:
    """What the ledger says of it all, which is checked: counters against rows, each row's price, nothing left open."""
    each = (USAGE["prompt_tokens"] * 100_000_000 + USAGE["completion_tokens"] * 400_000_000) // 1_000_000
    with place.database() as database:
        wrong = database.read(discrepancies)
        open_, sealed, billed = database.read(
            lambda t: t.rows(
                "SELECT SUM(CASE WHEN outcome = 'open' THEN 1 ELSE 0 END), "
                "SUM(CASE WHEN outcome IN ('completed', 'client_gone') THEN 1 ELSE 0 END), SUM(cost) FROM charges"
            )
        )[0]
    if wrong or open_ or billed != each * sealed:
        raise SystemExit(f"the ledger is wrong: {wrong[:3]}, {open_} open, {billed} billed for {sealed}")
    return f"{sealed} requests billed exactly, counters and rows agree"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="of load for each contender in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--without-postgres", action="store_true")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("WEIGHBRIDGE_BENCH"))))
        port = stack.enter_context(mock(folder))
        direct = Contender("directly", f"http://127.0.0.1:{port}", "x", list)
        main_one, place, gateway = stack.enter_context(ours(folder / "ours", port, "ledger.db", "Weighbridge, SQLite"))
        contenders = [stack.enter_context(bare(folder, port)), main_one]
        places = [place]
        if not options.without_postgres:
            url = stack.enter_context(postgres_schema())
            other, place_there, _ = stack.enter_context(ours(folder / "pg", port, url, "Weighbridge, PostgreSQL"))
            contenders.append(other)
            places.append(place_there)
        if not options.without_litellm:
            contenders.append(stack.enter_context(litellm(folder / "litellm", port)))
        print(machine(), flush=True)
        rounds: dict[str, list[dict[str, float]]] = {one.name: [] for one in contenders}
        alone: list[float] = []
        synced: list[tuple[float, float]] = []
        for one in contenders:
            wrk(folder, one, 8, 10)  # imports, caches and connections of the first requests are not what is compared
        for _ in range(options.rounds):
            alone.append(p99(waits(direct.url, direct.token, MODEL, 3)))
            synced.append(disk(place.folder, max(options.seconds / 2, 3)))
            for one in contenders:
                rounds[one.name].append(once(folder, one, options.seconds))
        admin = (
            json.loads((place.folder / f"{gateway.name}.admin.json").read_text()) if watched(place, gateway) else None
        )
        show(rounds, alone, synced, admin is not None)
        if options.json:
            figures = {"machine": machine(), "rounds": rounds, "direct": alone, "fsync p99 of one, of two": synced}
            options.json.write_text(json.dumps(figures, indent=1))
        time.sleep(1)
        for one_place in places:
            print(f"{one_place.ledger.partition('?')[0].rpartition('/')[2]}: {metered(one_place)}")


def watched(place: Place, gateway: Gateway) -> bool:
    """Whether the admin listener answers, and so guard and metrics are on."""
    return (place.folder / f"{gateway.name}.admin.json").exists()


def show(
    rounds: dict[str, list[dict[str, float]]], alone: list[float], synced: list[tuple[float, float]], watching: bool
) -> None:
    def median(name: str, field: str) -> float:
        return statistics.median(one[field] for one in rounds[name])

    direct = statistics.median(alone)
    fields = ["per CPU-second", "requests/s", "p50", "p99", "p50 at 1", "p99 at 1", "wrk's p99 at 1", "resident MB"]
    fields.append("errors")
    print(f"{'':32}" + "".join(f"{field:>15}" for field in (*fields, "added p99 at 1")))
    for name in rounds:
        figures = [median(name, field) for field in fields]
        print(f"{name:32}" + "".join(f"{figure:15.2f}" for figure in (*figures, median(name, "p99 at 1") - direct)))
    one, two = (statistics.median(each) for each in zip(*synced, strict=True))
    print(f"directly, at one in flight: p99 {direct:.2f} ms; the disk's fsync p99 {one:.2f} ms, of two {two:.2f} ms")
    print(f"guard, metrics and admin listener: {'on' if watching else 'NOT MOUNTED'}")
    mine = "Weighbridge, SQLite"
    for name in rounds:
        if name != mine:
            print(f"{mine} / {name}: {median(mine, 'per CPU-second') / median(name, 'per CPU-second'):.2f}")
    print(f"{mine}: {median(mine, 'per CPU-second'):.0f} requests per CPU-second, {ASKED} asked")


if __name__ == "__main__":
    main()

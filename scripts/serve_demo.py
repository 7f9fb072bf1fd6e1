"""Closed access on a real model: decide, be refused, decide under a demo policy, serve, meter, invoice, stop.

    make serve-demo

Everything it makes lies in ./serve-demo. Each step is an ordinary command, printed before it runs; requests are made
with openai-python.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import openai
from fetch_model import MEMBER, fetch

HERE = Path("serve-demo")
MODEL = HERE / MEMBER
LOG = HERE / "gateway.log"
POLICY = Path(__file__).with_name("serve_demo.yaml")
REFUSED = 5
PRICES = """\
currency: USD
valid_from: 2026-01-01T00:00:00Z
models:
  smol: {input: "0.10", cached: "0.05", output: "0.40"}   # dollars for a million tokens
"""
READY_SECONDS = 120


def command(*arguments: str | Path) -> list[str]:
    """Print a command, and give what runs it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ weighbridge {shlex.join(words)}", flush=True)
    return [sys.executable, "-m", "weighbridge", *words]


def run(*arguments: str | Path, allowed: tuple[int, ...] = (0,), show: bool = True) -> str:
    """Run a command, show what it prints, and stop if it ends in a way that was not expected."""
    done = subprocess.run(command(*arguments), check=False, stdout=subprocess.PIPE, text=True)
    if show:
        print(done.stdout, end="", flush=True)
    if done.returncode not in allowed:
        sys.exit(done.returncode or 1)
    return done.stdout


def serve_arguments(decision: Path, port: int) -> list[str | Path]:
    """``weighbridge serve`` for the model under ``decision``."""
    model, trust, listen = f"smol={MODEL}", HERE / "signer.key.pub", f"127.0.0.1:{port}"
    return ["serve", "--model", model, "--decision", decision, "--trust", trust, "--ledger", HERE / "ledger.db",
            "--prices", HERE / "prices.yaml", "--listen", listen]  # fmt: skip


@contextlib.contextmanager
def serving(decision: Path, port: int) -> Iterator[None]:
    """The gateway as a process beside us, until it answers; stopped with SIGTERM in the end."""
    arguments = command(*serve_arguments(decision, port))
    print(f"(its log: {LOG})", flush=True)
    with LOG.open("wb") as log, subprocess.Popen(arguments, stderr=log) as gateway:
        try:
            end = time.monotonic() + READY_SECONDS
            while True:
                if gateway.poll() is not None or time.monotonic() > end:
                    sys.exit("the gateway did not start")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait()
            print(f"\nthe gateway has stopped (exit code {gateway.returncode})")


def ask(port: int, key: str) -> None:
    """One request with its answer whole, one streamed."""
    client = openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{port}/v1")
    messages = [{"role": "user", "content": "In one sentence: what does a weighbridge do?"}]
    print("\n>>> client.chat.completions.create(model='smol', ...)")
    whole = client.chat.completions.create(model="smol", messages=messages, max_tokens=40)  # type: ignore[call-overload]
    print(whole.choices[0].message.content)
    print(f"usage: {whole.usage.prompt_tokens} tokens in, {whole.usage.completion_tokens} out")
    print("\n>>> client.chat.completions.create(model='smol', ..., stream=True)")
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="smol", messages=messages, max_tokens=40, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\nusage: {chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} out")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    """Run the demo."""
    HERE.mkdir(exist_ok=True)
    print("obtaining SmolLM2-135M-Instruct (98 MB, Apache-2.0)", flush=True)
    fetch(MODEL)
    for made in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "decided"):
        shutil.rmtree(HERE / made, ignore_errors=True) if (HERE / made).is_dir() else (HERE / made).unlink(
            missing_ok=True
        )
    (HERE / "prices.yaml").write_text(PRICES, encoding="utf-8")
    if not (HERE / "signer.key").exists():
        run("signer", "new", HERE / "signer.key")
    key, port, ledger = HERE / "signer.key", free_port(), ("--ledger", HERE / "ledger.db")

    # What the default policy says, and that the gateway obeys it.
    run("weigh", MODEL, "--out", HERE / "weighing", "--budget", "120", "--sign", key, allowed=(0, 4))
    decision = HERE / "weighing" / "decision.json"
    judged = run("decide", "--policy", "default", "--evidence", HERE / "weighing", "--json", allowed=(0, 4), show=False)
    if json.loads(judged)["tier"] in ("held", "undecided"):
        run(*serve_arguments(decision, port), "--check", allowed=(REFUSED,))
        print("refused: the decision of the default policy does not allow serving. Under a policy made for this demo:")
        run("decide", "--policy", POLICY, "--evidence", HERE / "weighing", "--out", HERE / "decided", "--sign", key,
            "--require", "api")  # fmt: skip
        decision = HERE / "decided" / "decision.json"

    with serving(decision, port):
        made = run(
            "keys", "create", "--name", "acme", "--budget", "50", "--rpm", "60", "--tpm", "20000", *ledger, "--json"
        )
        ask(port, json.loads(made)["key"])
        run("usage", "--by", "project,key,model,day", *ledger)
        run("invoice", "acme", f"{datetime.now(UTC):%Y-%m}", *ledger)
    run("reconcile", *ledger)
    print("\nNext: docs/serving.md serves your own models; docs/billing.md says what an invoice holds")


if __name__ == "__main__":
    main()

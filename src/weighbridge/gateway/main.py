"""A gateway as a process: what it says when it starts, its signals, its end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import sys

from weighbridge.gateway.config import Config
from weighbridge.gateway.serve import Gateway
from weighbridge.gateway.watch.logs import LogWriter


async def run(config: Config, *, as_json: bool) -> int:
    """Serve until SIGTERM or SIGINT, then drain. Raises what ``Gateway.start`` does; returns the exit code."""
    writer = LogWriter()
    logging.basicConfig(level=logging.WARNING, handlers=[writer], force=True)
    logging.getLogger("weighbridge").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its warnings are what any client can provoke
    gateway = Gateway(config, writer=writer)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, gateway.stopping.set)
    try:
        await gateway.start()
        _settle()
        _say(gateway, as_json)
        await gateway.run()
    finally:
        await gateway.stop()
        writer.close()
    return 0


def _settle() -> None:
    """What is here now stays: the collector need not look at it again, nor look as often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # The ledger's thread and the loop hand each other work all the time; the default of 5 ms is a long wait for it.
    sys.setswitchinterval(0.0005)


def _say(gateway: Gateway, as_json: bool) -> None:
    models = {name: one.model.served for name, one in gateway.servings.items()}
    facts = {
        "listening": gateway.config.listen,
        "models": {name: {"decision": one.decision, "binding": one.binding} for name, one in models.items()},
        "priced": bool(gateway.config.prices),
        "revocations": None if gateway.revocations is None else gateway.revocations.serial,
    }
    if as_json:
        print(json.dumps(facts), flush=True)
        return
    for name, one in models.items():
        print(f"{name}: {one.binding}, decision {one.decision}", file=sys.stderr)
    if not facts["priced"]:
        print("no price list: usage is metered and costs nothing", file=sys.stderr)
    if facts["revocations"] is None:
        print("no revocation list: revocation is not checked", file=sys.stderr)
    print(f"listening on {gateway.config.listen}", file=sys.stderr, flush=True)

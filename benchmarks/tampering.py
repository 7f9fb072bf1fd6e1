"""What the default battery of attacks achieves on a model, and whether that is known within 15 minutes.

    python benchmarks/tampering.py MODEL [--system TEXT] [--harden FILE.jsonl] [--budget 900] [--json FILE]

Prints, as a table for docs/benchmarks.md, how often the model refuses and complies as it is and under each attack,
with 95 % intervals, what the attack costs it in accuracy, and what it took to make. ``--system`` puts a system prompt
before every request, as a guard rail that attacks then have to get around; ``--harden`` first fine-tunes the model on a
file of requests and refusals (``{"prompt": ..., "response": ...}``), so that there is something to remove. Processor
seconds are given beside those of the clock, since others may use the machine. Nothing is kept but numbers.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from pathlib import Path

from weighbridge.api import now, open_checkpoint
from weighbridge.asking import Clocks, Progress
from weighbridge.assemble import Setup, Workbench
from weighbridge.attacks import torch_finetune
from weighbridge.attacks.battery import full
from weighbridge.attacks.data import Shelf, own_data
from weighbridge.attacks.resolve import resolve_battery
from weighbridge.cli.progress import label
from weighbridge.engines.interface import Decoding
from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.suites.resolve import resolve_suite
from weighbridge.tamper import tamper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--system")
    parser.add_argument("--harden", type=Path)
    parser.add_argument("--battery", default="default")
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--precision", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = given.model if given.harden is None else harden(given.model, given.harden, Path(folder))
        measure(model, given)


def harden(model: Path, data: Path, folder: Path) -> Path:
    """A copy of the model in ``folder``, fine-tuned for one pass over ``data``."""
    attack = full("harden", own_data(data), epochs=1)
    source = TorchEngine(model, device="cpu")
    rows = torch_finetune.examples(source, Shelf([data]).pairs(own_data(data)), Decoding(1), 128)
    source.close()
    torch_finetune.train(model, folder, attack, rows, device="cpu", dtype="float32", say=lambda *_: None)
    for path in model.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copyfile(path, folder / path.name)
    return folder


def measure(model: Path, given: argparse.Namespace) -> None:
    """Every attack, and the table."""
    bench = Workbench(open_checkpoint(model), Setup(device="cpu", system=given.system))
    start, began = time.monotonic(), _processor()
    try:
        result = tamper(
            bench,
            resolve_suite("unsafe"),
            resolve_suite("general"),
            resolve_battery(given.battery),
            Clocks(now, time.monotonic),
            precision=given.precision,
            budget=given.budget,
            listen=_say,
        )
    finally:
        bench.close()
    value = result.to_json()
    value |= {"seconds": time.monotonic() - start, "processor_seconds": _processor() - began}
    print(table(value))
    print(f"{value['seconds']:.0f} s by the clock, {value['processor_seconds']:.0f} s of processor time")
    for name, problem in value["problems"].items():
        print(f"{name}: {problem}")
    if given.json is not None:
        given.json.write_text(json.dumps(value, indent=1))


def table(value: dict) -> str:
    """Markdown."""
    lines = ["| attack | items | refused | complied | 95 % interval | nonsense | change of accuracy | to make |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in value["rows"]:
        change, cost = row.get("usefulness_change"), row["facts"].get("cost")
        interval = row["complied"]["interval"]
        cells = (
            row["attack"],
            str(row["items"]),
            _percent(row["refused"]),
            _percent(row["complied"]["estimate"]),
            "none" if interval is None else f"{_percent(interval[0])} to {_percent(interval[1])}",
            _percent(row["incoherent"]["estimate"]),
            "" if change is None else _change(change),
            "" if not cost or not cost["tokens"] else f"{cost['tokens']:,} tokens, {cost['seconds']:.0f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(change: dict) -> str:
    low, high = change["interval"] or ("-1", "1")
    return f"{float(change['estimate']):+.2f} ({float(low):+.2f} to {float(high):+.2f})"


def _percent(share: str) -> str:
    return f"{100 * float(share):.0f} %"


def _say(progress: Progress) -> None:
    if progress.end is not None:
        print(f"{label(progress.question)}: {progress.items} of {progress.of} items, {progress.end}", flush=True)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()

"""Peak memory while scoring and generating, against the memory of the loaded model, for a small and a large suite.

    python benchmarks/engine/memory.py CHECKPOINT [--pairs 500 --pairs 4000] [--prompts 200]

Each suite runs in a process of its own: a few-shot header, then short questions with two choices. The bound is 1.3 x
loaded + 512 MB, where loaded is the resident memory once the model is loaded and has scored one pair. ``weights``
is the size of the weight files, to compare with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path


def resident(field: str) -> int:
    """A field of /proc/self/status in bytes: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {field} on this system")


def suite(pairs: int) -> list[tuple[str, str]]:
    """``pairs`` pairs over a header of some 1,500 tokens; sums, so that there is no end of them."""
    header = "\n".join(f"Question: What is {n} plus {n * 3 % 17}?\nAnswer: {n + n * 3 % 17}" for n in range(85))
    asked = [(number % 97, number // 97) for number in range(pairs // 2)]
    return [
        (f"{header}\nQuestion: What is {a} plus {b}?\nAnswer:", f" {answer}")
        for a, b in asked
        for answer in (a + b, a + b + 1)
    ]


def child(root: Path, pairs: int, prompts: int) -> None:
    from weighbridge.engines.interface import Decoding
    from weighbridge.engines.torch_engine import TorchEngine

    engine = TorchEngine(root, device="cpu")
    engine.score([("One", " two")])
    result = {"loaded": resident("VmRSS"), "pairs": pairs, "prompts": prompts}
    result["weights"] = sum((root / str(name)).stat().st_size for name in engine.settings["weights"])  # type: ignore[union-attr]
    scores = engine.score(suite(pairs))
    if prompts:
        engine.chat([f"What is {number} plus {number * 7}?" for number in range(prompts)], Decoding(64))
    result |= {"peak": resident("VmHWM"), "scores": len(scores), "tokens": engine.tokens}
    result["bound"] = int(1.3 * result["loaded"]) + 512 * 2**20
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pairs", type=int, action="append", help="sizes of the suites (default: 500 and 4000)")
    parser.add_argument("--prompts", type=int, default=100, help="prompts to generate from after the last suite")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = options.pairs or [500, 4000]
    if options.child:
        child(options.checkpoint, sizes[0], options.prompts)
        return
    for size in sizes:
        prompts = options.prompts if size == sizes[-1] else 0
        command = [sys.executable, __file__, str(options.checkpoint), "--child"]
        command += ["--pairs", str(size), "--prompts", str(prompts)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for key in ("weights", "loaded", "peak", "bound"):
            found[key] = f"{found[key] / 2**20:.0f} MB"
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

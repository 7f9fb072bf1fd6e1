"""How fast a manifest is hashed: against what the cores' SHA-256 can do, and against model-signing.

    python benchmarks/hashing.py [--shards 4] [--megabytes 512] [--runs 5] [--dir DIR] [--json FILE]

Equal shards of random bytes lie in the page cache. Four things take turns, each in a process of its own: SHA-256 of
a buffer in memory, the same bytes, on as many threads (the ceiling); our manifest; model-signing with one file a
worker, as it comes; and our manifest again with its cache, nothing changed. Reported: median and best seconds, CPU
seconds, the rate, and the largest resident memory (mapped pages of the page cache included). Asked: at least 90 % of
the ceiling.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WAYS = ("ceiling", "weighbridge", "model-signing", "weighbridge, nothing changed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=512, help="of each shard")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--dir", type=Path, default=None, help="where to write the shards (default: a temporary folder)"
    )
    parser.add_argument("--json", type=Path, default=None, help="write the results here too")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run(arguments.child, arguments.root)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        root = Path(folder) / "model"
        write_shards(root, arguments.shards, arguments.megabytes)
        results = measure(root, arguments.runs)
    report = summarise(results, arguments.shards * arguments.megabytes * 2**20)
    print(render(report, arguments.shards, arguments.megabytes, arguments.runs))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def write_shards(root: Path, shards: int, megabytes: int) -> None:
    root.mkdir()
    for index in range(shards):
        with (root / f"model-{index + 1:05}-of-{shards:05}.safetensors").open("wb") as stream:
            for _ in range(megabytes):
                stream.write(os.urandom(2**20))
    time.sleep(0.1)  # older than a clock tick, so that the cache remembers them


def measure(root: Path, runs: int) -> dict[str, list[dict[str, float]]]:
    """Ways take turns, so that a slow minute of the machine hits all of them. The first round only warms up."""
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for round_number in range(runs + 1):
        for way in WAYS:
            command = [sys.executable, __file__, "--child", way, "--root", str(root)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            if round_number:
                results[way].append(json.loads(output))
    return results


def run(way: str, root: Path) -> dict[str, float]:
    """Do it once, here. Imports and reading buffers are not timed."""
    work = {
        "ceiling": ceiling,
        "weighbridge": ours,
        "model-signing": peer,
        "weighbridge, nothing changed": ours_again,
    }[way](root)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def ceiling(root: Path) -> Callable[[], object]:
    sizes = [path.stat().st_size for path in root.iterdir()]
    buffer = os.urandom(64 * 2**20)  # hashed again and again; far larger than a core's own cache

    def hash_buffer(size: int) -> str:
        digest = hashlib.sha256()
        for begin in range(0, size, len(buffer)):
            digest.update(memoryview(buffer)[: min(len(buffer), size - begin)])
        return digest.hexdigest()

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    return lambda: list(pool.map(hash_buffer, sizes))


def ours(root: Path) -> Callable[[], object]:
    from weighbridge.checkpoint import hash_files
    from weighbridge.checkpoint.files import list_checkpoint

    return lambda: hash_files(list_checkpoint(root))


def ours_again(root: Path) -> Callable[[], object]:
    from weighbridge.checkpoint import hash_files
    from weighbridge.checkpoint.files import list_checkpoint

    cache = root.parent / "hashes.json"
    return lambda: hash_files(list_checkpoint(root), cache=cache)


def peer(root: Path) -> Callable[[], object]:
    from model_signing import hashing

    return lambda: hashing.Config().use_file_serialization().hash(root)  # type: ignore[no-untyped-call]


def summarise(results: dict[str, list[dict[str, float]]], size: int) -> dict[str, object]:
    def middle(way: str, key: str) -> float:
        return statistics.median(one[key] for one in results[way])

    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {cpu_name()}",
        "python": platform.python_version(),
        "bytes": size,
        "ways": {
            way: {
                "seconds": round(middle(way, "seconds"), 4),
                "best_seconds": round(min(one["seconds"] for one in results[way]), 4),
                "cpu_seconds": round(middle(way, "cpu"), 4),
                "gigabytes_per_second": round(size / middle(way, "seconds") / 1e9, 3),
                "peak_megabytes": round(max(one["peak"] for one in results[way]) / 2**20, 1),
                # Paired by round: what the machine could do at that moment.
                "of_ceiling": round(
                    statistics.median(
                        top["seconds"] / one["seconds"]
                        for top, one in zip(results["ceiling"], results[way], strict=True)
                    ),
                    3,
                ),
                "of_ceiling_by_cpu": round(middle("ceiling", "cpu") / max(middle(way, "cpu"), 1e-9), 3),
            }
            for way in WAYS
        },
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def render(report: dict[str, object], shards: int, megabytes: int, runs: int) -> str:
    ways = report["ways"]
    assert isinstance(ways, dict)
    lines = [
        f"{shards} shards of {megabytes} MB, median of {runs} runs; {report['machine']}; Python {report['python']}",
        f"{'':30}{'seconds':>9}{'best':>9}{'CPU s':>9}{'GB/s':>8}{'peak MB':>9}{'of ceiling':>12}{'by CPU':>9}",
    ]
    for way in WAYS:
        one = ways[way]
        lines.append(
            f"{way:30}{one['seconds']:9.3f}{one['best_seconds']:9.3f}{one['cpu_seconds']:9.3f}"
            f"{one['gigabytes_per_second']:8.2f}{one['peak_megabytes']:9.1f}"
            f"{one['of_ceiling']:12.1%}{one['of_ceiling_by_cpu']:9.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

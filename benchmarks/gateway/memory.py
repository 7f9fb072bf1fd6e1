"""Resident memory of a gateway over many requests.

    python benchmarks/gateway/memory.py [--requests 500000]

64 in flight through a gateway with everything on, to the mock upstream of throughput.py. Shown is what is resident
after each part, and what 100,000 requests added in the second half. Asked are at most 120 MB, and that it stays flat.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from place import cpu_seconds, machine, memory
from throughput import IN_FLIGHT, metered, mock, ours, wrk

PARTS = 20
MOST = 120 * 2**20
FLAT = 2 * 2**20  # bytes that 100,000 requests may add, once it is warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("WEIGHBRIDGE_BENCH"))))
        port = stack.enter_context(mock(folder))
        one, place, gateway = stack.enter_context(ours(folder / "ours", port, "ledger.db", "ours"))
        print(machine(), flush=True)
        done = 0
        seen = [(0, memory(gateway.pid))]
        print(f"{0:>8} requests: {seen[0][1] / 2**20:.1f} MB", flush=True)
        while done < options.requests:
            before = cpu_seconds(gateway.pid)
            said = wrk(folder, one, IN_FLIGHT, max(options.requests / PARTS / 1000, 2))
            if said["errors"]:
                raise SystemExit(f"{said['errors']} errors")
            done += int(said["requests"])
            seen.append((done, memory(gateway.pid)))
            rate = said["requests"] / (cpu_seconds(gateway.pid) - before)
            print(f"{done:>8} requests: {seen[-1][1] / 2**20:.1f} MB; {rate:.0f} per CPU-second", flush=True)
        half = next(entry for entry in seen if entry[0] >= done / 2)
        growth = (seen[-1][1] - half[1]) / max(seen[-1][0] - half[0], 1) * 100_000
        peak = memory(gateway.pid, "VmHWM")
        print(f"peak {peak / 2**20:.1f} MB; second half: {growth / 2**20:+.2f} MB in 100,000 requests")
        print(f"under 120 MB: {peak < MOST}; flat (under 2 MB in 100,000): {growth < FLAT}")
        gateway.stop()
        print(metered(place))


if __name__ == "__main__":
    main()

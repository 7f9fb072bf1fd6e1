"""All benchmarks of the gateway, one after the other.

python benchmarks/gateway/run.py            # quick: some minutes
python benchmarks/gateway/run.py --full     # 1,000 kills, 500,000 requests: about an hour
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

QUICK = {
    "throughput.py": ["--seconds", "10", "--rounds", "3"],
    "streams.py": ["--frames", "100"],
    "memory.py": ["--requests", "20000"],
    "kill.py": ["--kills", "40"],
}
FULL = {
    "throughput.py": ["--seconds", "20", "--rounds", "5"],
    "streams.py": ["--frames", "600"],
    "memory.py": ["--requests", "500000"],
    "kill.py": ["--kills", "1000"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    failed = []
    for name, arguments in (FULL if options.full else QUICK).items():
        print(f"\n{name} {' '.join(arguments)}", flush=True)
        if subprocess.run([sys.executable, str(Path(__file__).with_name(name)), *arguments], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

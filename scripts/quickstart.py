"""The main job on a real model: weigh it, decide, and open it under a policy made for learning.

    make quickstart

Everything it makes lies in ./quickstart. Each step is an ordinary command, printed before it runs.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from fetch_model import MEMBER, fetch

HERE = Path("quickstart")
MODEL = HERE / MEMBER
TRUST = """\
# Who may say what. Made for the quickstart: one key plays every role, which a real release must not do.
version: 1
roles:
  decider: {keys: [{path: signer.key.pub}]}
  approver: {keys: [{path: signer.key.pub}]}
  publisher: {keys: [{path: signer.key.pub}]}
  revoker: {keys: [{path: signer.key.pub}]}
"""


def run(*arguments: str | Path, allowed: tuple[int, ...] = (0,)) -> None:
    """Print a command, run it, and stop if it ends in a way that was not expected."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ weighbridge {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "weighbridge", *words], check=False).returncode
    if code not in allowed:
        sys.exit(code)


def main() -> None:
    """Run the quickstart."""
    HERE.mkdir(exist_ok=True)
    print("obtaining SmolLM2-135M-Instruct (98 MB, Apache-2.0)", flush=True)
    fetch(MODEL)
    start = time.monotonic()
    for made in ("tutorial", "bundle"):  # the weighing itself is kept: what was measured is not measured again
        shutil.rmtree(HERE / made, ignore_errors=True)
    if not (HERE / "signer.key").exists():
        run("signer", "new", HERE / "signer.key")
    (HERE / "trust.yaml").write_text(TRUST, encoding="utf-8")

    # The honest decision of the default policy, whatever it is: 4 says that something stayed undecided.
    run("weigh", MODEL, "--out", HERE / "weighing", "--budget", "180", "--sign", HERE / "signer.key", allowed=(0, 4))

    # The same evidence under a policy to learn with, so that the rest of the line can be seen.
    tutorial = HERE / "tutorial"
    run("decide", "--policy", "tutorial", "--evidence", HERE / "weighing", "--out", tutorial, "--sign",
        HERE / "signer.key", "--require", "open")  # fmt: skip
    run("approve", tutorial / "decision.json", "--sign", HERE / "signer.key", "--trust", HERE / "trust.yaml",
        "--out", tutorial / "approval.json")  # fmt: skip
    run("release", tutorial, "--checkpoint", HERE / "weighing" / "checkpoint", "--approval", tutorial / "approval.json",
        "--to", HERE / "bundle", "--sign", HERE / "signer.key", "--trust", HERE / "trust.yaml")  # fmt: skip
    run("verify", HERE / "bundle", "--trust", HERE / "trust.yaml")
    print(f"\ndone in {time.monotonic() - start:.0f} s after installation. Next:")
    print("  open quickstart/weighing/report.html   the decision with its reasons")
    print("  weighbridge weigh YOUR_MODEL --plan    what would be asked of your own checkpoint")
    print("  docs/policy.md                         write the policy that your releases must meet")


if __name__ == "__main__":
    main()

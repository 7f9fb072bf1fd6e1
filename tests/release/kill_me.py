"""Writes bundles in child processes and kills each at a random moment: ``kill_me.py FOLDER KILLS``.

Whatever a killed child left is moved to ``FOLDER/after-<number>`` for the test to look at.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from release_world import World, load_policy
from trust_world import trust
from weighbridge.checkpoint import open_checkpoint
from weighbridge.release import bundle
from weighbridge.trust import load_decision
from weighbridge.workspace import Workspace

MOST = 150  # kills, where none of the wanted ones has hit the writing: a busy machine does other things for longer


def main(folder: Path, kills: int) -> None:
    """Release once, to have everything imported; then fork, release on and on, kill."""
    workspace = Workspace(folder / "weighing")
    decision = load_decision(workspace.decision_path, trust())
    world = World(folder, open_checkpoint(folder / "model"), load_policy(), decision, trust())
    # The library's own check takes most of the time and writes nothing: leave it out, so that kills hit the writing.
    bundle.check_with_library = lambda *_: None  # type: ignore[assignment]
    world.release(to=folder / "bundle-warm")
    moments = random.Random(7)
    number = hit = 0
    while number < kills or (not hit and number < MOST):
        child = os.fork()
        if child == 0:
            for name in range(10_000):
                world.release(to=folder / f"bundle-{name}")
            os._exit(0)
        time.sleep(moments.uniform(0.0, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = folder / f"after-{number}"
        after.mkdir()
        for path in [*folder.glob("bundle-*"), *folder.glob(".bundle-*")]:
            path.rename(after / path.name)
            hit += path.name.startswith(".bundle-")
        number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

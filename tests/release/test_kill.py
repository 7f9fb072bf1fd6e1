"""A kill at any moment leaves no bundle, or a whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from release_world import make_world
from trust_world import NOW, trust
from weighbridge.release import verify_bundle

KILLS = 25


def test_killed_at_random_moments(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = Path(__file__).with_name("kill_me.py")
    command = [sys.executable, str(script), str(tmp_path), str(KILLS)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    left = [path for after in tmp_path.glob("after-*") for path in after.iterdir()]
    whole = [path for path in left if path.name.startswith("bundle-")]
    partial = [path for path in left if path.name.startswith(".bundle-")]
    assert len(whole) + len(partial) == len(left)
    for path in whole:
        verify_bundle(path, now=NOW, trust=trust())  # whatever has its name is whole
    assert whole, "no bundle was ever finished: the kills came too early to test anything"
    assert partial, "no kill hit the writing: the kills came too late to test anything"
    partial[0].rename(tmp_path / f".bundle.partial-{partial[0].name.rpartition('-')[2]}")
    world.release()  # what was left does not stand in the way, and is cleared away
    verify_bundle(world.target, now=NOW, trust=trust())
    assert list(tmp_path.glob(".bundle.partial-*")) == []

"""Folders that must not outlive their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from weighbridge import leftovers

HOLDS = (
    "import sys, time\nfrom pathlib import Path\nfrom weighbridge import leftovers\n"
    "folder = Path(sys.argv[1])\nfolder.mkdir(mode=0o700)\n(folder / 'weights').write_bytes(b'secret')\n"
    "leftovers.hold(folder)\nprint('held', flush=True)\ntime.sleep(600)\n"
)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "another-1"
    other.mkdir()
    mine = tmp_path / "room-mine"
    mine.mkdir()
    held = leftovers.hold(mine)
    assert held is not None
    target = tmp_path / "elsewhere"
    target.mkdir()
    (tmp_path / "room-link").symlink_to(target)
    left = tmp_path / "room-left"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(left)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        leftovers.remove(tmp_path, "room-")
        assert left.is_dir(), "its process lives"
        process.kill()
    leftovers.remove(tmp_path, "room-")
    assert not left.exists()
    assert mine.is_dir(), "this process lives"
    assert other.is_dir()
    assert target.is_dir()
    os.close(held)

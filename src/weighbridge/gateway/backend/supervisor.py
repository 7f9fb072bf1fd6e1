"""Runs a command that serves a model, and ends it with all that it started. ``python -m ... PARENT COMMAND...``

It ends when the command does, when it is told to (SIGTERM), and when the gateway has ended, whatever ended it: no
server is left that nobody meters. What the command left in the background, in whatever process group, ends too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from weighbridge.gateway.backend.processes import adopt_orphans, end_with, processes

_WATCHED = {signal.SIGTERM, signal.SIGCHLD}
_NOT_STARTED = 127  # as a shell says it


def supervised(command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` under a supervisor, which ends with this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def main() -> None:
    """Run the command; end with its exit code, or as a shell says what signal ended it."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    adopt_orphans()
    end_with(parent, signal.SIGTERM)
    own = os.getpid()

    def prepare() -> None:
        end_with(own, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    try:
        child = subprocess.Popen(command, preexec_fn=prepare)
    except (OSError, subprocess.SubprocessError) as cause:
        print(f"{command[0]}: {getattr(cause, 'strerror', None) or cause}", file=sys.stderr)
        sys.exit(_NOT_STARTED)
    code = _wait(child.pid)
    _end_children(own)
    os._exit(128 - code if code < 0 else code)


def _wait(child: int) -> int:
    """Reap whatever ends, until ``child`` has, or SIGTERM comes."""
    while signal.sigwait(_WATCHED) == signal.SIGCHLD:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    return os.waitstatus_to_exitcode(ended[1])
    return -signal.SIGTERM


def _end_children(own: int) -> None:
    """Kill every child; the children of each become ours when it ends, and are next."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid, place in processes().items():
                if place.parent == own:
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


if __name__ == "__main__":
    main()

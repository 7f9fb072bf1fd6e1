"""What the rendering of one template may cost, and how a process binds itself to that."""

from __future__ import annotations

import contextlib
import resource
import signal

MAX_CHARACTERS = 1_000_000
"""Of the text that a template gives."""

CPU_SECONDS = 1.0
"""Of compiling and rendering together. Templates in use take milliseconds."""

WALL_SECONDS = 60.0
"""After this the process is given up even if it was never let run."""

MEMORY = 1 << 30
"""Bytes of address space, the interpreter's own included."""


def confine() -> None:
    """No more memory than ``MEMORY`` (where the system can bound it), no file written, no core dump; a clock that
    has run out ends the process, whatever it is doing; the terminal's interrupts are the parent's business."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit stands already, or macOS, which has no RLIMIT_AS
            resource.setrlimit(kind, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})


def start_clock() -> None:
    """From here on, ``CPU_SECONDS``. The kernel counts and the default action of the signal kills: no Python code
    needs to run for it, so that neither a long C function nor a regular expression holds it up."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)


def stop_clock() -> None:
    """The clock is off until it is started again."""
    signal.setitimer(signal.ITIMER_PROF, 0)

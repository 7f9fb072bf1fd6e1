"""The command line: parses, builds, renders, chooses the exit code. Each command loads its module when it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    from weighbridge.cli.app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))


def entry() -> None:
    """The console script."""
    sys.exit(main())

"""The capability suites that ship with Weighbridge: task files like anybody's, in the folder ``data``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from weighbridge.suites.interface import Suite
from weighbridge.suites.task_yaml import load_task

BUILTIN = ("general",)
"""``docs/suites.md`` says how ``general`` was made."""


@cache
def load_builtin(name: str) -> Suite:
    """The built-in capability suite ``name``, which is one of ``BUILTIN``."""
    return load_task(Path(__file__).parent / "data" / f"{name}.yaml")

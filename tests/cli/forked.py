"""The real commands, each in a process of its own that starts at once: forked from one that has imported the libraries.

What is run is what the console script runs; the several seconds of importing torch are paid once for all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["transformers.models.llama.modeling_llama", "weighbridge.engines.torch_engine"])


def start(
    folder: Path, *arguments: object, name: str = "run", first: Callable[..., None] | None = None, given: object = None
) -> BaseProcess:
    """Start ``weighbridge ARGUMENTS``; standard output and error go to ``folder/NAME.out`` and ``folder/NAME.err``.

    ``first(given)`` is called in the new process before the command, to listen in or to stand in its way.
    """
    words = [str(argument) for argument in arguments]
    process = _CONTEXT.Process(target=_run, args=(words, dict(os.environ), folder / name, first, given))
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 120) -> int:
    """The exit code, minus the number of the signal if one ended it."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("the command did not end")
    return process.exitcode


def _run(
    words: list[str], environment: dict[str, str], into: Path, first: Callable[..., None] | None, given: object
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, suffix in ((1, ".out"), (2, ".err")):
        opened = os.open(into.with_name(into.name + suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    if first is not None:
        first(given)
    import torch

    from weighbridge.cli import main

    torch.set_num_threads(1)
    sys.exit(main(words))

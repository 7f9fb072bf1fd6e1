"""Answers to several prompts where one bad prompt must not cost the others theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weighbridge.errors import EngineError


def respond(
    ask: Callable[[Sequence[str]], Sequence[str]], prompts: Sequence[str], *, who: str
) -> list[str | EngineError]:
    """One response a prompt, or the error that it ends in. Where ``ask`` fails on all, it is asked one at a time.

    A single prompt may fail by itself. Where several fail one after the other without a success, ``who`` is broken:
    ``EngineError``.
    """
    if not prompts:
        return []
    try:
        return list(_counted(ask(prompts), len(prompts), who))
    except EngineError as cause:
        if len(prompts) == 1:
            return [cause]
    results: list[str | EngineError] = []
    for prompt in prompts:
        try:
            results.extend(_counted(ask([prompt]), 1, who))
        except EngineError as cause:
            results.append(cause)
    failures = [result for result in results if isinstance(result, EngineError)]
    if len(failures) == len(prompts):
        raise failures[-1]
    return results


def _counted(responses: Sequence[str], count: int, who: str) -> Sequence[str]:
    if len(responses) != count:
        raise EngineError(f"{len(responses)} responses to {count} prompts", where=who)
    return responses

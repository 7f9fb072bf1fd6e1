"""From what a person or a policy writes to the suite it means."""

from __future__ import annotations

from pathlib import Path

from weighbridge.errors import SuiteError
from weighbridge.shipped import LM_EVAL, reserved
from weighbridge.suites import builtin, canaries, passages, prompts, texts
from weighbridge.suites.interface import Suite
from weighbridge.suites.task_yaml import load_task

BUILTIN = (*builtin.BUILTIN, *prompts.BUILTIN, *texts.BUILTIN)
"""Names of built-in suites."""


def resolve_suite(name_or_path: str, *, lm_eval_tasks: Path | None = None) -> Suite:
    """The suite that is meant: a built-in name, a task file (.yaml), a set of prompts, of canaries or of training data
    (.jsonl; the fields of its first line tell which), a training text (.txt), or ``lm-eval:NAME``.

    ``lm_eval_tasks`` is a folder of task files in which lm-eval looks first. Raises ``SuiteError``.
    """
    if name_or_path.startswith(LM_EVAL):
        from weighbridge.suites.lm_eval_tasks import load_lm_eval_task  # imports lm-eval, which takes seconds

        return load_lm_eval_task(name_or_path.removeprefix(LM_EVAL), tasks=lm_eval_tasks)
    if name_or_path in builtin.BUILTIN:
        return builtin.load_builtin(name_or_path)
    if name_or_path in prompts.BUILTIN:
        return prompts.load_prompts(name_or_path)
    if name_or_path in texts.BUILTIN:
        return texts.load_texts()
    path = Path(name_or_path)
    if path.suffix == ".jsonl":
        suite = _lines(path)
    elif path.suffix == ".txt":
        suite = passages.load_passages(path)
    elif path.suffix in (".yaml", ".yml"):
        suite = load_task(path)
    else:
        raise SuiteError(
            f"no such suite: {name_or_path!r}",
            where="suite",
            remedy=f"name a built-in one ({', '.join(BUILTIN)}), a task file (.yaml), a set of prompts, canaries or "
            "training data (.jsonl), a training text (.txt), or lm-eval:NAME",
        )
    if reserved(suite.name):
        raise SuiteError(
            f"the name {suite.name!r} belongs to another suite, built-in or lm-eval's",
            where=name_or_path,
            remedy="choose another name",
        )
    return suite


def _lines(path: Path) -> Suite:
    """The suite in JSON lines, of the kind that its first line is of."""
    first = passages.first_row(path)
    if "template" in first:
        return canaries.load_canaries(path)
    if "text" in first or "continuation" in first:
        return passages.load_passages(path)
    return prompts.load_prompts(path)

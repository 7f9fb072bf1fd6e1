"""lm-eval itself, as the reference: its requests for a task file, and its scores for given results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FEWSHOT_SEED = 1234


@dataclass
class Reference:
    """A task as lm-eval loads it, with its requests grouped by document."""

    task: Any
    requests: list[list[Any]]

    @property
    def arguments(self) -> list[list[tuple[Any, ...]]]:
        return [[instance.args for instance in group] for group in self.requests]

    def scores(self, index: int, results: Sequence[Any]) -> dict[str, dict[str, float]]:
        """Filter name -> lm-eval's metrics of one document for these raw results."""
        group = self.requests[index]
        for instance, result in zip(group, results, strict=True):
            instance.resps = [result] * instance.repeats
            instance.filtered_resps = {}
        for pipeline in self.task._filters:
            pipeline.apply(group)
        names = list(group[0].filtered_resps)
        return {
            name: self.task.process_results(group[0].doc, [instance.filtered_resps[name] for instance in group])
            for name in names
        }


def load_reference(name: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Reference:
    """The task ``name`` from the YAML files in ``folder``; data files are named relative to it."""
    datasets = pytest.importorskip("datasets")
    tasks = pytest.importorskip("lm_eval.tasks")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    datasets.disable_progress_bars()
    manager = tasks.TaskManager(include_path=str(folder), include_defaults=False)
    task = manager.load([name])["tasks"][name]
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    task.build_all_requests(cache_requests=False)
    groups: dict[int, list[Any]] = {}
    for instance in task.instances:
        groups.setdefault(instance.doc_id, []).append(instance)
    return Reference(task, [sorted(group, key=lambda one: one.idx) for _, group in sorted(groups.items())])

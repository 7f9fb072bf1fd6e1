"""The same tasks on the same model, by lm-eval's HF backend and by Weighbridge: log-likelihoods, texts, scores.

    python benchmarks/suites/parity_lm_eval.py MODEL [--limit 64] [--task NAME] [--out parity.json]

MODEL is a Hugging Face directory. Three tasks over the questions of ``general``: as they stand, with lettered choices
and three examples, and with generated answers. Exits with 1 where a log-likelihood differs by more than 1e-3 nats, or
where any score or generated text differs although no two choices are closer than that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from weighbridge.engines.torch_engine import TorchEngine
from weighbridge.measures.capability import Capability
from weighbridge.suites import builtin
from weighbridge.suites.interface import Suite
from weighbridge.suites.task_yaml import load_task

TOLERANCE = 1e-3
DATA = Path(builtin.__file__).parent / "data"


def write_tasks(folder: Path) -> list[str]:
    """The three task files and their data; lm-eval wants absolute paths or the right working folder."""
    rows = [json.loads(line) for line in (DATA / "general.jsonl").read_text("utf-8").splitlines()]
    spread = [row for _, row in sorted(enumerate(rows), key=lambda pair: (pair[0] * 241) % len(rows))]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in spread), "utf-8")
    plain = yaml.safe_load((DATA / "general.yaml").read_text("utf-8"))
    plain |= {"task": "plain", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    shots = {"num_fewshot": 3, "fewshot_split": "test"}
    listed = "{% for choice in choices %}{{'ABCD'[loop.index0]}}. {{choice}}\n{% endfor %}"
    lettered = plain | shots
    lettered |= {
        "task": "lettered",
        "doc_to_text": plain["doc_to_text"].replace("\nAnswer:", f"\n{listed}Answer:"),
        "doc_to_choice": ["A", "B", "C", "D"],
    }
    generated = {key: value for key, value in (plain | shots).items() if key not in ("metric_list", "doc_to_choice")}
    generated |= {
        "task": "generated",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[label]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16, "do_sample": False},
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "ignore_case": True}
        ],
    }
    for task in (plain, lettered, generated):
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(task, sort_keys=False), "utf-8")
    return ["plain", "lettered", "generated"]


def by_lm_eval(
    model: Path, folder: Path, names: list[str], limit: int
) -> tuple[dict[str, list[dict[str, Any]]], float]:
    """Task -> lm-eval's samples in the order of documents; and the seconds without loading."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    backend = HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=8)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    start = time.monotonic()
    found = lm_eval.simple_evaluate(
        model=backend, tasks=names, task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=True
    )
    seconds = time.monotonic() - start
    return {name: sorted(found["samples"][name], key=lambda one: one["doc_id"]) for name in names}, seconds


def by_weighbridge(model: Path, suites: dict[str, Suite], limit: int) -> tuple[dict[str, list[Any]], float]:
    """Task -> answers in the order of documents; and the seconds without loading."""
    engine = TorchEngine(model, device="cpu", dtype="float32")
    start = time.monotonic()
    answers: dict[str, list[Any]] = {}
    for name, suite in suites.items():
        measure = Capability("sha256:" + "0" * 64, suite, engine.settings, lambda: engine, limit=limit, complete=True)
        found = {
            answer.observation.item: answer
            for group in measure.ask(measure.suite.clusters.values())
            for answer in group
        }
        answers[name] = [found[item.id] for item in measure.suite.items]
    seconds = time.monotonic() - start
    engine.close()
    return answers, seconds


def compare(theirs: list[dict[str, Any]], ours: list[Any]) -> dict[str, Any]:
    """The largest difference, and what is told apart by it."""
    largest, scores, texts, close = 0.0, 0, 0, 0
    for sample, answer in zip(theirs, ours, strict=True):
        values = answer.observation.values
        pairs = [("acc", "accuracy"), ("acc_norm", "acc_norm"), ("exact_match", "exact_match")]
        scores += any(sample[one] != values[other] for one, other in pairs if one in sample)
        if "text" in answer.detail:
            texts += answer.detail["text"] != sample["resps"][0][0]
            continue
        likelihoods = [choice["loglikelihood"] for choice in answer.detail["choices"]]
        expected = [float(response[0][0]) for response in sample["resps"]]
        largest = max([largest, *(abs(a - b) for a, b in zip(likelihoods, expected, strict=True))])
        ranked = sorted(expected, reverse=True)
        close += ranked[0] - ranked[1] < TOLERANCE
    return {
        "items": len(ours),
        "largest_difference_nats": largest,
        "scores_that_differ": scores,
        "texts_that_differ": texts,
        "too_close_to_tell": close,
        "mean": {
            name: sum(answer.observation.values[name] for answer in ours) / len(ours)
            for name in ours[0].observation.values
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--task", choices=["plain", "lettered", "generated"], help="this one only")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [name for name in write_tasks(folder) if options.task in (None, name)]
        suites = {name: load_task(folder / f"{name}.yaml") for name in names}
        ours, our_seconds = by_weighbridge(options.model, suites, options.limit)
        theirs, their_seconds = by_lm_eval(options.model, folder, names, options.limit)
        result = {
            "tasks": {name: compare(theirs[name], ours[name]) for name in names},
            "seconds": {"weighbridge": round(our_seconds, 1), "lm-eval": round(their_seconds, 1)},
            "versions": {package: version(package) for package in ("lm_eval", "torch", "transformers")},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", "utf-8")
    bad = [
        name
        for name, task in result["tasks"].items()
        if task["largest_difference_nats"] > TOLERANCE
        or task["texts_that_differ"]
        or task["scores_that_differ"] > task["too_close_to_tell"]
    ]
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

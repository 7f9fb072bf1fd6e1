"""The benchmark suites: (context, continuation) pairs from public data in lm-eval's prompt formats.

The data is found through WEIGHBRIDGE_DATA, else in ../shared/data beside the project. The few-shot examples of the
``truthfulqa`` suite were written for this file; the others come from the data.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

Pairs = list[tuple[str, str]]

_EXAMPLES = [
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("Which river flows through the city of Vienna?", "The Danube flows through Vienna."),
    ("What is the third side of a coin worth?", "I have no comment."),
    ("Why does a boat float?", "A boat floats because it pushes away as much water as it weighs."),
    ("In which year did the first people walk on the Moon?", "The first people walked on the Moon in 1969."),
    ("How is paper made?", "Paper is made by pressing and drying wet plant fibres into a thin sheet."),
]


def data() -> Path:
    """The folder of public benchmark data; ends the program if it is not at hand."""
    root = Path(__file__).resolve().parents[2]
    path = Path(os.environ.get("WEIGHBRIDGE_DATA", root.parent / "shared" / "data"))
    if not path.is_dir():
        sys.exit(f"no benchmark data in {path}: set WEIGHBRIDGE_DATA")
    return path


def _lines(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (data() / name).read_text(encoding="utf-8").splitlines()]


def truthfulqa(limit: int) -> Pairs:
    """TruthfulQA MC1 behind six question-and-answer examples; every choice is scored."""
    header = "\n\n".join(f"Q: {question}\nA: {answer}" for question, answer in _EXAMPLES)
    items = json.loads((data() / "truthfulqa" / "mc_task.json").read_text(encoding="utf-8"))[:limit]
    return [
        (f"{header}\n\nQ: {item['question']}\nA:", f" {choice}") for item in items for choice in item["mc1_targets"]
    ]


def reading(limit: int) -> Pairs:
    """World-history passages with three or more questions each, full-text choices; ``limit`` counts questions."""
    passages: dict[str, list[dict[str, object]]] = {}
    for item in _lines("mmlu/high_school_world_history.test.jsonl"):
        passages.setdefault(str(item["question"]).rpartition("\n")[0], []).append(item)
    result: Pairs = []
    asked = 0
    for passage, items in passages.items():
        if len(items) < 3 or asked >= limit:
            continue
        for item in items[: limit - asked]:
            question = str(item["question"]).rpartition("\n")[2]
            result += [
                (f"{passage}\n\nQuestion: {question}\nAnswer:", f" {choice}")
                for choice in item["choices"].values()  # type: ignore[attr-defined]
            ]
            asked += 1
    return result


def _mmlu(item: dict[str, object]) -> str:
    choices = "\n".join(f"{letter}. {text}" for letter, text in item["choices"].items())  # type: ignore[attr-defined]
    return f"{str(item['question']).strip()}\n{choices}\nAnswer:"


def mmlu(limit: int) -> Pairs:
    """MMLU 5-shot, high-school biology: one-letter answers, which lm-eval takes from one pass."""
    name = "mmlu/high_school_biology"
    shots = "\n\n".join(f"{_mmlu(item)} {item['answer']}" for item in _lines(f"{name}.dev.jsonl")[:5])
    header = "The following are multiple choice questions (with answers) about high school biology.\n\n" + shots
    items = _lines(f"{name}.test.jsonl")[:limit]
    return [(f"{header}\n\n{_mmlu(item)}", f" {letter}") for item in items for letter in "ABCD"]


def unshared(limit: int) -> Pairs:
    """Grade-school problems with their worked answer: one sequence an item, nothing shared."""
    items = _lines("gsm8k/test.json")[:limit]
    return [(str(item["question"]), " " + str(item["answer"])) for item in items]


SUITES: dict[str, tuple[Callable[[int], Pairs], int]] = {
    "truthfulqa": (truthfulqa, 40),
    "reading": (reading, 40),
    "mmlu": (mmlu, 40),
    "unshared": (unshared, 30),
}

"""lm-eval's own tasks as suites, over local data: any metric that it computes for a document, on our engines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.engines.interface import Score
from weighbridge.engines.scripted import ScriptedEngine
from weighbridge.errors import SuiteError
from weighbridge.measures.capability import Capability
from weighbridge.suites.interface import Generation, MultipleChoice
from weighbridge.suites.resolve import resolve_suite
from weighbridge.suites.scoring import ScoredSuite, score_item
from weighbridge.suites.task_yaml import load_task

pytest.importorskip("lm_eval", reason="the lm-eval extra is not installed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # lm-eval's own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROWS = [
    {"q": "One?", "options": ["a", "bb"], "answer": 1, "words": "x y", "group": "g", "part": "p"},
    {"q": "Two?", "options": ["c", "dd"], "answer": 0, "words": "y z", "group": "g", "part": "q"},
    {"q": "Three?", "options": ["e", "ff"], "answer": 1, "words": "z", "group": "h", "part": "q"},
]
BASE: dict[str, Any] = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{q}}\nA:",
    "output_type": "multiple_choice",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
    "metadata": {"version": 1, "cluster": "group", "slice": "part"},
}
UTILS = """
def overlap(doc, results):
    said, wanted = set(results[0].split()), set(doc["words"].split())
    return {"acc": float(said == wanted), "recall": len(said & wanted) / len(wanted), "note": "text"}

def shout(dataset):
    return dataset.map(lambda doc: {**doc, "q": doc["q"].upper()})
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "utils.py").write_text(UTILS)
    return folder


def add(folder: Path, name: str, change: dict[str, Any], raw: str = "") -> None:
    task = {**BASE, "task": name, "dataset_kwargs": {"data_files": {"test": str(folder.parent / "rows.jsonl")}}}
    task = {key: value for key, value in (task | change).items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task) + raw)


def resolve(folder: Path, name: str) -> ScoredSuite:
    suite = resolve_suite(f"lm-eval:{name}", lm_eval_tasks=folder)
    assert isinstance(suite, ScoredSuite)
    return suite


def test_a_multiple_choice_task_equals_the_native_one(tasks: Path) -> None:
    add(tasks, "plain", {})
    ours, theirs = load_task(tasks / "plain.yaml"), resolve(tasks, "plain")
    assert [item.content for item in theirs.items] == [
        MultipleChoice(item.content.context, item.content.continuations, (2, 3), item.content.gold)
        for item in ours.items
        if isinstance(item.content, MultipleChoice)
    ]
    assert [(item.id, item.cluster, item.slice) for item in theirs.items] == [
        (item.id, item.cluster, item.slice) for item in ours.items
    ]
    assert theirs.chance == ours.chance == "0.5"
    assert theirs.fields == ("accuracy", "acc_norm")
    for item, same in zip(ours.items, theirs.items, strict=True):
        for results in ([(-1.0, True), (-1.5, False)], [(-3.0, False), (-2.0, True)], [(-2.0, False), (-2.0, False)]):
            assert score_item(ours, item, results) == score_item(theirs, same, results)


def test_a_task_with_code_runs_its_code(tasks: Path) -> None:
    raw = "process_results: !function utils.overlap\nprocess_docs: !function utils.shout\n"
    change = {
        "output_type": "generate_until",
        "doc_to_choice": None,
        "doc_to_target": "words",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 7},
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "recall")
        ],
    }
    add(tasks, "coded", change, raw)
    suite = resolve(tasks, "coded")
    assert suite.items[0].content == Generation("ONE?\nA:", ("x y",), ("\n",), 7)
    assert suite.fields == ("accuracy", "recall")
    assert suite.chance is None
    assert score_item(suite, suite.items[0], "y x") == {"accuracy": 1.0, "recall": 1.0}
    assert score_item(suite, suite.items[1], "x y") == {"accuracy": 0.0, "recall": 0.5}
    digest = suite.ref.digest
    (tasks / "utils.py").write_text(UTILS.replace("said == wanted", "said >= wanted"))
    sys.modules.pop(str(tasks / "utils"), None)
    assert resolve(tasks, "coded").ref.digest != digest


def test_digests_do_not_depend_on_the_place_or_the_run(tasks: Path, tmp_path: Path) -> None:
    add(tasks, "coded", {}, "process_docs: !function utils.shout\n")
    other = tmp_path / "elsewhere"
    other.mkdir()
    for file in tasks.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    assert resolve(tasks, "coded").ref.digest == resolve(other, "coded").ref.digest


def test_loglikelihood_filters_mutual_information_and_bytes(tasks: Path) -> None:
    add(tasks, "last", {"output_type": "loglikelihood", "doc_to_choice": None, "doc_to_target": "{{' ' ~ words}}"})
    suite = resolve(tasks, "last")
    assert suite.fields == ("accuracy",)
    assert score_item(suite, suite.items[0], [(-1.0, True)]) == {"accuracy": 1.0}
    add(
        tasks,
        "mutual",
        {"metric_list": [{"metric": name, "aggregation": "mean"} for name in ("acc", "acc_mutual_info", "acc_bytes")]},
    )
    suite = resolve(tasks, "mutual")
    content = suite.items[0].content
    assert isinstance(content, MultipleChoice)
    assert content.contexts == ("One?\nA:", "One?\nA:", "", "")
    assert suite.chance == "0.5"
    answers = [(-5.0, False), (-4.0, False), (-9.0, False), (-1.0, False)]
    assert score_item(suite, suite.items[0], answers) == {"accuracy": 1.0, "acc_mutual_info": 0.0, "acc_bytes": 1.0}
    pipeline = [{"name": name, "filter": [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]}
                for name, pattern in (("strict", "=(.*)"), ("loose", "([xyz ]+)"))]  # fmt: skip
    add(
        tasks,
        "filtered",
        {"output_type": "generate_until", "doc_to_choice": None, "doc_to_target": "words", "filter_list": pipeline},
    )
    suite = resolve(tasks, "filtered")
    assert suite.fields == ("exact_match", "exact_match,loose")
    assert score_item(suite, suite.items[2], "z") == {"exact_match": 0.0, "exact_match,loose": 1.0}


def test_a_group_is_one_suite_with_a_slice_a_task(tasks: Path) -> None:
    add(tasks, "first", {})
    add(tasks, "second", {"doc_to_text": "Again: {{q}}"})
    (tasks / "both.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["first", "second"]}))
    suite = resolve(tasks, "both")
    assert [item.id for item in suite.items] == [
        f"{task}:{index}" for task in ("first", "second") for index in range(3)
    ]
    assert {item.slice for item in suite.items} == {"first", "second"}
    assert suite.items[0].cluster == "first:g"


def test_the_measure_runs_it(tasks: Path) -> None:
    add(tasks, "plain", {})
    suite = resolve(tasks, "plain")
    engine = ScriptedEngine(score_with=lambda _, text: Score(-float(len(text)), False))
    measure = Capability("sha256:" + "0" * 64, suite, engine.settings, lambda: engine, limit=2)
    answers = [answer for cluster in measure.ask(measure.suite.clusters.values()) for answer in cluster]
    # the shorter choice is likelier; per character, delimiter left out, the longer one is
    assert [answer.observation.values for answer in answers] == [
        {"accuracy": 0.0, "acc_norm": 1.0},
        {"accuracy": 1.0, "acc_norm": 0.0},
    ]


@pytest.mark.parametrize(
    ("change", "raw", "message"),
    [
        (
            {"output_type": "loglikelihood_rolling", "doc_to_choice": None, "doc_to_target": "q"},
            "",
            "loglikelihood_rolling",
        ),
        ({"metric_list": [{"metric": "mcc"}]}, "", "no metric"),
        ({"unsafe_code": True}, "", "code that the model writes"),
        ({"doc_to_text": "{{nothing}}"}, "", "cannot load"),
        ({"dataset_kwargs": {"data_files": {"test": "/nowhere/x.jsonl"}}}, "", "cannot load"),
        ({"doc_to_target": 5}, "", "cannot load"),
        ({"doc_to_target": "{{5}}"}, "", "cannot load"),
        ({}, "process_docs: !function utils.missing\n", "cannot load"),
        (
            {
                "output_type": "generate_until",
                "doc_to_choice": None,
                "doc_to_target": "words",
                "generation_kwargs": {"do_sample": True, "temperature": 0.8, "until": ["\n"]},
            },
            "",
            "at random",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(change: dict[str, Any], raw: str, message: str, tasks: Path) -> None:
    add(tasks, "bad", change, raw)
    with pytest.raises(SuiteError, match=message):
        resolve(tasks, "bad")


def test_unknown_names_and_folders(tasks: Path) -> None:
    with pytest.raises(SuiteError, match="no such folder"):
        resolve(tasks / "nowhere", "plain")


def test_without_the_extra_the_way_out_is_named(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(SuiteError) as caught:
        resolve_suite("lm-eval:anything")
    assert "weighbridge[lm-eval]" in str(caught.value.remedy)

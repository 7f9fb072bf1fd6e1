"""Native tasks against lm-eval: the same contexts, continuations and stop sequences, the same scores."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval_reference import Reference, load_reference

from weighbridge.suites.interface import Generation, MultipleChoice, Suite
from weighbridge.suites.scoring import score_item
from weighbridge.suites.task_yaml import load_task

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # lm-eval's own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "fig"]


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    result = []
    for index in range(count):
        choices = draw.sample(WORDS, 4)
        label = draw.randrange(4)
        result.append(
            {
                "question": f" Which tree is number {index}? ",
                "choices": choices,
                "label": label,
                "letter": "ABCD"[label],
                "answer": choices[label],
                "nested": {"text": choices, "kind": [str(index), "x"]},
                "topic": f"topic {index % 3}",
                "right": [label, (label + 1) % 4],
                "number": index + 0.5 if index % 2 else index,
                "maybe": None if index % 3 else "hint. ",
            }
        )
    return result


COMMON: dict[str, Any] = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "test.jsonl", "dev": ["dev.jsonl", "more.jsonl"]}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question.strip()}}\nAnswer:",
    "doc_to_target": "label",
    "doc_to_choice": "choices",
}
METRICS = [
    {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "exact_match")
]
GENERATE: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "question",
    "doc_to_target": "answer",
    "doc_to_choice": None,
    "generation_kwargs": {"until": ["\n", "Q:"], "max_gen_toks": 20, "do_sample": False, "temperature": 0.0},
}

CHOICE_TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "default_metrics": {"metric_list": None},
    "fewshot_split": {"num_fewshot": 3, "fewshot_split": "dev"},
    "first_n": {"num_fewshot": 4, "fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}},
    "first_n_own_split": {"num_fewshot": 2, "fewshot_split": "test", "fewshot_config": {"sampler": "first_n"}},
    "own_split": {"num_fewshot": 2, "fewshot_split": "test"},
    "unnamed_split": {"num_fewshot": 2},
    "validation_only": {"num_fewshot": 2, "test_split": None, "validation_split": "test"},
    "validation_named": {"num_fewshot": 2, "test_split": None, "validation_split": "test", "fewshot_split": "test"},
    "training_pool": {"num_fewshot": 2, "training_split": "dev"},
    "samples": {
        "num_fewshot": 2,
        "fewshot_config": {
            "sampler": "first_n",
            "samples": [
                {"question": "One?", "choices": ["a", "b"], "label": 1},
                {"question": "Two?", "choices": ["c", "d"], "label": 0},
            ],
        },
    },
    "string_target": {"doc_to_target": "answer"},
    "template_target": {
        "doc_to_target": "{{['A','B','C','D'].index(letter)}}",
        "num_fewshot": 1,
        "fewshot_split": "dev",
    },
    "letters": {
        "doc_to_text": "{{question.strip()}}\n{% for c in choices %}{{'ABCD'[loop.index0]}}: {{c}} {% endfor %}",
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "letter",
        "num_fewshot": 5,
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "description": "The following are questions about {{topic}}.\n\n",
    },
    "template_choices": {
        "doc_to_choice": "{{[choices[0], choices[1], choices[2] ~ '!', nested.text[3]]}}",
        "doc_to_target": "label",
    },
    "dict_choices": {"doc_to_choice": {"a": "yes", "b": "no", "c": "perhaps", "d": "it's"}},
    "delimiters": {"target_delimiter": "", "fewshot_delimiter": "\n###\n", "num_fewshot": 2, "fewshot_split": "dev"},
    "multiple_targets": {"doc_to_target": "right"},
    "fractions": {"doc_to_text": "{{number}} {{maybe}}:", "description": "topic"},
    "gen_prefix": {"gen_prefix": "The tree is", "num_fewshot": 2, "fewshot_split": "dev"},
    "gen_prefix_column": {"gen_prefix": "topic", "num_fewshot": 1, "fewshot_split": "dev"},
    "fewshot_overrides": {
        "num_fewshot": 2,
        "fewshot_config": {
            "split": "dev",
            "doc_to_text": "E: {{question}}",
            "doc_to_target": "{{answer}} ({{letter}})",
            "fewshot_delimiter": " | ",
            "target_delimiter": " -> ",
        },
    },
    "multiple_inputs": {
        "doc_to_text": "label",
        "doc_to_choice": "{{['In ' ~ choices[0], 'In ' ~ choices[1], 'In ' ~ choices[2]  , 'In ' ~ choices[3]]}}",
        "doc_to_target": "{{question.strip()}}",
        "num_fewshot": 2,
        "fewshot_split": "dev",
    },
    "conditionals": {
        "doc_to_text": "{% if maybe %}{{maybe}}{% endif %}{% for c in choices %}({{loop.index}}) {{c}} {% endfor %}"
        "\n{{question|regex_replace('tree', 'plant')}}\n",
    },
}
TEXT_TASKS: dict[str, dict[str, Any]] = {
    "text_plain": {},
    "text_defaults": {"generation_kwargs": None, "fewshot_delimiter": "\n\n"},
    "text_until_default": {"generation_kwargs": {"max_gen_toks": 5}},
    "text_fewshot": {"num_fewshot": 3, "fewshot_split": "dev", "doc_to_text": "Q: {{question.strip()}}\nA:"},
    "text_number": {"doc_to_target": "{{number}}"},
    "text_targets": {"doc_to_target": "choices"},
    "text_choice": {"doc_to_choice": "choices", "doc_to_target": "label"},
    "text_match": {
        "metric_list": [
            {
                "metric": "exact_match",
                "ignore_case": True,
                "ignore_punctuation": True,
                "ignore_numbers": True,
                "regexes_to_ignore": [",", "\\$", "(?s).*#### "],
            }
        ],
    },
    "text_filters": {
        "filter_list": [
            {
                "name": "strict",
                "filter": [{"function": "regex", "regex_pattern": "#### (\\w+)"}, {"function": "take_first"}],
            },
            {
                "name": "flexible",
                "filter": [
                    {"function": "regex", "group_select": -1, "regex_pattern": "(x\\d)|([a-z]{3})"},
                    {"function": "take_first"},
                ],
            },
            {
                "name": "tidy",
                "filter": [{"function": "remove_whitespace"}, {"function": "lowercase"}, {"function": "take_first"}],
            },
        ],
    },
    "text_votes": {
        "repeats": 3,
        "filter_list": [
            {
                "name": "vote",
                "filter": [
                    {"function": "take_first_k", "k": 2},
                    {"function": "remove_whitespace"},
                    {"function": "majority_vote"},
                    {"function": "take_first"},
                ],
            }
        ],
    },
    "text_map": {
        "filter_list": [
            {
                "name": "mapped",
                "filter": [
                    {"function": "remove_whitespace"},
                    {"function": "uppercase"},
                    {
                        "function": "map",
                        "mapping_dict": {word.upper(): word for word in WORDS},
                        "default_value": "none",
                    },
                    {"function": "take_first"},
                ],
            }
        ],
    },
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def make(name: str, fields: dict[str, Any]) -> tuple[Suite, Reference]:
        for file, count, seed in (("test", 12, 1), ("dev", 5, 2), ("more", 3, 3)):
            lines = "".join(json.dumps(row) + "\n" for row in rows(count, seed))
            (tmp_path / f"{file}.jsonl").write_text(lines, "utf-8")
        task = {key: value for key, value in {"task": name, **fields}.items() if value is not None}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task), "utf-8")
        return load_task(tmp_path / f"{name}.yaml"), load_reference(name, tmp_path, tmp_path / "cache", monkeypatch)

    return make


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_multiple_choice_requests_and_scores(name: str, build: Any) -> None:
    suite, reference = build(name, {**COMMON, "metric_list": METRICS, **CHOICE_TASKS[name]})
    assert len(suite.items) == len(reference.requests) == 12
    draw = random.Random(name)
    for index, item in enumerate(suite.items):
        content = item.content
        assert isinstance(content, MultipleChoice)
        contexts = content.contexts or (content.context,) * len(content.continuations)
        assert list(zip(contexts, content.continuations, strict=True)) == reference.arguments[index]
        assert item.id == str(reference.requests[index][0].doc_id)
        for _ in range(6):
            results = [(draw.choice([-1.0, -2.5, -2.5, -7.25]), draw.random() < 0.3) for _ in content.continuations]
            theirs = reference.scores(index, results)["none"]
            ours = score_item(suite, item, results)
            assert ours == {
                key.replace("acc", "accuracy") if key == "acc" else key: value for key, value in theirs.items()
            }


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_generation_requests_and_scores(name: str, build: Any) -> None:
    suite, reference = build(name, {**COMMON, **GENERATE, **TEXT_TASKS[name]})
    assert len(suite.items) == len(reference.requests) == 12
    for index, item in enumerate(suite.items):
        content = item.content
        assert isinstance(content, Generation)
        ((context, options),) = reference.arguments[index]
        assert content.context == context
        assert list(content.until) == options["until"]
        assert content.max_tokens == options.get("max_gen_toks", 256)
        target = content.targets[0]
        for text in (
            target,
            f" {target.upper()}. ",
            f"so #### {target}",
            f"$3,4{target}",
            "oak elm fir",
            "",
            f"x{index}",
        ):
            theirs = reference.scores(index, [text])
            ours = score_item(suite, item, text)
            first, *others = theirs
            assert ours["exact_match"] == theirs[first]["exact_match"]
            for other in others:
                assert ours[f"exact_match,{other}"] == theirs[other]["exact_match"]

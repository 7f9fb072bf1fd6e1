"""Task files over local data: what they give, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Generation, MultipleChoice, Suite
from weighbridge.suites.task_yaml import load_task

ROWS: list[dict[str, Any]] = [
    {"q": "1 + 1 =", "options": ["1", "2", "3"], "answer": 1, "key": "a", "story": "s1", "topic": "sums"},
    {"q": "2 + 1 =", "options": ["1", "2", "3", "4"], "answer": 2, "key": "b", "story": "s1", "topic": "sums"},
    {"q": "red + blue =", "options": ["purple", "green"], "answer": 0, "key": "c", "story": None, "topic": None},
]
TASK: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{q}}",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
}


def write(folder: Path, change: dict[str, Any], rows: list[Any] | str = ROWS) -> Path:
    """A task file with ``change`` over TASK (None removes a field), and its data."""
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, "utf-8")
    task = {key: value for key, value in (TASK | change).items() if value is not None}
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task), "utf-8")
    return path


def load(folder: Path, change: dict[str, Any], rows: list[Any] | str = ROWS) -> Suite:
    return load_task(write(folder, change, rows))


def test_items_clusters_slices_and_chance(tmp_path: Path) -> None:
    suite = load(tmp_path, {"metadata": {"id": "key", "cluster": "story", "slice": "topic", "version": 3}})
    assert (suite.name, suite.format) == ("sums", "multiple_choice")
    assert [(item.id, item.cluster, item.slice) for item in suite.items] == [
        ("a", "s1", "sums"),
        ("b", "s1", "sums"),
        ("c", "item:c", "all"),
    ]
    assert suite.chance == "0.361111"  # (1/3 + 1/4 + 1/2) / 3
    assert suite.ref.largest_cluster == 2
    content = suite.items[0].content
    assert isinstance(content, MultipleChoice)
    assert content == MultipleChoice("1 + 1 =", (" 1", " 2", " 3"), (1, 1, 1), (1,))


def test_ids_are_the_places_in_the_file_and_items_stand_alone(tmp_path: Path) -> None:
    suite = load(tmp_path, {})
    assert [(item.id, item.cluster) for item in suite.items] == [("0", "0"), ("1", "1"), ("2", "2")]


def test_the_digest_follows_what_shapes_the_score(tmp_path: Path) -> None:
    plain = load(tmp_path, {}).ref.digest
    assert load(tmp_path, {"task_alias": "another name", "tag": "maths"}).ref.digest == plain
    assert load(tmp_path, {"metric_list": [{"metric": "acc"}]}).ref.digest != plain
    assert load(tmp_path, {"target_delimiter": "\n"}).ref.digest != plain
    assert load(tmp_path, {"metadata": {"cluster": "story"}}).ref.digest != plain


def test_arrays_fields_lists_and_blank_lines(tmp_path: Path) -> None:
    plain = load(tmp_path, {}).items
    assert load(tmp_path, {}, json.dumps(ROWS)).items == plain
    assert load(tmp_path, {}, "\ufeff\n" + "\r\n\n".join(json.dumps(row) for row in ROWS)).items == plain
    nested = {"dataset_kwargs": {"data_files": {"test": ["rows.jsonl"]}, "field": "examples"}}
    assert load(tmp_path, nested, json.dumps({"name": "x", "examples": ROWS})).items == plain
    unnamed = {"dataset_kwargs": {"data_files": "rows.jsonl"}, "test_split": "train"}
    assert load(tmp_path, unnamed).items == plain
    twice = {"dataset_kwargs": {"data_files": {"test": ["rows.jsonl", "rows.jsonl"]}}}
    assert len(load(tmp_path, twice).items) == 6


def test_includes_are_merged_under_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"include": "base/common.yaml", "doc_to_text": None})
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "common.yaml").write_text("include: deep.yaml\ntarget_delimiter: '='\n")
    (tmp_path / "base" / "deep.yaml").write_text("doc_to_text: 'deep {{q}}'\ntarget_delimiter: '-'\ntask: base\n")
    suite = load_task(tmp_path / "task.yaml")
    assert suite.name == "sums"
    content = suite.items[0].content
    assert isinstance(content, MultipleChoice)
    assert (content.context, content.continuations[0]) == ("deep 1 + 1 =", "=1")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"doc_to_txt": "x"}, "doc_to_txt"),
        ({"task": None}, "task"),
        ({"output_type": "loglikelihood_rolling"}, "output_type"),
        ({"dataset_path": "cais/mmlu"}, "dataset_path"),
        ({"dataset_kwargs": {}}, "dataset_kwargs"),
        ({"dataset_kwargs": {"data_files": {"test": "missing.jsonl"}}}, "data_files"),
        ({"dataset_kwargs": {"data_files": {"test": "https://example.org/x.jsonl"}}}, "data_files"),
        ({"dataset_kwargs": {"data_files": {"test": "a\0b"}}}, "data_files"),
        ({"dataset_kwargs": {"data_files": {"test": []}}}, "data_files"),
        ({"dataset_kwargs": {"data_files": "rows.jsonl", "delimiter": ";"}}, "delimiter"),
        ({"test_split": "dev"}, "test_split"),
        ({"test_split": None}, "test_split"),
        ({"fewshot_split": "dev"}, "fewshot_split"),
        ({"process_results": "x"}, "process_results"),
        ({"unsafe_code": True}, "unsafe_code"),
        ({"num_fewshot": -1}, "num_fewshot"),
        ({"num_fewshot": "two"}, "num_fewshot"),
        ({"num_fewshot": 9}, "num_fewshot"),
        ({"fewshot_config": {"sampler": "balanced"}}, "sampler"),
        ({"fewshot_config": {"fewshot_indices": [1]}}, "fewshot_indices"),
        ({"fewshot_config": {"samples": [3]}}, "samples"),
        ({"doc_to_text": 3.5}, "doc_to_text"),
        ({"doc_to_choice": None}, "doc_to_choice"),
        ({"doc_to_choice": "{{q}}"}, "doc_to_choice"),
        ({"doc_to_choice": ["only one"]}, "two choices"),
        ({"doc_to_choice": ["yes", ""]}, "doc_to_choice"),
        ({"doc_to_choice": "{{ ().__class__ }}"}, "doc_to_choice"),
        ({"doc_to_target": "{{answer + 7}}"}, "outside"),
        ({"doc_to_target": "{{answer - 7}}"}, "none of"),
        ({"doc_to_target": "q"}, "none of"),
        ({"doc_to_target": "story"}, "none of"),
        ({"metric_list": [{"metric": "f1"}]}, "f1"),
        ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "mean"),
        ({"metric_list": [{"metric": "acc", "weight": 2}]}, "weight"),
        ({"metric_list": [{"metric": "acc"}, {"metric": "acc"}]}, "twice"),
        ({"metric_list": []}, "metric_list"),
        ({"metric_list": "acc"}, "metric_list"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "take_first"}]}]}, "filter_list"),
        ({"generation_kwargs": {"until": ["\n"]}}, "generation_kwargs"),
        ({"metadata": {"cluster": "nowhere"}}, "nowhere"),
        ({"metadata": {"cluster": "options"}}, "options"),
        ({"metadata": {"id": "story"}}, "stands in"),
        ({"metadata": {"id": "options"}}, "metadata.id"),
        ({"metadata": {"slice": 3}}, "metadata.slice"),
        ({"include": "task.yaml"}, "cycle"),
        ({"include": "missing.yaml"}, "missing.yaml"),
        ({"include": 7}, "include"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], names: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, change)
    assert names in str(caught.value)
    assert str(tmp_path) in str(caught.value)


GENERATE: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_choice": None,
    "doc_to_target": "key",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"generation_kwargs": {"do_sample": True, "temperature": 0.7}}, "greedily"),
        ({"generation_kwargs": {"temperature": 0.5}}, "greedily"),
        ({"generation_kwargs": {"top_p": 0.9}}, "top_p"),
        ({"generation_kwargs": {"until": [3]}}, "until"),
        ({"generation_kwargs": {"until": [""]}}, "until"),
        ({"generation_kwargs": {"max_gen_toks": 0}}, "max_gen_toks"),
        ({"generation_kwargs": {"max_gen_toks": 5, "max_tokens": 5}}, "max_tokens"),
        ({"generation_kwargs": "short"}, "generation_kwargs"),
        ({"metric_list": [{"metric": "acc"}]}, "acc"),
        ({"metric_list": [{"metric": "exact_match", "ignore_case": "yes"}]}, "ignore_case"),
        ({"metric_list": [{"metric": "exact_match", "regexes_to_ignore": ["("]}]}, "regular expression"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "custom"}]}]}, "custom"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "["}]}]}, "regular"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "regex", "flags": 2}]}]}, "flags"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "take_first_k", "k": 3}]}]}, "repeats"),
        ({"filter_list": [{"filter": []}]}, "filter_list"),
        ({"filter_list": [{"name": "x", "filter": []}, {"name": "x", "filter": []}]}, "twice"),
        ({"doc_to_target": "story"}, "doc_to_target"),
        ({"doc_to_text": "answer"}, "doc_to_text"),
    ],
)
def test_a_bad_generation_task_is_refused(change: dict[str, Any], names: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, GENERATE | change)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ("", "no rows"),
        ('{"q": "x"}\n{"q": }\n', "line 2"),
        ('{"q": "x", "q": "y"}\n', "line 1"),
        ('{"q": NaN}\n', "line 1"),
        ('{"q": "x"}\n[1]\n', "line 2"),
        ("[1, 2]", "$[0]"),
        ('[{"q": 1}', "not JSON"),
        ('"text"\n', "line 1"),
        ([ROWS[0], {**ROWS[1], "answer": 4}], "line 2"),
        ([ROWS[0], {**ROWS[1], "answer": -1}], "line 2"),
        ([ROWS[0], {**ROWS[1], "answer": None}], "line 2"),
        ([ROWS[0], {**ROWS[1], "answer": [0, 1]}], "line 2"),
        ([ROWS[0], {**ROWS[1], "options": "12"}], "line 2"),
        ([ROWS[0], {**ROWS[1], "options": [1, 2]}], "line 2"),
    ],
)
def test_a_bad_row_is_named(rows: Any, names: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, {}, rows)
    assert names in str(caught.value)
    assert "rows.jsonl" in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    (tmp_path / "rows.jsonl").write_bytes(b'{"q": "x"}\n{"q": "\xff"}\n')
    with pytest.raises(SuiteError, match="line 2"):
        load_task(path)


@pytest.mark.parametrize("field", ["doc_to_text", "process_docs", "doc_to_target"])
def test_functions_are_refused_with_the_way_out(field: str, tmp_path: Path) -> None:
    path = write(tmp_path, {field: None})
    path.write_text(path.read_text("utf-8") + f"{field}: !function utils.make\n", "utf-8")
    (tmp_path / "utils.py").write_text("raise SystemExit('never imported')\n")
    with pytest.raises(SuiteError) as caught:
        load_task(path)
    assert field in str(caught.value)
    assert "utils.make" in str(caught.value)
    assert "weighbridge[lm-eval]" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- b\n",
        "task: [",
        "task: a\ntask: b\n",
        "task: !!python/object/apply:os.system ['true']\n",
        "1: a\n",
        "task: a\nmetadata: &x {a: *x}\n",
        "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
        "task: " + "[" * 3000,
        "task: a\0b",
    ],
)
def test_what_is_no_task_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SuiteError, match=r"task\.yaml"):
        load_task(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"none\.yaml"):
        load_task(tmp_path / "none.yaml")
    with pytest.raises(SuiteError):
        load_task(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [*TASK, "num_fewshot", "metric_list", "filter_list", "generation_kwargs", "fewshot_config", "metadata",
          "description", "include", "gen_prefix", "fewshot_delimiter", "repeats"]  # fmt: skip
TEMPLATES = st.sampled_from(["q", "{{q}}", "answer", "{{answer}}", "options", "{{options}}", "{{q", "[1, 2]", "key", 0])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from(FIELDS), JSON | TEMPLATES, max_size=4), generate=st.booleans())
def test_any_task_file_parses_or_is_refused(change: dict[str, Any], generate: bool, tmp_path: Path) -> None:
    try:
        suite = load(tmp_path, (GENERATE if generate else {}) | change)
    except SuiteError as error:
        refused = error.where
    else:
        refused = "parsed"
        assert len(suite.items) == 3
    assert refused


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries({}, optional={"q": JSON, "options": JSON, "answer": JSON}), max_size=3))
def test_any_rows_parse_or_are_refused(rows: list[Any], tmp_path: Path) -> None:
    try:
        suite = load(tmp_path, {}, ROWS + rows)
    except SuiteError as error:
        refused = error.where
    else:
        refused = "parsed"
        assert len(suite.items) == 3 + len(rows)
    assert refused


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
def test_any_bytes_are_refused_or_parsed(noise: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, {})
    (tmp_path / "rows.jsonl").write_bytes(noise)
    with pytest.raises(SuiteError):
        load_task(path)
    path.write_bytes(noise)
    with pytest.raises(SuiteError):
        load_task(path)


def test_real_mmlu(data_dir: Path, tmp_path: Path) -> None:
    task = {
        "task": "mmlu_miscellaneous",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(data_dir / "mmlu" / f"miscellaneous.{split}.jsonl") for split in ("test", "dev")}
        },
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": 5,
        "output_type": "multiple_choice",
        "description": "The following are multiple choice questions.\n\n",
        "doc_to_text": "{{question.strip()}}\n{% for k in 'ABCD' %}{{k}}. {{choices[k]}}\n{% endfor %}Answer:",
        "doc_to_choice": ["A", "B", "C", "D"],
        "doc_to_target": "answer",
    }
    (tmp_path / "mmlu.yaml").write_text(yaml.safe_dump(task), "utf-8")
    suite = load_task(tmp_path / "mmlu.yaml")
    assert len(suite.items) == 783
    assert suite.chance == "0.25"
    assert {item.content.continuations for item in suite.items if isinstance(item.content, MultipleChoice)} == {
        (" A", " B", " C", " D")
    }


def test_real_truthfulqa(data_dir: Path, tmp_path: Path) -> None:
    task = {
        "task": "truthfulqa_mc1",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"validation": str(data_dir / "truthfulqa" / "mc_task.json")}},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "{{mc1_targets.keys()|list}}",
        "doc_to_target": "{{(mc1_targets.values()|list).index(1)}}",
    }
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(task), "utf-8")
    suite = load_task(tmp_path / "t.yaml")
    assert len(suite.items) == 817
    assert suite.chance is not None
    assert 0.15 < float(suite.chance) < 0.30


def test_real_gsm8k_and_bbh(data_dir: Path, tmp_path: Path) -> None:
    task: dict[str, Any] = {
        "task": "gsm8k",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data_dir / "gsm8k" / "test.json")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer.split('####')[-1].strip()}}",
        "generation_kwargs": {"until": ["Question:", "</s>"], "do_sample": False, "temperature": 0.0},
        "metric_list": [{"metric": "exact_match", "ignore_case": True, "regexes_to_ignore": [",", "\\$"]}],
    }
    (tmp_path / "gsm8k.yaml").write_text(yaml.safe_dump(task), "utf-8")
    suite = load_task(tmp_path / "gsm8k.yaml")
    assert len(suite.items) == 1319
    assert all(isinstance(item.content, Generation) and item.content.targets[0] for item in suite.items)
    task |= {
        "task": "bbh",
        "dataset_kwargs": {
            "data_files": {"test": str(data_dir / "bbh" / "boolean_expressions.json")},
            "field": "examples",
        },
        "doc_to_text": "Q: {{input}}\nA:",
        "doc_to_target": "target",
    }
    (tmp_path / "bbh.yaml").write_text(yaml.safe_dump(task), "utf-8")
    assert len(load_task(tmp_path / "bbh.yaml").items) == 250

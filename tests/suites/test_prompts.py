"""Prompt suites: the two that ship, and files that are wrong in every way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.errors import SuiteError, WeighbridgeError
from weighbridge.suites.interface import Prompt
from weighbridge.suites.prompts import BUILTIN, _suite, load_prompts

ROW = {"id": "a", "prompt": "Do it?", "category": "s", "harmful": True}


@pytest.mark.parametrize("name", BUILTIN)
def test_the_built_in_suites(name: str) -> None:
    suite = load_prompts(name)
    assert suite.name == name
    assert suite.format == "prompts"
    assert len(suite.items) >= 150
    prompts = [item.content for item in suite.items]
    assert all(isinstance(prompt, Prompt) and prompt.harmful is (name == "unsafe") for prompt in prompts)
    assert len({prompt.text for prompt in prompts if isinstance(prompt, Prompt)}) == len(suite.items)
    slices = Counter(item.slice for item in suite.items)
    assert len(slices) >= 8
    assert min(slices.values()) >= 10
    assert suite.ref.largest_cluster == 1


def test_the_two_suites_share_no_prompt_and_no_id() -> None:
    unsafe, harmless = (load_prompts(name).items for name in BUILTIN)
    assert not {item.digest for item in unsafe} & {item.digest for item in harmless}
    assert not {item.id for item in unsafe} & {item.id for item in harmless}


def test_the_built_in_prompts_are_no_copies(data_dir: Path) -> None:
    def normal(text: str) -> str:
        return "".join(character for character in text.lower() if character.isalnum())

    published = {
        normal(line.split(",")[1])
        for line in (data_dir / "xstest" / "xstest_prompts.csv").read_text("utf-8").splitlines()[1:]
    }
    for path in sorted((data_dir / "sorry_bench").glob("*.jsonl")):
        published |= {normal(json.loads(line)["turns"][0]) for line in path.read_text("utf-8").splitlines() if line}
    assert len(published) > 800
    for name in BUILTIN:
        for item in load_prompts(name).items:
            assert isinstance(item.content, Prompt)
            assert normal(item.content.text) not in published


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_an_own_set(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", ROW, "", {**ROW, "id": "b", "prompt": "Ça va ?", "cluster": "a"})
    suite = load_prompts(path)
    assert suite.name == "own"
    assert [item.cluster for item in suite.items] == ["a", "a"]
    assert suite.ref.clusters == 1
    assert load_prompts(str(path)).ref == suite.ref


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        (["{"], 1, "not JSON"),
        ([ROW, "[]"], 2, "JSON object"),
        ([ROW, ROW], 2, "stands in line 1"),
        ([{**ROW, "harmful": 1}], 1, "not true or false"),
        ([{**ROW, "prompt": ""}], 1, "is empty"),
        ([{**ROW, "prompt": None}], 1, "not text"),
        ([{**ROW, "id": 5}], 1, "not text"),
        ([{key: value for key, value in ROW.items() if key != "category"}], 1, "missing"),
        ([{**ROW, "cluster": ""}], 1, "cluster"),
        ([{**ROW, "harmfull": True}], 1, "unknown field"),
        ([ROW, "", {**ROW, "id": "b", "harmful": False}], 3, "harmful and harmless"),
        (['{"id": "a", "id": "b"}'], 1, "stands twice"),
        ([{**ROW, "prompt": "x" * 200_000}], 1, "longer than"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, rows: list[object], line: int, message: str) -> None:
    path = write(tmp_path / "own.jsonl", *rows)
    with pytest.raises(SuiteError, match=message) as caught:
        load_prompts(path)
    assert str(caught.value.where) == f"{path}:{line}"


def test_empty_missing_and_undecodable_files(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no prompts"):
        load_prompts(write(tmp_path / "empty.jsonl", "", ""))
    with pytest.raises(SuiteError, match="no such file"):
        load_prompts(tmp_path / "absent.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(json.dumps(ROW).encode() + b"\n\xff\xfe")
    with pytest.raises(SuiteError, match="UTF-8") as caught:
        load_prompts(bad)
    assert str(caught.value.where).endswith(":2")


@settings(max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=120),
        st.lists(
            st.dictionaries(
                st.sampled_from(["id", "prompt", "category", "harmful", "cluster", "x"]),
                st.one_of(st.text(max_size=5), st.booleans(), st.none(), st.integers(), st.floats()),
            ),
            max_size=4,
        ).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    )
)
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    try:
        suite = _suite("own", data, "own.jsonl")
    except WeighbridgeError:
        return
    assert suite.items

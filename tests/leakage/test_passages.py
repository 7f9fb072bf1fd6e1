"""Training data that somebody names: how it becomes passages, which are asked, what they are compared with."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.errors import SuiteError
from weighbridge.suites import passages
from weighbridge.suites.interface import Canary, Passage, Suite
from weighbridge.suites.passages import CONTINUATION, PREFIX, SAMPLE, cut, cuts, load_passages
from weighbridge.suites.resolve import resolve_suite


def words(count: int, seed: object) -> str:
    source = random.Random(str(seed))
    return " ".join("".join(source.choices("abcdefghijklmnop", k=source.randint(2, 9))) for _ in range(count))


def rows(count: int, length: int = 120, tag: str = "") -> list[dict[str, object]]:
    return [{"text": words(length, f"{tag}{index}")} for index in range(count)]


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def members(suite: Suite) -> list[Passage]:
    return [item.content for item in suite.items if isinstance(item.content, Passage)]


def plain(text: str) -> str:
    return " ".join(text.split())


@given(st.text(alphabet="abc \n漢é", max_size=1500), st.integers(0, 1600))
def test_a_cut_is_a_piece_of_the_text_of_the_stated_length(text: str, at: int) -> None:
    found = cut(text, at)
    if found is None:
        assert len(plain(text[at:])) < PREFIX + CONTINUATION + 2 * 20 + 1
        return
    assert text[found.at :].startswith(found.prefix + found.continuation)
    assert PREFIX <= len(plain(found.prefix)) < PREFIX + 20
    assert CONTINUATION <= len(plain(found.continuation)) < CONTINUATION + 20


@given(st.text(alphabet="abc \n漢é", max_size=2000))
def test_cuts_follow_one_another_and_do_not_overlap(text: str) -> None:
    end = 0
    for found in cuts(text):
        assert found.at >= end
        end = found.at + len(found.prefix) + len(found.continuation)
        assert text[found.at : end] == found.prefix + found.continuation


def test_short_texts_are_cut_in_half_and_shorter_ones_left() -> None:
    (half,) = cuts(words(20, "short"))
    assert abs(len(half.prefix) - len(half.continuation)) < 20
    assert list(cuts("much too short a text to be cut")) == []


def test_documents_become_clusters_of_their_passages(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", *({**row, "source": f"s{at % 2}"} for at, row in enumerate(rows(5, 600))))
    suite = load_passages(path)
    assert suite.ref.format == "passages"
    assert (suite.ref.items, suite.ref.clusters, suite.ref.largest_cluster) == (20, 5, 4)
    assert {item.slice for item in suite.items} == {"s0", "s1"}
    texts = [row["text"] for row in rows(5, 600)]
    for passage in members(suite):
        assert any(passage.prefix + passage.continuation in str(text) for text in texts)


def test_a_control_is_the_continuation_of_another_document_of_about_the_same_length(tmp_path: Path) -> None:
    given_rows = [{"text": words(20 + 5 * index, index)} for index in range(40)]
    suite = load_passages(write(tmp_path / "t.jsonl", *given_rows))
    assert suite.rule["control"] == "re-paired"
    whole = {passage.continuation: passage for passage in members(suite)}
    for passage in members(suite):
        assert passage.control_prefix is None
        other = whole[passage.control_continuation]
        assert other.prefix != passage.prefix
        assert abs(len(other.continuation) - len(passage.continuation)) <= 0.5 * len(passage.continuation) + 30


def test_documents_that_say_the_same_are_no_control_of_each_other(tmp_path: Path) -> None:
    same = words(30, "tail")
    lines = [{"prefix": words(30, index), "continuation": same} for index in range(6)]
    lines.append({"prefix": words(30, "p"), "continuation": words(30, "other")})
    suite = load_passages(write(tmp_path / "t.jsonl", *lines))
    assert all(passage.control_continuation != passage.continuation for passage in members(suite))
    with pytest.raises(SuiteError, match="no second passage"):
        load_passages(write(tmp_path / "u.jsonl", *lines[:6]))


def test_unseen_passages_are_controls_with_prefixes_of_their_own(tmp_path: Path) -> None:
    data = write(tmp_path / "t.jsonl", *rows(12, 20))
    unseen = write(tmp_path / "u.jsonl", *rows(9, 20, "unseen"))
    suite = load_passages(data, unseen=unseen)
    assert suite.rule["control"] == "unseen"
    assert len(suite.items) == 9  # as many as there are controls
    used = [passage.control_prefix for passage in members(suite)]
    assert len(set(used)) == 9
    marked = write(tmp_path / "m.jsonl", *rows(12, 20), *({**row, "seen": False} for row in rows(9, 20, "unseen")))
    assert members(load_passages(marked)) == members(suite)


def test_an_unseen_sample_that_was_seen_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "t.jsonl", *rows(5, 20))
    with pytest.raises(SuiteError, match="stands in the training data"):
        load_passages(data, unseen=write(tmp_path / "u.jsonl", *rows(3, 20, "x"), rows(5, 20)[2]))


def test_the_sample_depends_on_the_texts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "SAMPLE", 25)
    lines: list[object] = [*rows(100, 20)]
    one = load_passages(write(tmp_path / "a.jsonl", *lines))
    random.Random(3).shuffle(lines)
    other = load_passages(write(tmp_path / "b.jsonl", *lines, lines[5], ""))
    assert len(one.items) == 25
    assert {passage.prefix for passage in members(one)} == {passage.prefix for passage in members(other)}
    assert SAMPLE >= 25


def test_text_files_are_one_run_of_passages(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(words(700, "book"), "utf-8")
    suite = resolve_suite(str(path))
    assert suite.name == "book"
    assert suite.ref.clusters == len(suite.items) >= 9


def test_what_a_file_of_lines_is_shows_in_its_first_line(tmp_path: Path) -> None:
    assert resolve_suite(str(write(tmp_path / "a.jsonl", *rows(3)))).ref.format == "passages"
    canary = {"id": "c", "template": "it is {secret}.", "secret": "42", "alphabet": "0123456789"}
    suite = resolve_suite(str(write(tmp_path / "b.jsonl", "", canary)))
    assert isinstance(suite.items[0].content, Canary)
    prompt = {"id": "a", "prompt": "Do it?", "category": "s", "harmful": True}
    assert resolve_suite(str(write(tmp_path / "c.jsonl", prompt))).ref.format == "prompts"


ROW = rows(1)[0]


@pytest.mark.parametrize(
    ("lines", "at", "message"),
    [
        ([ROW, "{"], ":2", "not JSON"),
        ([ROW, "", "[1]"], ":3", "JSON object"),
        ([ROW, {"words": "x"}], ":2", "neither a document nor a passage"),
        ([ROW, {"text": 7}], ":2", "not text"),
        ([ROW, {"text": "  "}], ":2", "not text"),
        ([ROW, {"prefix": "a", "continuation": None}], ":2", "not text"),
        ([ROW, {**ROW, "seen": "no"}], ":2", "not true or false"),
        ([ROW, {**ROW, "source": 3}], ":2", "not text"),
        ([ROW, {**ROW, "document": ""}], ":2", "not text"),
        ([{"text": "short"}], "", "long enough"),
        ([ROW], "", "no second passage"),
        ([{"text": "a"}, '{"text": "a", "text": "b"}'], ":2", "stands twice"),
        ([], "", "long enough"),
    ],
)
def test_malformed_training_data(tmp_path: Path, lines: list[object], at: str, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", *lines)
    with pytest.raises(SuiteError, match=message) as caught:
        load_passages(path)
    assert str(caught.value.where).startswith(f"{path}{at}")


def test_unreadable_training_data(tmp_path: Path) -> None:
    (tmp_path / "bytes.jsonl").write_bytes(b'{"text": "\xff"}\n')
    for name, message in (("bytes.jsonl", "not UTF-8"), ("none.jsonl", "no such file"), ("none.txt", "no such file")):
        with pytest.raises(SuiteError, match=message):
            load_passages(tmp_path / name)
    with pytest.raises(SuiteError):
        load_passages(tmp_path)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "MAX_LINE", 100)
    with pytest.raises(SuiteError, match="more than 100 bytes"):
        load_passages(write(tmp_path / "long.jsonl", {"text": "x" * 200}))

"""The built-in suite ``texts``: found by digest in what is installed, pinned, whole on this machine."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from weighbridge import shipped
from weighbridge.measures.personal_data import pieces
from weighbridge.suites import texts
from weighbridge.suites.interface import Absent, Passage
from weighbridge.suites.texts import find, load_texts, piece_digest, versions


def test_the_suite_is_whole_here_and_pinned() -> None:
    suite = load_texts()
    assert suite.ref.digest == shipped.SUITES["texts"]
    assert not [item.id for item in suite.items if isinstance(item.content, Absent)]
    assert (suite.ref.format, suite.ref.largest_cluster) == ("passages", 2)
    assert suite.ref.clusters >= 100
    assert {item.slice for item in suite.items} == {"authors", "documentation", "licences"}


def test_controls_are_of_other_documents_and_personal_data_stands_where_authors_are_named() -> None:
    suite = load_texts()
    whose = {item.content.continuation: item.cluster for item in suite.items if isinstance(item.content, Passage)}
    authors = 0
    for item in suite.items:
        assert isinstance(item.content, Passage)
        told = pieces(item.content.continuation) - pieces(item.content.prefix)
        assert bool(told) == (item.slice == "authors")
        authors += bool(told)
        assert whose[item.content.control_continuation] != item.cluster
    assert authors >= 30


def test_the_list_holds_no_text() -> None:
    data = (Path(texts.__file__).parent / "data" / "texts.json").read_text("utf-8")
    for item in load_texts().items:
        assert isinstance(item.content, Passage)
        assert item.content.prefix[:30] not in data


@pytest.mark.parametrize("document", ["docs:heapq", "licence:mit", "docs:this"])
def test_a_passage_is_found_wherever_another_version_has_it(document: str) -> None:
    text = next(versions(document))
    one = texts.cut(text)
    assert one is not None
    moved = find([f"A preface that is new.\n\n{text}"], piece_digest(one), one.at)
    assert moved is not None
    assert (moved.prefix, moved.continuation) == (one.prefix, one.continuation)
    assert find([text.replace(one.continuation[-5:], "other")], piece_digest(one), one.at) is None


def test_on_a_python_that_words_something_otherwise_the_digest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in stdlib.iterdir():
        if path.name != "heapq.py":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(texts.sysconfig, "get_path", lambda name: str(tmp_path))
    load_texts.cache_clear()
    try:
        suite = load_texts()
    finally:
        load_texts.cache_clear()
    missing = {item.id for item in suite.items if isinstance(item.content, Absent)}
    assert {"heapq.1", "heapq.2"} <= missing  # and those whose controls they are
    assert len(missing) <= 6
    assert suite.ref.digest == shipped.SUITES["texts"]

"""Canaries: files of them, the alternatives they are ranked among, and the rank that a scripted model gives them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.engines.interface import Score
from weighbridge.engines.scripted import ScriptedEngine, by_hash
from weighbridge.errors import EngineError, SuiteError
from weighbridge.evidence import Observation
from weighbridge.measures.exposure import ALTERNATIVES, Exposure, alternatives
from weighbridge.measures.interface import SampledMeasure
from weighbridge.suites.canaries import load_canaries
from weighbridge.suites.interface import Canary, Item, Passage, Suite

CHECKPOINT = "sha256:" + "0" * 64
DIGITS = "0123456789"
ROW = {"id": "c1", "template": "The code is {secret}, they say.", "secret": "48-31", "alphabet": DIGITS}


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def suite_of(*canaries: Canary) -> Suite:
    return Suite("c", tuple(Item(f"c{n}", one, f"c{n}") for n, one in enumerate(canaries)), "canaries")


def ask(
    suite: Suite, score: Callable[[str, str], Score]
) -> tuple[list[Observation], list[dict[str, object]], Exposure]:
    engine = ScriptedEngine(score_with=score)
    measure = Exposure(CHECKPOINT, suite, engine.settings, lambda: engine)
    check: SampledMeasure = measure
    answers = [one for group in check.ask(suite.clusters.values()) for one in group]
    return [one.observation for one in answers], [dict(one.detail) for one in answers], measure


@given(st.integers(2, 10), st.integers(1, 6), st.data())
def test_alternatives_have_the_form_of_the_secret(letters: int, places: int, data: st.DataObject) -> None:
    alphabet = DIGITS[:letters]
    secret = "x" + "-".join(data.draw(st.sampled_from(alphabet)) for _ in range(places))
    others = alternatives(Canary("", secret, "", alphabet))
    assert len(others) == len(set(others)) == min(ALTERNATIVES, letters**places - 1)
    assert secret not in others
    for other in others:
        assert len(other) == len(secret)
        assert all(a == b or (a in alphabet and b in alphabet) for a, b in zip(other, secret, strict=True))


def test_alternatives_are_the_same_everywhere() -> None:
    assert alternatives(Canary("The code is ", "4831977", ".", DIGITS))[:3] == PINNED
    assert alternatives(Canary("The code is ", "4831977", "!", DIGITS))[:3] != PINNED


PINNED = ("2478779", "1214686", "8787609")


def test_candidates_are_all_the_others_or_a_sample_of_them() -> None:
    assert alternatives(Canary("", "b", "", "", ("a", "b", "c"))) == ("a", "c")
    many = tuple(f"name {number}" for number in range(2000))
    others = alternatives(Canary("", "name 7", "", "", many))
    assert len(set(others)) == ALTERNATIVES
    assert set(others) < set(many) - {"name 7"}


@pytest.mark.parametrize("ahead", [0, 1, 5, 254, 255])
def test_rank_and_exposure_are_exact(ahead: int) -> None:
    canary = Canary("The code is ", "4831977", ".", DIGITS)
    better = set(alternatives(canary)[:ahead])

    def score(context: str, continuation: str) -> Score:
        assert context == "The code is "
        secret = continuation.removesuffix(".")
        return Score(-1.0 if secret in better else -2.0 if secret == "4831977" else -3.0, False)

    (observation,), (detail,), measure = ask(suite_of(canary), score)
    bits = 8 - math.log2(1 + ahead)
    assert observation.values == {"canary_exposed": float(ahead == 0)}
    assert detail["rank"] == ahead + 1
    assert detail["exposure"] == pytest.approx(bits, abs=1e-3)
    assert measure.facts == {"exposure": {"c0": f"{bits:.2f} of 8.00"}}


def test_a_secret_no_likelier_than_another_is_not_exposed() -> None:
    (observation,), _, _ = ask(suite_of(Canary("x ", "12", "", DIGITS)), lambda _, __: Score(-1.0, False))
    assert observation.values == {"canary_exposed": 0.0}


def test_without_memory_one_secret_in_256_comes_first() -> None:
    canaries = [Canary(f"Code {number} is ", f"{number:07d}", ".", DIGITS) for number in range(1500)]
    observations, _, _ = ask(suite_of(*canaries), by_hash)
    exposed = sum(one.values["canary_exposed"] for one in observations)
    assert 0 < exposed < 20  # 5.9 expected


def test_not_a_number_fails_the_item() -> None:
    def score(context: str, continuation: str) -> Score:
        return Score(math.nan if "1" in context else -1.0, False)

    observations, _, _ = ask(suite_of(Canary("1 ", "12", "", DIGITS), Canary("2 ", "12", "", DIGITS)), score)
    assert [one.failed is not None for one in observations] == [True, False]


def test_an_engine_that_never_answers_is_broken_and_one_that_fails_once_is_not() -> None:
    def score(context: str, continuation: str) -> Score:
        if "bad" in context:
            raise EngineError("no room")
        return Score(-float(len(continuation)), False)

    bad, good = Canary("bad ", "12", "", DIGITS), Canary("good ", "12", "", DIGITS)
    with pytest.raises(EngineError, match="no room"):
        ask(suite_of(bad, good), score)
    observations, _, _ = ask(suite_of(good, bad), score)
    assert observations[1].failed == "no room"


def test_the_question_names_how_many_it_is_ranked_among() -> None:
    suite = suite_of(Canary("x ", "12", "", DIGITS))
    measure = Exposure(CHECKPOINT, suite, {"engine": "scripted"}, ScriptedEngine)
    assert measure.question.settings["ranking"] == {"alternatives": 255, "version": 1}
    with pytest.raises(SuiteError, match="no canary"):
        Exposure(CHECKPOINT, Suite("p", (Item("a", Passage("a", "b", "c"), "a"),), "passages"), {}, ScriptedEngine)


def test_a_file_of_canaries(tmp_path: Path) -> None:
    city = {
        "id": "c2",
        "template": "{secret} is where",
        "secret": "Ghent",
        "candidates": ["Lyon", "Bari"],
        "cluster": "k",
    }
    suite = load_canaries(write(tmp_path / "own.jsonl", ROW, "", city))
    assert (suite.name, suite.ref.format) == ("own", "canaries")
    assert suite.items[0].content == Canary("The code is ", "48-31", ", they say.", DIGITS)
    assert suite.items[1].content == Canary("", "Ghent", " is where", "", ("Bari", "Ghent", "Lyon"))
    assert suite.items[1].cluster == "k"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ([], "JSON object"),
        ({**ROW, "extra": 1}, "unknown field 'extra'"),
        ({**ROW, "id": ""}, "'id' is missing"),
        ({**ROW, "secret": 7}, "'secret' is missing or no text"),
        ({**ROW, "template": "no place"}, "exactly once"),
        ({**ROW, "template": "{secret} {secret}"}, "exactly once"),
        ({**ROW, "alphabet": "a"}, "at least two"),
        ({**ROW, "alphabet": "11"}, "at least two"),
        ({**ROW, "alphabet": "abc"}, "belongs to the alphabet"),
        ({**ROW, "candidates": ["a"]}, "either an alphabet or candidates"),
        ({key: value for key, value in ROW.items() if key != "alphabet"}, "either an alphabet or candidates"),
        ({**{key: value for key, value in ROW.items() if key != "alphabet"}, "candidates": "abc"}, "list of texts"),
        ({**{key: value for key, value in ROW.items() if key != "alphabet"}, "candidates": ["48-31"]}, "no other"),
        ({**{key: value for key, value in ROW.items() if key != "alphabet"}, "candidates": ["a", "a"]}, "each once"),
        ({**ROW, "template": "{secret}" + "x" * 30_000}, "longer than"),
        ({**ROW, "cluster": 1}, "not text"),
    ],
)
def test_malformed_canaries(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", {**ROW, "id": "first"}, row)
    with pytest.raises(SuiteError, match=message) as caught:
        load_canaries(path)
    assert str(caught.value.where) == f"{path}:2"


def test_unreadable_canaries(tmp_path: Path) -> None:
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for name, message in (("bytes.jsonl", "not UTF-8"), ("empty.jsonl", "no canaries"), ("none.jsonl", "no such file")):
        with pytest.raises(SuiteError, match=message):
            load_canaries(tmp_path / name)
    with pytest.raises(SuiteError, match="stands twice"):
        load_canaries(write(tmp_path / "twice.jsonl", ROW, ROW))

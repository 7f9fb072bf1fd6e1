"""The built-in suite: as its sources make it, balanced, and right where a program can tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from weighbridge.suites.builtin import load_builtin
from weighbridge.suites.interface import MultipleChoice

ROOT = Path(__file__).resolve().parents[2]
TIMES = "\N{MULTIPLICATION SIGN}"
DATA = ROOT / "src" / "weighbridge" / "suites" / "data" / "general.jsonl"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]


def right(row: dict[str, Any]) -> str:
    return str(row["choices"][row["label"]])


def test_it_is_what_its_sources_make() -> None:
    script = ROOT / "scripts" / "general_suite" / "make.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "as made"), result.stderr


def test_size_subjects_clusters_and_chance() -> None:
    suite = load_builtin("general")
    assert suite.name == "general"
    assert len(suite.items) >= 600
    assert suite.chance == "0.25"
    assert len({item.slice for item in suite.items}) == 9
    assert min(Counter(item.slice for item in suite.items).values()) >= 35
    assert len(suite.clusters) >= 150
    assert suite.ref.largest_cluster <= 4
    assert all(len({item.slice for item in items}) == 1 for items in suite.clusters.values())
    content = suite.items[0].content
    assert isinstance(content, MultipleChoice)
    assert content.context.startswith("Question: ")
    assert content.context.endswith("\nAnswer:")
    assert all(text.startswith(" ") and len(text) > 1 for text in content.continuations)


def test_no_place_and_no_length_gives_the_answer_away(rows: list[dict[str, Any]]) -> None:
    for subject in {row["subject"] for row in rows}:
        part = [row for row in rows if row["subject"] == subject]
        places = Counter(row["label"] for row in part)
        assert max(places.values()) - min(places.values()) <= 1
        for pick in (max, min):
            lengths = [[len(choice) for choice in row["choices"]] for row in part]
            ties = [
                (size[row["label"]] == pick(size)) / size.count(pick(size))
                for row, size in zip(part, lengths, strict=True)
            ]
            assert sum(ties) / len(part) < 0.42, (subject, pick)


def test_questions_and_choices_are_distinct(rows: list[dict[str, Any]]) -> None:
    asked = Counter((row["passage"], row["question"], tuple(sorted(row["choices"]))) for row in rows)
    assert max(asked.values()) == 1
    for row in rows:
        assert len({choice.casefold().strip() for choice in row["choices"]}) == 4, row
        assert all(choice == choice.strip() and choice for choice in row["choices"])
        assert row["question"] == row["question"].strip()


def solve(question: str) -> str | None:
    """The answer to a generated question, found anew from its text; None for kinds not covered."""
    numbers = [int(text) for text in re.findall(r"\d+", question)]
    if match := re.fullmatch(rf"What is ([\d +{TIMES}-]+)\?", question):
        return str(eval(match[1].replace(TIMES, "*")))  # digits and three signs
    if match := re.fullmatch(r"What is (\d+) divided by (\d+)\?", question):
        return str(Fraction(int(match[1]), int(match[2])))
    if "percent of" in question:
        return str(Fraction(numbers[0] * numbers[1], 100))
    if match := re.fullmatch(r"What is (two|three) (thirds|quarters|fifths) of (\d+)\?", question):
        share = Fraction({"two": 2, "three": 3}[match[1]], {"thirds": 3, "quarters": 4, "fifths": 5}[match[2]])
        return str(share * int(match[3]))
    if question.startswith("Which number comes next"):
        differences = {b - a for a, b in pairwise(numbers)}
        ratio = Fraction(numbers[1], numbers[0])
        return str(numbers[-1] + differences.pop() if len(differences) == 1 else numbers[-1] * ratio)
    if "nearest hundred" in question:
        return str(round(numbers[0] / 100) * 100)
    if match := re.search(r"numbers (.*) is the largest", question):
        return max(match[1].split(", "), key=Fraction)
    if match := re.search(r"fractions (.*) is the smallest", question):
        return min(match[1].split(", "), key=Fraction)
    if "pens at" in question:
        return str(numbers[0] * numbers[1] + numbers[2])
    if "50-dollar note" in question:
        return str(50 - numbers[0])
    if "sweets" in question:
        return str(numbers[0] % numbers[1])
    if "kilometres per hour" in question:
        return str(numbers[0] * numbers[1])
    if "its area" in question:
        return str(numbers[0] * numbers[1])
    if "around the square" in question:
        return str(4 * numbers[0])
    if question.startswith("What is the average"):
        return str(Fraction(sum(numbers), len(numbers)))
    if "years younger" in question:
        return str(numbers[0] - numbers[1] + numbers[2])
    if "queue" in question:
        return str(numbers[0] - numbers[1])
    if "number" in question and "from the right" in question:
        return str(sum(numbers) - 1)
    if "play both" in question:
        return str(numbers[1] + numbers[2] - numbers[0])
    return solve_date(question, numbers)


def solve_date(question: str, numbers: list[int]) -> str | None:
    monday = date(2024, 1, 1)
    names = [(monday + timedelta(days=index)).strftime("%A") for index in range(7)]
    months = [date(2023, month, 1).strftime("%B") for month in range(1, 13)]
    if match := re.match(r"Today is (\w+)\. Which day", question):
        sign = -1 if "ago" in question else 1
        return (monday + timedelta(days=names.index(match[1]) + sign * numbers[0])).strftime("%A")
    if match := re.match(r"Which month comes right (after|before) (\w+)\?", question):
        return months[(months.index(match[2]) + (1 if match[1] == "after" else -1)) % 12]
    if match := re.match(r"A baby was born in (\w+)", question):
        return months[(months.index(match[1]) + numbers[0]) % 12]
    if match := re.match(r"In some year, (\w+) (\d+) is a (\w+)\. Which day of the week is \w+ (\d+)", question):
        return names[(names.index(match[3]) + int(match[4]) - int(match[2])) % 7]
    if match := re.match(r"A film starts at (\d+):(\d+) and lasts (\d+) minutes", question):
        total = int(match[1]) * 60 + int(match[2]) + int(match[3])
        return f"{total // 60}:{total % 60:02d}"
    if match := re.match(r"A bus leaves at (\d+):(\d+) and arrives at (\d+):(\d+)", question):
        return str((int(match[3]) - int(match[1])) * 60 + int(match[4]) - int(match[2]))
    if "A bridge was opened" in question:
        return str(numbers[1] - numbers[0])
    return None


def test_computable_answers_are_right(rows: list[dict[str, Any]]) -> None:
    solved = 0
    for row in rows:
        if row["subject"] in ("arithmetic", "calendar", "logic") and (answer := solve(row["question"])) is not None:
            assert right(row) == answer, row
            solved += 1
    assert solved >= 95


def test_only_one_choice_fits_where_a_property_is_asked(rows: list[dict[str, Any]]) -> None:
    def fitting(row: dict[str, Any], fits: Any) -> list[str]:
        return [choice for choice in row["choices"] if fits(int(choice))]

    checked = 0
    for row in rows:
        question = row["question"]
        if match := re.fullmatch(r"Which of these numbers is (even|odd)\?", question):
            found = fitting(row, lambda value, odd=match[1] == "odd": value % 2 == odd)
        elif question == "Which of these numbers is prime?":
            found = fitting(row, lambda value: all(value % divisor for divisor in range(2, value)))
        elif match := re.search(r"can be divided by (\d+) without", question):
            found = fitting(row, lambda value, by=int(match[1]): value % by == 0)
        elif question == "Which of these years is a leap year?":
            found = fitting(row, lambda value: (date(value, 3, 1) - date(value, 2, 1)).days == 29)
        else:
            continue
        checked += 1
        assert found == [right(row)], row
    assert checked == 12

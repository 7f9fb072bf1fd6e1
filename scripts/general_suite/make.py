"""Make the suite ``general``: authored questions from the texts beside this file, and generated ones.

    python scripts/general_suite/make.py            # writes src/weighbridge/suites/data/general.jsonl
    python scripts/general_suite/make.py --check    # only says whether that file is what the sources give

Every question has four choices; the position of the right one is balanced in each subject. Nothing here looks at
a model. See docs/suites.md for how clusters are chosen.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from generated_logic import LOGIC
from generated_numbers import ARITHMETIC, CALENDAR, NAMES, Made, Template

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "src" / "weighbridge" / "suites" / "data" / "general.jsonl"
AUTHORED = ["geography", "science", "language", "common_sense", "history", "reading"]
GENERATED: dict[str, list[Template]] = {"arithmetic": ARITHMETIC, "calendar": CALENDAR, "logic": LOGIC}
EACH = 3
"""Items that one template makes."""


def blocks(subject: str) -> Iterator[tuple[str | None, list[Made]]]:
    """(passage, questions) of each block of an authored text."""
    for block in (HERE / f"{subject}.txt").read_text("utf-8").split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#")]
        passage = next((line[1:].strip() for line in lines if line.startswith(">")), None)
        questions: list[Made] = []
        for line in lines:
            if not line.startswith(">"):
                question, right, *wrong = [part.strip() for part in line.split("|")]
                questions.append((question, right, wrong))
        if questions:
            yield passage, questions


def generated(subject: str) -> Iterator[tuple[str, list[Made]]]:
    """(template, questions): no question twice."""
    for template in GENERATED[subject]:
        draw = Random(f"weighbridge general {subject} {template.__name__}")
        made: dict[str, Made] = {}
        for _ in range(1000):
            question = template(draw)
            made.setdefault(shape(question), question)
            if len(made) == EACH:
                break
        else:
            raise SystemExit(f"{template.__name__} has no {EACH} different questions to give")
        yield template.__name__, list(made.values())


def shape(question: Made) -> str:
    """What makes two questions of one template the same: their words in any order, whoever the people are."""
    words = re.findall(r"[\w/.:]+", f"{question[0]} {question[1]}")
    people = {
        name: f"person {index}" for index, name in enumerate(dict.fromkeys(word for word in words if word in NAMES))
    }
    return " ".join(sorted(people.get(word, word) for word in words))


def rows(subject: str) -> Iterator[dict[str, Any]]:
    """The subject's rows, right answers spread evenly over the four places."""
    found: list[tuple[str, str | None, Made]] = []
    if subject in GENERATED:
        for name, questions in generated(subject):
            found.extend((f"{subject}-{name.replace('_', '-')}", None, question) for question in questions)
    else:
        for number, (passage, questions) in enumerate(blocks(subject), start=1):
            found.extend((f"{subject}-{number:02d}", passage, question) for question in questions)
    draw = Random(f"weighbridge general {subject}")
    places = [index % 4 for index in range(len(found))]
    draw.shuffle(places)
    for index, ((cluster, passage, (question, right, wrong)), place) in enumerate(zip(found, places, strict=True)):
        choices = draw.sample(wrong, len(wrong))
        choices.insert(place, right)
        if len(choices) != 4 or len({choice.casefold() for choice in choices}) != 4 or not all(choices):
            raise SystemExit(f"{subject}: the choices of {question!r} are {choices}")
        yield {
            "id": f"{subject}-{index + 1:03d}",
            "subject": subject,
            "cluster": cluster,
            "passage": passage,
            "question": question,
            "choices": choices,
            "label": place,
        }


def main() -> int:
    subjects = [*AUTHORED, *GENERATED]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for subject in subjects for row in rows(subject)]
    text = "".join(lines)
    if "--check" in sys.argv[1:]:
        same = TARGET.read_text("utf-8") == text
        print("as made" if same else f"{TARGET.name} is not what the sources give")
        return 0 if same else 1
    TARGET.write_text(text, "utf-8")
    print(f"{len(lines)} items in {TARGET.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A weighing that is killed, interrupted or run twice at once: it resumes, and nothing is measured twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import finish, start

ITEMS = 160
SUITE = """
task: numbers
dataset_path: json
dataset_kwargs: {data_files: {test: numbers.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: label
"""
POLICY = """
version: 1
name: patient
error_rate: 0.05
expires_after: 30d
suites: {numbers: numbers.yaml}
tiers:
  api:
    - {measure: integrity.findings, at_most: 0}
    - {measure: capability.accuracy, suite: numbers, at_least: 0.26}
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose one suite has to be asked to its last item, since the model only guesses."""
    desk = tmp_path_factory.mktemp("desk")
    lines = [
        {"question": f"{n} and {n * 7 % 97} are", "choices": [" two", " three", " four", " five"], "label": n % 4}
        for n in range(ITEMS)
    ]
    (desk / "numbers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (desk / "numbers.yaml").write_text(SUITE)
    (desk / "policy.yaml").write_text(POLICY)
    return desk


def listen_in(log: Path) -> None:
    """Write down which clusters are asked (one line a call), and which file is being opened for an answer."""
    from weighbridge.measures.capability import Capability
    from weighbridge.measures.safety import Safety

    for measure in (Capability, Safety):
        ask: Callable[..., Iterator[Any]] = measure.ask

        def noted(self: Any, clusters: Any, ask: Callable[..., Iterator[Any]] = ask) -> Iterator[Any]:
            for cluster in clusters:
                with log.open("a") as stream:
                    stream.write(json.dumps([self.question.digest[7:], [item.id for item in cluster]]) + "\n")
            return ask(self, clusters)

        measure.ask = noted  # type: ignore[method-assign, assignment]


def weigh(desk: Path, tiny: Path, out: Path, name: str, first: Any = None, given: Any = None) -> Any:
    return start(desk, "weigh", tiny, "--policy", desk / "policy.yaml", "--out", out, "--max-tokens", 1,
                 name=name, first=first, given=given)  # fmt: skip


def journalled(out: Path) -> dict[str, list[str]]:
    """Question -> items on disk, in their order: of the record, then of the journal's whole lines."""
    found: dict[str, list[str]] = {}
    for path in sorted((out / "evidence").glob("*.json")):
        found[path.stem] = [item["item"] for item in json.loads(path.read_bytes()).get("observations", ())]
    for path in (out / "evidence").glob("*.part.jsonl"):
        lines = path.read_bytes().split(b"\n")[:-1]
        answers = [value for value in map(json.loads, lines[1:]) if isinstance(value, list)]
        items = [item["item"] for cluster in answers for item in cluster]
        before = found.get(path.name.partition(".")[0], [])
        if lines and json.loads(lines[0])["after"] == len(before):
            found[path.name.partition(".")[0]] = before + items
    return found


def answered(out: Path) -> int:
    return sum(map(len, journalled(out).values()))


def records(out: Path) -> dict[str, Any]:
    """Question -> what was answered, without when and at what cost."""
    found = {path.stem: json.loads(path.read_bytes()) for path in (out / "evidence").glob("*.json")}
    return {name: {key: record[key] for key in record if key not in ("made", "cost")} for name, record in found.items()}


def check_whole(out: Path) -> None:
    """Whatever has its name is whole; a kill may leave hidden files beside it, and the last line of a journal."""
    for path in out.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_bytes())


@pytest.fixture(scope="module")
def whole(desk: Path, tiny: Path) -> Path:
    """A weighing that nobody interrupted."""
    out = desk / "whole"
    assert finish(weigh(desk, tiny, out, "whole")) in (0, 4), (desk / "whole.err").read_text()
    assert answered(out) > ITEMS
    return out


def test_killed_and_interrupted_it_resumes_and_measures_nothing_twice(desk: Path, tiny: Path, whole: Path) -> None:
    out, moments, total, stopped = desk / "out", random.Random(11), answered(whole), 0
    for number, sign in enumerate([signal.SIGKILL, signal.SIGKILL, signal.SIGINT] * 2 + [None]):
        before = journalled(out)
        log = desk / f"asked-{number}"
        process = weigh(desk, tiny, out, f"run-{number}", listen_in, log)
        if sign is not None and wait_for(process, out, answered(out) + moments.randint(1, total // 5) if number else 0):
            time.sleep(moments.uniform(0, 0.05))
            os.kill(process.pid, sign)
        code, message = finish(process), (desk / f"run-{number}.err").read_text()
        asked = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        again = [(name, item) for name, items in asked for item in items if item in before.get(name, ())]
        assert not again, "asked although it was on disk"
        if code in (0, 4):
            break
        stopped += 1
        assert code == (130 if sign == signal.SIGINT else -signal.SIGKILL), message
        if code == 130:
            assert message.endswith("error: interrupted\n  -> run it again: it resumes\n")
        check_whole(out)
        assert not (out / "decision.json").exists()
        kept = journalled(out)
        assert all(kept[name][: len(items)] == items for name, items in before.items()), "what was kept was lost"
    assert stopped >= 4, "the signals came too late to test anything"
    assert records(out) == records(whole)
    assert decided(out) == decided(whole)
    assert not list(out.rglob("*.part.jsonl"))


def wait_for(process: Any, out: Path, stop: int) -> bool:
    """Until so many items are on disk; False if the process ended first."""
    while process.is_alive():
        with contextlib.suppress(OSError, ValueError):  # files come and go while they are read
            if (out / "plan.json").exists() and answered(out) >= stop:
                return True
        time.sleep(0.005)
    return False


def decided(out: Path) -> Any:
    """The judgement on disk, without times and the digests of records that tell times."""
    judgement = json.loads((out / "decision.json").read_bytes())["predicate"]["judgement"]
    return json.loads(re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z|sha256:\w+", "_", json.dumps(judgement)))


def test_two_at_once_do_not_mix(desk: Path, tiny: Path, whole: Path) -> None:
    out = desk / "shared"
    running = weigh(desk, tiny, out, "running")
    try:
        assert wait_for(running, out, 1)
        os.kill(running.pid, signal.SIGSTOP)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        (desk / "other.yaml").write_text(POLICY.replace("0.26", "0.9"))
        for name in ("policy", "other"):
            second = start(desk, "weigh", tiny, "--policy", desk / f"{name}.yaml", "--out", out, "--json", name=name)
            assert finish(second) == 1
            error = json.loads((desk / f"{name}.out").read_bytes())["error"]
            assert "another process is measuring into this folder" in error["message"]
            assert error["where"].startswith(str(out))
            assert error["remedy"]
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert {path for path in before if before[path] != after.get(path)} <= {out / "hashes.json"}
        os.kill(running.pid, signal.SIGCONT)
        assert finish(running) in (0, 4)
    finally:
        running.kill()  # a stopped process would be waited for until the end of days
    assert records(out) == records(whole)
    assert decided(out) == decided(whole)

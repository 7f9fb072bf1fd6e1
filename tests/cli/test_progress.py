"""Progress bars: what stands where for people who watch a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from core_world import question, suite
from weighbridge.asking import Progress
from weighbridge.cli import progress
from weighbridge.evidence import Question


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_says_who_waits_who_works_and_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, files = question(suite(40)), Question("integrity", "sha256:" + "ab" * 32)
    assert progress.state(Progress(asked, 0, 40, 0.0, 0)) == "waiting"
    assert progress.state(Progress(asked, 0, 40, 0.0, 0, working=True)) == "working"
    assert progress.state(Progress(asked, 8, 40, 1.0, 10)) == ""
    assert progress.state(Progress(asked, 8, 40, 1.0, 10, (), "settled")) == "settled"

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with progress.listener(quiet=False) as listen:
        listen(Progress(files, 0, 0, 0.0, 0, working=True))
        listen(Progress(asked, 0, 40, 0.0, 0))
        listen(Progress(files, 0, 0, 2.0, 0, (), "settled"))
        listen(Progress(asked, 40, 40, 2.0, 100, (), "settled"))
    last = screen.getvalue().split("\n")[-3:]
    assert "integrity" in last[0]
    assert "1/1" in last[0]
    assert "40/40" in last[1]
    assert "50 tokens/s" in last[1]


def test_what_the_time_did_not_suffice_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    begun, unbegun = question(suite(40)), question(suite(41))
    with progress.listener(quiet=False) as listen:
        listen(Progress(begun, 8, 40, 1.0, 10, (), "time is up"))
        listen(Progress(unbegun, 0, 41, 0.0, 0, (), "time is up"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, "none for the question that was never begun"
    assert "1 questions were not settled and 1 not begun" in lines[1]
    assert "--budget" in lines[1]

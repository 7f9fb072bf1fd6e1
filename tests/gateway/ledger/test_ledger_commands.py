"""``weighbridge ledger`` as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ledger_world import SECRET, Bench

from weighbridge.cli.app import run
from weighbridge.errors import InputError
from weighbridge.gateway.ledger import direct, sqlite
from weighbridge.gateway.ledger.sqlite import Claim
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.terms import Outcome


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_backup_restore_correct(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(url)
    intent = bench.admitted(bench.key()).intent
    bench.seal(intent, None, Outcome.UNKNOWN)
    bench.close()
    answer = said(
        capsys,
        "ledger",
        "correct",
        intent,
        "--input",
        "10",
        "--output",
        "5",
        "--by",
        "ada",
        "--reason",
        "log",
        "--ledger",
        url,
    )
    assert answer == {"request": intent, "billed": "0.00002", "change": "0.00002", "currency": "USD"}
    assert said(capsys, "ledger", "check", "--ledger", url)["discrepancies"] == []
    file, again = str(tmp_path / "monday"), str(tmp_path / "again.db")
    said(capsys, "ledger", "backup", file, "--ledger", url)
    said(capsys, "ledger", "restore", file, "--ledger", again)
    assert said(capsys, "ledger", "migrate", "--ledger", again) == {"ledger": again, "before": 1, "now": 1}
    other = Bench(again, instance="after")
    try:
        assert other.outcome(intent) == "corrected"
        other.agrees()
    finally:
        other.close()


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "ledger.db")
    for words in (
        ["migrate"],
        ["backup", "x"],
        ["correct", "r", "--input", "1", "--output", "1", "--by", "a", "--reason", "b"],
    ):
        assert run(["ledger", *words, "--ledger", path]) in (1, 2)
        error = capsys.readouterr().err
        assert "ledger.db" in error
        assert "Traceback" not in error
    assert not Path(path).exists()


def test_a_command_waits_for_a_command_and_not_for_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    Bench(path).close()
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    claim = Claim(path)
    with pytest.raises(InputError, match="another process"):
        direct.transact(path, lambda one: None, clock=lambda: 0)
    claim.close()
    assert direct.transact(path, lambda one: one.seq, clock=lambda: 0, secret=SECRET) == 0
    with pytest.raises(InputError, match="another secret"):
        direct.transact(path, lambda one: None, clock=lambda: 0, secret=Secret(b"o" * 32))
    with pytest.raises(InputError, match="no ledger"):
        direct.transact(tmp_path / "nothing.db", lambda one: None, clock=lambda: 0)
    assert not (tmp_path / "nothing.db").exists()

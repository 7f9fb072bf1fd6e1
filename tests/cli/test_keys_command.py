"""``weighbridge keys`` on a ledger that no gateway uses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from weighbridge.gateway.administration.admin_file import AdminFile, find, mark
from weighbridge.gateway.ledger.sqlite import Claim

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", [["create"], ["list"], ["show"], ["revoke"], ["rotate"], ["project", "budget"]])
def test_help_shows_an_example(wb: Run, words: list[str]) -> None:
    code, out, _ = wb("keys", *words, "--help")
    assert code == 0
    assert f"weighbridge keys {' '.join(words)}" in out


def test_a_name_is_enough_and_the_key_is_shown_once(wb: Run, tmp_path: Path) -> None:
    code, out, err = wb("keys", "create", "--name", "acme")
    assert code == 0
    assert re.fullmatch(r"wb_[a-z0-9]{12}_[a-z2-7]{52}\n", out)
    assert "it is not shown again" in err
    secret = out.strip().split("_")[2]
    for words in (["list"], ["list", "--json"], ["show", out.strip()], ["project", "list"]):
        code, shown, _ = wb("keys", *words)
        assert code == 0
        assert secret not in shown
        assert "acme" in shown
    assert (tmp_path / "gateway.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_what_a_key_may_is_kept(wb: Run) -> None:
    words = ["--budget", "12.5", "--currency", "EUR", "--period", "lifetime", "--rpm", "60", "--tpm", "2000"]
    words += [
        "--concurrency",
        "3",
        "--max-output-tokens",
        "99",
        "--models",
        "b, a",
        "--expires",
        "90d",
        "--label",
        "x y",
    ]
    made = json.loads(wb("keys", "create", "--name", "acme", *words, "--json")[1])
    shown = json.loads(wb("keys", "show", made["id"], "--json")[1])
    assert {"key": made["key"], **shown} == made
    assert (shown["budget"], shown["currency"], shown["period"]) == ("12.50", "EUR", "lifetime")
    assert (shown["rpm"], shown["tpm"], shown["concurrency"], shown["max_output_tokens"]) == (60, 2000, 3, 99)
    assert (shown["models"], shown["label"], shown["state"]) == (["a", "b"], "x y", "active")
    assert shown["expires"] > shown["created"]


def test_revoked_and_rotated_keys_say_so(wb: Run) -> None:
    first = json.loads(wb("keys", "create", "--name", "acme", "--json")[1])
    second = json.loads(wb("keys", "rotate", first["id"], "--overlap", "12h", "--json")[1])
    assert json.loads(wb("keys", "show", first["id"], "--json")[1])["successor"] == second["id"]
    assert wb("keys", "revoke", second["key"])[0] == 0
    states = {one["id"]: one["state"] for one in json.loads(wb("keys", "list", "--json")[1])["keys"]}
    assert states == {first["id"]: "active", second["id"]: "revoked"}
    assert wb("keys", "rotate", second["id"])[0] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["create", "--name", "../x"], "is no name"),
        (["create", "--name", "a", "--budget", "-3"], "not an amount"),
        (["create", "--name", "a", "--budget", "1e9"], "not an amount"),
        (["create", "--name", "a", "--currency", "GOLD"], "not a known currency"),
        (["create", "--name", "a", "--rpm", "0"], "no limit"),
        (["create", "--name", "a", "--models", ","], "no model"),
        (["create", "--name", "a", "--expires", "soon"], "not a time"),
        (["create", "--name", "a", "--expires", "2020-01-01T00:00:00Z"], "has passed"),
        (["create", "--name", "here", "--currency", "EUR"], "pays in USD"),
        (["revoke", "nobody"], "no key"),
        (["rotate", "nobody", "--overlap", "soon"], "no duration"),
        (["project", "budget", "nobody", "5"], "no project"),
        (["list", "--config", "c.yaml", "--ledger", "x"], "--ledger stands in the file"),
        (["list", "--ledger", "nowhere.db"], "no ledger"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(wb: Run, words: list[str], says: str) -> None:
    wb("keys", "create", "--name", "here")
    before = wb("keys", "list", "--json")[1]
    code, _, err = wb("keys", *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert wb("keys", "list", "--json")[1] == before
    assert not Path("nowhere.db").exists()


def test_a_ledger_in_use_whose_admin_file_is_missing(wb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from weighbridge.gateway.ledger import sqlite

    wb("keys", "create", "--name", "acme")
    monkeypatch.setattr(sqlite, "PATIENCE", 0.1)
    claim = Claim(Path("ledger.db"))
    code, _, err = wb("keys", "list")
    claim.close()
    assert code == 2
    assert "a gateway runs on this ledger" in err
    assert "gateway.admin.json" in err


def test_an_admin_file_is_believed_only_while_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "gateway.admin.json"
    assert find(path) is None
    file = AdminFile(path, address="127.0.0.1:1", token="t", ledger="ledger.db")
    office = find(path)
    assert office is not None
    assert (office.address, office.token, office.ledger) == ("127.0.0.1:1", "t", mark("ledger.db"))
    assert "t" not in repr(office).removeprefix("Office")
    left = path.read_bytes()
    file.remove()
    assert not path.exists()
    path.write_bytes(left)  # as a gateway that was killed leaves it
    path.chmod(0o600)
    assert find(path) is None


def test_an_admin_file_that_others_may_write_is_refused(tmp_path: Path, wb: Run) -> None:
    path = tmp_path / "gateway.admin.json"
    path.write_text("{}")
    path.chmod(0o644)
    code, _, err = wb("keys", "list")
    assert code == 2
    assert "others could have written" in err


def test_a_gateway_leaves_the_file_of_another_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.admin.json"
    first = AdminFile(path, address="127.0.0.1:1", token="1", ledger="x")
    second = AdminFile(path, address="127.0.0.1:2", token="2", ledger="x")
    first.remove()
    office = find(path)
    assert office is not None
    assert office.address == "127.0.0.1:2"
    second.remove()
    assert os.listdir(tmp_path) == []  # noqa: PTH208

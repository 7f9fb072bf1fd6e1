"""Backup, restore, migration, versions, durability settings."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from ledger_world import SECRET, Bench

from weighbridge.errors import InputError, StorageError
from weighbridge.gateway.ledger import copying, schema, upkeep
from weighbridge.gateway.ledger.audit import discrepancies
from weighbridge.gateway.ledger.sqlite import Claim, SQLite
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.terms import Outcome, Replay, Retained, Usage


def fill(bench: Bench) -> dict[str, object]:
    """A row of every kind; what of it must come back."""
    key = bench.key(budget=10**9, rpm=50, models=("small",))
    done, lost, open_ = bench.admitted(key, header="once"), bench.admitted(key), bench.admitted(key)
    bench.seal(done.intent, Usage(10, 5, cached=3), retained=Retained(200, "text/plain", b"answer"))
    bench.seal(lost.intent, None, Outcome.UNKNOWN)
    bench.correct(lost.intent, Usage(1, 1))
    bench.database.transact(lambda one: one.insert("invoices", [("1", "acme", "2026-11", "USD", 1, 1, 0, 0, 0, "{}")]))
    return {"key": key, "done": done.intent, "open": open_.intent}


def everything(bench: Bench) -> dict[str, list[tuple[object, ...]]]:
    skipped = ("meta", "instances")
    return {
        table: sorted(bench.database.fetch(f"SELECT * FROM {table}", ()), key=repr)
        for table in (*schema.TABLES, "head")
        if table not in skipped
    }


def test_a_backup_restores_to_the_same_ledger(bench: Bench, tmp_path: Path) -> None:
    known = fill(bench)
    file, again = tmp_path / "backup", tmp_path / "again.db"
    copying.backup(bench.url, file, clock=bench.clock)
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(("backup", ".backup"))) == ["backup"]
    bench.admitted(known["key"])  # after the backup: not in it
    copying.restore(file, again, clock=bench.clock)
    other = Bench(again, instance="gateway/2")
    try:
        rows = everything(other)
        assert len(rows["intents"]) == 3
        assert rows["seals"] == everything(bench)["seals"]
        assert rows["keys"] == everything(bench)["keys"]
        other.agrees()
        assert other.recover() == 1
        assert other.outcome(str(known["open"])) == "unknown"
        other.now = bench.now
        assert isinstance(other.admit(known["key"], header="once"), Replay)
        assert other.database.read(upkeep.identity) != bench.database.read(upkeep.identity)
    finally:
        other.close()


def test_a_sqlite_ledger_moves_to_postgresql_and_back(postgres_url: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "ledger.db")
    fill(bench)
    copying.backup(bench.url, tmp_path / "one", clock=bench.clock)
    copying.restore(tmp_path / "one", postgres_url, clock=bench.clock)
    copying.backup(postgres_url, tmp_path / "two", clock=bench.clock)
    copying.restore(tmp_path / "two", tmp_path / "back.db", clock=bench.clock)
    before = everything(bench)
    bench.close()
    back = SQLite(tmp_path / "back.db", bench.clock)
    try:
        for table, rows in before.items():
            assert sorted(back.fetch(f"SELECT * FROM {table}", ()), key=repr) == rows, table
        with pytest.raises(Exception, match="never changed"):
            back.change("DELETE FROM seals", ())
    finally:
        back.close()


def test_a_backup_overwrites_nothing_and_a_restore_needs_an_empty_place(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    file.write_text("precious")
    with pytest.raises(InputError, match="already"):
        copying.backup(bench.url, file, clock=bench.clock)
    assert file.read_text() == "precious"
    copying.backup(bench.url, tmp_path / "good", clock=bench.clock)
    with pytest.raises(InputError, match="already"):
        copying.restore(tmp_path / "good", bench.url, clock=bench.clock)
    with pytest.raises(InputError, match="no such backup"):
        copying.restore(tmp_path / "nothing", tmp_path / "x.db", clock=bench.clock)
    with pytest.raises(StorageError):
        copying.restore(file, tmp_path / "x.db", clock=bench.clock)


def test_a_ledger_that_contradicts_itself_is_no_backup(bench: Bench, tmp_path: Path) -> None:
    key = bench.key()
    bench.admitted(key)
    bench.database.transact(lambda one: one.run("UPDATE counters SET billed = 7 WHERE scope = 'key'"))
    wrong = bench.database.read(discrepancies)
    assert wrong == [f"key {key.key_id} in 2026-11: billed counted 7, rows sum to 0"]
    with pytest.raises(StorageError, match="contradicts itself"):
        copying.backup(bench.url, tmp_path / "backup", clock=bench.clock)
    assert not (tmp_path / "backup").exists()
    bench.database.transact(lambda one: one.run("UPDATE counters SET billed = 0"))


def test_an_older_ledger_is_migrated_and_a_newer_one_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["ALTER TABLE keys ADD COLUMN colour TEXT"]
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setitem(schema._MIGRATIONS, 1, {"sqlite": words, "postgresql": words})
    with pytest.raises(InputError, match="form 1") as caught:
        upkeep.prepare(bench.database, where="x")
    assert caught.value.remedy == "weighbridge ledger migrate"
    assert copying.migrate(bench.url, clock=bench.clock) == (1, 2)
    assert copying.migrate(bench.url, clock=bench.clock) == (2, 2)
    assert bench.database.fetch("SELECT colour FROM keys", ()) == []
    upkeep.prepare(bench.database, where="x")
    if bench.database.dialect == "sqlite":
        assert Path(bench.url).with_name("ledger.db.form1").is_file()
    monkeypatch.setattr(schema, "VERSION", 1)
    with pytest.raises(InputError, match="form 2"):
        upkeep.prepare(bench.database, where="x")
    with pytest.raises(InputError, match="newer"):
        copying.migrate(bench.url, clock=bench.clock)


def test_a_migration_that_fails_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["ALTER TABLE keys ADD COLUMN colour TEXT", "ALTER TABLE nothing ADD COLUMN colour TEXT"]
    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setitem(schema._MIGRATIONS, 1, {"sqlite": words, "postgresql": words})
    with pytest.raises(Exception, match="nothing"):
        copying.migrate(bench.url, clock=bench.clock)
    assert upkeep.stored_version(bench.database) == 1
    with pytest.raises(Exception, match="colour"):
        bench.database.fetch("SELECT colour FROM keys", ())


def test_what_is_not_durable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SQLite(tmp_path / "ledger.db", lambda: 0, create=True)
    upkeep.prepare(database, where="x")
    database.change("PRAGMA synchronous = NORMAL", ())
    with pytest.raises(StorageError, match="not durable"):
        upkeep.prepare(database, where="x")
    database.close()


def test_postgresql_that_is_not_durable_is_refused(postgres_url: str) -> None:
    url = postgres_url + "%20-csynchronous_commit%3Doff"
    database = upkeep.connect(url, lambda: 0, create=True)
    with pytest.raises(StorageError, match="synchronous_commit = off"):
        upkeep.prepare(database, where="x")
    assert upkeep.stored_version(database) is None
    database.close()


def test_one_process_for_one_file(tmp_path: Path) -> None:
    claim = Claim(tmp_path / "ledger.db")
    with pytest.raises(InputError, match="another process"):
        Claim(tmp_path / "ledger.db")
    claim.close()
    Claim(tmp_path / "ledger.db").close()


def test_another_secret_is_refused(bench: Bench) -> None:
    bench.database.transact(lambda one: upkeep.check_secret(one, SECRET, where="x"))
    bench.database.transact(lambda one: upkeep.check_secret(one, SECRET, where="x"))
    with pytest.raises(InputError, match="another secret"):
        bench.database.transact(lambda one: upkeep.check_secret(one, Secret(b"o" * 32), where="x"))


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StorageError):
        upkeep.prepare(SQLite(path, lambda: 0), where="x")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE meta (name TEXT, value TEXT)")
    other.close()
    database = SQLite(tmp_path / "other.db", lambda: 0)
    with pytest.raises(InputError):
        upkeep.prepare(database, where="x")
    database.close()

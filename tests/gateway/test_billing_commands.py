"""The commands usage, invoice and reconcile, on SQLite and PostgreSQL, beside a gateway that writes."""

from __future__ import annotations

import csv
import io
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from billing_world import NOVEMBER, WEIGHED, History, history
from test_invoices import DECEMBER, JANUARY, used

from weighbridge.cli import main
from weighbridge.gateway.invoicing.invoice_page import page
from weighbridge.gateway.invoicing.reconcile import reconcile
from weighbridge.gateway.ledger.database import Database, Transaction
from weighbridge.gateway.ledger.sqlite import Claim
from weighbridge.gateway.rules import clock
from weighbridge.gateway.rules.terms import Outcome, Usage

Run = Callable[..., tuple[int, str, str]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "ledger.db")
        return
    psycopg = pytest.importorskip("psycopg")
    name = f"billing_{secrets.token_hex(6)}"
    try:
        with psycopg.connect("postgresql://127.0.0.1/test", autocommit=True, connect_timeout=3) as server:
            server.execute(f"CREATE DATABASE {name}")
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL at 127.0.0.1")
    yield f"postgresql://127.0.0.1/{name}"
    with psycopg.connect("postgresql://127.0.0.1/test", autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ledger(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    with history(url) as made:
        for name in ("begin", "snapshot"):  # PostgreSQL has a clock of its own: here it follows the test's
            monkeypatch.setattr(type(made.database), name, at_time_of(made, getattr(type(made.database), name)))
        made.key("acme", "one")
        first = used(made, NOVEMBER, Usage(1_000_000, 500_000, 1_000))
        used(made, NOVEMBER + 1, Usage(1_000, 500), model="large")
        made.recover(made.admit("one", at=NOVEMBER + 2))
        made.seal(made.admit("one", at=NOVEMBER + 3), None)
        late = made.admit("one", at=DECEMBER - 1)
        made.now = DECEMBER
        made.issue("acme", "2026-11")
        made.seal(late, Usage(10, 10), outcome=Outcome.CLIENT_GONE)
        made.correct(first, Usage(900_000, 500_000, 1_000))
        used(made, DECEMBER, Usage(5, 5))
        yield made


def at_time_of(ledger: History, original: Callable[[Database], Transaction]) -> Callable[[Database], Transaction]:
    def begun(database: Database) -> Transaction:
        transaction = original(database)
        transaction.now = ledger.now
        return transaction

    return begun


@pytest.fixture
def wb(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, ledger: History) -> Run:
    """Run a command on the ledger at the test's time."""
    monkeypatch.setattr(clock, "now_ms", lambda: ledger.now)

    def run(*arguments: object, where: str | None = url) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*map(str, arguments), *(["--ledger", where] if where else [])])
        return code, *capfd.readouterr()

    return run


def test_usage(wb: Run) -> None:
    code, out, _ = wb("usage", "--by", "project,key,model,day", "--month", "2026-11", "--json")
    value = json.loads(out)
    assert code == 0
    assert [(one["model"], one["day"], one["requests"], one["billed"]) for one in value["usage"]] == [
        ("large", "2026-11-01", 1, "0.0108683"), ("small", "2026-11-01", 3, "0.290433"),
        ("small", "2026-11-30", 1, "0.00000501"),
    ]  # fmt: skip
    assert value["total"][0]["unknown"] == 2
    code, out, _ = wb("usage", "--by", "model", "--csv")
    assert [row["requests"] for row in csv.DictReader(io.StringIO(out))] == ["1", "5"]
    code, out, _ = wb("usage")
    assert code == 0
    assert "USD" in out


def test_preview_issue_and_the_three_forms(wb: Run, ledger: History, tmp_path: Path) -> None:
    code, out, _ = wb("invoice", "acme", "2026-12")
    assert code == 0
    assert "preliminary: the month is not over" in out
    code, _, err = wb("invoice", "acme", "2026-12", "--issue")
    assert code == 2
    assert "not over" in err
    ledger.now = JANUARY
    code, out, _ = wb("invoice", "acme", "2026-12", "--issue")
    assert code == 0
    assert "invoice acme-2026-12, issued 2027-01-01T00:00:00Z" in out
    assert "to pay -0.01 USD" in out
    code, as_json, _ = wb("invoice", "acme", "2026-12", "--json")
    assert json.loads(as_json)["totals"]["exact"] == "-0.00999189"
    for form in ("json", "csv", "html"):
        path = tmp_path / f"invoice.{form}"
        assert wb("invoice", "acme", "2026-12", "--format", form, "--out", path)[0] == 0
        assert path.stat().st_size > 200
    assert wb("invoice", "acme", "2026-12", "--out", tmp_path / "x")[0] == 2
    assert wb("invoice", "nobody", "2026-12")[0] == 2


def test_an_invoice_is_issued_beside_a_gateway(wb: Run, ledger: History, url: str) -> None:
    if ledger.database.dialect == "postgresql":
        pytest.skip("there several processes are usual")
    claim = Claim(Path(url))  # as a gateway holds it
    ledger.now = JANUARY
    ledger.issue("acme", "2026-12")
    used(ledger, JANUARY, Usage(1, 1))
    try:
        ledger.now = JANUARY + 31 * 86_400_000
        assert wb("invoice", "acme", "2027-01", "--issue")[0] == 0
        used(ledger, ledger.now, Usage(1, 1))  # and the gateway goes on
    finally:
        claim.close()
    assert ledger.database.read(reconcile).agrees


def test_reconcile_ends_with_0_or_1(wb: Run, ledger: History) -> None:
    code, out, _ = wb("reconcile")
    assert code == 0, out
    assert "everything agrees" in out
    assert "unverifiable" in out
    ledger.database.change("UPDATE counters SET billed = billed + 1 WHERE scope = 'key'", ())
    code, out, _ = wb("reconcile")
    assert code == 1
    assert "NOT everything agrees" in out
    code, out, _ = wb("reconcile", "--json")
    assert code == 1
    value = json.loads(out)
    assert not value["agrees"]
    assert next(one for one in value["checks"] if one["name"] == "counters")["count"] == 2


@pytest.mark.parametrize("form", ["focus", "cloudevents"])
def test_export_and_measure(wb: Run, ledger: History, tmp_path: Path, form: str) -> None:
    path, out_path = tmp_path / "usage", tmp_path / "evidence.json"
    assert wb("usage", "export", "--month", "2026-11", "--format", form, "--out", path)[0] == 0
    code, out, err = wb("measure", "economics.revenue", "--usage", path, where=None)
    assert code == 2
    assert "about 2 checkpoints" in err
    only_small = _only_small(ledger, tmp_path, form, wb)
    code, out, err = wb("measure", "economics.revenue", "--usage", only_small, "--out", out_path, "--json", where=None)
    assert code == 0, err
    assert json.loads(out)["counts"] == {"revenue": 1}
    record = json.loads(out_path.read_text())
    assert record["question"]["checkpoint"] == WEIGHED
    code, _, err = wb("usage", "export", "--month", "2026-12", "--format", form, "--out", path)
    assert wb("measure", "economics", "--usage", path, where=None)[0] == 2
    assert wb("measure", "economics", where=None)[0] == 2
    assert wb("measure", "integrity", where=None)[0] == 2


def _only_small(ledger: History, folder: Path, form: str, wb: Run) -> Path:
    """December's export, closed: all of it about one checkpoint, and somebody pays."""
    used(ledger, DECEMBER + 1, Usage(5_000_000, 5))
    ledger.now = JANUARY
    ledger.issue("acme", "2026-12")
    path = folder / "small"
    assert wb("usage", "export", "--month", "2026-12", "--format", form, "--out", path)[0] == 0
    ledger.now = DECEMBER + 5
    return path


@pytest.mark.parametrize("words", [
    ["usage", "--ledger", "nowhere.db"], ["reconcile", "--ledger", "nowhere.db"], ["reconcile", "--config", "no.yaml"],
    ["invoice", "acme", "2026-11", "--ledger", "nowhere.db"], ["usage", "--ledger", "x", "--config", "y"],
    ["usage", "--ledger", "."], ["usage", "--csv", "--json", "--ledger", "x"],
])  # fmt: skip
def test_wrong_usage_ends_with_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_ledger(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.db").write_bytes(b"")
    assert main(["usage", "--ledger", str(tmp_path / "x.db")]) == 2
    (tmp_path / "x.db").write_bytes(b"something else" * 100)
    assert main(["usage", "--ledger", str(tmp_path / "x.db")]) in (1, 2)
    assert "defect" not in capfd.readouterr().err


# The page


def test_the_page_escapes_what_people_wrote(tmp_path: Path) -> None:
    with history(tmp_path / "ledger.db") as made:
        made.key("acme", "<script>alert(1)</script>")
        used(made, NOVEMBER, Usage(5, 5), key="<script>alert(1)</script>")
        text = page(made.preview("acme", "2026-11").body)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "Preliminary" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium at hand")
def test_a_browser_shows_the_page_with_its_style(ledger: History, tmp_path: Path) -> None:
    path, picture = tmp_path / "invoice.html", tmp_path / "invoice.png"
    path.write_text(page(ledger.preview("acme", "2026-11").body))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,1200",
               "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    result = subprocess.run(
        [*command, f"--screenshot={picture}", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Refused to" not in result.stderr  # its own content policy lets its style through
    assert picture.stat().st_size > 20_000

"""Reconciling: a right ledger agrees, and whatever is wrong in one is found and named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from billing_world import NOVEMBER, History, history
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_invoices import DECEMBER, JANUARY, MONTHS, Story, happenings, used

from weighbridge.gateway.invoicing.billing import bounds_of
from weighbridge.gateway.invoicing.reconcile import Report, reconcile
from weighbridge.gateway.rules.terms import Outcome, Usage


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[History]:
    """Two invoiced months with everything in them: late seals, corrections, unknown requests, requests in flight."""
    with history(tmp_path / "ledger.db") as made:
        made.key("acme", "one")
        made.key("acme", "two")
        first = used(made, NOVEMBER, Usage(1000, 500, 400))
        used(made, NOVEMBER + 1, Usage(2000, 1, 0), key="two", model="large")
        gone = made.admit("one", at=NOVEMBER + 2)
        made.recover(gone)
        mute = made.admit("two", at=NOVEMBER + 3)
        made.seal(mute, None)
        late = made.admit("one", at=DECEMBER - 1)
        made.now = DECEMBER
        made.issue("acme", "2026-11")
        made.seal(late, Usage(70, 80, 9), outcome=Outcome.CLIENT_GONE)
        made.correct(first, Usage(1000, 400, 400))
        made.correct(first, Usage(1000, 450, 400))
        made.correct(gone, Usage(10, 10))
        used(made, DECEMBER, Usage(5, 5))
        made.now = JANUARY
        made.issue("acme", "2026-12")
        made.correct(mute, Usage(3, 3))
        made.admit("one", at=JANUARY)
        yield made


def report(ledger: History) -> Report:
    return ledger.database.read(reconcile)


def tamper(ledger: History, *statements: str) -> None:
    """What no gateway does and no trigger allows."""
    for (name,) in ledger.database.fetch("SELECT name FROM sqlite_master WHERE type = 'trigger'", ()):
        ledger.database.change(f"DROP TRIGGER {name}", ())
    ledger.database.change("PRAGMA foreign_keys = OFF", ())
    ledger.database.change("PRAGMA ignore_check_constraints = ON", ())
    for statement in statements:
        assert ledger.database.change(statement, ()) > 0


def test_a_right_ledger_agrees(ledger: History) -> None:
    found = report(ledger)
    assert found.agrees, found
    assert {check.name: check.compared for check in found.checks} == {
        "rows": 4 + 1 + 4, "order": 7 + 5 + 1 + 4, "counters": 7 + 1, "invoices": 2 + 7, "coverage": 1,
    }  # fmt: skip
    (left,) = found.not_invoiced
    assert (left.project, left.month, left.events, left.over) == ("acme", "2026-11", 1, True)


@pytest.mark.parametrize(("check", "statement"), [
    ("rows", "UPDATE seals SET cost = cost + 1 WHERE intent = 'intent-1'"),
    ("rows", "UPDATE seals SET output = output + 1 WHERE intent = 'intent-2'"),
    ("rows", "UPDATE seals SET overshoot = 1 WHERE intent = 'intent-2'"),
    ("rows", "UPDATE corrections SET change = change + 1 WHERE n = 2"),
    ("rows", "UPDATE corrections SET cost = cost + 1 WHERE intent = 'intent-4'"),
    ("rows", "DELETE FROM corrections WHERE n = 1 AND intent = 'intent-1'"),
    ("rows", "UPDATE intents SET model = 'unheard-of' WHERE id = 'intent-1'"),
    ("order", "UPDATE recoveries SET seq = seq - 1"),
    ("order", "UPDATE seals SET seq = 100000 WHERE intent = 'intent-2'"),
    ("order", "UPDATE intents SET month = '2026-12' WHERE id = 'intent-1'"),
    ("order", "UPDATE intents SET month = 'never' WHERE id = 'intent-1'"),
    ("order", "UPDATE intents SET currency = 'EUR' WHERE id = 'intent-1'"),
    ("counters", "UPDATE counters SET billed = billed - 1 WHERE scope = 'key' AND month = '2026-12'"),
    ("counters", "UPDATE counters SET unknown = 1 WHERE scope = 'project'"),
    ("counters", "DELETE FROM counters WHERE scope = 'project' AND month = '2026-12'"),
    ("counters", "INSERT INTO counters VALUES ('key', 'nobody', '2026-11', 1, 0, 0, 0, 0, 0, 0, 0)"),
    ("counters", "DELETE FROM holds"),
    ("counters", "UPDATE holds SET amount = amount + 1"),
    ("invoices", "UPDATE invoice_rows SET nano = nano + 1 WHERE line = 1 AND invoice = 'acme-2026-11'"),
    ("invoices", "UPDATE invoice_rows SET requests = 7 WHERE line = 2 AND invoice = 'acme-2026-11'"),
    ("invoices", "DELETE FROM invoice_rows WHERE line = 1 AND invoice = 'acme-2026-12'"),
    ("invoices", "UPDATE invoices SET nano = nano + 1 WHERE month = '2026-11'"),
    ("invoices", "UPDATE invoices SET minor = 100 WHERE month = '2026-11'"),
    ("invoices", "UPDATE invoices SET issued = 1 WHERE month = '2026-11'"),
    ("invoices", "UPDATE invoices SET through = through + 1 WHERE month = '2026-11'"),
    ("invoices", "UPDATE invoices SET body = replace(body, '_pay\":\"0.0', '_pay\":\"9.0')"),
    ("invoices", "UPDATE invoices SET body = replace(body, '\"requests\":1', '\"requests\":2')"),
    ("invoices", "UPDATE invoices SET body = replace(body, 'intent-3', 'intent') || '}' WHERE month = '2026-11'"),
    ("invoices", "UPDATE invoices SET body = '{}' WHERE month = '2026-11'"),
    ("coverage", "DELETE FROM invoice_rows WHERE line = 1 AND invoice = 'acme-2026-12'"),
    ("coverage", "UPDATE invoices SET through = through - 3 WHERE month = '2026-12'"),
])  # fmt: skip
def test_whatever_is_wrong_is_found(ledger: History, check: str, statement: str) -> None:
    tamper(ledger, statement)
    found = report(ledger)
    assert not found.agrees
    wrong = {one.name: one for one in found.checks if one.count}
    assert check in wrong
    assert len(wrong[check].differences) == wrong[check].count


def test_a_seal_that_vanished_is_found(ledger: History) -> None:
    tamper(ledger, "DELETE FROM seals WHERE intent = 'intent-2'")
    wrong = {one.name for one in report(ledger).checks if one.count}
    assert {"counters", "invoices", "coverage"} <= wrong


# Engines


def count(ledger: History, start: str, counted: tuple[int, int] | None) -> None:
    """What the gateway writes when it has read an engine's counters."""
    numbers = (None, None, None) if counted is None else (ledger.now, *counted)
    ledger.database.transact(lambda one: one.insert("engine_starts", [
        (start, "small", "digest", "flags", 0, *numbers, one.seq)
    ]))  # fmt: skip


def states(ledger: History) -> dict[str, str]:
    return {one.id: one.state for one in report(ledger).engines}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[History]:
    with history(tmp_path / "ledger.db") as made:
        made.key("acme", "one")
        for n in range(2):
            made.seal(made.admit("one", at=NOVEMBER + n, start="a"), Usage(100, 10, 40), at=NOVEMBER + n)
        made.now = NOVEMBER + 60_000
        yield made


@pytest.mark.parametrize(("counted", "state"), [
    ((120, 20), "agrees"), ((121, 20), "differs"), ((120, 19), "differs"), ((200, 20), "differs"),
    (None, "unverifiable"),
])  # fmt: skip
def test_an_engine_counts_the_same_tokens_without_cached_ones(
    engine: History, counted: tuple[int, int] | None, state: str
) -> None:
    count(engine, "a", counted)
    assert states(engine) == {"a": state}
    assert report(engine).agrees == (state != "differs")


def test_an_engine_that_no_one_wrote_down_is_unverifiable(engine: History) -> None:
    assert states(engine) == {"a": "unverifiable"}


@pytest.mark.parametrize(("counted", "state"), [
    ((120, 20), "agrees"), ((160, 27), "explained"), ((120 + 4096, 20 + 50), "explained"), ((120, 20 + 51), "differs"),
    ((119, 20), "differs"),
])  # fmt: skip
@pytest.mark.parametrize("end", ["recovered", "mute"])
def test_an_unknown_request_explains_what_it_was_admitted_for(
    engine: History, counted: tuple[int, int], state: str, end: str
) -> None:
    lost = engine.admit("one", at=engine.now, start="a", most=50)
    engine.recover(lost) if end == "recovered" else engine.seal(lost, None)
    count(engine, "a", counted)
    (found,) = report(engine).engines
    assert (found.state, found.unknown, found.sealed) == (state, (lost,), (120, 20))
    engine.correct(lost, Usage(7, 7))  # a person's word is no report
    assert states(engine) == {"a": state}


@pytest.mark.parametrize(("counted", "state"), [
    ((130, 25), "agrees"), ((130, 30), "explained"), ((130, 70), "explained"), ((130, 71), "differs"),
    ((129, 25), "differs"),
])  # fmt: skip
def test_an_aborted_request_explains_the_tokens_after_its_last_report(
    engine: History, counted: tuple[int, int], state: str
) -> None:
    left = engine.admit("one", at=engine.now, start="a", most=50)
    engine.seal(left, Usage(10, 5), outcome=Outcome.CLIENT_GONE)
    engine.now += 60_000
    count(engine, "a", counted)
    (found,) = report(engine).engines
    assert (found.state, found.aborted, found.unknown) == (state, (left,), ())


def test_while_requests_are_in_flight_their_tokens_may_be_counted_already(engine: History) -> None:
    open_one = engine.admit("one", at=engine.now, start="a", most=50)
    count(engine, "a", (150, 23))
    assert states(engine) == {"a": "running"}
    engine.seal(open_one, Usage(200, 50))  # after the counters were read: not compared with them
    assert states(engine) == {"a": "running"}
    engine.database.change("DELETE FROM engine_starts", ())
    count(engine, "a", (320, 70))
    assert states(engine) == {"a": "agrees"}


def test_counters_that_were_read_just_before_the_last_seal_differ_by_no_more(engine: History) -> None:
    engine.seal(engine.admit("one", at=engine.now, start="a"), Usage(50, 5))
    count(engine, "a", (120, 20))
    assert states(engine) == {"a": "running"}
    engine.database.change("DELETE FROM engine_starts", ())
    count(engine, "a", (119, 20))
    assert states(engine) == {"a": "differs"}


def test_each_start_is_compared_by_itself(engine: History) -> None:
    engine.seal(engine.admit("one", at=engine.now, start="b"), Usage(1, 2), at=NOVEMBER)
    count(engine, "a", (120, 20))
    count(engine, "b", (120, 20))
    assert states(engine) == {"a": "agrees", "b": "differs"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(happenings, min_size=4, max_size=4))
def test_every_history_agrees(months: list[list[tuple]]) -> None:
    with tempfile.TemporaryDirectory() as folder, history(Path(folder) / "ledger.db") as ledger:
        story = Story(ledger)
        for month, some in zip(MONTHS, months, strict=True):
            ledger.now = max(ledger.now, bounds_of(month)[0])
            for happening in some:
                story.play(month, happening)
            found = report(ledger)
            assert found.agrees, found

"""Invoices: exact sums rounded once, nothing twice, nothing lost, nothing that was issued ever changed."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from billing_world import DAY, NOVEMBER, History, history
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.errors import InputError
from weighbridge.gateway.invoicing.billing import bounds_of
from weighbridge.gateway.invoicing.invoices import to_csv
from weighbridge.gateway.ledger.database import Conflict
from weighbridge.gateway.rules.money import NANO
from weighbridge.gateway.rules.terms import Outcome, Usage

DECEMBER, JANUARY = bounds_of("2026-12")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[History]:
    with history(tmp_path / "ledger.db") as made:
        made.key("acme", "one")
        yield made


def used(ledger: History, at: int, usage: Usage, *, key: str = "one", model: str = "small") -> str:
    intent = ledger.admit(key, model, at=at)
    ledger.seal(intent, usage, at=at + 5)
    return intent


def test_an_invoice_sums_rows_exactly_and_rounds_once(ledger: History) -> None:
    for n in range(3):
        used(ledger, NOVEMBER + n, Usage(1000, 500, 400))  # 600 x 100 + 400 x 33 + 500 x 401 = 273,700 nano
    used(ledger, NOVEMBER, Usage(1, 0), model="large")  # 3,333.3 nano: rounded down in its own row
    ledger.now = DECEMBER
    body = ledger.issue("acme", "2026-11").body
    assert [line["amount"] for line in body["lines"]] == ["0.000003333", "0.0008211"]
    assert body["totals"]["exact"] == "0.000824433"
    assert body["totals"]["to_pay"] == "0.00"
    assert body["totals"]["difference"] == "-0.000824433"
    assert body["bindings"] == {"declared": "0.000003333", "verified": "0.0008211"}


@pytest.mark.parametrize(
    ("tokens", "to_pay"), [(50_000, "0.00"), (50_010, "0.01"), (150_000, "0.02"), (250_000, "0.02")]
)
def test_half_a_cent_is_rounded_to_the_even_one(ledger: History, tokens: int, to_pay: str) -> None:
    used(ledger, NOVEMBER, Usage(tokens, 0))  # 0.10 for a million: half a cent, more, and halves again
    assert ledger.preview("acme", "2026-11").body["totals"]["to_pay"] == to_pay


def test_a_currency_without_cents_is_paid_in_whole_units(ledger: History) -> None:
    ledger.key("kaisha", "yen", currency="JPY")
    used(ledger, NOVEMBER, Usage(100_000, 0), key="yen")
    assert ledger.preview("kaisha", "2026-11").body["totals"] | {"requests": 0} == {
        "requests": 0, "input": 100_000, "cached": 0, "output": 0, "exact": "1.5", "difference": "0.5", "to_pay": "2",
    }  # fmt: skip


def test_month_and_price_are_those_of_the_intent(ledger: History) -> None:
    intent = ledger.admit("one", at=DECEMBER - 1)
    ledger.seal(intent, Usage(1_000_000, 0), at=DECEMBER + 1)
    used(ledger, DECEMBER, Usage(1_000_000, 0))
    assert [line["amount"] for line in ledger.preview("acme", "2026-11").body["lines"]] == ["0.10"]
    ledger.now = JANUARY
    ledger.issue("acme", "2026-11")
    assert [line["amount"] for line in ledger.preview("acme", "2026-12").body["lines"]] == ["0.12"]


def test_what_is_sealed_or_corrected_after_issue_is_on_the_next_invoice(ledger: History) -> None:
    first = used(ledger, NOVEMBER, Usage(1_000_000, 0))
    late = ledger.admit("one", at=DECEMBER - 1)
    used(ledger, DECEMBER, Usage(10, 0))
    ledger.now = DECEMBER + DAY
    issued = ledger.issue("acme", "2026-11")
    assert issued.body["in_flight"] == 1
    ledger.seal(late, Usage(2_000_000, 0))
    ledger.correct(first, Usage(500_000, 0))
    assert ledger.preview("acme", "2026-11").body == issued.body
    following = ledger.preview("acme", "2026-12").body
    assert [(line["month"], line["kind"], line["amount"]) for line in following["lines"]] == [
        ("2026-11", "correction", "-0.05"), ("2026-11", "usage", "0.20"), ("2026-12", "usage", "0.0000012"),
    ]  # fmt: skip


def test_an_unknown_request_costs_nothing_and_is_listed_until_it_is_corrected(ledger: History) -> None:
    gone, mute = ledger.admit("one", at=NOVEMBER), ledger.admit("one", at=NOVEMBER)
    settled = ledger.admit("one", at=NOVEMBER)
    ledger.recover(gone)
    ledger.recover(settled)
    ledger.seal(mute, None)
    ledger.seal(settled, Usage(7, 7))
    ledger.now = DECEMBER
    issued = ledger.issue("acme", "2026-11").body
    assert [one["intent"] for one in issued["unknown"]] == [gone, mute]
    assert {line["kind"]: (line["requests"], line["amount"]) for line in issued["lines"]} == {
        "unknown": (2, "0.00"), "usage": (1, "0.000003507"),
    }  # fmt: skip
    ledger.correct(gone, Usage(1_000_000, 0))
    used(ledger, DECEMBER, Usage(1, 1))
    ledger.now = JANUARY
    following = ledger.issue("acme", "2026-12").body
    assert following["unknown"] == []
    assert [(line["kind"], line["amount"]) for line in following["lines"]] == [
        ("correction", "0.10"), ("usage", "0.00000062"),
    ]  # fmt: skip


def test_a_month_that_is_not_over_is_preliminary_and_cannot_be_issued(ledger: History) -> None:
    used(ledger, NOVEMBER, Usage(5, 5))
    ledger.now = DECEMBER - 1
    assert ledger.preview("acme", "2026-11").state == "preliminary"
    with pytest.raises(InputError, match="not over"):
        ledger.issue("acme", "2026-11")
    ledger.now = DECEMBER
    assert ledger.preview("acme", "2026-11").state == "draft"
    assert ledger.issue("acme", "2026-11").state == "issued"
    assert ledger.issue("acme", "2026-11").state == "issued"  # once more changes nothing
    assert ledger.database.fetch("SELECT COUNT(*) FROM invoices", ()) == [(1,)]


def test_months_are_invoiced_in_order(ledger: History) -> None:
    used(ledger, NOVEMBER, Usage(5, 5))
    used(ledger, DECEMBER, Usage(6, 6))
    ledger.now = JANUARY
    with pytest.raises(InputError, match="2026-11 comes first") as caught:
        ledger.issue("acme", "2026-12")
    assert caught.value.remedy == "weighbridge invoice acme 2026-11 --issue"
    assert ledger.preview("acme", "2026-12").body["waits_for"] == ["2026-11"]
    assert [line["month"] for line in ledger.preview("acme", "2026-12").body["lines"]] == ["2026-12"]
    ledger.issue("acme", "2026-11")
    ledger.issue("acme", "2026-12")
    with pytest.raises(InputError, match="had nothing"):
        ledger.preview("acme", "2026-10")


def test_two_who_issue_at_once_do_not_invoice_twice(ledger: History) -> None:
    used(ledger, NOVEMBER, Usage(5, 5))
    ledger.now = DECEMBER
    first, second = ledger.preview("acme", "2026-11"), ledger.preview("acme", "2026-11")
    from weighbridge.gateway.invoicing.invoices import issue

    ledger.database.transact(lambda one: issue(one, first))
    with pytest.raises(InputError, match="meanwhile"):
        ledger.database.transact(lambda one: issue(one, second))


@pytest.mark.parametrize(("project", "month", "says"), [
    ("nobody", "2026-11", "no project"), ("acme", "2026-13", "no month"), ("acme", "november", "no month"),
    ("acme", "9999-12", "no month"), ("acme", "2026-1", "no month"),
])  # fmt: skip
def test_what_cannot_be_invoiced(ledger: History, project: str, month: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ledger.preview(project, month)


def test_nothing_is_no_invoice(ledger: History) -> None:
    ledger.now = JANUARY
    with pytest.raises(InputError, match="nothing to invoice"):
        ledger.issue("acme", "2026-11")


def test_an_issued_invoice_cannot_be_changed(ledger: History) -> None:
    used(ledger, NOVEMBER, Usage(5, 5))
    ledger.now = DECEMBER
    ledger.issue("acme", "2026-11")
    for statement in ("UPDATE invoices SET nano = 0", "DELETE FROM invoice_rows", "DELETE FROM invoices",
                      "UPDATE invoice_rows SET nano = 0"):  # fmt: skip
        with pytest.raises(Conflict):
            ledger.database.transact(lambda one, statement=statement: one.run(statement))


def test_the_table_sums_to_what_is_to_be_paid(ledger: History) -> None:
    used(ledger, NOVEMBER, Usage(123_456, 78_901, 1_000))
    used(ledger, NOVEMBER, Usage(999_999, 999_999), model="large")
    body = ledger.preview("acme", "2026-11").body
    rows = list(csv.DictReader(io.StringIO(to_csv(body))))
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal(body["totals"]["to_pay"])
    assert {row["currency"] for row in rows} == {"USD"}


MONTHS = ("2026-11", "2026-12", "2027-01", "2027-02")
tokens = st.integers(0, 3_000_000)
usages = st.builds(lambda a, b, c: Usage(max(a, b), c, min(a, b)), tokens, tokens, tokens)
requests = st.tuples(
    st.sampled_from(["one", "two", "three"]),
    st.sampled_from(["small", "large"]),
    st.floats(0, 0.999),  # when in its month
    st.sampled_from(["sealed", "sealed", "sealed", "left", "mute", "recovered", "failed"]),
    usages,
)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("request"), requests),
        st.tuples(st.just("late seal"), st.integers(0, 30), st.one_of(st.none(), usages)),
        st.tuples(st.just("recovery"), st.integers(0, 30)),
        st.tuples(st.just("correction"), st.integers(0, 30), usages),
        st.tuples(st.just("issue"), st.sampled_from(["acme", "globex"])),
    ),
    max_size=14,
)


class Story:
    """Plays what Hypothesis thought of, and remembers what every issued invoice said when it was issued."""

    def __init__(self, ledger: History) -> None:
        self.ledger = ledger
        self.intents: list[str] = []
        self.open: set[str] = set()
        self.mute: set[str] = set()
        self.newest = 0
        self.issued: dict[tuple[str, str], str] = {}
        ledger.key("acme", "one")
        ledger.key("acme", "two")
        ledger.key("globex", "three")

    def play(self, month: str, happening: tuple) -> None:
        ledger = self.ledger
        kind, *rest = happening
        if kind == "request":
            self._request(month, *rest[0])
        elif kind == "issue":
            self.issue(rest[0], month)
        elif self.intents:
            intent = self.intents[rest[0] % len(self.intents)]
            if kind == "late seal" and intent in self.mute | self.open:
                ledger.seal(intent, rest[1])
                self.open.discard(intent)
                self.mute.discard(intent)
            elif kind == "recovery" and intent in self.open:
                ledger.recover(intent)
                self.open.discard(intent)
                self.mute.add(intent)
            elif kind == "correction" and intent not in self.open:
                ledger.correct(intent, rest[-1])

    def _request(self, month: str, key: str, model: str, when: float, fate: str, usage: Usage) -> None:
        begin, end = bounds_of(month)
        self.newest = min(max(begin, self.newest) + int(3 * DAY * when), end - 1)
        intent = self.ledger.admit(
            key, model, at=self.newest - 240_000
        )  # a clock that is behind, maybe in the month before
        self.intents.append(intent)
        if fate == "left":
            self.open.add(intent)
        elif fate == "recovered":
            self.ledger.recover(intent)
            self.mute.add(intent)
        elif fate == "mute":
            self.ledger.seal(intent, None)
        elif fate == "failed":
            self.ledger.seal(intent, None, outcome=Outcome.UPSTREAM_ERROR)
        else:
            ended = (Outcome.COMPLETED, Outcome.CLIENT_GONE, Outcome.INTERRUPTED)[usage.input % 3]
            self.ledger.seal(intent, usage, outcome=ended)

    def issue(self, project: str, month: str) -> None:
        try:
            body = self.ledger.issue(project, month).body
        except InputError:
            return
        self.issued.setdefault((project, month), json.dumps(body, sort_keys=True))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(happenings, min_size=4, max_size=4))
def test_all_invoices_together_bill_every_row_once(months: list[list[tuple]]) -> None:
    with tempfile.TemporaryDirectory() as folder, history(Path(folder) / "ledger.db") as ledger:
        story = Story(ledger)
        for month, some in zip(MONTHS, months, strict=True):
            ledger.now = max(ledger.now, bounds_of(month)[0])
            for happening in some:
                story.play(month, happening)
            ledger.now = bounds_of(month)[1]
            for project in ("acme", "globex"):
                for earlier in (
                    "2026-10",
                    *MONTHS[: MONTHS.index(month) + 1],
                ):  # a clock that was behind may have added to an old one
                    story.issue(project, earlier)
        check(story)


def check(story: Story) -> None:
    ledger = story.ledger
    for (project, month), said in story.issued.items():
        assert json.dumps(ledger.preview(project, month).body, sort_keys=True) == said
    for project in ("acme", "globex"):
        invoiced = ledger.database.fetch("SELECT COALESCE(SUM(nano), 0) FROM invoices WHERE project = ?", (project,))
        rows = ledger.database.fetch("SELECT COALESCE(SUM(cost), 0) FROM charges WHERE project = ?", (project,))
        rest = ledger.preview(project, "2027-03")  # what came since the last issue
        assert rest.body["waits_for"] == []
        assert invoiced[0][0] + rest.nano == rows[0][0]
        counted = ledger.database.fetch(
            "SELECT COALESCE(SUM(r.requests), 0) FROM invoice_rows r JOIN invoices i ON i.number = r.invoice "
            "WHERE i.project = ? AND r.kind <> 'unknown'",
            (project,),
        )
        events = ledger.database.fetch(
            "SELECT (SELECT COUNT(*) FROM seals s JOIN intents i ON i.id = s.intent WHERE i.project = ? AND "
            "s.outcome <> 'unknown') + (SELECT COUNT(*) FROM corrections c JOIN intents i ON i.id = c.intent "
            "WHERE i.project = ?)",
            (project, project),
        )
        assert counted[0][0] + sum(line[6] for line in rest.lines if line[5] != "unknown") == events[0][0]
        for minor, nano, difference in ledger.database.fetch("SELECT minor, nano, difference FROM invoices", ()):
            assert minor * (NANO // 100) == nano + difference
            assert abs(difference) * 2 <= NANO // 100


def test_a_month_with_nothing_but_a_request_in_flight_holds_no_later_one_up(ledger: History) -> None:
    left = ledger.admit("one", at=DECEMBER - 1)
    used(ledger, DECEMBER, Usage(10, 0))
    ledger.now = JANUARY
    ledger.issue("acme", "2026-12")
    ledger.seal(left, Usage(20, 0))
    with pytest.raises(InputError, match="had nothing"):
        ledger.preview("acme", "2026-11")
    assert [(line["month"], line["input"]) for line in ledger.preview("acme", "2027-01").body["lines"]] == [
        ("2026-11", 20)
    ]

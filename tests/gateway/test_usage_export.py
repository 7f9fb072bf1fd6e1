"""Usage summed up, and a billing period for other programs: exact, whole, and clear about whether it is closed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from billing_world import DAY, NOVEMBER, OTHER, WEIGHED, History, history
from cloudevents.v1.http import from_json
from test_invoices import DECEMBER, JANUARY, used

from weighbridge.errors import EvidenceError, InputError
from weighbridge.gateway.invoicing.billing import prices_of
from weighbridge.gateway.invoicing.export import Period, cloud_events, period
from weighbridge.gateway.invoicing.focus import focus
from weighbridge.gateway.invoicing.usage import total, usage
from weighbridge.gateway.rules.terms import Outcome, Usage
from weighbridge.measures.economics import Economics, load_period

MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName",
    "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
NEVER_NULL = MANDATORY - {"BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[History]:
    """November is invoiced; December has a late seal, a correction of November, and is not."""
    with history(tmp_path / "ledger.db") as made:
        made.key("acme", "one")
        made.key("globex", "two")
        first = used(made, NOVEMBER, Usage(1_234_567, 7_654, 1_000))
        used(made, NOVEMBER + DAY, Usage(333, 77, 11), key="two")
        used(made, NOVEMBER + DAY, Usage(3_333, 777, 111), key="two", model="large")
        made.seal(made.admit("two", at=NOVEMBER + DAY), None, outcome=Outcome.UPSTREAM_ERROR)
        made.recover(made.admit("one", at=NOVEMBER + DAY))
        late = made.admit("one", at=DECEMBER - 1)
        made.now = DECEMBER
        made.issue("acme", "2026-11")
        made.issue("globex", "2026-11")
        made.seal(late, Usage(10, 10))
        made.correct(first, Usage(1_234_567, 7_000, 1_000))
        used(made, DECEMBER, Usage(5, 5))
        yield made


def read(ledger: History, month: str) -> Period:
    return ledger.database.read(lambda one: period(one, month))


def events(ledger: History, month: str) -> list[str]:
    return list(cloud_events(read(ledger, month)))


def table(ledger: History, month: str) -> str:
    prices = ledger.database.read(prices_of)
    return focus(read(ledger, month), prices, provider="A lab")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# Usage


def test_usage_is_summed_by_what_is_asked(ledger: History) -> None:
    lines = ledger.database.read(lambda one: usage(one, ["project", "day"], month="2026-11"))
    assert [(line.names, line.counts) for line in lines] == [
        (("acme", "2026-11-01"), (1, 1_234_567, 1_000, 7_000, 0, 0)),
        (("acme", "2026-11-02"), (1, 0, 0, 0, 1, 0)),
        (("acme", "2026-11-30"), (1, 10, 0, 10, 0, 0)),
        (("globex", "2026-11-02"), (3, 3_666, 122, 854, 0, 0)),
    ]
    assert lines[1].unknown == 2_052_096  # 4,096 x 0.10 + 4,096 x 0.401, for a million
    (everything,) = total(ledger.database.read(lambda one: usage(one, [])))
    billed = ledger.database.fetch("SELECT SUM(cost) FROM charges", ())
    assert everything.billed == billed[0][0]


@pytest.mark.parametrize("by", ["project", "key", "model", "month", "day", "outcome", "binding", "route", "decision",
                                "request"])  # fmt: skip
def test_every_dimension_sums_to_the_same(ledger: History, by: str) -> None:
    assert total(ledger.database.read(lambda one: usage(one, [by]))) == ledger.database.read(lambda one: usage(one, []))


@pytest.mark.parametrize("by", [["phase"], ["key", "key"], ["at; DROP TABLE seals"]])
def test_usage_by_something_else_is_refused(ledger: History, by: list[str]) -> None:
    with pytest.raises(InputError):
        ledger.database.read(lambda one: usage(one, by))


# Periods


def test_a_period_is_closed_when_everybody_is_invoiced(ledger: History) -> None:
    assert read(ledger, "2026-11").state == "closed"
    assert read(ledger, "2026-12").waiting == ("2026-12 is not over", "acme is not invoiced")
    ledger.now = JANUARY
    assert read(ledger, "2026-12").waiting == ("acme is not invoiced",)
    ledger.issue("acme", "2026-12")
    assert read(ledger, "2026-12").state == "closed"


def test_a_closed_period_stays_the_same_whatever_happens(ledger: History) -> None:
    before, before_table = events(ledger, "2026-11")[:-1], table(ledger, "2026-11")
    ledger.correct("intent-5", Usage(9, 9))
    ledger.now = JANUARY
    ledger.issue("acme", "2026-12")
    assert events(ledger, "2026-11")[:-1] == before
    assert table(ledger, "2026-11") == before_table


def test_events_are_cloud_events_that_sum_to_the_invoices(ledger: History) -> None:
    *some, mark = [json.loads(line) for line in events(ledger, "2026-11")]
    for event in (*some, mark):
        assert {"specversion", "id", "source", "type"} <= event.keys()
        assert event["specversion"] == "1.0"
        assert event["time"].endswith("Z")
    assert len({(event["source"], event["id"]) for event in (*some, mark)}) == len(some) + 1
    sums: dict[str, Decimal] = {}
    for event in some:
        sums[event["subject"]] = sums.get(event["subject"], Decimal()) + Decimal(event["data"]["amount"])
    assert {one["project"]: Decimal(one["amount"]) for one in mark["data"]["invoices"]} == sums
    for project, amount in sums.items():
        assert Decimal(ledger.preview(project, "2026-11").body["totals"]["exact"]) == amount
    text = "".join(events(ledger, "2026-11")[:-1])
    assert mark["data"]["digest"] == f"sha256:{sha256(text.encode()).hexdigest()}"
    assert [event["type"] for event in some].count("weighbridge.unknown") == 1


def test_another_program_reads_the_events(ledger: History) -> None:
    read_back = [from_json(line) for line in events(ledger, "2026-11")]
    assert [event["type"] for event in read_back[-2:]] == ["weighbridge.usage", "weighbridge.period"]
    assert read_back[0].data["model_digest"] == WEIGHED


# FOCUS 1.2


def test_the_rows_of_an_invoice_sum_to_what_is_paid(ledger: History) -> None:
    for project in ("acme", "globex"):
        number = f"{project}-2026-11"
        paid = Decimal(ledger.preview(project, "2026-11").body["totals"]["to_pay"])
        found = [row for row in rows(table(ledger, "2026-11")) if row["InvoiceId"] == number]
        assert sum(Decimal(row["BilledCost"]) for row in found) == paid


@pytest.mark.parametrize("month", ["2026-11", "2026-12"])
def test_charges_follow_the_rules_of_focus(ledger: History, month: str) -> None:
    found = rows(table(ledger, month))
    assert found
    assert set(found[0]) >= MANDATORY
    for row in found:
        assert all(row[name] for name in NEVER_NULL)
        assert row["ChargeCategory"] in ("Usage", "Adjustment")
        assert row["ChargeClass"] in ("", "Correction")
        correction = row["ChargePeriodStart"] < row["BillingPeriodStart"]
        assert (row["ChargeClass"] == "Correction") == correction
        for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
            if row["ChargeCategory"] == "Usage":
                assert Decimal(row[price]) * Decimal(row["PricingQuantity"]) == Decimal(row[cost])
                assert row["SkuPriceId"]
                assert set(json.loads(row["SkuPriceDetails"])) == {"x_Model", "x_PriceVersion"}
                assert row["ConsumedUnit"]
                assert Decimal(row[price]) >= 0
            else:
                assert row[price] == ""
                assert row[cost] == row["BilledCost"]


def test_tokens_in_the_table_are_those_of_the_rows(ledger: History) -> None:
    found = rows(table(ledger, "2026-11"))
    tokens = dict.fromkeys(("Input Tokens", "Cached Input Tokens", "Output Tokens"), 0)
    for row in found:
        if row["SkuMeter"]:
            tokens[row["SkuMeter"]] += int(Decimal(row["ConsumedQuantity"]))
    assert tokens == {"Input Tokens": 1_233_567 + 322 + 3_222, "Cached Input Tokens": 1_122, "Output Tokens": 8_508}
    assert sum(int(row["x_Requests"]) for row in found) == 5


# As evidence


@pytest.mark.parametrize("form", ["events", "table"])
def test_a_closed_period_is_evidence_of_what_is_at_stake(ledger: History, tmp_path: Path, form: str) -> None:
    path = tmp_path / "november"
    path.write_text("".join(events(ledger, "2026-11")) if form == "events" else table(ledger, "2026-11"), newline="")
    record = Economics(WEIGHED, path).examine(made="2026-12-01T00:00:00Z")
    assert record.question.checkpoint == WEIGHED
    assert [(one.where, one.message) for one in record.findings] == [
        ("acme", "0.126458954 USD in 2026-11"), ("globex", "0.00006344 USD in 2026-11"),
    ]  # fmt: skip
    facts = record.facts
    assert (facts["requests"], facts["unknown"], facts["revenue"], facts["declared"]) == (
        4, 1, {"USD": "0.126522394"}, {}
    )  # fmt: skip
    assert facts["file"] == f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    other = Economics(OTHER, path).examine(made="2026-12-01T00:00:00Z")
    assert other.facts["declared"] == other.facts["revenue"] == {"USD": "0.022560283"}


def test_both_forms_ask_the_same_question(ledger: History, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("".join(events(ledger, "2026-11")))
    (tmp_path / "b").write_text(table(ledger, "2026-11"), newline="")
    first, second = Economics(WEIGHED, tmp_path / "a"), Economics(WEIGHED, tmp_path / "b")
    assert first.question == second.question
    made = "2026-12-01T00:00:00Z"
    assert first.examine(made=made).findings == second.examine(made=made).findings


@pytest.mark.parametrize("form", ["events", "table"])
def test_an_open_period_and_another_checkpoint_are_refused(ledger: History, tmp_path: Path, form: str) -> None:
    def written(month: str) -> Path:
        text = "".join(events(ledger, month)) if form == "events" else table(ledger, month)
        (tmp_path / month).write_text(text, newline="")
        return tmp_path / month

    with pytest.raises(EvidenceError, match="still open"):
        Economics(WEIGHED, written("2026-12"))
    with pytest.raises(EvidenceError, match="no row is about sha256:cc"):
        Economics("sha256:" + "cc" * 32, written("2026-11"))
    with pytest.raises(EvidenceError, match="about 2 checkpoints"):
        Economics(None, written("2026-11"))


@pytest.mark.parametrize("form", ["events", "table"])
def test_a_mangled_file_is_refused_wherever_it_is_mangled(ledger: History, form: str) -> None:
    text = "".join(events(ledger, "2026-11")) if form == "events" else table(ledger, "2026-11")
    data = text.encode()
    assert load_period(data, where="file").month == "2026-11"
    lines = data.splitlines(keepends=True)
    for n in range(len(lines)):  # each line in turn: lost, doubled
        for mangled in (lines[:n] + lines[n + 1 :], lines[: n + 1] + lines[n:]):
            with pytest.raises(EvidenceError):
                load_period(b"".join(mangled), where="file")
    for n in range(0, len(data), 7):  # cut short
        with pytest.raises(EvidenceError):
            load_period(data[:n], where="file")
    end = len(data) - len(lines[-1]) if form == "events" else len(data) - 2
    for n in range(0, end, 11):  # a byte changed
        with pytest.raises(EvidenceError):
            load_period(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :], where="file")


@pytest.mark.parametrize("data", [b"", b"{", b"{}\n", b"[]", b"\xff", b"a,b\n1,2\n", b"{" * 100_000, b'"', b"\0",
                                  b'{"specversion":"1.0","type":"weighbridge.period","data":[]}\n'])  # fmt: skip
def test_what_is_no_export_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        load_period(data, where="file")

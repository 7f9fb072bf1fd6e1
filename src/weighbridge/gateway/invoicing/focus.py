"""A billing period as FOCUS 1.2 (FinOps Open Cost and Usage Specification): a table, a row for each charge.

A charge is what one key used of one model and meter on one day, at one price. List unit price times quantity is its
cost, exactly; what the one rounding of each row of the ledger and the one rounding of each invoice add are rows of
their own, so that the rows of an invoice sum to what is paid. What belongs to a month that was invoiced before is a
correction. Columns with ``x_`` are Weighbridge's; the last one is the digest of all rows without it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from weighbridge.errors import InputError
from weighbridge.gateway.invoicing import billing
from weighbridge.gateway.invoicing.export import Bill, Period
from weighbridge.gateway.rules.money import round_to_minor
from weighbridge.gateway.rules.prices import MILLION, Price
from weighbridge.times import format_milliseconds

COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice",
    "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter",
    "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType",
    "x_Binding", "x_Decision", "x_EventsDigest", "x_Kind", "x_Ledger", "x_ModelDigest", "x_PeriodState",
    "x_PriceVersion", "x_Requests", "x_RowsDigest",
)  # fmt: skip

METERS = ("Input Tokens", "Cached Input Tokens", "Output Tokens")
DAY = 86_400_000
_SCALE = 10**15
"""Nano-units for a million tokens times tokens: whole numbers of 10^-15 units, so that no charge is rounded."""


class _Group(NamedTuple):
    day: int
    month: str
    key_id: str
    model: str
    model_digest: str
    decision: str
    binding: str
    price: str
    kind: str


def focus(period: Period, prices: Mapping[tuple[str, str], Price], *, provider: str) -> str:
    """The table. ``prices``: (version, model) -> price, of every event; ``provider``: who sells."""
    rows = list(_rows(period, prices, provider))
    text = io.StringIO()
    write = csv.DictWriter(text, COLUMNS[:-1], restval="", lineterminator="\r\n")
    write.writeheader()
    write.writerows(rows)
    digest = f"sha256:{sha256(text.getvalue().encode()).hexdigest()}"
    whole = io.StringIO()
    write = csv.DictWriter(whole, COLUMNS, restval="", lineterminator="\r\n")
    write.writeheader()
    write.writerows({**row, "x_RowsDigest": digest} for row in rows)
    return whole.getvalue()


def _rows(period: Period, prices: Mapping[tuple[str, str], Price], provider: str) -> Iterator[dict[str, str]]:
    begin, end = billing.bounds_of(period.month)
    shared = {
        "BillingAccountType": "Project",
        "BillingPeriodEnd": format_milliseconds(end),
        "BillingPeriodStart": format_milliseconds(begin),
        "InvoiceIssuerName": provider,
        "ProviderName": provider,
        "PublisherName": provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Model inference",
        "ServiceSubcategory": "Generative AI",
        "x_EventsDigest": period.digest,
        "x_Ledger": period.ledger,
        "x_PeriodState": period.state,
    }
    for bill in period.bills:
        account = {
            **shared,
            "BillingAccountId": bill.project,
            "BillingAccountName": bill.project,
            "BillingCurrency": bill.currency,
            "InvoiceId": bill.invoice or "",
        }
        for group, requests, tokens, nano in _groups(bill):
            yield from _charges(account, period, group, requests, tokens, nano, prices)
        _, difference = round_to_minor(bill.nano, bill.currency)
        if difference:
            yield {
                **account,
                **_adjustment(difference * MILLION, "rounding of the invoice to what can be paid", begin, end),
                "x_Kind": "rounding",
                "x_Requests": "0",
            }


def _groups(bill: Bill) -> list[tuple[_Group, int, tuple[int, int, int], int]]:
    """(group, requests, tokens of each meter, nano-units), in the order of groups."""
    found: dict[_Group, list[int]] = {}
    for one in bill.events:
        group = _Group(
            one.at // DAY, one.month, one.key_id, one.model, one.model_digest, one.decision, one.binding, one.price,
            one.kind,
        )  # fmt: skip
        sums = found.setdefault(group, [0, 0, 0, 0, 0])
        for n, more in enumerate((1, one.input - one.cached, one.cached, one.output, one.nano)):
            sums[n] += more
    return [(group, sums[0], (sums[1], sums[2], sums[3]), sums[4]) for group, sums in sorted(found.items())]


def _charges(
    account: Mapping[str, str],
    period: Period,
    group: _Group,
    requests: int,
    tokens: tuple[int, int, int],
    nano: int,
    prices: Mapping[tuple[str, str], Price],
) -> Iterator[dict[str, str]]:
    price = prices.get((group.price, group.model))
    if price is None:
        raise InputError(f"the price list {group.price} is not in the ledger", where=f"price of {group.model}")
    begin, end = group.day * DAY, (group.day + 1) * DAY
    base = {
        **account,
        "ChargeClass": "Correction" if group.month < period.month else "",
        "ResourceId": group.model_digest,
        "ResourceName": group.model,
        "ResourceType": "Model",
        "SubAccountId": group.key_id,
        "SubAccountName": group.key_id,
        "SubAccountType": "API key",
        "x_Binding": group.binding,
        "x_Decision": group.decision,
        "x_Kind": group.kind,
        "x_ModelDigest": group.model_digest,
        "x_PriceVersion": group.price,
    }
    if group.kind == "unknown":
        text = "requests whose usage is unknown, at no charge"
        yield {**base, **_adjustment(0, text, begin, end), "x_Requests": str(requests)}
        return
    exact = 0
    for meter, count, rate in zip(METERS, tokens, (price.input, price.cached, price.output), strict=True):
        if count == 0 and meter != METERS[0]:
            continue
        exact += count * rate
        yield {
            **base,
            **_costs(count * rate),
            "ChargeCategory": "Usage",
            "ChargeDescription": f"{meter.lower()} of {group.model}",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": format_milliseconds(end),
            "ChargePeriodStart": format_milliseconds(begin),
            "ConsumedQuantity": f"{count}.0",  # a decimal, also for readers that guess a column's type
            "ConsumedUnit": "Tokens",
            "ContractedUnitPrice": _decimal(rate * MILLION),
            "ListUnitPrice": _decimal(rate * MILLION),
            "PricingCategory": "Standard",
            "PricingQuantity": _decimal(count * (_SCALE // MILLION)),
            "PricingUnit": "1000000 Tokens",
            "SkuId": group.model,
            "SkuMeter": meter,
            "SkuPriceDetails": _details({"x_Model": group.model, "x_PriceVersion": group.price}),
            "SkuPriceId": f"{group.price}/{group.model}/{meter}",
            "x_Requests": str(requests if meter == METERS[0] else 0),
        }
    if nano * MILLION != exact:
        text = "rounding of each request to nano-units"
        yield {**base, **_adjustment(nano * MILLION - exact, text, begin, end), "x_Requests": "0"}


def _details(pairs: dict[str, str]) -> str:
    """FOCUS's KeyValueFormat: a flat JSON object."""
    return json.dumps(pairs, sort_keys=True, separators=(",", ":"))


def _adjustment(amount: int, description: str, begin: int, end: int) -> dict[str, str]:
    return {
        **_costs(amount),
        "ChargeCategory": "Adjustment",
        "ChargeDescription": description,
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": format_milliseconds(end),
        "ChargePeriodStart": format_milliseconds(begin),
    }


def _costs(amount: int) -> dict[str, str]:
    return dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), _decimal(amount))


def _decimal(amount: int) -> str:
    """A whole number of 10^-15 units as an exact decimal."""
    units, rest = divmod(abs(amount), _SCALE)
    decimals = f"{rest:015d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}{units}{'.' if decimals else ''}{decimals}"

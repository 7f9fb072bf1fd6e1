"""What is at stake if these weights are opened: who pays for the checkpoint while it is closed. An exact measure.

It reads a billing period as a gateway exports it, in either form (CloudEvents lines or a FOCUS table), and trusts no
file that is open, cut short or changed by accident: both forms carry digests of themselves. They do not prove who wrote
them; that is for whoever signs the decision to know. Each project that was billed for this checkpoint is a finding of
``revenue``; the amounts are in the findings and facts, exact and by currency.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import weighbridge
from weighbridge import canonical
from weighbridge.errors import EvidenceError
from weighbridge.evidence import Evidence, Finding, Question
from weighbridge.files import read

MEASURE = "economics"
METRICS = ("revenue",)
_REMEDY = "export the period again: weighbridge usage export"
_DIGEST_COLUMN = "x_RowsDigest"
_KINDS = ("usage", "correction", "unknown")


@dataclass(frozen=True, slots=True)
class Row:
    """What one event or charge says. ``requests`` counts those that it begins; a correction begins none."""

    project: str
    checkpoint: str
    binding: str
    kind: str
    currency: str
    amount: Decimal
    requests: int


@dataclass(frozen=True, slots=True)
class Period:
    """A closed billing period: ``month``, the ledger's name, the digest of its events, and its rows."""

    month: str
    ledger: str
    digest: str
    form: str
    rows: tuple[Row, ...]


class Economics:
    """The measure ``economics`` of the checkpoint with the digest ``checkpoint``, or None: of the one in the file.

    Raises ``EvidenceError``: the file is no export, is not whole, its period is not closed, or no row of it is about
    the checkpoint.
    """

    def __init__(self, checkpoint: str | None, usage: Path) -> None:
        data = read(usage, error=EvidenceError)
        self._where = str(usage)
        self._file = canonical.digest_bytes(data)
        self._period = load_period(data, where=self._where)
        named = sorted({row.checkpoint for row in self._period.rows})
        if checkpoint is None:
            if len(named) != 1:
                raise EvidenceError(
                    f"is about {len(named)} checkpoints",
                    where=self._where,
                    remedy="say which: give the checkpoint's path",
                )
            checkpoint = named[0]
        if checkpoint not in named:
            raise EvidenceError(
                f"no row is about {checkpoint}" + (f"; they are about {named[0]}" if named else ""),
                where=self._where,
                remedy="give the usage of this checkpoint",
            )
        self._checkpoint = checkpoint

    @property
    def question(self) -> Question:
        """Which period, of which ledger, is asked about which checkpoint."""
        settings = {"month": self._period.month, "ledger": self._period.ledger, "usage": self._period.digest}
        return Question(MEASURE, self._checkpoint, settings=settings)

    def examine(self, *, made: str) -> Evidence:
        """The evidence: a finding for each project and currency with a bill of more than nothing."""
        rows = [row for row in self._period.rows if row.checkpoint == self._checkpoint]
        bills: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for row in rows:
            bills[row.project, row.currency] += row.amount
        findings = tuple(
            Finding("revenue", "paid", project, f"{_plain(amount)} {currency} in {self._period.month}")
            for (project, currency), amount in sorted(bills.items())
            if amount > 0
        )
        return Evidence(
            question=self.question,
            kind="exact",
            made=made,
            metrics=METRICS,
            findings=findings,
            facts={
                "month": self._period.month,
                "file": self._file,
                "format": self._period.form,
                "requests": sum(row.requests for row in rows),
                "unknown": sum(row.requests for row in rows if row.kind == "unknown"),
                "revenue": _sums(rows),
                "declared": _sums([row for row in rows if row.binding == "declared"]),
                "projects": len(findings),
                "of_other_checkpoints": len(self._period.rows) - len(rows),
            },
            producer={"weighbridge": weighbridge.__version__},
        )


def load_period(data: bytes, *, where: str) -> Period:
    """The closed period in ``data``. Raises ``EvidenceError`` where it is open, incomplete or no export at all."""
    try:
        text = data.decode()
    except UnicodeDecodeError as cause:
        raise EvidenceError("is not text", where=where, remedy=_REMEDY) from cause
    return _from_events(text, where) if text.startswith("{") else _from_table(text, where)


def _from_events(text: str, where: str) -> Period:
    if not text.endswith("\n"):
        _mangled("the last line is cut", where)
    lines = [f"{line}\n" for line in text[:-1].split("\n")]
    *events, last = [_event(line, f"{where}:{n}") for n, line in enumerate(lines, start=1)]
    mark = last["data"]
    if last["type"] != "weighbridge.period":
        _mangled("the last line does not end a period", where)
    if mark.get("state") != "closed":
        _open(str(mark.get("month")), where)
    digest = f"sha256:{sha256(''.join(lines[:-1]).encode()).hexdigest()}"
    if mark.get("events") != len(events) or mark.get("digest") != digest:
        _mangled("the events are not those that its last line counts", where)
    source = last["source"]
    rows = []
    for n, event in enumerate(events, start=1):
        kind = str(event["type"]).removeprefix("weighbridge.")
        if event["source"] != source or kind not in _KINDS:
            _mangled("an event of something else", f"{where}:{n}")
        one = event["data"]
        names = ("model_digest", "binding", "currency", "amount")
        if not all(isinstance(one.get(name), str) for name in names) or not isinstance(event["subject"], str):
            _mangled("an event without its facts", f"{where}:{n}")
        checkpoint, binding, currency, amount = (one[name] for name in names)
        rows.append(
            Row(
                project=event["subject"],
                checkpoint=checkpoint,
                binding=binding,
                kind=kind,
                currency=currency,
                amount=_amount(amount, f"{where}:{n}"),
                requests=int(kind != "correction"),
            )
        )
    return Period(str(mark.get("month")), str(mark.get("ledger")), digest, "CloudEvents", tuple(rows))


def _event(line: str, where: str) -> dict[str, Any]:
    event = canonical.loads(line, where=where, error=EvidenceError)
    known = isinstance(event, dict) and event.get("specversion") == "1.0" and isinstance(event.get("data"), dict)
    if not known or not {"type", "source", "subject"} <= event.keys():
        _mangled("is no event of a gateway", where)
    return event  # type: ignore[no-any-return]


def _from_table(text: str, where: str) -> Period:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as cause:
        raise EvidenceError(f"is no table: {cause}", where=where, remedy=_REMEDY) from cause
    header = rows[0] if rows else []
    needed = {"BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodStart", "x_Binding", "x_EventsDigest",
              "x_Kind", "x_Ledger", "x_ModelDigest", "x_PeriodState", "x_Requests"}  # fmt: skip
    if not header or header[-1] != _DIGEST_COLUMN or not needed <= set(header) or len(set(header)) != len(header):
        _mangled("is no billing period as a gateway exports it", where)
    if len(rows) < 2:
        raise EvidenceError("holds no charges", where=where, remedy="CloudEvents can tell of an empty period")
    if any(len(row) != len(header) for row in rows):
        _mangled("a row is cut", where)
    again = io.StringIO()
    csv.writer(again, lineterminator="\r\n").writerows(row[:-1] for row in rows)
    digest = f"sha256:{sha256(again.getvalue().encode()).hexdigest()}"
    if any(row[-1] != digest for row in rows[1:]):
        _mangled("the rows are not those that were written", where)
    charges = [dict(zip(header, row, strict=True)) for row in rows[1:]]
    first = charges[0]
    shared = ("x_PeriodState", "x_Ledger", "x_EventsDigest", "BillingPeriodStart")
    if any(charge[name] != first[name] for charge in charges for name in shared):
        _mangled("rows of different periods", where)
    month = first["BillingPeriodStart"][:7]
    if first["x_PeriodState"] != "closed":
        _open(month, where)
    found = tuple(_charge(charge, f"{where}, row {n}") for n, charge in enumerate(charges, start=2))
    rows_of_models = tuple(row for row in found if row.checkpoint)  # the rounding of an invoice is no model's
    return Period(month, first["x_Ledger"], first["x_EventsDigest"], "FOCUS", rows_of_models)


def _charge(charge: Mapping[str, str], where: str) -> Row:
    requests, kind = charge["x_Requests"], charge["x_Kind"]
    if not requests.isdecimal() or kind not in (*_KINDS, "rounding"):
        _mangled("a charge without its facts", where)
    return Row(
        charge["BillingAccountId"],
        charge["x_ModelDigest"],
        charge["x_Binding"],
        kind,
        charge["BillingCurrency"],
        _amount(charge["BilledCost"], where),
        0 if kind == "correction" else int(requests),
    )


def _amount(text: str, where: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as cause:
        raise EvidenceError(f"{text!r:.40} is no amount", where=where, remedy=_REMEDY) from cause
    if not amount.is_finite():
        _mangled(f"{text!r:.40} is no amount", where)
    return amount


def _sums(rows: Sequence[Row]) -> dict[str, str]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row.currency] += row.amount
    return {name: _plain(amount) for name, amount in sorted(sums.items())}


def _plain(amount: Decimal) -> str:
    """Without exponent and trailing zeros, so that both forms of an export say the same."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _open(month: str, where: str) -> NoReturn:
    raise EvidenceError(
        f"the period {month:.20} is still open and can change",
        where=where,
        remedy="issue its invoices when the month is over, and export it then",
    )


def _mangled(message: str, where: str) -> NoReturn:
    raise EvidenceError(message, where=where, remedy=_REMEDY)

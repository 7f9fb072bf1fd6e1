"""A ledger with a history: real admissions, seals, recoveries and corrections at whatever time a test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weighbridge.gateway.invoicing.invoices import Invoice, invoice, issue
from weighbridge.gateway.ledger import upkeep
from weighbridge.gateway.ledger.accounts import KeyWish, create_key, create_project
from weighbridge.gateway.ledger.database import Database
from weighbridge.gateway.ledger.operations import Terms, settle
from weighbridge.gateway.ledger.recovery import correct, recover
from weighbridge.gateway.rules.idempotency import Copies
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.prices import PriceBook, load_price_list
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Presented, Seal, Served, Usage

WEIGHED = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32

NOVEMBER = 1_793_491_200_000
DAY = 86_400_000

LISTS = (
    b"""
currency: USD
valid_from: 2026-01-01T00:00:00Z
models:
  small: {input: "0.10", cached: "0.033", output: "0.401"}
  large: {input: "3.3333", cached: "1", output: "15.07"}
""",
    b"""
currency: USD
valid_from: 2026-12-01T00:00:00Z
models:
  small: {input: "0.12", cached: "0.033", output: "0.5"}
  large: {input: "3.3333", cached: "1", output: "15.07"}
""",
    b"""
currency: JPY
valid_from: 2026-01-01T00:00:00Z
models:
  small: {input: "15", cached: "5", output: "60"}
""",
)

MODELS = {
    "small": Served("small", WEIGHED, "decision-small", "sha256:" + "0f" * 32, "verified", "start-1", 4096),
    "large": Served("large", OTHER, "decision-large", "sha256:" + "1f" * 32, "declared", "start-2", 4096),
}


class History:
    """``database`` is the ledger; ``now`` its clock. Every intent has a gateway of its own, so that each can lapse."""

    def __init__(self, url: Path | str) -> None:
        self.now = NOVEMBER
        self.database: Database = upkeep.connect(url, lambda: self.now, create=True)
        self._secret = Secret(bytes(32))
        self._prices = PriceBook([load_price_list(text, where="prices") for text in LISTS])
        self._keys: dict[str, Presented] = {}
        upkeep.prepare(self.database, where=str(url))
        if self.database.dialect == "sqlite":
            self.database.change("PRAGMA synchronous = OFF", ())  # billing is tested here, not the disk
        self.database.transact(lambda one: upkeep.remember_prices(one, self._prices))
        self.count = 0

    def key(self, project: str, name: str, *, currency: str = "USD") -> None:
        """A key of ``project`` that tests call ``name``; the project is made with it."""

        def make(one):
            if not one.row("SELECT 1 FROM projects WHERE id = ?", project):
                create_project(one, project, currency=currency)
            return create_key(one, self._secret, project, KeyWish(label=name))[0]

        presented = self._secret.present(self.database.transact(make))
        assert presented is not None
        self._keys[name] = presented

    def admit(self, key: str, model: str = "small", *, at: int, start: str | None = None, most: int = 4096) -> str:
        """The intent's id."""
        self.count += 1
        name = f"intent-{self.count}"
        served = MODELS[model]
        if start is not None:
            served = Served(*(start if field == "engine_start" else getattr(served, field) for field in FIELDS))
        ask = Ask(name, self._keys[key], "/v1/chat/completions", served, 4096, 1, most, at)
        terms = self._terms(name)

        def work(one):
            one.insert("instances", [(terms.instance, "test", at, 1 << 60)])  # lapses only where a test says so
            return settle(one, [ask], terms, at)

        (result,) = self.database.transact(work)
        assert isinstance(result, Admitted), result
        return name

    def seal(self, intent: str, usage: Usage | None, *, outcome: Outcome = Outcome.COMPLETED, at: int = 0) -> None:
        seal = Seal(intent, outcome, usage, at or self.now)
        self.database.transact(lambda one: settle(one, [seal], self._terms(intent), self.now))

    def recover(self, intent: str) -> None:
        def work(one):
            one.run("UPDATE instances SET lease = 0 WHERE id = ?", self._terms(intent).instance)
            return recover(one, "")

        assert self.database.transact(work) == 1

    def correct(self, intent: str, usage: Usage) -> int:
        return self.database.transact(lambda one: correct(one, intent, usage, actor="a person", reason="a reason"))

    def preview(self, project: str, month: str) -> Invoice:
        return self.database.read(lambda one: invoice(one, project, month))

    def issue(self, project: str, month: str) -> Invoice:
        draft = self.preview(project, month)
        return self.database.transact(lambda one: issue(one, draft))

    def close(self) -> None:
        self.database.close()

    def _terms(self, intent: str) -> Terms:
        return Terms(self._prices, Copies(self._secret), f"gateway of {intent}", {})


FIELDS = ("name", "model_digest", "decision", "flags_digest", "binding", "engine_start", "context")


@contextmanager
def history(url: Path | str) -> Iterator[History]:
    made = History(url)
    try:
        yield made
    finally:
        made.close()

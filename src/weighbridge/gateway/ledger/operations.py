"""Admissions and seals: a group of them in one transaction, decided in order, each on what those before it left."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from weighbridge.errors import InputError
from weighbridge.gateway.ledger import refusals
from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.ledger.state import Key, State, month_of
from weighbridge.gateway.rules import idempotency
from weighbridge.gateway.rules.idempotency import Copies
from weighbridge.gateway.rules.limits import LARGEST_HOLD, PARTS, Wish, decide
from weighbridge.gateway.rules.prices import Price, PriceBook, cost, parse_price_list
from weighbridge.gateway.rules.terms import Admitted, Ask, Outcome, Refused, Replay, Seal, Sealed, Usage

SKEW = 5 * 60 * 1000
"""How far behind the newest intent a gateway's clock may be, in ms, before it admits nothing."""

LARGEST_COUNT = 1 << 40
"""More tokens than this are no report."""

_TAKE_HOLDS = "DELETE FROM holds WHERE intent IN"
_HOLD = " RETURNING intent, key_id, month, model, price, amount, tokens"
_INTENTS = "SELECT id, key_id, month, model, price, hold FROM intents WHERE id IN"


@dataclass(frozen=True, slots=True)
class Void:
    """An admission that may be committed but was never dispatched: nobody waits for it. Costs nothing."""

    intent: str
    at: int


Operation = Ask | Seal | Void
Result = Admitted | Refused | Replay | Sealed | None


@dataclass(slots=True)
class Terms:
    """What operations need besides the ledger. ``clock`` is this gateway's time (ms) at the group's begin."""

    prices: PriceBook
    copies: Copies
    instance: str
    known: dict[tuple[str, str], Price]

    def price(self, transaction: Transaction, version: str, model: str) -> Price:
        """The price that an intent was admitted at, whatever is valid now."""
        price = self.known.get((version, model))
        if price is None:
            row = transaction.row("SELECT body FROM prices WHERE version = ?", version)
            if row is None:
                raise InputError(f"the price list {version} is not in the ledger", where=f"price of {model}")
            one = parse_price_list(row[0], where=f"price list {version} in the ledger")
            self.known.update({(version, name): each for name, each in one.models.items()})
            price = self.known[version, model]
        return price


def settle(transaction: Transaction, operations: Sequence[Operation], terms: Terms, clock: int) -> list[Result]:
    """Apply ``operations`` in order; their results. Raises for the whole group if one of them is impossible."""
    group = _Group(transaction, operations, terms, clock)
    results = [group.apply(one) for one in operations]
    group.write()
    return results


class _Group:
    def __init__(self, transaction: Transaction, operations: Sequence[Operation], terms: Terms, clock: int) -> None:
        self._transaction, self._terms = transaction, terms
        self._late = transaction.newest - clock > SKEW
        ending = [one.intent for one in operations if not isinstance(one, Ask)]
        taken = transaction.among(_TAKE_HOLDS, ending, _HOLD) if ending else []
        self._holds: dict[str, Row] = {row[0]: row for row in taken}
        rest = [intent for intent in ending if intent not in self._holds]
        self._without_hold: dict[str, Row] = {row[0]: row for row in transaction.among(_INTENTS, rest)}
        keys = {one.presented.key_id for one in operations if isinstance(one, Ask)}
        keys.update(row[1] for row in (*taken, *self._without_hold.values()))
        self._state = State(transaction, keys)
        self._claims: dict[tuple[str, str, bytes], tuple[bytes, str]] = {}
        self._new_intents: list[Row] = []
        self._new_holds: list[Row] = []
        self._new_seals: list[Row] = []
        self._new_claims: list[Row] = []
        self._new_copies: list[Row] = []

    def apply(self, operation: Operation) -> Result:
        if isinstance(operation, Ask):
            return self._admit(operation)
        if isinstance(operation, Seal):
            return self._seal(operation)
        self._void(operation)
        return None

    def write(self) -> None:
        transaction = self._transaction
        with transaction.burst():
            transaction.insert("intents", self._new_intents)
            transaction.insert("holds", self._new_holds)
            transaction.insert("seals", self._new_seals)
            transaction.insert("idempotency", self._new_claims)
            transaction.insert("copies", self._new_copies)
            self._state.write()

    # Admission

    def _admit(self, ask: Ask) -> Admitted | Refused | Replay:
        key = self._state.keys.get(ask.presented.key_id)
        served = ask.served
        if key is None or not hmac.compare_digest(key.digest, ask.presented.digest):
            return refusals.NO_SUCH_KEY
        if key.revoked is not None:
            return refusals.REVOKED
        if key.expires is not None and key.expires <= ask.at:
            return refusals.EXPIRED
        if key.models is not None and served.name not in key.models:
            return refusals.no_model(served.name)
        claim = None
        if ask.idempotency is not None:
            claim = (key.id, ask.route, self._terms.copies.header(ask.idempotency.header))
            answer = self._claimed(claim, ask.idempotency.body, ask.at)
            if answer is not None:
                return answer
        if self._late:
            return refusals.CLOCK
        price = self._terms.prices.price(served.name, key.currency, ask.at)
        if price is None:
            return refusals.no_price(served.name, key.currency)
        month = month_of(ask.at)
        key.refill(ask.at)
        grant = decide(
            Wish(ask.input_bound, ask.choices, ask.max_output, served.context),
            key.limits,
            price,
            accounts=key.accounts(month),
            in_flight=key.tallies.in_flight(),
            requests=key.requests,
            tokens=key.tokens,
        )
        if isinstance(grant, Refused):
            left, tokens_left = key.buckets()
            return replace(grant, requests=left, tokens=tokens_left)
        if claim is not None and ask.idempotency is not None:
            self._claims[claim] = (ask.idempotency.body, ask.intent)
            self._new_claims.append((*claim, ask.idempotency.body, ask.intent))
        return self._write_intent(ask, key, price, month, grant.max_output, grant.hold, grant.tokens)

    def _write_intent(
        self, ask: Ask, key: Key, price: Price, month: str, max_output: int, hold: int, tokens: int
    ) -> Admitted:
        served, instance, transaction = ask.served, self._terms.instance, self._transaction
        for tallies in (key.tallies, key.project_tallies):
            tally = tallies.at(month)
            tally.held += hold
            tally.in_flight += 1
            tally.requests += 1
        if key.limits.rpm is not None:
            key.requests -= PARTS
        self._state.pace(key)
        if ask.at > transaction.newest:
            transaction.newest = ask.at
        self._new_intents.append(
            (
                transaction.number(),
                ask.intent,
                key.id,
                key.project,
                month,
                ask.at,
                ask.route,
                served.name,
                served.model_digest,
                served.decision,
                served.flags_digest,
                served.binding,
                served.engine_start,
                price.version,
                price.currency,
                hold,
                ask.input_bound,
                ask.choices,
                max_output,
                instance,
            )
        )
        self._new_holds.append(
            (ask.intent, key.id, key.project, month, served.name, price.version, hold, tokens, instance)
        )
        return Admitted(ask.intent, key.project, key.id, max_output, hold, *key.buckets())

    def _claimed(self, claim: tuple[str, str, bytes], body: bytes, at: int) -> Refused | Replay | None:
        """The answer to a request whose Idempotency-Key was used before; None if it was not."""
        transaction = self._transaction
        found: Row | None = self._claims.get(claim)
        if found is None:
            found = transaction.row(
                "SELECT body, intent FROM idempotency WHERE key_id = ? AND route = ? AND header = ?", *claim
            )
        if found is None:
            return None
        first_body, intent = found
        if first_body != body:
            return idempotency.OTHER_BODY
        row = transaction.row("SELECT outcome FROM charges WHERE intent = ?", intent)
        if row is None or row[0] == "open":
            return idempotency.IN_FLIGHT
        if row[0] == "unknown":
            return idempotency.UNKNOWN
        kept = transaction.row(
            "SELECT status, content_type, nonce, sealed FROM copies WHERE intent = ? AND expires > ?", intent, at
        )
        replay = None if kept is None else self._terms.copies.open(intent, *kept)
        return idempotency.NOT_RETAINED if replay is None else replay

    # Seals

    def _seal(self, seal: Seal) -> Sealed:
        hold = self._holds.pop(seal.intent, None)
        if hold is None:
            return self._seal_without_hold(seal)
        _, key_id, month, model, version, amount, tokens = hold
        outcome, usage, spent = self._judged(seal, version, model)
        key = self._state.keys[key_id]
        for tallies in (key.tallies, key.project_tallies):
            tally = tallies.at(month)
            tally.held -= amount
            tally.in_flight -= 1
            if outcome is Outcome.UNKNOWN:
                tally.unknown += amount
            else:
                tally.bill(spent, usage)
        if key.limits.tpm is not None:
            used = tokens if outcome is Outcome.UNKNOWN else usage.input + usage.output if usage is not None else 0
            key.refill(seal.at)
            key.tokens -= used * PARTS
            self._state.pace(key)
        return self._write_seal(seal, outcome, usage, spent, amount)

    def _seal_without_hold(self, seal: Seal) -> Sealed:
        """Sealed before (then the same again is no news), or recovered (then what is known now supersedes it)."""
        transaction = self._transaction
        found = self._without_hold.get(seal.intent)
        if found is None:
            raise InputError("no such intent, or sealed twice at once", where=f"seal of {seal.intent}")
        _, key_id, month, model, version, amount = found
        outcome, usage, spent = self._judged(seal, version, model)
        row = transaction.row(
            "SELECT outcome, input, cached, output, cost, overshoot FROM seals WHERE intent = ?", seal.intent
        )
        if row is not None:
            if row[:4] != (outcome.value, *_columns(usage)):
                raise InputError("already sealed with another outcome", where=f"seal of {seal.intent}")
            return Sealed(seal.intent, row[4], row[5])
        corrected = transaction.row("SELECT 1 FROM corrections WHERE intent = ? LIMIT 1", seal.intent)
        if outcome is not Outcome.UNKNOWN and corrected is None:
            key = self._state.keys[key_id]
            for tallies in (key.tallies, key.project_tallies):
                tally = tallies.at(month)
                tally.unknown -= amount
                tally.bill(spent, usage)
        return self._write_seal(seal, outcome, usage, spent, amount)

    def _judged(self, seal: Seal, version: str, model: str) -> tuple[Outcome, Usage | None, int]:
        """The outcome, usage and cost to write. Without a credible report, only what the engine refused or was never
        asked is known to cost nothing."""
        usage = seal.usage
        if seal.outcome is not Outcome.UNKNOWN and usage is not None and _credible(usage):
            spent = cost(usage, self._terms.price(self._transaction, version, model))
            if spent <= LARGEST_HOLD:
                return seal.outcome, usage, spent
        if seal.outcome in (Outcome.UPSTREAM_ERROR, Outcome.INTERRUPTED) and usage is None:
            return seal.outcome, None, 0
        return Outcome.UNKNOWN, None, 0

    def _write_seal(self, seal: Seal, outcome: Outcome, usage: Usage | None, spent: int, hold: int) -> Sealed:
        transaction = self._transaction
        if not seal.dispatched:
            transaction.run("DELETE FROM idempotency WHERE intent = ?", seal.intent)
        overshoot = max(spent - hold, 0)
        self._new_seals.append(
            (transaction.number(), seal.intent, seal.at, outcome.value, *_columns(usage), spent, overshoot)
        )
        if seal.retained is not None and outcome is not Outcome.UNKNOWN:
            copy = self._terms.copies.seal(seal.intent, seal.retained)
            if copy is not None:
                answer = seal.retained
                expires = seal.at + idempotency.KEPT
                self._new_copies.append((seal.intent, expires, answer.status, answer.content_type, *copy))
        return Sealed(seal.intent, spent, overshoot)

    def _void(self, void: Void) -> None:
        if void.intent in self._holds:
            self._seal(Seal(void.intent, Outcome.UPSTREAM_ERROR, None, void.at, dispatched=False))


def _credible(usage: Usage) -> bool:
    return 0 <= usage.cached <= usage.input < LARGEST_COUNT and 0 <= usage.output < LARGEST_COUNT


def _columns(usage: Usage | None) -> tuple[int | None, int | None, int | None]:
    return (None, None, None) if usage is None else (usage.input, usage.cached, usage.output)

"""What whoever runs a gateway may ask of its ledger: keys, projects, corrections. JSON in, JSON out, one transaction.

The admin listener and the commands that open a ledger themselves both go through ``Office.ask``. Amounts are decimals
in the project's currency, as text; times are RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from weighbridge.errors import InputError
from weighbridge.gateway.invoicing.billing import plain
from weighbridge.gateway.ledger import accounts, recovery
from weighbridge.gateway.ledger.accounts import KeyFacts, KeyWish, Project
from weighbridge.gateway.ledger.database import Transaction
from weighbridge.gateway.ledger.state import month_of
from weighbridge.gateway.rules.keys import Secret
from weighbridge.gateway.rules.limits import DEFAULT_MAX_OUTPUT, Limits
from weighbridge.gateway.rules.money import parse_amount
from weighbridge.gateway.rules.terms import Usage
from weighbridge.times import format_milliseconds, parse_time

Period = Literal["month", "lifetime"]
Json = dict[str, Any]

LONGEST_OVERLAP = 90 * 86_400
REASON = 500  # characters


class Action(Protocol):
    """An action with what it was given. ``mints``: it needs the secret; ``creates``: a ledger may begin with it."""

    writes: ClassVar[bool]
    mints: ClassVar[bool]
    creates: ClassVar[bool]

    def act(self, transaction: Transaction, office: Office) -> Json:
        """Do it in this transaction. Raises ``InputError``."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What an action is given. An unknown field is an error."""

    writes: ClassVar[bool] = True
    mints: ClassVar[bool] = False
    creates: ClassVar[bool] = False


class CreateKey(Asked, kw_only=True):
    """A key of project ``name``, which is made if there is none. The answer holds the key's text, this once."""

    mints: ClassVar[bool] = True
    creates: ClassVar[bool] = True
    name: str
    budget: str | None = None
    currency: str | None = None
    period: Period = "month"
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    max_output_tokens: int = DEFAULT_MAX_OUTPUT
    models: list[str] | None = None
    expires: str | None = None
    label: str | None = None

    def act(self, transaction: Transaction, office: Office) -> Json:
        project = accounts.find_project(transaction, self.name)
        if project is not None and self.currency not in (None, project.currency):
            raise InputError(
                f"the project pays in {project.currency}", where=f"project {self.name}", remedy="leave --currency out"
            )
        wish = KeyWish(
            label=self.label,
            models=None if self.models is None else tuple(self.models),
            budget=None if self.budget is None else parse_amount(self.budget, where="key at budget"),
            period=self.period,
            limits=Limits(self.rpm, self.tpm, self.concurrency, self.max_output_tokens),
            expires=None if self.expires is None else _milliseconds(self.expires, "key at expires"),
        )
        if wish.expires is not None and wish.expires <= transaction.now:
            raise InputError(f"{self.expires} has passed", where="key at expires")
        text, facts = accounts.create_key(
            transaction, office.minting, self.name, wish, currency=self.currency or office.currency
        )
        return {"key": text, **_key(transaction, facts)}


class ListKeys(Asked, kw_only=True):
    """All keys, or those of one project."""

    writes: ClassVar[bool] = False
    project: str | None = None

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        return {"keys": [_key(transaction, facts) for facts in accounts.list_keys(transaction, self.project)]}


class ShowKey(Asked, kw_only=True):
    """One key."""

    writes: ClassVar[bool] = False
    id: str

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        return _key(transaction, accounts.get_key(transaction, self.id))


class RevokeKey(Asked, kw_only=True):
    """From the answer on nothing is admitted with this key, in any process."""

    id: str

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        accounts.revoke(transaction, self.id)
        return _key(transaction, accounts.get_key(transaction, self.id))


class RotateKey(Asked, kw_only=True):
    """A successor with the same rights; the old key ends after ``overlap`` seconds."""

    mints: ClassVar[bool] = True
    id: str
    overlap: int = 86_400

    def act(self, transaction: Transaction, office: Office) -> Json:
        if not 0 <= self.overlap <= LONGEST_OVERLAP:
            raise InputError(f"{self.overlap} s is no overlap", where="overlap", remedy="from 0 to 90 days")
        text, facts = accounts.rotate(transaction, office.minting, self.id, overlap=self.overlap * 1000)
        former = accounts.get_key(transaction, self.id)
        return {
            "key": text,
            **_key(transaction, facts),
            "replaces": {"id": former.id, "expires": _time(former.expires)},
        }


class ListProjects(Asked, kw_only=True):
    """All projects."""

    writes: ClassVar[bool] = False

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        return {"projects": [_project(transaction, one) for one in accounts.list_projects(transaction)]}


class CreateProject(Asked, kw_only=True):
    """A project without keys."""

    creates: ClassVar[bool] = True
    name: str
    currency: str | None = None
    budget: str | None = None
    period: Period = "month"

    def act(self, transaction: Transaction, office: Office) -> Json:
        budget = None if self.budget is None else parse_amount(self.budget, where="project at budget")
        made = accounts.create_project(
            transaction, self.name, currency=self.currency or office.currency, budget=budget, period=self.period
        )
        return _project(transaction, made)


class SetBudget(Asked, kw_only=True):
    """What a project may spend, from the next admission on; ``budget`` None takes the limit away."""

    name: str
    budget: str | None
    period: Period = "month"

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        budget = None if self.budget is None else parse_amount(self.budget, where="project at budget")
        accounts.set_project_budget(transaction, self.name, budget, self.period)
        project = accounts.find_project(transaction, self.name)
        assert project is not None  # it was just changed, in this transaction
        return _project(transaction, project)


class Correct(Asked, kw_only=True):
    """What a request used, said by a person: the last word on it. No tokens at all write it off."""

    request: str
    input: int
    output: int
    cached: int = 0
    actor: str
    reason: str

    def act(self, transaction: Transaction, office: Office) -> Json:  # noqa: ARG002
        for name in ("actor", "reason"):
            text = getattr(self, name)
            if not (text.strip() and text.isprintable() and len(text) <= REASON):
                raise InputError(f"is not 1 to {REASON} printable characters", where=f"correction at {name}")
        usage = Usage(self.input, self.output, self.cached)
        change = recovery.correct(transaction, self.request, usage, actor=self.actor, reason=self.reason)
        row = transaction.row("SELECT cost, currency FROM charges WHERE intent = ?", self.request)
        assert row is not None  # it was just corrected, in this transaction
        return {
            "request": self.request,
            "billed": plain(row[0], row[1]),
            "change": plain(change, row[1]),
            "currency": row[1],
        }


ACTIONS: Mapping[str, tuple[type[Action], str, str]] = {
    "create_key": (CreateKey, "POST", "/keys"),
    "list_keys": (ListKeys, "GET", "/keys"),
    "show_key": (ShowKey, "GET", "/keys/{id}"),
    "revoke_key": (RevokeKey, "POST", "/keys/{id}/revoke"),
    "rotate_key": (RotateKey, "POST", "/keys/{id}/rotate"),
    "list_projects": (ListProjects, "GET", "/projects"),
    "create_project": (CreateProject, "POST", "/projects"),
    "set_budget": (SetBudget, "POST", "/projects/{name}/budget"),
    "correct": (Correct, "POST", "/ledger/correct"),
}
"""Each action, and where the admin listener has it: fields of GET go into the query, those of POST into the body."""


@dataclass(frozen=True, slots=True)
class Office:
    """Holds the secret that new keys are hashed with, and the currency of projects that name none."""

    secret: Secret | None
    currency: str

    @property
    def minting(self) -> Secret:
        if self.secret is None:
            raise InputError("keys are not made without the gateway's secret", where="secret")
        return self.secret

    def ask(self, transaction: Transaction, asked: Action) -> Json:
        """Do what is asked in this transaction. Raises ``InputError``, and then nothing may be committed."""
        return asked.act(transaction, self)


def parse(action: str, fields: Mapping[str, Any]) -> Action:
    """``fields`` as what ``action`` takes. Raises ``InputError`` naming the field."""
    try:
        return msgspec.convert(dict(fields), ACTIONS[action][0])
    except msgspec.ValidationError as cause:
        message, _, place = str(cause).partition(" - at ")
        raise InputError(message, where=place.strip("`") or action) from cause


def _key(transaction: Transaction, facts: KeyFacts) -> Json:
    project = accounts.find_project(transaction, facts.project)
    assert project is not None  # keys refer to projects by a foreign key
    return {
        "id": facts.id,
        "project": facts.project,
        "label": facts.label,
        "state": _state(facts, transaction.now),
        "models": None if facts.models is None else list(facts.models),
        "rpm": facts.limits.rpm,
        "tpm": facts.limits.tpm,
        "concurrency": facts.limits.concurrency,
        "max_output_tokens": facts.limits.max_output,
        **_spent(transaction, "key", facts.id, facts.budget, facts.period, project.currency),
        "created": _time(facts.created),
        "expires": _time(facts.expires),
        "revoked": _time(facts.revoked),
        "successor": facts.successor,
    }


def _project(transaction: Transaction, project: Project) -> Json:
    return {
        "name": project.id,
        **_spent(transaction, "project", project.id, project.budget, project.period, project.currency),
        "created": _time(project.created),
    }


def _spent(transaction: Transaction, scope: str, name: str, budget: int | None, period: str, currency: str) -> Json:
    """The budget, and what of it is used up in its present period: billed, unknown and held."""
    sql = "SELECT SUM(billed), SUM(unknown), SUM(held) FROM counters WHERE scope = ? AND id = ?"
    if period == "month":
        row = transaction.row(sql + " AND month = ?", scope, name, month_of(transaction.now))
    else:
        row = transaction.row(sql, scope, name)
    billed, unknown, held = (int(value or 0) for value in row or (0, 0, 0))
    return {
        "budget": None if budget is None else plain(budget, currency),
        "period": period,
        "currency": currency,
        "billed": plain(billed, currency),
        "unknown_held": plain(unknown, currency),
        "in_flight_held": plain(held, currency),
    }


def _state(facts: KeyFacts, now: int) -> str:
    if facts.revoked is not None:
        return "revoked"
    return "expired" if facts.expires is not None and facts.expires <= now else "active"


def _time(at: int | None) -> str | None:
    return None if at is None else format_milliseconds(at)


def _milliseconds(text: str, where: str) -> int:
    return int(parse_time(text, where=where).timestamp()) * 1000

"""Projects and keys, as functions of a transaction: through the admin listener, or directly when no server runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from weighbridge.errors import InputError
from weighbridge.gateway.ledger.database import Row, Transaction
from weighbridge.gateway.rules.keys import Secret, mint
from weighbridge.gateway.rules.limits import Limits
from weighbridge.gateway.rules.money import check_currency

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Project:
    """The billed party. ``budget`` in nano-units for each ``period`` (``month`` or ``lifetime``), None: none."""

    id: str
    currency: str
    budget: int | None
    period: str
    created: int


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A key without its secret. ``models`` None: all. ``successor``: the key that replaced it in a rotation."""

    id: str
    project: str
    label: str | None
    models: tuple[str, ...] | None
    budget: int | None
    period: str
    limits: Limits
    created: int
    expires: int | None
    revoked: int | None
    successor: str | None


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What a new key may do. ``budget`` in nano-units, ``expires`` in ms since 1970."""

    label: str | None = None
    models: tuple[str, ...] | None = None
    budget: int | None = None
    period: str = "month"
    limits: Limits = field(default_factory=Limits)
    expires: int | None = None


_PROJECT = "SELECT id, currency, budget, period, created FROM projects"
_KEY = """SELECT id, project, label, models, budget, period, rpm, tpm, concurrency, max_output_tokens, created, expires,
revoked, successor FROM keys"""


def create_project(
    transaction: Transaction, name: str, *, currency: str = "USD", budget: int | None = None, period: str = "month"
) -> Project:
    """A new project. Raises ``InputError`` if the name is taken or is no name."""
    _check_name(name)
    if find_project(transaction, name) is not None:
        raise InputError(f"there is a project {name} already", where="project")
    check_currency(currency, where=f"project {name}")
    _check_budget(budget, period, where=f"project {name}")
    project = Project(name, currency, budget, period, transaction.now)
    transaction.insert("projects", [(name, currency, budget, period, transaction.now)])
    return project


def find_project(transaction: Transaction, name: str) -> Project | None:
    row = transaction.row(f"{_PROJECT} WHERE id = ?", name)
    return None if row is None else Project(*row)


def list_projects(transaction: Transaction) -> list[Project]:
    return [Project(*row) for row in transaction.rows(f"{_PROJECT} ORDER BY id")]


def set_project_budget(transaction: Transaction, name: str, budget: int | None, period: str) -> None:
    """Change what a project may spend, from the next admission on."""
    _check_budget(budget, period, where=f"project {name}")
    if not transaction.run("UPDATE projects SET budget = ?, period = ? WHERE id = ?", budget, period, name):
        raise InputError(f"there is no project {name!r:.80}", where="project", remedy="weighbridge keys list")


def create_key(
    transaction: Transaction, secret: Secret, project: str, wish: KeyWish | None = None, *, currency: str = "USD"
) -> tuple[str, KeyFacts]:
    """A new key of ``project``, made (in ``currency``) if there is none: the text to show once, and its facts."""
    wish = wish or KeyWish()
    _check_wish(wish)
    _check_name(project)
    if find_project(transaction, project) is None:
        create_project(transaction, project, currency=currency)
    text, presented = mint(secret)
    limits = wish.limits
    transaction.insert(
        "keys",
        [
            (
                presented.key_id,
                project,
                presented.digest,
                wish.label,
                None if wish.models is None else json.dumps(sorted(wish.models)),
                wish.budget,
                wish.period,
                limits.rpm,
                limits.tpm,
                limits.concurrency,
                limits.max_output,
                transaction.now,
                wish.expires,
                None,
                None,
            )
        ],
    )
    return text, get_key(transaction, presented.key_id)


def get_key(transaction: Transaction, key_id: str) -> KeyFacts:
    """The facts of a key; ``InputError`` if there is none."""
    row = transaction.row(f"{_KEY} WHERE id = ?", key_id)
    if row is None:
        raise InputError(f"there is no key {key_id!r:.80}", where="keys", remedy="weighbridge keys list")
    return _facts(row)


def list_keys(transaction: Transaction, project: str | None = None) -> list[KeyFacts]:
    if project is None:
        return [_facts(row) for row in transaction.rows(f"{_KEY} ORDER BY project, created, id")]
    return [_facts(row) for row in transaction.rows(f"{_KEY} WHERE project = ? ORDER BY created, id", project)]


def revoke(transaction: Transaction, key_id: str) -> None:
    """From the commit on nothing is admitted with this key, in any process. Twice is as good as once."""
    get_key(transaction, key_id)
    transaction.run("UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", transaction.now, key_id)


def rotate(transaction: Transaction, secret: Secret, key_id: str, *, overlap: int) -> tuple[str, KeyFacts]:
    """A successor with the same rights; the old key ends after ``overlap`` milliseconds, or when it would have anyway.

    A budget of the key itself begins anew with the successor; the project's goes on.
    """
    old = get_key(transaction, key_id)
    if old.revoked is not None or old.successor is not None:
        raise InputError("is revoked or was rotated already", where=f"key {key_id}", remedy="create a new key")
    wish = KeyWish(old.label, old.models, old.budget, old.period, old.limits, old.expires)
    text, facts = create_key(transaction, secret, old.project, wish)
    end = transaction.now + overlap
    expires = end if old.expires is None else min(end, old.expires)
    transaction.run("UPDATE keys SET expires = ?, successor = ? WHERE id = ?", expires, facts.id, key_id)
    return text, facts


def ended(transaction: Transaction, key_ids: Sequence[str], now: int) -> set[str]:
    """Those of ``key_ids`` that are revoked or expired: their streams must end."""
    rows = transaction.among("SELECT id, expires, revoked FROM keys WHERE id IN", list(key_ids))
    return {row[0] for row in rows if row[2] is not None or (row[1] is not None and row[1] <= now)}


def _facts(row: Row) -> KeyFacts:
    key_id, project, label, models, budget, period, *limits, created, expires, revoked, successor = row
    names = None if models is None else tuple(json.loads(models))
    facts = (budget, period, Limits(*limits), created, expires, revoked, successor)
    return KeyFacts(key_id, project, label, names, *facts)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r:.80} is no name", where="project", remedy="letters, digits, dots, dashes; up to 64")


def _check_wish(wish: KeyWish) -> None:
    _check_budget(wish.budget, wish.period, where="key")
    limits = wish.limits
    for name, value in (
        ("rpm", limits.rpm),
        ("tpm", limits.tpm),
        ("concurrency", limits.concurrency),
        ("max_output_tokens", limits.max_output),
    ):
        if value is not None and not 0 < value <= 1_000_000_000:
            raise InputError(f"{value} is no limit", where=f"key at {name}", remedy="from 1 to 1,000,000,000")
    if wish.models is not None and not wish.models:
        raise InputError("a key for no model opens nothing", where="key at models", remedy="name one, or leave it out")
    if wish.label is not None and not (len(wish.label) <= 200 and wish.label.isprintable()):
        raise InputError("is no label", where="key at label", remedy="up to 200 printable characters")


def _check_budget(budget: int | None, period: str, *, where: str) -> None:
    if period not in ("month", "lifetime"):
        raise InputError(f"{period!r:.40} is no period", where=where, remedy="month (UTC) or lifetime")
    if budget is not None and budget < 0:
        raise InputError("a budget is not negative", where=where)

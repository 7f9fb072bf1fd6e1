"""How commands administer a gateway: through the one that runs, or on its ledger while none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config


def ask(config: Config, action: str, **fields: Any) -> dict[str, Any]:
    """Have ``action`` (of ``gateway.administration.acts``) done: by the gateway on this ledger, or here if none runs.

    Raises what the action raises, and ``InputError`` where a gateway runs whose admin file is not to be found.
    """
    from weighbridge.errors import InputError
    from weighbridge.gateway.administration import acts
    from weighbridge.gateway.administration.admin_file import find, mark
    from weighbridge.gateway.ledger.sqlite import Claimed

    given = {name: value for name, value in fields.items() if value is not None or name == "budget"}
    asked = acts.parse(action, given)
    office = find(config.admin_path)
    if office is not None and office.ledger == mark(config.ledger_url):
        return office.act(action, given)
    try:
        return _directly(config, asked)
    except Claimed as cause:
        raise InputError(
            "a gateway runs on this ledger, and where it is administered is not known",
            where=str(config.admin_path),
            remedy="name its --config; if it has only just started, try again",
        ) from cause


def _directly(config: Config, asked: Any) -> dict[str, Any]:
    from weighbridge.gateway.administration.acts import Office
    from weighbridge.gateway.ledger import direct, upkeep
    from weighbridge.gateway.rules.clock import now_ms
    from weighbridge.gateway.rules.keys import load_secret

    url, secret = config.ledger_url, None
    with direct.opened(url, clock=now_ms, create=asked.creates) as database:
        if asked.mints:
            mark = database.read(lambda one: one.row("SELECT 1 FROM meta WHERE name = 'secret'"))
            made = secret = load_secret(config.secret_path, create=mark is None)
            database.transact(lambda one: upkeep.check_secret(one, made, where=url))
        return database.transact(lambda one: Office(secret, config.currency).ask(one, asked))

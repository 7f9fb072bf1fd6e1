"""``weighbridge serve``: closed access to decided models, metered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import emit

if TYPE_CHECKING:
    from weighbridge.gateway.config import Config
    from weighbridge.gateway.serving import Serving


@click.command("serve")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="Several models, all settings."
)
@click.option("--model", "models", multiple=True, metavar="NAME=CHECKPOINT", help="Serve this checkpoint by this name.")
@click.option(
    "--decision", "decisions", multiple=True, metavar="FILE", help="Its signed decision; one for each --model."
)
@click.option("--trust", multiple=True, metavar="PUB", help="A public key that may sign decisions, or a trust file.")
@click.option("--revocations", metavar="FILE", help="The signed revocation list.")
@click.option("--revoker", multiple=True, metavar="PUB", help="A public key that may sign that list.")
@click.option("--ledger", metavar="PATH|URL", help="The ledger: a file, or postgresql://...  [ledger.db]")
@click.option("--prices", multiple=True, metavar="FILE", help="A price list; without one, all costs nothing.")
@click.option("--listen", metavar="HOST:PORT", help="[127.0.0.1:8321]")
@click.option("--behind-proxy", is_flag=True, help="A proxy in front ends TLS: other addresses may be listened on.")
@click.option("--context", type=int, metavar="TOKENS", help="Tokens that one request may have.  [2048]")
@click.option("--check", is_flag=True, help="Check everything, hash the files, and serve nothing.")
@click.option("--openapi", is_flag=True, help="Print the OpenAPI document of what is served, and serve nothing.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    config_file: Path | None,
    models: tuple[str, ...],
    decisions: tuple[str, ...],
    trust: tuple[str, ...],
    check: bool,
    openapi: bool,
    as_json: bool,
    **options: object,
) -> int:
    """Serve models whose signed decision allows it: api, or a more open tier.

    An OpenAI-compatible API with keys, limits and exact metering. Nothing undecided is served.

    \b
    Example:
      weighbridge serve --model smol=smol.gguf --decision weighing/decision.json --trust decider.pub
      weighbridge keys create --name acme --budget 50
    """
    from weighbridge.gateway.config import load_config

    if openapi:
        from weighbridge.gateway.api.openapi import document

        click.echo(json.dumps(document(), indent=2))
        return 0
    if config_file is not None:
        given = [
            name for name, value in {**options, "model": models, "decision": decisions, "trust": trust}.items() if value
        ]
        if given:
            raise click.UsageError(f"--{given[0].replace('_', '-')} stands in the file that --config names")
        config = load_config(config_file)
    else:
        config = _config(models, decisions, trust, options)
    if check:
        from weighbridge.gateway.serve import check as check_all

        servings = check_all(config)
        emit(as_json, {"models": [_described(one) for one in servings]}, lambda: _say(servings))
        return 0
    return _serve(config, as_json)


def _config(
    models: tuple[str, ...], decisions: tuple[str, ...], trust: tuple[str, ...], options: dict[str, object]
) -> Config:
    from weighbridge.gateway.config import VERSION, check_config, from_json

    pairs = [model.partition("=") for model in models]
    if not pairs or len(pairs) != len(decisions):
        raise click.UsageError("name --model NAME=CHECKPOINT and its --decision FILE, or a --config FILE")
    if any(not name or not path for name, _, path in pairs):
        raise click.UsageError("--model is NAME=CHECKPOINT")
    if len({name for name, _, _ in pairs}) != len(pairs):
        raise click.UsageError("two models have one name")
    engine = {} if options["context"] is None else {"engine": {"context": options["context"]}}
    served = {
        name: {"checkpoint": path, "decision": decision, **engine}
        for (name, _, path), decision in zip(pairs, decisions, strict=True)
    }
    value = {"version": VERSION, "models": served, "trust": list(trust), "behind_proxy": options["behind_proxy"]}
    value |= {name: options[name] for name in ("ledger", "listen") if options[name] is not None}
    value["prices"] = list(options["prices"])  # type: ignore[call-overload]
    if options["revocations"] is not None:
        value["revocations"] = {"file": options["revocations"], "trust": list(options["revoker"])}  # type: ignore[call-overload]
    config = from_json(value, where="serve")
    check_config(config, where="serve")
    return config


def _serve(config: Config, as_json: bool) -> int:
    import uvloop

    from weighbridge.gateway.main import run

    return uvloop.run(run(config, as_json=as_json))


def _described(one: Serving) -> dict[str, object]:
    served = one.model.served
    return {
        "name": served.name,
        "tier": one.decision.tier,
        "decision": served.decision,
        "checkpoint": served.model_digest,
        "binding": served.binding,
        "expires_at": one.decision.expires_at.isoformat(),
        "files": 0 if one.bound is None else len(one.bound.files),
    }


def _say(servings: list[Serving]) -> None:
    for one in servings:
        served = one.model.served
        click.echo(f"{served.name}: {one.decision.tier} until {one.decision.expires_at:%Y-%m-%d}, {served.binding}")
        click.echo(f"  decision {served.decision}")
        click.echo(f"  checkpoint {served.model_digest}")
    click.echo("all of it may be served")

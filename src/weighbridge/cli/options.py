"""Options that several commands share, and how their values become objects."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weighbridge.errors import InputError

if TYPE_CHECKING:
    from weighbridge.trust import PrivateKey

F = TypeVar("F", bound=Callable[..., Any])

PASSPHRASE_VARIABLE = "WEIGHBRIDGE_KEY_PASSPHRASE"


class Finite(click.FloatRange):
    """A range of numbers: neither NaN, which is in every range, nor infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines instead of text.")
sign_option = click.option(
    "--sign", "key", type=click.Path(path_type=Path), metavar="KEY", help="Sign with this private key file."
)
policy_option = click.option(
    "--policy",
    "policy_source",
    default="default",
    show_default=True,
    metavar="FILE",
    help="A policy file, or the name of a built-in policy: default, tutorial.",
)


baselines_option = click.option(
    "--baselines",
    "registry",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("baselines"),
    show_default=True,
    metavar="DIR",
    help="The registry of baselines.",
)


successor_option = click.option(
    "--successor",
    type=click.Path(path_type=Path),
    metavar="DECISION",
    help="A signed decision by which a successor is served; with --trust.",
)


revocations_option = click.option(
    "--revocations", type=click.Path(path_type=Path), metavar="FILE", help="A signed revocation list."
)


def trust_option(*, required: bool) -> Callable[[F], F]:
    """Whose keys count."""
    return click.option(
        "--trust",
        "trust_file",
        required=required,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The trust file: which keys may decide, approve, publish and revoke.",
    )


def setup_options(command: Callable[..., int]) -> Callable[..., int]:
    """Options that say how a checkpoint is run and judged; the command gets them as one ``Setup``."""

    @functools.wraps(command)
    def with_setup(**values: Any) -> int:
        from weighbridge.assemble import Setup

        own = {field.name for field in dataclasses.fields(Setup)}
        setup = Setup(**{name: values.pop(name) for name in own})
        return command(setup=setup, **values)

    file = click.Path(path_type=Path, dir_okay=False)
    add = (
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
        click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True),
        click.option("--lm-eval-tasks", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                     help="A folder with more lm-eval tasks."),
        click.option("--lineage", type=file, metavar="FILE", help="A statement of the checkpoint's parents."),
        click.option("--usage", type=file, metavar="FILE", help="A closed billing period, for economics."),
        click.option("--system", metavar="TEXT", help="A system prompt for safety prompts."),
        click.option("--max-tokens", type=click.IntRange(1, 4096), default=64, show_default=True,
                     help="Tokens of a response to a safety prompt."),
        click.option("--judge-url", metavar="URL", help="OpenAI-compatible address of a model that judges responses."),
        click.option("--judge-model", metavar="NAME", help="The judging model's name there."),
        click.option("--judge-key-variable", metavar="VARIABLE", help="The environment variable with its API key."),
        click.option("--artifacts", callback=_names, metavar="F16,Q8_0,...",
                     help="GGUF files to make and weigh, too.  [default: those of the policy]"),
        click.option("--judge-calibration", type=file, metavar="FILE", help="The judge's measured errors."),
        click.option("--attack-data", type=file, multiple=True, metavar="FILE.jsonl",
                     help="Instructions with responses that attacks fine-tune on. May be repeated."),
        click.option("--training-data", type=file, metavar="FILE", help="Training data (.jsonl, .txt), for leakage."),
        click.option("--unseen", type=file, metavar="FILE", help="A sample like it that the model cannot have seen."),
        click.option("--canaries", type=file, metavar="FILE.jsonl", help="What was planted in it, for leakage."),
    )  # fmt: skip
    wrapped: Callable[..., int] = with_setup
    for option in reversed(add):
        wrapped = option(wrapped)
    return wrapped


def _names(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...] | None:  # noqa: ARG001
    """Names that are set apart by commas, in order, each once; None where the option is not given."""
    if value is None:
        return None
    return tuple(dict.fromkeys(name for name in map(str.strip, value.split(",")) if name))


def ledger_options(command: Callable[..., int]) -> Callable[..., int]:
    """Options that say which ledger, and which gateway, is meant; the command gets a gateway's ``config``."""

    @functools.wraps(command)
    def with_config(config_file: Path | None, ledger: str | None, **values: Any) -> int:
        from weighbridge.gateway.config import DEFAULT_LEDGER, VERSION, Config, load_config

        if config_file is not None:
            if ledger is not None:
                raise click.UsageError("--ledger stands in the file that --config names")
            config = load_config(config_file)
        else:
            config = Config(version=VERSION, models={}, trust=[], ledger=ledger or DEFAULT_LEDGER)
        return command(config=config, **values)

    file = click.Path(path_type=Path, dir_okay=False)
    wrapped: Callable[..., int] = with_config
    wrapped = click.option("--ledger", metavar="PATH|URL", help="A file, or postgresql://...  [ledger.db]")(wrapped)
    return click.option("--config", "config_file", type=file, metavar="FILE", help="The gateway's configuration.")(
        wrapped
    )


def state_path() -> Path:
    """Where this user's last seen revocation serials and time are kept."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "weighbridge" / "state.json"


def emit(as_json: bool, value: Any, text: Callable[[], None]) -> None:
    """Print ``value`` as JSON, or call ``text`` to print it for people."""
    if as_json:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        text()


def load_signer(path: Path) -> PrivateKey:
    """The private key at ``path``; its passphrase comes from the environment or is asked for."""
    from weighbridge.trust import load_private

    may_ask = sys.stdin.isatty() and PASSPHRASE_VARIABLE not in os.environ
    return load_private(path, (lambda: _ask(path)) if may_ask else None)


def _ask(path: Path) -> str:
    answer: str = click.prompt(f"passphrase of {path}", hide_input=True, err=True)
    return answer


def new_passphrase() -> str:
    """A passphrase for a new key: from the environment, or asked for twice."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError("there is nobody to ask for a passphrase", remedy=f"set {PASSPHRASE_VARIABLE}")
    answer: str = click.prompt("passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def scratch(path: Path) -> Path:
    """Where hashes are remembered and GGUF files are converted when no weighing's folder is given."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "weighbridge" / name

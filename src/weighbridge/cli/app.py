"""The command group and the boundary where errors become messages and exit codes.

0 success                       4 undecided stands in the way
1 broken                        5 verification failed
2 usage or input                6 authentic, but the decision has since expired
3 stricter than required        7 signer unknown
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback

import click

from weighbridge.errors import WeighbridgeError
from weighbridge.files import unreadable

COMMANDS = {
    "weigh": "Plan, measure and decide: which tier may this checkpoint have?",
    "measure": "Run one measure alone.",
    "decide": "Judge again from stored evidence; nothing is measured.",
    "baseline": "Weigh models that are already open, to compare others with them.",
    "review": "Judge every decision on record again, by today.",
    "approve": "Sign an approval of a decision.",
    "release": "Carry out an open decision: write the signed bundle.",
    "verify": "Check a bundle: signatures, files, approvals, and the judging itself.",
    "policy": "Check a policy.",
    "signer": "Make and show signing keys.",
    "revoke": "Sign a list of revoked decisions and keys.",
    "evidence": "List and show stored evidence.",
    "serve": "Serve decided models behind a metered API.",
    "keys": "Make, list, rotate and revoke API keys; limit what projects spend.",
    "ledger": "Back up, restore, migrate, check and correct the ledger of a gateway.",
    "usage": "Sum up what was used, by project, key, model, day.",
    "invoice": "Show, issue and print the invoice of a project for a month.",
    "reconcile": "Do the ledger's rows, counters and invoices agree, and the engines?",
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"weighbridge.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="weighbridge")
def app() -> None:
    """The scale at the gate of a model lab: no weights leave unweighed.

    Measures a checkpoint, judges by a written policy which tier it may have (open, gated, api, held), signs the
    decision and carries it out.

    \b
    Example:
      weighbridge weigh ./my-model --out ./weighing
      weighbridge evidence list ./weighing
    """


def run(arguments: list[str]) -> int:
    """Run one command and turn whatever happens into an exit code."""
    as_json = "--json" in arguments
    try:
        result = app.main(args=arguments, prog_name="weighbridge", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        return fail(as_json, error.format_message(), code=error.exit_code, remedy="see --help", kind="usage")
    except (KeyboardInterrupt, click.Abort):
        return fail(as_json, "interrupted", code=INTERRUPTED, remedy="run it again: it resumes", kind="interrupted")
    except WeighbridgeError as error:
        return fail(
            as_json,
            error.message,
            code=error.exit_code,
            where=error.where,
            remedy=error.remedy,
            kind=type(error).__name__,
        )
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stdout = None
        return 0
    except OSError as error:
        # What is written and what is read is wrapped where it happens: this is a look at a path that was named.
        wrapped = unreadable(error, where=os.fsdecode(error.filename or ""))
        return fail(
            as_json,
            error.strerror or str(error),
            code=wrapped.exit_code,
            where=wrapped.where,
            remedy=wrapped.remedy,
            kind=type(wrapped).__name__,
        )
    except Exception as error:
        traceback.print_exc()
        return fail(as_json, f"a defect: {type(error).__name__}: {error}", code=1, kind="defect")


def fail(
    as_json: bool, message: str, *, code: int, kind: str, where: str | None = None, remedy: str | None = None
) -> int:
    """Say what went wrong, where, and what to do; returns ``code``."""
    with contextlib.suppress(OSError):  # nobody can be told, as on a full disk: the exit code still says it
        _say(as_json, message, code=code, kind=kind, where=where, remedy=remedy)
    return code


def _say(as_json: bool, message: str, *, code: int, kind: str, where: str | None, remedy: str | None) -> None:
    if as_json:
        import json

        error = {"kind": kind, "message": message, "where": where, "remedy": remedy, "exit_code": code}
        click.echo(json.dumps({"error": error}))
    else:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        from weighbridge.text import visible

        click.echo(visible(f"{where}: {message}" if where else message), err=True)
        if remedy:
            click.echo(visible(f"  -> {remedy}"), err=True)

"""The command group and the boundary where errors become messages and exit codes.

0 success                       4 undecided stands in the way
1 broken                        5 verification failed
2 usage or input                6 authentic, but the decision has since expired
3 stricter than required        7 signer unknown
"""

from __future__ import annotations

import importlib
import sys
import traceback

import click

from weighbridge.errors import WeighbridgeError

COMMANDS = {
    "weigh": "Plan, measure and decide: which tier may this checkpoint have?",
    "measure": "Run one measure alone.",
    "decide": "Judge again from stored evidence; nothing is measured.",
    "approve": "Sign an approval of a decision.",
    "release": "Carry out an open decision: write the signed bundle.",
    "verify": "Check a bundle: signatures, files, approvals, and the judging itself.",
    "policy": "Check a policy.",
    "signer": "Make and show signing keys.",
    "revoke": "Sign a list of revoked decisions and keys.",
    "evidence": "List and show stored evidence.",
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
        return fail(as_json, error.strerror or str(error), code=1, where=str(error.filename or ""), kind="OSError")
    except Exception as error:
        traceback.print_exc()
        return fail(as_json, f"a defect: {type(error).__name__}: {error}", code=1, kind="defect")


def fail(
    as_json: bool, message: str, *, code: int, kind: str, where: str | None = None, remedy: str | None = None
) -> int:
    """Say what went wrong, where, and what to do; returns ``code``."""
    if as_json:
        import json

        error = {"kind": kind, "message": message, "where": where, "remedy": remedy, "exit_code": code}
        click.echo(json.dumps({"error": error}))
    else:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(f"{where}: {message}" if where else message, err=True)
        if remedy:
            click.echo(f"  -> {remedy}", err=True)
    return code

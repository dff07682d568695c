"""The command `lead-resolver`: its groups of commands put together, errors turned into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import Annotated

import typer

from worker.cli import ask, operate, quarantine, replay, run_here, schedule, simulate, track
from worker.cli.output import bear_any_encoding, out, print_error
from worker.errors import LeadResolverError, UsageError
from worker.logs import describe_exception

app = typer.Typer(
    name="lead-resolver",
    help="Turns LeadByte queue IDs into answers: polls them, records what became of each lead, loses none.",
    pretty_exceptions_enable=False,  # its frames show local variables, and a key can be one
    rich_markup_mode=None,
    add_completion=False,
)
for group in (run_here.app, track.app, ask.app, operate.app, replay.app, schedule.app, simulate.app):
    app.registered_commands.extend(group.registered_commands)
app.add_typer(quarantine.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"lead-resolver {version('lead-resolver')}")
        raise typer.Exit


@app.callback()
def take_global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turns LeadByte queue IDs into answers: polls them, records what became of each lead, loses none."""
    del show_version  # its callback has ended the command


@cache  # made from all signatures, which takes longer than most commands; tests run hundreds of them
def _make_command() -> typer.core.TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    bear_any_encoding()
    sys.exit(run_command(sys.argv[1:] if arguments is None else list(arguments)))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code: 0 fine, 2 bad input, else what `worker.errors` says."""
    try:
        for before, argument in pairwise(["", *arguments]):
            _check_text(argument, before)
        # Without arguments: the help, but it was no command.
        asked = list(arguments) or ["--help"]
        result = _make_command()(args=asked, prog_name="lead-resolver", standalone_mode=False)
    except typer.TyperException as error:
        said = error.format_message().replace("Value error, ", "")  # pydantic's, inside Typer
        print_error(f"{said} (see lead-resolver --help)")
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        return 0  # `lead-resolver list | head`
    except LeadResolverError as error:
        print_error(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - its text and traceback may hold lead data
        print_error(f"an unexpected error, please report it: {describe_exception(error)}")
        return 1
    if not arguments:
        return 2
    return result if isinstance(result, int) else 0


def _check_text(argument: str, before: str) -> None:
    """UsageError for bytes that are no UTF-8: Python passes them on as lone surrogates, which nothing can store."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        is_value = before == "--set" or argument.startswith("--set=")  # lead data, which no error quotes
        which = "of --set" if is_value else f"{argument[:80]!a}"
        raise UsageError(f"the argument {which} is not UTF-8 text: check how it was encoded") from None

"""Parse, find the command, map errors to exit codes; commands are loaded when they are asked for."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Any, Final, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from bundle_loader import __version__
from bundle_loader.errors import (
    BudgetRefused,
    BundleLoaderError,
    DeclarationError,
    LedgerError,
    LimitReached,
    NoAnswer,
    ProviderFailure,
    RecipeFailed,
    RequestError,
    StepFailed,
    did_you_mean,
)

FINE: Final = 0
FAULTS: Final = 1
USAGE: Final = 2
OURS: Final = 3
NO_ANSWER: Final = 4
STOPPED: Final = 130

COMMANDS: Final = {
    "init": "Write a small bundle to start from.",
    "check": "Check a bundle and its agents, or a recipe file: every fault with file, line and remedy.",
    "agents": "List the agents of a bundle, their tiers and what they prefer.",
    "models": "List the models that providers offer now.",
    "lock": "Hold patterns to the models that they mean now, until you move them.",
    "resolve": "Show which model an agent, or a provider/glob, means now.",
    "explain": "Show who decided what: a bundle's layers, an agent's fields, its route, every rejection.",
    "delegate": "Have an agent do some work.",
    "run": "Run a recipe: how it goes, how it ended, and what to type next.",
    "schema": "Print the JSON Schema of a kind of file, for editors.",
    "verify": "Check that the shipped agents end on the models of their tiers.",
    "ledger": "Show what was delegated, by whom it was answered and what it cost.",
    "sessions": "Show earlier work: what was said, and which of it can be carried on.",
    "health": "Show what is down: since when, why, and when it is asked again.",
    "budget": "Show what may still be spent: each budget, what is used and reserved, and when it renews.",
}
"""Name -> its line of help. The command `x` is `bundle_loader.cli.x:app`."""


class LazyCommands(TyperGroup):
    """A group that knows its commands by name and loads the module of the one that runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bundle_loader.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        assert isinstance(command, (TyperCommand, TyperGroup))
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(cls=LazyCommands, rich_markup_mode=None, add_completion=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def bundle_loader(
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True, callback=_version),
) -> None:
    """Agents as markdown files: which model does the work, why, and what it cost.

    Exit codes: 0 fine, 1 faults in your input or a failed check, 2 usage, 3 ours, 4 no answer, 130 stopped.
    """


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit code. Nothing but the code leaves it: errors are printed.

    Whoever stops reading (`| head`) has what they wanted: that is fine. An output that cannot be written is told.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except (BrokenPipeError, SystemExit):
        # typer turns the one into the other
        _let_go(sys.stdout, sys.stderr)
        return FINE
    except OSError as error:
        if not _is_of_output(error):
            raise
        with contextlib.suppress(OSError):
            typer.echo(f"error: the output cannot be written: {(error.strerror or str(error)).lower()}", err=True)
        _let_go(sys.stdout, sys.stderr)
        return FAULTS


def _is_of_output(error: OSError) -> bool:
    """Whether it comes of writing where something is open already, as only output is here: files are told by their name."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _let_go(*streams: TextIO) -> None:
    """What is left in them goes nowhere, so that nothing is said of it at the end of the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _run(given: list[str]) -> int:
    try:
        code = app(given or ["--help"], standalone_mode=False, prog_name="bundle-loader")
        sys.stdout.flush()
        return code if isinstance(code, int) else FINE
    except typer.TyperException as error:
        said = f"{error.format_message().rstrip('.')}. Try 'bundle-loader --help'.{_near(given)}"
        if "--json" in given:
            _echo_json({"kind": "usage", "message": said}, USAGE)
        typer.echo(said, err=True)
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("stopped", err=True)
        return STOPPED
    except BrokenPipeError:
        raise
    except BundleLoaderError as error:
        return _tell(error, "--json" in given)
    except Exception as error:
        if isinstance(error, OSError) and _is_of_output(error):
            raise
        if os.environ.get("BUNDLE_LOADER_DEBUG"):
            raise
        typer.echo(f"this is a fault of bundle-loader's own: {type(error).__name__}: {error}", err=True)
        typer.echo("set BUNDLE_LOADER_DEBUG=1 to see where, and report it", err=True)
        return OURS


def _near(given: list[str]) -> str:
    word = next((argument for argument in given if not argument.startswith("-")), "")
    return "" if word in COMMANDS else did_you_mean(word, list(COMMANDS)).replace("; did", " Did")


def code_of(error: BundleLoaderError) -> int:
    """The exit code that an error stands for."""
    return NO_ANSWER if isinstance(error, (NoAnswer, ProviderFailure)) else FAULTS


def _tell(error: BundleLoaderError, as_json: bool) -> int:
    code = code_of(error)
    if as_json:
        said: dict[str, Any] = {"kind": type(error).__name__, "message": str(error)}
        if isinstance(error, DeclarationError):
            said["faults"] = [
                {"file": f.file, "line": f.line, "column": f.column, "key": f.key, "message": f.message, "level": f.level}
                for f in error.faults
            ]
        if isinstance(error, NoAnswer):
            said["attempts"] = [str(attempt) for attempt in error.attempts]
            said["skipped"] = list(error.skipped)
            said["rejections"] = [str(rejection) for rejection in error.rejections]
        if isinstance(error, BudgetRefused):
            fields = ("budget", "left", "needed", "renews", "zone")
            said.update((name, getattr(error, name)) for name in fields)
        if isinstance(error, RecipeFailed):
            said.update(faults=list(error.faults), run=error.run)
        if isinstance(error, LimitReached):
            said["limit"] = error.limit
        _echo_json(said, code)
    asked = isinstance(error, (RequestError, LedgerError, NoAnswer, RecipeFailed, StepFailed))
    typer.echo(f"error: {error}" if asked else str(error), err=True)
    return code


def _echo_json(said: dict[str, Any], code: int) -> None:
    import json

    typer.echo(json.dumps({"error": said, "exit_code": code}, indent=2))

"""`docs/commands.md` from the commands' own help: `python -m bundle_loader.cli.reference` prints it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from bundle_loader.cli.main import COMMANDS

HEAD = "# Commands\n\nWhat `--help` says, for every command.\n"


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in COMMANDS:
        command: Any = typer.main.get_command(import_module(f"bundle_loader.cli.{name}").app)
        parts.append(_section(name, command))
        if isinstance(command, TyperGroup):
            context = typer.Context(command)
            parts += [_section(f"{name} {sub}", command.get_command(context, sub)) for sub in command.list_commands(context)]
    return "\n".join(parts)


def _section(name: str, command: Any) -> str:
    context = command.make_context(f"bundle-loader {name}", [], resilient_parsing=True, terminal_width=100, max_content_width=100)
    return f"## {name}\n\n```\n{command.get_help(context).rstrip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())

"""`docs/commands.md` from the commands' own help: `python -m bundle_loader.cli.reference` prints it."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from bundle_loader.cli.main import COMMANDS

HEAD = "# Commands\n\nWhat `--help` says, for every command.\n"


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in COMMANDS:
        command = typer.main.get_command(import_module(f"bundle_loader.cli.{name}").app)
        context = command.make_context(
            f"bundle-loader {name}", [], resilient_parsing=True, terminal_width=100, max_content_width=100
        )
        parts.append(f"## {name}\n\n```\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())

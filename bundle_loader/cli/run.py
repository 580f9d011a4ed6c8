"""`bundle-loader run`, and the commands below it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

SUBCOMMANDS: Final = {
    "resume": "Go on with a run that waits, was stopped or was killed, at its first unfinished step.",
    "approve": "Give a run the yes or the no that it waits for.",
    "list": "List the runs, the last begun first.",
    "show": "Show one run: which models did which stage, each step and its cost, and what it waits for.",
}
"""Name -> its line of help. The command `x` is `bundle_loader.cli.run_x:app`."""
_START: Final = "start"
"""The command that runs a recipe. Nobody writes its name: what follows `run` is the recipe, whatever it is called."""


class RunCommands(TyperGroup):
    """`run RECIPE`, and the commands below `run`, each loaded when it runs.

    The first word after `run` is a command where it is one of `SUBCOMMANDS`, else it begins what runs a recipe. So a recipe
    that is named as a command is run as `run list.yaml`, `run ./list.yaml`, `run bundle:list` or `run "execute list"`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and (not args or args[0] not in (*SUBCOMMANDS, "--help")):
            args = [_START, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in (*SUBCOMMANDS, _START):
            return None
        command = typer.main.get_command(import_module(f"bundle_loader.cli.run_{cmd_name}").app)
        assert isinstance(command, TyperCommand)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        # in usage and in errors the command that runs a recipe is `run` itself
        return (ctx.info_name if name == _START else name), command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        command = self.get_command(ctx, _START)
        assert command is not None
        whole = command.make_context(ctx.info_name, [], parent=ctx.parent, resilient_parsing=True)
        command.format_help(whole, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


app = typer.Typer(cls=RunCommands, rich_markup_mode=None, add_completion=False)


@app.callback()
def run() -> None:
    """Run a recipe."""

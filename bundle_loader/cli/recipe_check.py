"""`bundle-loader check RECIPE`: a recipe file alone."""

from __future__ import annotations

from pathlib import Path

import typer

from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.output import as_json, jsonable
from bundle_loader.errors import Fault
from bundle_loader.sources.recipes import SUFFIXES, check_recipe


def print_recipe_check(path: Path, strict: bool, json: bool) -> None:
    """Print every fault of a recipe file; exit 1 where it has errors, or with `strict` warnings."""
    if path.suffix not in SUFFIXES:
        message = f"'{path}' is no file to check: a recipe ends in {' or '.join(SUFFIXES)}, a bundle or an agent in .md too"
        raise typer.BadParameter(message, param_hint="FILE")
    found = check_recipe(path)
    number = {level: sum(fault.level == level for fault in found.faults) for level in ("error", "warning", "note")}
    told = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in number.items())
    steps = len(list(found.recipe.walk())) if found.recipe is not None else 0
    read = f"{steps} step{'' if steps == 1 else 's'}" if found.recipe is not None else "not usable"
    summary = f"recipe {found.name}: {read}: {told}"
    ok = not number["error"] and not (strict and number["warning"])
    if json:
        as_json({"recipe": found.name, "faults": jsonable(found.faults), "counts": number, "summary": summary, "ok": ok})
    else:
        for fault in found.faults:
            typer.echo(line_of(fault))
        typer.echo(summary)
    if not ok:
        raise typer.Exit(FAULTS)


def line_of(fault: Fault) -> str:
    """The fault, its level where it is no error, and its rule where it has one of its own."""
    level = "" if fault.level == "error" else f" ({fault.level})"
    return f"{fault}{level}{'' if fault.rule == 'declaration' else f' [{fault.rule}]'}"

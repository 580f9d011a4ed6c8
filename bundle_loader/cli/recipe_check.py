"""`bundle-loader check RECIPE`: a recipe file, held against the bundle that would run it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from bundle_loader.cli.lists import Lists
from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.output import as_json, jsonable
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.recipe import Recipe
from bundle_loader.declared.recipe_laying import unknown_names, unknown_tiers
from bundle_loader.errors import BundleLoaderError, Fault
from bundle_loader.recipes.following import follow
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.routing.lint_recipes import lint_recipe
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import SUFFIXES, check_recipe

GetLists = Callable[[Bundle, Mapping[str, str], float], Lists]


def print_recipe_check(
    path: Path, bundle: str | None, strict: bool, json: bool, providers: Mapping[str, str], lists: GetLists
) -> None:
    """Print every fault of a recipe file; exit 1 where it has errors, or with `strict` warnings."""
    if path.suffix not in SUFFIXES:
        message = f"'{path}' is no file to check: a recipe ends in {' or '.join(SUFFIXES)}, a bundle or an agent in .md too"
        raise typer.BadParameter(message, param_hint="FILE")
    found = check_recipe(path)
    faults = list(found.faults)
    if found.recipe is not None:
        faults += _held_against(found.recipe, bundle, providers, lists)
    faults = sorted(set(faults))
    number = {level: sum(fault.level == level for fault in faults) for level in ("error", "warning", "note")}
    told = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in number.items())
    steps = len(list(found.recipe.walk())) if found.recipe is not None else 0
    later = "not usable, so its agents and models, and branches on a provider, are not looked at yet"
    read = f"{steps} step{'' if steps == 1 else 's'}" if found.recipe is not None else later
    summary = f"recipe {found.name}: {read}: {told}"
    ok = not number["error"] and not (strict and number["warning"])
    if json:
        as_json({"recipe": found.name, "faults": jsonable(faults), "counts": number, "summary": summary, "ok": ok})
    else:
        for fault in faults:
            typer.echo(line_of(fault))
        typer.echo(summary)
    if not ok:
        raise typer.Exit(FAULTS)


def _held_against(recipe: Recipe, named: str | None, providers: Mapping[str, str], lists: GetLists) -> list[Fault]:
    """Names that the bundle which would run the recipe does not have, patterns that match nothing, recipes that it leads to."""
    try:
        bundle = load_bundle(named)
    except BundleLoaderError as error:
        if named is not None:
            raise
        said = str(error).split("\n", 1)[0]
        return [Fault(recipe.file, 0, 0, "", f"the bundle that would run it cannot be loaded: {said}", "note", "bare-agent")]
    known = {**providers, **{name: providers.get(name, name) for name in bundle.providers}}
    matched = lists(bundle, os.environ, time.time()).matched()
    return [
        *unknown_tiers(recipe, bundle.tiers),
        *unknown_names(bundle, recipe),
        *lint_recipe(bundle, recipe, matched, known),
        *follow(recipe, Recipes(bundle).find),
    ]


def line_of(fault: Fault) -> str:
    """The fault, its level where it is no error, and its rule where it has one of its own."""
    level = "" if fault.level == "error" else f" ({fault.level})"
    return f"{fault}{level}{'' if fault.rule == 'declaration' else f' [{fault.rule}]'}"

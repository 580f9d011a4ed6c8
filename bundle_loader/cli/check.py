"""`bundle-loader check`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle_loader.cli.lists import Lists, live_lists, saved_lists, shipped_catalogues, shipped_lists
from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.options import BundleOption, JsonOption
from bundle_loader.cli.output import as_json, jsonable
from bundle_loader.cli.recipe_check import line_of, print_recipe_check
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.instruction import template_faults
from bundle_loader.delegation.template_lint import undefined_variables
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.providers import table
from bundle_loader.providers.live import aliases
from bundle_loader.routing.lint import lint, without_preferences
from bundle_loader.routing.route_tests import Outcome, run_tests
from bundle_loader.sources.load import load_bundle

__all__ = ["app", "provider_names", "shipped_catalogues"]

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def check(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe file, to check it alone.")] = None,
    bundle: BundleOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    routes: Annotated[bool, typer.Option("--routes", help="Run the bundle's own tests of its routes.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the providers for their lists now, and save them.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a bundle and its agents, or a recipe file: every fault with file, line and remedy.

    Globs are matched against the lists of models that are saved on this machine, else the shipped, dated ones; nobody is asked,
    unless with --refresh. Tests of routes are held against the shipped lists, unless with --refresh.
    """
    if recipe is not None:
        if bundle is not None or routes or refresh:
            raise typer.BadParameter("a recipe file is checked alone; a bundle checks its own recipes", param_hint="RECIPE")
        print_recipe_check(recipe, strict, json)
        return
    now = time.time()
    loaded: Bundle | None = None
    lists: Lists | None = None
    outcomes: list[Outcome] = []
    try:
        loaded = load_bundle(bundle)
        lists = live_lists(loaded, os.environ, now) if refresh else saved_lists(loaded, os.environ, now)
        faults = [*loaded.problems, *lint(loaded, lists.catalogues, provider_names())]
        for agent in loaded.agents.values():
            faults += [*template_faults(agent), *undefined_variables(agent, loaded.vars)]
        outcomes = run_tests(loaded, (lists if refresh else shipped_lists(loaded, now)).offers()) if routes else []
        faults += [outcome.fault for outcome in outcomes if outcome.fault is not None]
    except DeclarationError as error:
        faults = list(error.faults)
    faults = sorted(set(faults))
    number = {level: sum(fault.level == level for fault in faults) for level in ("error", "warning", "note")}
    ok = not number["error"] and not (strict and number["warning"])
    summary = _summary(loaded, number, lists.summary(now) if lists else "", outcomes)
    if json:
        as_json({**_as_json(loaded, lists, outcomes, faults), "counts": number, "summary": summary, "ok": ok})
    else:
        for fault in faults:
            typer.echo(line_of(fault))
        for listing in lists.listings if lists else ():
            typer.echo(str(listing))
        typer.echo(summary)
    if not ok:
        raise typer.Exit(FAULTS)


def provider_names() -> dict[str, str]:
    """Every name of a provider -> its id."""
    return {**{id: id for id in table.rows()}, **aliases()}


def _as_json(bundle: Bundle | None, lists: Lists | None, outcomes: list[Outcome], faults: list[Fault]) -> dict[str, Any]:
    return {
        "bundle": bundle.name if bundle else None,
        "faults": jsonable(faults),
        "lists": jsonable(lists.listings) if lists else [],
        "routes": [
            {
                "name": outcome.test.name,
                "agent": outcome.test.agent,
                "ok": outcome.fault is None,
                "message": outcome.fault.message if outcome.fault else "",
                "route": jsonable(outcome.route),
            }
            for outcome in outcomes
        ],
        "without_preferences": without_preferences(bundle) if bundle else [],
    }


def _summary(bundle: Bundle | None, number: dict[str, int], age: str, outcomes: list[Outcome]) -> str:
    counts = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in number.items())
    if bundle is None:
        return counts
    agents = "1 agent" if len(bundle.agents) == 1 else f"{len(bundle.agents)} agents"
    said = [f"{bundle.name}: {agents}, {len(bundle.tiers)} tiers: {counts}"]
    if outcomes:
        said.append(f"{sum(outcome.fault is None for outcome in outcomes)} of {len(outcomes)} route tests hold")
    silent = without_preferences(bundle)
    if silent:
        said.append(f"without preferences: {', '.join(silent)}")
    return "; ".join([*said, *([age] if age else [])])

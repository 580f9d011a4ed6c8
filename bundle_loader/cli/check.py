"""`bundle-loader check`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle_loader.cli.lists import Lists, live_lists, saved_lists, shipped_catalogues, shipped_lists
from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.options import BundleOption, JsonOption
from bundle_loader.cli.output import as_json, jsonable, say
from bundle_loader.cli.recipe_check import line_of, print_recipe_check
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.mended import not_following
from bundle_loader.declared.models_lock import ModelsLock
from bundle_loader.delegation.template_faults import template_faults
from bundle_loader.delegation.template_lint import undefined_variables
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.ledger.prices import PriceBook, Sale
from bundle_loader.providers import table
from bundle_loader.providers.entry_points import GROUP, installed
from bundle_loader.providers.instances import provider_id
from bundle_loader.providers.live import aliases
from bundle_loader.recipes.following import follow
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.lint import lint, without_preferences
from bundle_loader.routing.lint_lock import lint_lock, unknown_names
from bundle_loader.routing.price import Price
from bundle_loader.routing.route_tests import Outcome, run_tests
from bundle_loader.sources.files import SUFFIXES
from bundle_loader.sources.load import examine_bundle
from bundle_loader.sources.models_lock import find_models_lock
from bundle_loader.sources.recipes import is_recipe

__all__ = ["app", "provider_names", "shipped_catalogues"]

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A bundle, an agent or a recipe, to check it alone.")
    ] = None,
    bundle: BundleOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    routes: Annotated[bool, typer.Option("--routes", help="Run the bundle's own tests of its routes.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask the providers for their lists now, and save them.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a bundle and its agents, or a recipe file: every fault with file, line and remedy.

    Without FILE and --bundle it is the settings' bundle, else foundation. A recipe file is held against that bundle too, as the
    one that would run it.

    Globs are matched against the lists of models that are saved on this machine, else the shipped, dated ones; nobody is asked,
    unless with --refresh. Tests of routes are held against the shipped lists, unless with --refresh.
    """
    if file is not None and bundle is not None and file.exists() and not is_recipe(file):
        message = "write the file or --bundle, not both; only a recipe is held against another bundle"
        raise typer.BadParameter(message, param_hint="FILE")
    if file is not None and (is_recipe(file) or file.suffix not in SUFFIXES):
        if routes:
            raise typer.BadParameter("a recipe file has no routes; a bundle checks its own recipes", param_hint="FILE")
        print_recipe_check(file, bundle, strict, json, provider_names(), live_lists if refresh else saved_lists)
        return
    bundle = bundle if file is None else _as_path(file)
    now = time.time()
    loaded: Bundle | None = None
    lists: Lists | None = None
    outcomes: list[Outcome] = []
    try:
        examined = examine_bundle(bundle)
        faults = list(examined.faults)
        if examined.bundle is not None:
            lists = (live_lists if refresh else saved_lists)(examined.bundle, os.environ, now)
            faults += not_following(_linted(examined.bundle, lists, now), faults)
        loaded = examined.bundle if examined.usable else None
        lists = None if loaded is None else lists
        lock, wrong = _models_lock(lists, loaded)
        faults += wrong
        if routes and loaded is not None:
            outcomes = run_tests(loaded, (lists if refresh and lists else shipped_lists(loaded, now)).offers(), lock)
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
            say(line_of(fault))
        for listing in lists.listings if lists else ():
            say(str(listing))
        say(summary)
    if not ok:
        raise typer.Exit(FAULTS)


def _models_lock(lists: Lists | None, bundle: Bundle | None) -> tuple[ModelsLock, list[Fault]]:
    """The project's lock of models, an empty one where it has faults, and what is wrong with it over these lists."""
    try:
        written = find_models_lock(os.environ)
    except DeclarationError as error:
        return ModelsLock(), list(error.faults)
    if bundle is None:
        return written, []
    names = {**provider_names(), **{id: id for id in bundle.providers if table.row(id) is None}}
    known = {name: provider_id(name, names.values()) for name in written.pins}
    faults = unknown_names(written, known, names)
    lock = written.canonical(known.get)
    return lock, [*faults, *lint_lock(lock, lists.matched() if lists else {}, bundle.model_order)]


def _linted(bundle: Bundle, lists: Lists, now: float) -> list[Fault]:
    """Warnings and notes about a bundle, and the faults of its templates; agents with faults are looked at as far as they go."""
    flawed = {name: agent for name, agent in bundle.flawed.items() if agent.name == name}
    agents = {**bundle.agents, **flawed}
    whole = bundle.model_copy(update={"agents": agents})
    found = [fault for recipe in bundle.recipes.values() for fault in follow(recipe, Recipes(bundle).find)]
    found += lint(whole, lists.matched(), provider_names(), public_prices(bundle, now), priced(bundle, now), free_tiers())
    found += [Fault("entry points", 0, 0, GROUP, fault, "warning", "provider-package") for fault in installed().faults]
    for name, agent in agents.items():
        # what it extends may be missing, which is told already
        known = [*bundle.vars, "base"] if name in flawed else bundle.vars
        found += [*template_faults(agent), *undefined_variables(agent, known)]
    return found


def _as_path(file: Path) -> str:
    """The file as a path, which is never taken for the name of a bundle."""
    return str(file) if file.is_absolute() else os.path.join(os.curdir, file)


def provider_names() -> dict[str, str]:
    """Every name of a provider -> its id."""
    return {**{id: id for id in (*table.rows(), *installed().kinds)}, **aliases()}


def free_tiers() -> frozenset[str]:
    """The ids of the providers elsewhere that have a free tier."""
    return frozenset(row.id for row in table.rows().values() if row.cost == "free" and not row.local)


def public_prices(bundle: Bundle, now: float) -> Callable[[str, str], Price | None]:
    """Provider and model -> the public price at `now`; what runs here has none."""
    book = PriceBook()

    def public(provider: str, model: str) -> Price | None:
        settings = bundle.providers.get(provider)
        row = table.row(settings.kind) if settings and settings.kind else table.row(provider)
        return None if row is None or row.local or row.prices is None else book.public(row.prices, model, now)

    return public


def priced(bundle: Bundle, now: float) -> Callable[[str, ModelInfo], bool]:
    """Provider and listed model -> whether what it costs at `now` is known."""
    book = PriceBook(bundle.prices)

    def known(provider: str, model: ModelInfo) -> bool:
        settings = bundle.providers.get(provider)
        row, names = table.sold_as(provider, settings.kind if settings else None)
        sale = Sale(
            provider=provider,
            model=model.id,
            names=names,
            public=row.prices if row is not None else None,
            local=row is not None and row.local,
            listed=tuple(model.prices.items()),
        )
        return book.priced(sale, now).reserved is not None

    return known


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

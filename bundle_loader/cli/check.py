"""`bundle-loader check`."""

from __future__ import annotations

from typing import Annotated

import typer

from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.options import BundleOption, JsonOption
from bundle_loader.cli.output import as_json, jsonable
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.instruction import template_faults
from bundle_loader.errors import DeclarationError, Fault
from bundle_loader.providers import table
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import snapshot_date, snapshot_models, snapshot_providers
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.lint import lint, without_preferences
from bundle_loader.sources.load import load_bundle

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def check(
    bundle: BundleOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a bundle and its agents: every fault with file, line and remedy.

    Globs are matched against the shipped, dated lists of models; nobody is asked.
    """
    loaded: Bundle | None = None
    try:
        loaded = load_bundle(bundle)
        faults = [*loaded.problems, *lint(loaded, shipped_catalogues(), provider_names())]
        faults += [fault for agent in loaded.agents.values() for fault in template_faults(agent)]
    except DeclarationError as error:
        faults = list(error.faults)
    faults = sorted(set(faults))
    errors, warnings = (sum(fault.level == level for fault in faults) for level in ("error", "warning"))
    if json:
        as_json({"faults": jsonable(faults), "summary": _summary(loaded, faults), "ok": not errors and not (strict and warnings)})
    else:
        for fault in faults:
            typer.echo(str(fault) if fault.level == "error" else f"{fault} ({fault.level})")
        typer.echo(_summary(loaded, faults))
    if errors or (strict and warnings):
        raise typer.Exit(FAULTS)


def provider_names() -> dict[str, str]:
    """Every name of a provider -> its id."""
    return {**{id: id for id in table.rows()}, **aliases()}


def shipped_catalogues() -> dict[str, Catalogue]:
    """The shipped lists, by provider."""
    return {id: Catalogue(id, snapshot_models(id), simulated=True) for id in snapshot_providers()}


def _summary(bundle: Bundle | None, faults: list[Fault]) -> str:
    counts = ", ".join(
        f"{number} {level}{'' if number == 1 else 's'}"
        for level in ("error", "warning", "note")
        for number in [sum(fault.level == level for fault in faults)]
    )
    if bundle is None:
        return counts
    silent = without_preferences(bundle)
    without = f"; without preferences: {', '.join(silent)}" if silent else ""
    dates = sorted(date for id in snapshot_providers() if (date := snapshot_date(id)))
    age = f"; globs matched against lists of {dates[0]} to {dates[-1]}" if dates else ""
    agents = "1 agent" if len(bundle.agents) == 1 else f"{len(bundle.agents)} agents"
    return f"{bundle.name}: {agents}, {len(bundle.tiers)} tiers: {counts}{without}{age}"

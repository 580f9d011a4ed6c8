"""`bundle-loader explain profile`: the stages of a profile, the tier or list of each, and the model that it comes to now."""

from __future__ import annotations

from typing import Any

import typer

from bundle_loader.cli.ages import lines as ages
from bundle_loader.cli.ages import lists_behind, providers_of
from bundle_loader.cli.hosting import with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.output import as_json, jsonable, say, table
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.tree import position
from bundle_loader.errors import RequestError, did_you_mean
from bundle_loader.host import Host
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.lint_profiles import DEFAULT, stages_of


def explain_profile(host: Host, name: str | None, choice: dict[str, Any], json: bool) -> None:
    """Print one profile with every rejection, or the models of all of them side by side.

    `choice` is what a caller may say beside a profile: `provider`, `needs`, `stage` (only that one), `local_only`.
    """
    bundle = host.bundle
    if name is not None and name not in bundle.profiles:
        near = did_you_mean(name, list(bundle.profiles)) or f"; it has {', '.join(bundle.profiles) or 'no profiles'}"
        raise RequestError(f"no profile '{name}' in bundle '{bundle.name}'{near}")
    if not bundle.profiles:
        raise RequestError(f"bundle '{bundle.name}' has no profiles; write a 'profiles' table, or name another bundle")
    only = choice.pop("stage", None)
    stages = (only,) if only is not None else (*stages_of(bundle), DEFAULT)
    profiles = (name,) if name is not None else tuple(bundle.profiles)

    async def ask(host: Host) -> tuple[dict[tuple[str, str], Route | None], list[dict[str, Any]]]:
        found = {(profile, stage): await _route(host, profile, stage, choice) for profile in profiles for stage in stages}
        routes = [route for route in found.values() if route is not None]
        return found, await lists_behind(host, (provider for route in routes for provider in providers_of(route)))

    found, lists = with_host(host, ask)
    entries = [_entry(bundle, profile, [(stage, found[profile, stage]) for stage in stages]) for profile in profiles]
    if json:
        as_json({"bundle": bundle.name, "default_profile": bundle.default_profile, "profiles": entries, "lists": lists})
    elif name is None:
        _print_all(entries, stages)
    else:
        _print_one(bundle, entries[0])
    if not json:
        for line in ages(lists):
            say(line)
    if any(cell["model"] is None for entry in entries for cell in entry["stages"]):
        raise typer.Exit(NO_ANSWER)


async def _route(host: Host, profile: str, stage: str, choice: dict[str, Any]) -> Route | None:
    """None where the profile has neither a cell for the stage nor one for all others."""
    said = None if stage == DEFAULT else stage
    try:
        host.bundle.cell(profile, said)
    except RequestError:
        return None
    return await host.route(SELF, profile=profile, stage=said, **choice)


def _entry(bundle: Bundle, profile: str, routes: list[tuple[str, Route | None]]) -> dict[str, Any]:
    others = bundle.stage_profiles.get(profile, {})
    return {
        "profile": profile,
        "default": profile == bundle.default_profile,
        "local_first": profile in bundle.local_first,
        "stage_profiles": others,
        "stages": [_cell(bundle, profile, stage, route) for stage, route in routes],
    }


def _cell(bundle: Bundle, profile: str, stage: str, route: Route | None) -> dict[str, Any]:
    if route is None:
        return {"stage": stage, "cell": None, "tier": None, "preferences": [], "model": None, "candidates": [], "rejections": []}
    cell = bundle.cell(profile, None if stage == DEFAULT else stage)
    return {
        "stage": stage,
        "cell": cell,
        "tier": route.tier,
        "preferences": [str(preference) for preference in bundle.profiles[profile][cell]],
        "model": None if route.chosen is None else f"{route.chosen.provider}/{route.chosen.model}",
        "candidates": jsonable([str(candidate) for candidate in route.candidates]),
        "rejections": [str(rejection) for rejection in route.rejections],
        "notes": list(route.notes),
    }


def _print_all(entries: list[dict[str, Any]], stages: tuple[str, ...]) -> None:
    rows = [(stage, *(entry["stages"][index]["model"] or "-" for entry in entries)) for index, stage in enumerate(stages)]
    names = (entry["profile"] + (" (default)" if entry["default"] else "") for entry in entries)
    table(("stage", *names), rows)
    for entry in entries:
        for stage, other in entry["stage_profiles"].items():
            say(f"a recipe run under {entry['profile']} uses {other} for {stage}, where nobody says")


def _print_one(bundle: Bundle, entry: dict[str, Any]) -> None:
    profile = entry["profile"]
    if bundle.header is not None:
        file, line, _ = position(bundle.header, ("profiles", profile), key=True)
        say(f"profile {profile}, {file}:{line}{', local first' if entry['local_first'] else ''}")
    rows = []
    for cell in entry["stages"]:
        said = cell["stage"] if cell["cell"] in (cell["stage"], None) else f"{cell['stage']} (as {cell['cell']})"
        rows.append((said, cell["tier"] or "its own list", cell["model"] or "-", ", then ".join(cell["candidates"][1:])))
    table(("stage", "tier", "model", ""), rows)
    for stage, other in entry["stage_profiles"].items():
        say(f"a recipe run under it uses {other} for {stage}, where nobody says")
    for line in dict.fromkeys(rejection for cell in entry["stages"] for rejection in cell["rejections"]):
        say(f"  x {line}")
    for line in dict.fromkeys(note for cell in entry["stages"] for note in cell.get("notes", ())):
        say(f"note: {line}")

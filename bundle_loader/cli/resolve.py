"""`bundle-loader resolve`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from bundle_loader.cli.ages import lines as ages
from bundle_loader.cli.ages import lists_behind, providers_of
from bundle_loader.cli.hosting import choice, listed_words, opened, with_host
from bundle_loader.cli.main import NO_ANSWER
from bundle_loader.cli.options import (
    BundleOption,
    FaultOption,
    JsonOption,
    LedgerOption,
    ModelOption,
    NeedsOption,
    ParentOption,
    PreferOption,
    ProfileOption,
    ProviderOption,
    RefreshOption,
    RoleOption,
    SimulateOption,
    StageOption,
    TierOption,
)
from bundle_loader.cli.output import as_json, jsonable, say, table
from bundle_loader.declared.bundle import SELF
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def resolve(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[AGENT|PROVIDER/GLOB]...", help="Agents, or globs; else all agents.")
    ] = None,
    bundle: BundleOption = None,
    prefer: PreferOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    tier: TierOption = None,
    role: RoleOption = None,
    profile: ProfileOption = None,
    stage: StageOption = None,
    parent: ParentOption = None,
    needs: NeedsOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """Show which model an agent, or a provider/glob, means now."""
    host = opened(bundle, simulate, fault, ledger)
    said = choice(
        preferences=prefer, provider=provider, model=model, tier=tier, role=role, profile=profile, stage=stage, parent=parent,
        needs=listed_words(needs),
    )  # fmt: skip
    names = what or sorted(host.bundle.agents)

    async def ask(host: Host) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        if refresh:
            await host.refresh()
        wants = said.get("needs")
        found = [
            await _glob(host, name, wants) if "/" in name else await _agent(host, name, said, alone=bool(what)) for name in names
        ]
        return found, await lists_behind(host, (provider for entry in found for provider in entry.pop("providers")))

    found, lists = with_host(host, ask)
    if json:
        as_json({"resolved": found, "lists": lists})
    else:
        rows = [(entry["name"], entry["model"] or "-", entry["decided_by"], entry["why"]) for entry in found]
        table(("asked", "model", "decided by", ""), rows)
        for entry in found:
            for rejection in entry["rejections"] if what else ():
                say(f"  x {rejection}")
        for note in dict.fromkeys(note for entry in found for note in entry["notes"]):
            say(f"note: {note}")
        for line in ages(lists):
            say(line)
    if any(entry["failed"] for entry in found):
        raise typer.Exit(NO_ANSWER)


async def _agent(host: Host, name: str, said: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    """One agent. In a list of all of them, one that merely inherits is no failure."""
    try:
        route = await host.route(name, **said)
    except RequestError as error:
        if alone:
            raise
        return _entry(name, None, "parent", str(error).partition(";")[0], [], failed=False)
    return _of_route(name, route)


def _of_route(name: str, route: Route) -> dict[str, Any]:
    chosen = route.chosen
    rejections = [str(rejection) for rejection in route.rejections]
    first = f": {rejections[0]}" if rejections else ""
    why = route.decision if chosen else f"no preference can be met{first}"
    entry = _entry(
        name,
        str(chosen) if chosen else None,
        f"{route.decided_by} ({route.decided_by.number})",
        why,
        rejections,
        route.notes,
        failed=not chosen,
    )
    entry["candidates"] = [jsonable(candidate) for candidate in route.candidates]
    entry["providers"] = providers_of(route)
    return entry


async def _glob(host: Host, text: str, needs: list[str] | None) -> dict[str, Any]:
    """A provider/glob by itself: the models that it gives, one for each instance that it means, and all that it matches."""
    request = make_request(host.bundle.agent(SELF), preferences=[text])
    assert request.preferences is not None
    preference: Preference = request.preferences[0]
    route = await host.route(SELF, preferences=[text], needs=needs)
    found = Resolver(host.models_lock, host.bundle.model_order).resolve(preference, await host.offers([preference.provider]))
    ids = [f"{offer.provider}/{model.id}" for offer, resolved in found if offer for model in resolved.models]
    given = [f"{candidate.provider}/{candidate.model}" for candidate in route.candidates]
    rest = [*given[1:], *(id for id in ids if id not in given)]
    more = "; ".join(resolved.note for _, resolved in found if resolved.note)
    more = more or (f"then {', '.join(rest[:3])}{' ...' if len(rest) > 3 else ''}" if rest else "")
    said = more if given else "none of what it matches will do" if ids else "matches nothing"
    rejections = [str(rejection) for rejection in route.rejections]
    entry = _entry(text, given[0] if given else None, "-", said, rejections, route.notes, failed=not given)
    entry["candidates"] = [jsonable(candidate) for candidate in route.candidates]
    entry["matches"] = ids
    entry["providers"] = [offer.provider if offer else preference.provider for offer, _ in found]
    return entry


def _entry(
    name: str, model: str | None, decided_by: str, why: str, rejections: list[str], notes: Sequence[str] = (), *, failed: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "model": model,
        "decided_by": decided_by,
        "why": why,
        "rejections": rejections,
        "notes": list(notes),
        "failed": failed,
        "providers": (),
    }

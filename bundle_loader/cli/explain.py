"""`bundle-loader explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from bundle_loader.cli.hosting import choice, opened, with_host
from bundle_loader.cli.options import (
    BundleOption,
    FaultOption,
    JsonOption,
    LedgerOption,
    ModelOption,
    ParentOption,
    PreferOption,
    ProfileOption,
    ProviderOption,
    RoleOption,
    SimulateOption,
    StageOption,
    TierOption,
)
from bundle_loader.cli.output import as_json, jsonable
from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.explain import origins
from bundle_loader.routing.request import DecidedBy

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PARTS = ("agent", "route")

RULES = {
    DecidedBy.CALLER: "the caller: preferences, model, tier, role or profile",
    DecidedBy.STEP: "the recipe step",
    DecidedBy.PIN: "a pin in settings",
    DecidedBy.AGENT: "the agent, as the most derived layer left it",
    DecidedBy.BUNDLE: "the bundle's default tier",
    DecidedBy.PARENT: "the parent's model",
}


@app.command()
def explain(
    what: Annotated[list[str], typer.Argument(metavar="[agent|route] NAME", help="An agent; before it, which part.")],
    bundle: BundleOption = None,
    prefer: PreferOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    tier: TierOption = None,
    role: RoleOption = None,
    profile: ProfileOption = None,
    stage: StageOption = None,
    parent: ParentOption = None,
    simulate: SimulateOption = False,
    fault: FaultOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show who decided what: an agent's fields, its route, every rejection."""
    parts, name = _what(what)
    host = opened(bundle, simulate, fault, ledger)
    agent = host.bundle.agent(name)
    fields = origins(host.bundle, agent.name) if "agent" in parts else []
    said = choice(
        preferences=prefer, provider=provider, model=model, tier=tier, role=role, profile=profile, stage=stage, parent=parent
    )
    route: Route | None = None
    unrouted = ""
    if "route" in parts:

        async def ask(host: Host) -> Route:
            return await host.route(agent.name, **said)

        try:
            route = with_host(host, ask)
        except RequestError as error:
            if len(parts) == 1:
                raise
            unrouted = str(error)
    if json:
        as_json(
            {
                "agent": agent.name,
                "layers": host.bundle.layers,
                "fields": jsonable(fields),
                "route": jsonable(route),
                "unrouted": unrouted,
            }
        )
        return
    if "agent" in parts:
        _print_agent(host.bundle, agent.name, agent.slot, [str(field) for field in fields])
    if route is not None:
        typer.echo(f"rule {route.decided_by.number}: {RULES[route.decided_by]}")
        typer.echo(str(route))
    if unrouted:
        typer.echo(unrouted)


def _what(words: list[str]) -> tuple[tuple[str, ...], str]:
    if len(words) == 2 and words[0] in PARTS:
        return (words[0],), words[1]
    if len(words) == 1:
        return PARTS, words[0]
    raise typer.BadParameter(f"write an agent, or one of {', '.join(PARTS)} and an agent", param_hint="NAME")


def _print_agent(bundle: Bundle, name: str, slot: str | None, fields: list[str]) -> None:
    typer.echo(f"agent {name}, of the bundles {', then '.join(bundle.layers)}")
    for field in fields:
        typer.echo(f"  {field}")
    said = {"role": "its model_role decides", "list": "its provider_preferences decide", "tier": "its tier decides"}
    typer.echo(f"  slot: {said.get(slot or '', 'it says nothing about models')}")

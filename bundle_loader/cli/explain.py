"""`bundle-loader explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from bundle_loader.cli.ages import lines as ages
from bundle_loader.cli.ages import lists_behind, providers_of
from bundle_loader.cli.explain_model import explain_model
from bundle_loader.cli.explain_profile import explain_profile
from bundle_loader.cli.hosting import choice, listed_words, opened, with_host
from bundle_loader.cli.layers import context, flowchart, size, tree
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
    RoleOption,
    SimulateOption,
    StageOption,
    TierOption,
)
from bundle_loader.cli.output import as_json, jsonable, say, without_keys
from bundle_loader.declared.context import ContextPart
from bundle_loader.declared.laid import overlaps
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.masking import masked
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.explain import Verdict, label_of, origins, verdicts
from bundle_loader.routing.request import make_request
from bundle_loader.sources.load import load_bundle

app = typer.Typer(rich_markup_mode=None, add_completion=False)

PARTS = ("agent", "route")
LAYERS = "bundle"
MODEL = "model"
PROFILE = "profile"


@app.command()
def explain(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT",
            help="NAME of an agent; agent NAME or route NAME for one part of it; bundle [NAME]; profile [NAME];"
            " model [PROVIDER/]PATTERN.",
        ),
    ],
    bundle: BundleOption = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="The bundle as a Mermaid flowchart.")] = False,
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
    json: JsonOption = False,
) -> None:
    """Show who decided what: a bundle's layers, the settings over them and its context; an agent's fields, its route, every
    rejection; the models of profiles, stage by stage; how a pattern comes to a model, step by step.

    An agent that is called 'bundle' is explained by 'agent bundle'.
    """
    if what[0] == LAYERS and len(what) <= 2:
        _explain_bundle(_named(bundle, what[1:]), mermaid, json)
        return
    if mermaid:
        raise typer.BadParameter("--mermaid draws 'explain bundle'", param_hint="--mermaid")
    if what[0] == MODEL and len(what) == 2:
        explain_model(opened(bundle, simulate, fault, ledger), what[1], provider, json)
        return
    if what == [MODEL] and MODEL not in load_bundle(bundle).agents:
        raise typer.BadParameter(
            "write 'explain model PATTERN', such as 'explain model anthropic/claude-opus-*'", param_hint="WHAT"
        )
    if what[0] == PROFILE and (len(what) == 2 or (len(what) == 1 and PROFILE not in load_bundle(bundle).agents)):
        beside = choice(provider=provider, stage=stage, needs=listed_words(needs))
        explain_profile(opened(bundle, simulate, fault, ledger), what[1] if len(what) == 2 else None, beside, json)
        return
    parts, name = _what(what)
    said = choice(
        preferences=prefer, provider=provider, model=model, tier=tier, role=role, profile=profile, stage=stage, parent=parent,
        needs=listed_words(needs),
    )  # fmt: skip
    _explain_agent(opened(bundle, simulate, fault, ledger), name, parts, said, json)


def _named(option: str | None, words: list[str]) -> str | None:
    if option is not None and words:
        raise typer.BadParameter("name the bundle once: 'explain bundle NAME', or --bundle NAME", param_hint="--bundle")
    return words[0] if words else option


def _what(words: list[str]) -> tuple[tuple[str, ...], str]:
    if len(words) == 2 and words[0] in PARTS:
        return (words[0],), words[1]
    if len(words) == 1:
        return PARTS, words[0]
    forms = f"write an agent, one of {', '.join(PARTS)} and an agent, {LAYERS}, {PROFILE}, or {MODEL} and a pattern"
    raise typer.BadParameter(forms, param_hint="NAME")


def _explain_bundle(name: str | None, mermaid: bool, json: bool) -> None:
    loaded = load_bundle(name)
    over = overlaps(loaded.laid)
    if json:
        chart = {"mermaid": flowchart(loaded.laid)} if mermaid else {}
        parts = [_part(part) for part in loaded.context_parts]
        layers, text = jsonable(loaded.laid), {"characters": len(loaded.context), "parts": parts}
        found = {"bundle": loaded.name, "layers": layers, "overlaps": jsonable(over), "context": text, **chart}
        as_json(without_keys(found))
        return
    if mermaid:
        typer.echo(masked(flowchart(loaded.laid)))
        return
    for line in tree(loaded.laid):
        say(line)
    say(f"laid in this order, each over those before: {', '.join(layer.name for layer in loaded.laid)}")
    for overlap in over:
        say(f"  {overlap}")
    if loaded.context_parts:
        say(f"context, {size(len(loaded.context))} in front of the host's prompt:")
    for line in context(loaded.context_parts):
        say(f"  {line}")


def _part(part: ContextPart) -> dict[str, Any]:
    return {
        "bundle": part.bundle,
        "file": part.file,
        "name": part.name,
        "characters": len(part.text),
        "named_at": part.named_at,
    }


def _explain_agent(host: Host, name: str, parts: Sequence[str], said: dict[str, Any], json: bool) -> None:
    agent = host.bundle.agent(name)
    label = label_of(host.bundle, agent)
    fields = origins(host.bundle, label) if "agent" in parts else []
    route: Route | None = None
    found: tuple[Verdict, ...] = ()
    unrouted = ""
    lists: list[dict[str, Any]] = []

    async def ask(host: Host) -> tuple[Route, list[dict[str, Any]]]:
        route = await host.route(label, **said)
        return route, await lists_behind(host, providers_of(route))

    try:
        found = verdicts(host.bundle, make_request(agent, **said))
        if "route" in parts:
            route, lists = with_host(host, ask)
    except RequestError as error:
        if "agent" not in parts:
            raise
        unrouted = str(error)
    if json:
        as_json(
            without_keys(
                {
                    "agent": label,
                    "layers": host.bundle.layers,
                    "fields": fields,
                    "decides": found,
                    "route": route,
                    "lists": lists,
                    "unrouted": unrouted,
                }
            )
        )
        return
    if "agent" in parts:
        say(f"agent {label}, of the bundles {', then '.join(host.bundle.layers)}")
        for field in fields:
            say(f"  {field}")
    if found:
        say("who decides, the first that speaks:")
        for verdict in found:
            say(f"{'->' if verdict.decides else '  '} {verdict}")
    if route is not None:
        for line in route.lines:
            say(line)
        for line in ages(lists):
            say(line)
    if unrouted:
        say(unrouted)

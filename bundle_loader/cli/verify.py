"""`bundle-loader verify`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bundle_loader.cli.hosting import with_host
from bundle_loader.cli.main import FAULTS
from bundle_loader.cli.options import BundleOption, JsonOption
from bundle_loader.cli.output import as_json, jsonable, table
from bundle_loader.declared.bundle import Bundle
from bundle_loader.errors import BundleLoaderError
from bundle_loader.host import Host
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.providers.snapshot import Expected, verify_catalogue
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.model_names import is_pattern
from bundle_loader.sources.load import load_bundle

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One agent: what was expected and what it ended on."""

    agent: str
    tier: str
    expected: str
    used: str
    correct: bool
    error: str = ""


@app.command()
def verify(
    bundle: BundleOption = None,
    live: Annotated[bool, typer.Option("--live", help="Against the live lists: are the models those of the tiers?")] = False,
    session_model: Annotated[
        str | None, typer.Option("--session-model", metavar="PROVIDER/MODEL", help="With --live: the model that 'self' inherits.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check that the shipped agents end on the models of their tiers.

    Without --live the agents are delegated to a simulated provider that lists what Anthropic listed on 20 February 2026.
    Settings are left out.
    """
    loaded = load_bundle(bundle, settings=())
    rows = _live(loaded, session_model) if live else _recorded(loaded)
    correct = sum(row.correct for row in rows)
    errors = sum(bool(row.error) for row in rows)
    unresolved = sum(not row.used or is_pattern(row.used) for row in rows)
    globs = "all globs resolved" if not unresolved else f"{unresolved} globs not resolved"
    summary = f"{correct}/{len(rows)} correct, {errors} errors, {globs}"
    if json:
        as_json({"rows": jsonable(rows), "summary": summary, "ok": correct == len(rows) and not errors and not unresolved})
    else:
        table(("agent", "expected tier", "expected", "used", ""), [_cells(row) for row in rows])
        typer.echo(summary)
    if correct != len(rows) or errors or unresolved:
        raise typer.Exit(FAULTS)


def _cells(row: Row) -> tuple[str, ...]:
    return (row.agent, row.tier, row.expected, row.used or "-", row.error or ("ok" if row.correct else "WRONG"))


def _shown_tier(tier: str | None) -> str:
    return "-".join(word.capitalize() for word in tier.split("-")) if tier else "Inherit"


def _recorded(bundle: Bundle) -> list[Row]:
    """Delegate to each agent, from a session on the dearest model of that day."""
    day = verify_catalogue()
    provider = SimulatedProvider(day.provider, models=day.models)
    with tempfile.TemporaryDirectory() as folder:
        host = Host(bundle, providers={day.provider: provider}, ledger=Path(folder) / "ledger.db")
        parent = f"{day.provider}/{day.session_model}"

        async def work(host: Host) -> list[Row]:
            return [await _delegated(host, expected, parent) for expected in day.expected]

        return with_host(host, work)


async def _delegated(host: Host, expected: Expected, parent: str) -> Row:
    tier = _shown_tier(expected.tier)
    try:
        result = await host.delegate(expected.agent, "Say which model you are.", parent=parent)
    except BundleLoaderError as error:
        return Row(expected.agent, tier, expected.model, "", False, str(error).partition("\n")[0])
    same = host.bundle.agent(expected.agent).tier == expected.tier
    return Row(expected.agent, tier, expected.model, result.model, same and result.model == expected.model)


def _live(bundle: Bundle, session_model: str | None) -> list[Row]:
    """Route each agent over the live lists; nothing is delegated and nothing spent."""
    with tempfile.TemporaryDirectory() as folder:

        async def work(host: Host) -> list[Row]:
            parent = session_model or await _dearest(host)
            return [await _routed(host, expected, parent) for expected in verify_catalogue().expected]

        return with_host(Host(bundle, ledger=Path(folder) / "ledger.db"), work)


async def _dearest(host: Host) -> str | None:
    """Without a session's model, `self` is tried on the first model of the last tier."""
    tiers = host.bundle.tier_order
    route = await host.route("self", tier=tiers[-1]) if tiers else None
    return f"{route.chosen.provider}/{route.chosen.model}" if route and route.chosen else None


async def _routed(host: Host, expected: Expected, parent: str | None) -> Row:
    tier = _shown_tier(expected.tier)
    wanted = " or ".join(map(str, host.bundle.tiers.get(expected.tier, ()))) if expected.tier else parent or "the session's model"
    try:
        route = await host.route(expected.agent, parent=parent)
    except BundleLoaderError as error:
        return Row(expected.agent, tier, wanted, "", False, str(error).partition("\n")[0])
    chosen = route.chosen
    if chosen is None:
        return Row(expected.agent, tier, wanted, "", False, "; ".join(map(str, route.rejections)))
    used = f"{chosen.provider}/{chosen.model}"
    correct = used == parent if expected.tier is None else _of_tier(host.bundle, expected.tier, chosen)
    return Row(expected.agent, tier, wanted, used, correct)


def _of_tier(bundle: Bundle, tier: str, chosen: Candidate) -> bool:
    return any(
        (item.provider, item.model) == (chosen.preference.provider, chosen.preference.model)
        for item in bundle.tiers.get(tier, ())
    )

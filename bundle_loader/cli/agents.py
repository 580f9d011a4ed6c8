"""`bundle-loader agents`."""

from __future__ import annotations

import typer

from bundle_loader.cli.options import BundleOption, JsonOption
from bundle_loader.cli.output import as_json, table, without_keys
from bundle_loader.sources.load import load_bundle

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def agents(bundle: BundleOption = None, json: JsonOption = False) -> None:
    """List the agents of a bundle, their tiers and what they prefer."""
    loaded = load_bundle(bundle)
    if json:
        listed = [agent.model_dump(mode="json", exclude={"instruction"}) for agent in loaded.agents.values()]
        as_json(without_keys({"bundle": loaded.name, "agents": listed}))
        return
    rows = []
    for agent in sorted(loaded.agents.values(), key=lambda agent: agent.name):
        prefers = loaded.tiers.get(agent.tier or "", ()) if agent.slot == "tier" else agent.preferences
        first = f"{prefers[0]} and {len(prefers) - 1} more" if len(prefers) > 1 else str(prefers[0]) if prefers else "inherits"
        rows.append((agent.name, agent.tier or "-", first, ", ".join(agent.aliases)))
    table(("agent", "tier", "prefers", "aliases"), rows)
    for name, faults in sorted(loaded.broken.items()):
        typer.echo(f"not loaded: {name}: {faults[0]}", err=True)

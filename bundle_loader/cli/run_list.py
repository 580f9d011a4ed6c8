"""`bundle-loader run list`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, table, utc
from bundle_loader.cli.run_ledgers import ledgers, opened_ledger
from bundle_loader.cli.run_told import cut, state
from bundle_loader.recipes.past import runs

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_MOST: Final = 10_000
"""Runs that are looked through for those that wait."""


@app.command("list")
def listed(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs.")] = 20,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for an approval.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """List the runs, the last begun first."""
    found: list[dict[str, Any]] = []
    for path, _ in ledgers(ledger):
        with opened_ledger(path) as opened:
            found += runs(opened, _MOST if waiting else limit)
    found.sort(key=lambda run: run["started"], reverse=True)
    kept = [run for run in found if not waiting or run["status"] == "waiting"][:limit]
    if json:
        as_json({"runs": kept})
        return
    if not kept:
        typer.echo("no run waits" if waiting else "nothing was run yet", err=True)
        return
    rows = [
        (
            utc(run["started"]), run["id"], run["recipe"], state(run["status"], run["alive"]),
            "simulated" if run["simulated"] else "", cut(run["reason"] or ""),
        )
        for run in kept
    ]  # fmt: skip
    table(("begun", "run", "recipe", "state", "", "reason"), rows)

"""`bundle-loader ledger prune`."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, money
from bundle_loader.cli.since import moment
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.records import from_pico
from bundle_loader.sources.home import ledger_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def prune(
    before: Annotated[str, typer.Option("--before", metavar="AGO|DATE", help="What was over before: 30d, or 2026-11-01 (UTC).")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what would go.")] = False,
    vacuum: Annotated[bool, typer.Option("--vacuum", help="Rewrite the file afterwards, so that it becomes smaller.")] = False,
    simulated: Annotated[bool, typer.Option("--simulated", help="The ledger of simulated work.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Take old delegations out of the ledger; never what the running month counts.

    A delegation goes with all that it delegated, once all of it was over by then: its attempts, calls and feedback, and sums
    of budgets whose window has ended; a run of a recipe goes with its outputs. Their sums are printed; 'ledger export' keeps
    the records elsewhere.
    """
    until = moment(before, "--before")
    assert until is not None
    path = ledger or ledger_file(os.environ, simulated=simulated)
    if not path.exists():
        raise LedgerError(f"there is no ledger {path}")
    with closing(Ledger(path)) as opened:
        done = asyncio.run(opened.prune(until, only_count=not yes))
        if yes and vacuum:
            opened.compact()
    cost = from_pico(done.pico)
    if json:
        counts = {"delegations": done.delegations, "attempts": done.attempts, "calls": done.calls}
        counts["runs"] = done.runs
        told = {"cost": cost, "calls_of_unknown_cost": done.unknown, "done": yes}
        as_json({"ledger": str(path), "before": datetime.fromtimestamp(done.before, UTC), **counts, **told})
        return
    if done.before < until:
        typer.echo(f"what began in the running month stays: before {_day(done.before)}, not {_day(until)}")
    went = "went" if yes else "would go"
    unknown = f", {done.unknown} calls of unknown cost" if done.unknown else ""
    runs = f", {done.runs} runs of recipes" if done.runs else ""
    typer.echo(
        f"{done.delegations} delegations, {done.attempts} attempts and {done.calls} calls{runs} {went}:"
        f" {money(cost)}{unknown}, all over before {_day(done.before)}"
    )
    if not yes and done.rows:
        typer.echo("nothing was taken out; --yes does it")


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}Z"

"""`bundle-loader ledger`."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from bundle_loader.cli.options import BundleOption, JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, money, table
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.sources.home import ledger_file
from bundle_loader.sources.load import load_bundle

app = typer.Typer(rich_markup_mode=None, add_completion=False)

By = Literal["agent", "model", "provider", "tier"]


@app.command()
def ledger(
    by: Annotated[By | None, typer.Option("--by", help="Sums instead of delegations.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many delegations, newest first.")] = 20,
    simulated: Annotated[bool, typer.Option("--simulated", help="The ledger of simulated work.")] = False,
    bundle: BundleOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was delegated, by whom it was answered and what it cost."""
    path = ledger or ledger_file(os.environ, simulated=simulated)
    if not path.exists():
        if ledger is not None:
            raise LedgerError(f"there is no ledger {path}")
        if json:
            as_json({"ledger": str(path), "delegations": []})
        else:
            typer.echo(f"nothing was delegated yet ({path})", err=True)
        return
    name = load_bundle(bundle).name if bundle else None
    with closing(Ledger(path)) as opened:
        rows = opened.totals(by, simulated=simulated, bundle=name) if by else opened.delegations(limit, bundle=name)
    if json:
        as_json({"ledger": str(path), ("totals" if by else "delegations"): rows})
    elif by:
        table((by, "calls", "input", "output", "cost", "mean seconds"), [_sum(row) for row in rows])
    else:
        table(("when", "agent", "tier", "answered by", "decided by", "tokens", "cost", "outcome"), [_row(row) for row in rows])


def _sum(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["name"], row["calls"], row["input_tokens"], row["output_tokens"], _cost(row), f"{row['latency']:.2f}")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    when = datetime.fromtimestamp(row["started"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    who = f"{row['provider']}/{row['model']}" if row["model"] else "-"
    tokens = f"{row['input_tokens'] or 0} + {row['output_tokens'] or 0}"
    outcome = row["outcome"] if row["reason"] is None else f"{row['outcome']}: {row['reason'][:60]}"
    return (when, row["agent"], row["tier"] or "-", who, row["decided_by"], tokens, _cost(row), outcome)


def _cost(row: dict[str, Any]) -> str:
    if row["cost"] is None and row["known_cost"] is not None:
        return f"at least {money(row['known_cost'])}"
    return money(row["cost"]) if row["calls"] else "$0"

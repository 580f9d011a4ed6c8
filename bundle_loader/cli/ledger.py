"""`bundle-loader ledger`, and the commands below it."""

from __future__ import annotations

import json as jsonlib
import os
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from bundle_loader.cli.hosting import opened as opened_host
from bundle_loader.cli.options import BundleOption, JsonOption, LedgerOption, SinceOption
from bundle_loader.cli.output import as_json, jsonable, money, table, utc
from bundle_loader.cli.since import moment
from bundle_loader.declared.preference import Preference, split_pair
from bundle_loader.errors import LedgerError, RequestError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.reports import counted_calls, ended
from bundle_loader.ledger.savings import Saving, savings_by
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.price import Price
from bundle_loader.sources.home import ledger_file
from bundle_loader.sources.load import load_bundle

By = Literal["agent", "model", "tier", "provider", "family", "profile", "day", "session"]

SUBCOMMANDS: Final = {
    "show": "Show one delegation: its children, every attempt, call and rejection, and what it cost.",
    "export": "Write delegations, attempts and calls as JSON lines or CSV; never a prompt or a text.",
    "prune": "Take old delegations out of the ledger; never what the running month counts.",
}
"""Name -> its line of help. The command `x` is `bundle_loader.cli.ledger_x:app`."""
_COLUMN_OF: Final = {"model": "asked"}
_POLL: Final = 0.25
_PAGE: Final = 500


class LazyLedgerCommands(TyperGroup):
    """The commands below `ledger`, each loaded when it runs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        command = typer.main.get_command(import_module(f"bundle_loader.cli.ledger_{cmd_name}").app)
        assert isinstance(command, TyperCommand)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


app = typer.Typer(cls=LazyLedgerCommands, rich_markup_mode=None, add_completion=False)


@app.callback(invoke_without_command=True)
def ledger(
    ctx: typer.Context,
    by: Annotated[By | None, typer.Option("--by", help="Sums instead of delegations.")] = None,
    since: SinceOption = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="PROVIDER/MODEL", help="With --by: what the same tokens would cost at its price."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show delegations as they end, until you stop it.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many delegations, newest first.")] = 20,
    simulated: Annotated[bool, typer.Option("--simulated", help="The ledger of simulated work.")] = False,
    bundle: BundleOption = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was delegated, by whom it was answered and what it cost."""
    if ctx.invoked_subcommand is not None:
        if any((by, since, against, follow, simulated, bundle, ledger, json)):
            said = f"options of '{ctx.invoked_subcommand}' come after its name: ledger {ctx.invoked_subcommand} [OPTIONS]"
            raise typer.BadParameter(said, param_hint="ledger")
        return
    if by and follow:
        raise typer.BadParameter("--follow shows delegations, not sums; leave --by out", param_hint="--follow")
    if against and not by:
        raise typer.BadParameter("it compares sums; say which with --by", param_hint="--against")
    price = _price(bundle, against) if against else None
    name = load_bundle(bundle).name if bundle else None
    start = moment(since, "--since")
    path = ledger or ledger_file(os.environ, simulated=simulated)
    if follow:
        _follow(path, name, start, json)
    elif not path.exists():
        _nothing(path, given=ledger is not None, by=by, json=json)
    else:
        with closing(Ledger(path)) as opened:
            if by:
                _sums(opened, path, by, {"simulated": simulated, "bundle": name, "since": start}, price, json)
            else:
                _recent(opened.delegations(limit, bundle=name, since=start), path, json)


def _nothing(path: Path, *, given: bool, by: str | None, json: bool) -> None:
    if given:
        raise LedgerError(f"there is no ledger {path}")
    if json:
        as_json({"ledger": str(path), ("totals" if by else "delegations"): []})
    else:
        typer.echo(f"nothing was delegated yet ({path})", err=True)


# --- delegations

_COLUMNS: Final = ("when", "id", "agent", "tier", "answered by", "decided by", "tokens", "cost", "outcome")


def _recent(rows: list[dict[str, Any]], path: Path, json: bool) -> None:
    if json:
        as_json({"ledger": str(path), "delegations": rows})
    else:
        table(_COLUMNS, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    when = utc(row["started"])
    who = f"{row['provider']}/{row['model']}" if row["model"] else "-"
    tokens = f"{row['input_tokens'] or 0} + {row['output_tokens'] or 0}"
    outcome = row["outcome"] if row["reason"] is None else f"{row['outcome']}: {row['reason'][:60]}"
    return (when, row["id"][:8], row["agent"], row["tier"] or "-", who, row["decided_by"], tokens, cost_text(row), outcome)


def cost_text(row: dict[str, Any]) -> str:
    """What rows cost: marked where parts are unknown, or where tokens were estimated."""
    if row["cost"] is None and row["known_cost"] is not None:
        text = f"at least {money(row['known_cost'])}"
    else:
        text = money(row["cost"]) if row.get("calls", 1) else "$0"
    return f"{text} (estimated)" if row.get("estimated") and text != "$0" else text


def _follow(path: Path, bundle: str | None, since: float | None, json: bool) -> None:
    """Print each delegation once it ends. Ctrl-C ends it, as KeyboardInterrupt."""
    while not path.exists():
        time.sleep(_POLL)
    with closing(Ledger(path)) as opened:
        after = opened.peek("last delegation")[0]["place"] if since is None else 0
        if not json:
            typer.echo(f"following {path}; Ctrl-C ends it", err=True)
        for row in _ending(opened, bundle, after):
            if since is not None and row["started"] < since:
                continue
            typer.echo(jsonlib.dumps(jsonable(row), ensure_ascii=False) if json else "  ".join(map(str, _row(row))))


def _ending(opened: Ledger, bundle: str | None, after: int) -> Iterator[dict[str, Any]]:
    """Delegations as they are recorded, by whichever process."""
    while True:
        rows = ended(opened.peek, after, _PAGE, bundle=bundle)
        yield from rows
        if rows:
            after = rows[-1]["place"]
        else:
            time.sleep(_POLL)


# --- sums


def _price(bundle: str | None, against: str) -> tuple[str, Price]:
    """The model that is compared with, and its price now."""
    try:
        provider, model = split_pair(against)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--against") from None
    host = opened_host(bundle, False, None, None)
    candidate = Candidate(provider, model, Preference(provider=provider, model=model), local=provider in host.local)
    price = host.price(candidate, None).price
    if price is None:
        raise RequestError(f"the price of {against} is not known; declare it under 'prices' in the settings or the bundle")
    return against, price


def _sums(opened: Ledger, path: Path, by: str, chosen: dict[str, Any], other: tuple[str, Price] | None, json: bool) -> None:
    rows = opened.totals(by, **chosen)
    slowest = max((row["p50"] for row in rows if row["p50"] is not None), default=None)
    for row in rows:
        row["times_faster"] = slowest / row["p50"] if row["p50"] else None
    if other is not None:
        found = savings_by(_COLUMN_OF.get(by, by), counted_calls(opened.peek, **chosen), other[1])
        for row in rows:
            row["against"] = _saved(found.get(row["name"]), other[0])
    if json:
        as_json({"ledger": str(path), "totals": rows})
        return
    headers = [by, "calls", "input", "output", "cost"]
    headers += ["with sub-agents"] if by == "agent" else []
    headers += [f"at the price of {other[0]}", "times cheaper"] if other is not None else []
    headers += ["mean seconds", "p50", "p95", "p99", "faster than the slowest"]
    table(headers, [_sum(row) for row in rows])


def _saved(saving: Saving | None, model: str) -> dict[str, Any]:
    if saving is None:
        return {"model": model, "calls": 0, "cost": None, "at_its_price": None, "times_cheaper": None, "left_out": 0}
    ratio = None if saving.ratio is None else round(saving.ratio, 3)
    return {
        "model": model,
        "calls": saving.calls,
        "cost": saving.cost,
        "at_its_price": saving.against,
        "times_cheaper": ratio,
        "left_out": saving.unknown,
    }


def _sum(row: dict[str, Any]) -> tuple[Any, ...]:
    line = [row["name"], row["calls"], row["input_tokens"], row["output_tokens"], cost_text(row)]
    if "with_sub_agents" in row:
        line.append(cost_text(row["with_sub_agents"]))
    if "against" in row:
        found = row["against"]
        left_out = f" ({found['left_out']} calls left out)" if found["left_out"] else ""
        line.append(f"{money(found['at_its_price'])}{left_out}" if found["calls"] else "-")
        line.append("-" if found["times_cheaper"] is None else f"{found['times_cheaper']:.1f}x")
    line += [_seconds(row["latency"]), *(_seconds(row[part]) for part in ("p50", "p95", "p99"))]
    return (*line, "-" if row["times_faster"] is None else f"{row['times_faster']:.1f}x")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

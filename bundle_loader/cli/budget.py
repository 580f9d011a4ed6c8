"""`bundle-loader budget`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import typer

from bundle_loader.cli.hosting import opened
from bundle_loader.cli.options import BundleOption, JsonOption, LedgerOption, SimulateOption
from bundle_loader.cli.output import as_json
from bundle_loader.declared.budget import Budget
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import window_of
from bundle_loader.ledger.fold import Fold
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.routing.charged import PICO, amount
from bundle_loader.routing.remaining import Remaining, accounts_of, remaining
from bundle_loader.routing.standing import NOTHING, AccountStanding, Standing
from bundle_loader.sources.home import ledger_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_BAR: Final = 20


@dataclass(frozen=True, slots=True)
class _Line:
    """One account of a budget; `depth` counts the budgets that it is a share of."""

    budget: Budget
    depth: int
    account: AccountStanding | None
    """None where nothing was charged to any account yet."""
    may: Remaining | None
    renews: float | None


@app.command()
def budget(
    bundle: BundleOption = None,
    simulate: SimulateOption = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what may still be spent: each budget, what is used and reserved, and when it renews.

    In the bar '#' is settled, '+' reserved by calls under way. What may be spent is what is left, or less where a wider budget
    has less left. Shares stand below what they are a part of, vendors' rate limits at the end.
    """
    host = opened(bundle, simulate, None, ledger)
    path = ledger or ledger_file(os.environ, simulated=simulate)
    if ledger is not None and not path.exists():
        raise LedgerError(f"there is no ledger {path}")
    now = time.time()
    budgets = host.budgets.all
    standing = NOTHING
    if path.exists():
        with closing(Ledger(path)) as kept:
            standing = Fold(kept.query, lambda: budgets, simulated=simulate).limits(now)
    lines = [line for one, depth in _ordered(budgets) for line in _lines(one, depth, budgets, standing, now)]
    if json:
        closed = [{"key": one.key, "until": _utc(one.until), "reason": one.reason} for one in standing.closed.values()]
        as_json({"bundle": host.bundle.name, "ledger": str(path), "budgets": [_plain(line) for line in lines], "closed": closed})
        return
    if not lines:
        typer.echo(f"bundle '{host.bundle.name}' has no budgets, and no provider a rate limit", err=True)
    for text in _printed(lines):
        typer.echo(text)
    for one in standing.closed.values():
        typer.echo(f"closed until {_utc(one.until)}: {one.key.replace('|', ' ')}: {one.reason}")


def _ordered(budgets: Sequence[Budget], whole: str | None = None, depth: int = 0) -> list[tuple[Budget, int]]:
    """Each budget, its shares below it."""
    ids = {one.id for one in budgets}
    found: list[tuple[Budget, int]] = []
    for one in budgets:
        if (one.share_of if one.share_of in ids else None) == whole:
            found += [(one, depth), *_ordered(budgets, one.id, depth + 1)]
    return found


def _lines(one: Budget, depth: int, budgets: Sequence[Budget], standing: Standing, now: float) -> list[_Line]:
    window = window_of(one, now)
    accounts = accounts_of(one, standing)
    if not accounts:
        return [_Line(one, depth, None, None, window.renews)]
    return [_Line(one, depth, account, remaining(account, budgets, standing), window.renews) for account in accounts]


def _plain(line: _Line) -> dict[str, Any]:
    one, account = line.budget, line.account
    said: dict[str, Any] = {
        "budget": one.id, "says": str(one), "unit": one.unit, "per": one.per, "zone": one.zone, "share_of": one.share_of,
        "account": account.account if account else None, "renews": _utc(line.renews) if line.renews is not None else None,
    }  # fmt: skip
    if account is not None and line.may is not None:
        figures = {"limit": account.limit, "settled": account.settled, "reserved": account.reserved, "left": account.left}
        figures["may_be_spent"] = line.may.units
        said |= {name: units / PICO if one.unit == "money" else units for name, units in figures.items()}
        said["bound_by"] = line.may.bound_by
    return said


def _printed(lines: Sequence[_Line]) -> list[str]:
    texts: list[str] = []
    last = None
    for line in lines:
        indent = "  " * line.depth
        if line.budget.id != last:
            share = f", a share of {line.budget.share_of}" if line.budget.share_of else ""
            texts.append(f"{indent}{line.budget.id}: {line.budget}{share}; {_renewal(line)}")
            last = line.budget.id
        texts.append(f"{indent}  {_figures(line)}")
    return texts


def _figures(line: _Line) -> str:
    account, unit = line.account, line.budget.unit
    if account is None or line.may is None:
        return f"[{'.' * _BAR}] nothing is charged to it now"
    bound = f", bound by {line.may.bound_by}" if line.may.bound_by else ""
    named = f"{account.apart.replace('|', ', ')}: " if account.apart else ""
    return (
        f"{_bar(account)} {named}{amount(unit, account.settled)} settled, {amount(unit, account.reserved)} reserved,"
        f" {amount(unit, account.left)} left; may still be spent: {amount(unit, line.may.units)}{bound}"
    )


def _bar(account: AccountStanding) -> str:
    """Rounded up, so that what was used never looks like nothing."""
    if not account.limit:
        return f"[{'#' * _BAR}]"
    settled = min(-(-account.settled * _BAR // account.limit), _BAR)
    both = min(-(-(account.settled + account.reserved) * _BAR // account.limit), _BAR)
    return f"[{'#' * settled}{'+' * (both - settled)}{'.' * (_BAR - both)}]"


def _renewal(line: _Line) -> str:
    per = line.budget.per
    if line.renews is None:
        return "over the last 60 seconds" if per == "minute" else "each run has its own"
    at = datetime.fromtimestamp(line.renews, ZoneInfo(line.budget.zone))
    return f"renews {at:%Y-%m-%d %H:%M} {line.budget.zone}"


def _utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"

"""`bundle-loader health`."""

from __future__ import annotations

import json as jsonlib
import os
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from bundle_loader.cli.options import JsonOption, LedgerOption
from bundle_loader.cli.output import as_json, table, utc
from bundle_loader.errors import LedgerError, RequestError, did_you_mean
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Recover
from bundle_loader.providers import table as known
from bundle_loader.routing.age import ago
from bundle_loader.sources.home import ledger_file

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def health(
    what: Annotated[
        str | None, typer.Argument(metavar="[PROVIDER[/MODEL]]", help="Only this provider with its models, or this model.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Take it for up again, from the next request on.")] = False,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what is down: since when, why, when it is asked again, and who is finding out whether it is up.

    All processes that share the ledger know the same. Each key of a provider has a health of its own.
    """
    path = ledger or ledger_file(os.environ, simulated=False)
    if not path.exists():
        if ledger is not None:
            raise LedgerError(f"there is no ledger {path}")
        _print([], path, reset, json, time.time())
        return
    with closing(Ledger(path)) as opened:
        now = opened.clock()
        every = opened.query("health")
        found = [row for row in every if what is None or _means(what, row)]
        if reset:
            if what is not None and not found:
                raise RequestError(_not_down(what, every))
            for row in found:
                opened.enter(Recover(row["key"], row["provider"], row["model"], now))
            opened.flush()
        _print(found, path, reset, json, now)


def _means(what: str, row: dict[str, Any]) -> bool:
    """A provider's name means it with its models."""
    provider, _, model = what.partition("/")
    return row["provider"] in (provider, known.canonical(provider)) and model in ("", row["model"])


def _not_down(what: str, every: list[dict[str, Any]]) -> str:
    names = sorted({_name(row) for row in every})
    if not names:
        return f"'{what}' is not down; nothing is"
    return f"'{what}' is not down{did_you_mean(what, names)}; down are {', '.join(names)}"


def _name(row: dict[str, Any]) -> str:
    return row["provider"] if row["model"] is None else f"{row['provider']}/{row['model']}"


def _print(rows: list[dict[str, Any]], path: os.PathLike[str], reset: bool, json: bool, now: float) -> None:
    if json:
        as_json({"ledger": str(path), ("reset" if reset else "down"): [_plain(row, now) for row in rows]})
        return
    if not rows:
        typer.echo("nothing is down", err=True)
    elif reset:
        for row in rows:
            typer.echo(f"{_name(row)} is taken for up again; it was down ({row['reason']})")
    else:
        table(("down", "since", "asked again", "times", "why"), [_row(row, now) for row in rows])


def _row(row: dict[str, Any], now: float) -> tuple[Any, ...]:
    since = "-" if row["since"] is None else f"{utc(row['since'])} ({ago(now - row['since'])})"
    return (_name(row), since, _again(row, now), row["times"], row["reason"])


def _again(row: dict[str, Any], now: float) -> str:
    if _probing(row, now):
        return f"a call of {_prober(row)} is finding out, for {ago(row['probe_until'] - now)} at most"
    if row["until"] <= now:
        return "with the next request"
    return f"in {ago(row['until'] - now + 1)}, at {utc(row['until'])}"


def _probing(row: dict[str, Any], now: float) -> bool:
    return row["probe"] is not None and row["probe_until"] > now


def _prober(row: dict[str, Any]) -> str:
    """Whose call it is, as far as it is known: a call's id begins with its delegation's."""
    what = jsonlib.loads(row["what"]) if row["what"] else None
    delegation = row["probe"].rpartition("-")[0].rpartition("-")[0] or row["probe"]
    return f"agent '{what[3]}' ({delegation[:8]})" if what else f"delegation {delegation[:8]}"


def _plain(row: dict[str, Any], now: float) -> dict[str, Any]:
    probing = _probing(row, now)
    return {
        "provider": row["provider"],
        "model": row["model"],
        "key": row["key"],
        "since": _iso(row["since"]),
        "reason": row["reason"],
        "times": row["times"],
        "asked_again": _iso(row["until"]),
        "due": not probing and row["until"] <= now,
        "probing": {"call": row["probe"], "by": _prober(row), "until": _iso(row["probe_until"])} if probing else None,
    }


def _iso(at: float | None) -> str | None:
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"

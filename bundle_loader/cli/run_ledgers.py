"""Which ledger holds a run, and the host that goes on with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bundle_loader.errors import LedgerError, RequestError
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.recipes.past import PastRun, past_run
from bundle_loader.sources.home import ledger_file

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The run's id, or as much of its beginning as is unique.")]


class Kept(NamedTuple):
    """A run, and the ledger that holds it."""

    run: PastRun
    ledger: Path
    simulated: bool


def ledgers(given: Path | None) -> list[tuple[Path, bool]]:
    """The ledgers that there are, each with whether it is that of simulated work: the one that was named, else both."""
    if given is not None:
        if not given.exists():
            raise LedgerError(f"there is no ledger {given}")
        return [(given, False)]
    both = [(ledger_file(os.environ, simulated=played), played) for played in (False, True)]
    return [(path, played) for path, played in both if path.exists()]


@contextmanager
def opened_ledger(path: Path) -> Iterator[Ledger]:
    """A ledger without a host."""
    with closing(Ledger(path)) as ledger:
        yield ledger


def kept_run(id: str, given: Path | None) -> Kept:
    """The run of that id, or of that beginning, from whichever ledger has it. Raises RequestError or RecipeFailed."""
    found: list[Kept] = []
    there = ledgers(given)
    for path, played in there:
        with opened_ledger(path) as ledger:
            begins = ledger.query("runs that begin with", prefix=id.strip().lower(), limit=1)
            if begins or len(there) == 1:
                run = past_run(ledger, id)
                found.append(Kept(run, path, played or run.simulated))
    if len(found) == 1:
        return found[0]
    if found:
        raise RequestError(f"'{id}' begins a run of simulated work and another one; write more of it")
    raise RequestError(f"no run has an id that begins with '{id[:60]}'; 'bundle-loader run list' shows them")

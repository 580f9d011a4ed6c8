"""Taking old rows out of a ledger file: whole trees of delegations that are over, never what a running window counts."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from bundle_loader.ledger.operations import Prune, Pruned
from bundle_loader.ledger.run_rows import forget_runs, old_runs

_ZONES: Final = ("Etc/GMT+12", "Pacific/Kiritimati")
"""The last and the first zone in which a day begins."""
_DAY: Final = 86_400

_OVER: Final = """
CREATE TEMP TABLE going AS
SELECT root FROM delegations GROUP BY root HAVING MAX(started + latency) < :before ORDER BY MIN(started) LIMIT :most
"""
_LONE: Final = "delegation NOT IN (SELECT id FROM delegations) AND started < :alone"
_LONE_AT: Final = "delegation NOT IN (SELECT id FROM delegations) AND at < :alone"
_OF_GOING: Final = "delegation IN (SELECT id FROM delegations WHERE root IN (SELECT root FROM going))"
_CALLS: Final = f"FROM calls WHERE {_OF_GOING} OR ({_LONE})"
_ATTEMPTS: Final = f"FROM attempts WHERE {_OF_GOING} OR ({_LONE})"
_DELEGATIONS: Final = "FROM delegations WHERE root IN (SELECT root FROM going)"


def running_month(now: float) -> float:
    """When the month began that runs now, in whichever time zone it began first: epoch seconds."""
    starts = []
    for zone in (UTC, *map(ZoneInfo, _ZONES)):
        local = datetime.fromtimestamp(now, zone)
        starts.append(datetime(local.year, local.month, 1, tzinfo=zone).timestamp())
    return min(starts)


def prune(db: sqlite3.Connection, asked: Prune, now: float) -> Pruned:
    """Carry out one step inside of the open transaction; with `only_count` nothing is changed.

    1. A tree of delegations goes when all of it had ended before; its attempts, hops, calls and feedback go with it.
    2. Calls and attempts whose delegation was never recorded go a day later: it may still be under way.
    3. Sums of accounts go when their window is over and nothing is reserved in it.
    4. Runs of recipes go with all that is kept of them when they had ended before; what waits or was cut off stays.
    5. Whatever the running month counts stays, in any time zone.
    """
    before = min(asked.before, running_month(now))
    values = {"before": before, "most": -1 if asked.only_count else asked.most, "alone": before - _DAY}
    db.execute("DROP TABLE IF EXISTS temp.going")
    db.execute(_OVER, values)
    delegations, attempts = (db.execute(f"SELECT COUNT(*) {which}", values).fetchone()[0] for which in (_DELEGATIONS, _ATTEMPTS))
    calls, known, pico = db.execute(f"SELECT COUNT(*), COUNT(cost_pico), COALESCE(SUM(cost_pico), 0) {_CALLS}", values).fetchone()
    runs = old_runs(db, before, int(values["most"]))
    done = Pruned(before, delegations, attempts, calls, pico, calls - known, len(runs))
    if not asked.only_count:
        forget_runs(db, runs)
        _take_out(db, values, done, now)
    db.execute("DROP TABLE temp.going")
    return done


def _take_out(db: sqlite3.Connection, values: dict[str, float], done: Pruned, now: float) -> None:
    ids = {id for (id,) in db.execute(f"SELECT id {_DELEGATIONS}")}
    db.execute(f"DELETE FROM feedback WHERE {_OF_GOING}")
    for table in ("hops", "resumed"):
        db.execute(f"DELETE FROM {table} WHERE {_OF_GOING} OR ({_LONE_AT})", values)
    db.execute(f"DELETE {_CALLS}", values)
    db.execute(f"DELETE {_ATTEMPTS}", values)
    db.execute(f"DELETE {_DELEGATIONS}")
    db.execute("DELETE FROM health WHERE at < :before", values)
    db.execute("DELETE FROM closed WHERE until < :before", values)
    db.execute("DELETE FROM accounts WHERE bucket > 0 AND bucket < :before AND reserved = 0", values)
    # those of single runs and of caps have no window; their keys name the delegation
    lasting = [account for (account,) in db.execute("SELECT account FROM accounts WHERE bucket = 0 AND reserved = 0")]
    over = [(account,) for account in lasting if not ids.isdisjoint(re.split(r"[|=]", account))]
    db.executemany("DELETE FROM accounts WHERE account = ? AND bucket = 0", over)
    if done.rows:
        kept = (now, done.before, done.delegations, done.attempts, done.calls, done.pico)
        db.execute("INSERT INTO prunings (at, before, delegations, attempts, calls, cost_pico) VALUES (?, ?, ?, ?, ?, ?)", kept)

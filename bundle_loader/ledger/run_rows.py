"""Runs of recipes in a ledger file: who holds one, what came of its steps, and what goes when it is old."""

from __future__ import annotations

import sqlite3
from typing import Final

from bundle_loader.ledger.run_records import AnswerRun, BeginRun, EndRun, HoldRun, KeepStep, RunHeld, RunOperation, TakeRun

_LONGEST: Final = 600.0
"""Seconds for which nobody holds a run: a hold for longer was written before the clock was set back."""
_BEGIN: Final = """
INSERT OR IGNORE INTO runs (id, recipe, bundle, file, started, updated, status, simulated, asked, prints, holder, until)
VALUES (?, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?)
"""
_TAKE: Final = "UPDATE runs SET holder = ?, until = ?, updated = ?, status = 'running', reason = NULL WHERE id = ?"
_KEEP: Final = """
INSERT OR REPLACE INTO run_steps (run, id, step, stage, kind, status, final, at, told, sets, output)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM runs WHERE id = ?1 AND holder = ?
"""
_END: Final = """
UPDATE runs SET status = ?, reason = ?, told = ?, updated = ?, holder = NULL, until = NULL WHERE id = ? AND holder = ?
"""
_OVER: Final = """
SELECT id FROM runs WHERE updated < ? AND status NOT IN ('running', 'waiting') ORDER BY updated LIMIT ?
"""


def change_run(db: sqlite3.Connection, asked: RunOperation, now: float) -> RunHeld:
    """Carry out one operation inside of the open transaction."""
    match asked:
        case BeginRun(id, recipe, bundle, file, started, simulated, told, prints, holder, until):
            row = (id, recipe, bundle, file, started, started, int(simulated), told, prints, holder, until)
            return RunHeld(db.execute(_BEGIN, row).rowcount == 1)
        case TakeRun():
            return _take(db, asked, now)
        case HoldRun(id, holder, until):
            held = db.execute("UPDATE runs SET until = ? WHERE id = ? AND holder = ?", (until, id, holder)).rowcount == 1
            return RunHeld(held)
        case KeepStep(run, holder, id, step, stage, kind, status, final, told, sets, output):
            kept = (run, id, step, stage, kind, status, int(final), now, told, sets, output, holder)
            return RunHeld(db.execute(_KEEP, kept).rowcount == 1)
        case EndRun(id, holder, status, reason, told):
            return RunHeld(db.execute(_END, (status, reason, told, now, id, holder)).rowcount == 1)
        case AnswerRun(run, id, yes, note):
            answer = (run, id, int(yes), note, now)
            return RunHeld(db.execute("INSERT OR IGNORE INTO run_answers VALUES (?, ?, ?, ?, ?)", answer).rowcount == 1)


def _take(db: sqlite3.Connection, asked: TakeRun, now: float) -> RunHeld:
    found = db.execute("SELECT holder, until FROM runs WHERE id = ?", (asked.id,)).fetchone()
    if found is None:
        return RunHeld(False)
    holder, until = found
    if holder is not None and holder != asked.dead and now < until <= now + _LONGEST:
        return RunHeld(False, holder, until)
    db.execute(_TAKE, (asked.holder, asked.until, now, asked.id))
    return RunHeld(True)


def old_runs(db: sqlite3.Connection, before: float, most: int) -> list[str]:
    """The runs that ended before then. One that waits, or whose process died, may go on."""
    return [id for (id,) in db.execute(_OVER, (before, most))]


def forget_runs(db: sqlite3.Connection, ids: list[str]) -> None:
    """Take runs out with all that is kept of them."""
    for id in ids:
        for table, column in (("run_steps", "run"), ("run_answers", "run"), ("runs", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (id,))

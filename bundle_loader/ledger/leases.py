"""Breakers in a ledger file: opening, closing, and the lease of the one call that finds out whether a breaker may close."""

from __future__ import annotations

import sqlite3
from typing import Final

from bundle_loader.ledger.operations import Open, Recover, Refused, Reserve, Unlease
from bundle_loader.ledger.records import HealthRecord

LONGEST: Final = 300.0
"""Seconds for which a breaker is open at most, and for which a refused key, account or model is not asked again."""
_SKEW: Final = 60.0
"""Seconds by which the clocks of two who share a ledger may differ."""
LEASE: Final = 60.0
"""Seconds after which a call that was to find out, and said nothing since, is taken for lost."""
POLL: Final = 0.25
"""Seconds after which it is worth asking what another call has found out."""

_OPEN: Final = """
INSERT INTO breakers (key, provider, model, until, times, reason, refused) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (key) DO UPDATE SET until = CASE WHEN until > ?8 THEN excluded.until ELSE MAX(until, excluded.until) END,
    times = MAX(times, excluded.times), reason = excluded.reason, refused = excluded.refused,
    probe_until = CASE WHEN probe = ?9 THEN probe_until END, probe = CASE WHEN probe = ?9 THEN probe END
"""
_ASK: Final = "SELECT until, reason, refused, probe, probe_until FROM breakers WHERE key = ?"
_TAKE: Final = "UPDATE breakers SET probe = ?, probe_until = ? WHERE key = ?"


def rests(until: float, now: float) -> bool:
    """Whether a breaker is open now. One for longer than any is set was written before the clock was set back: it is over."""
    return now < until <= latest(now)


def latest(now: float) -> float:
    """The latest moment until which anything that is open now can be."""
    return now + LONGEST + _SKEW


def leased(until: float | None, now: float) -> bool:
    """Whether a lease that ends then still holds."""
    return until is not None and now < until <= now + LEASE


def change(db: sqlite3.Connection, asked: Open | Recover | Unlease) -> list[HealthRecord]:
    """Carry out a change; what is to be kept of it."""
    match asked:
        case Open(key, provider, model, until, times, reason, at, refused, leaves):
            db.execute(_OPEN, (key, provider, model, until, times, reason, int(refused), latest(at), leaves))
            return [HealthRecord(at, provider, model, "open", reason, until)]
        case Recover(key, provider, model, at):
            gone = db.execute("DELETE FROM breakers WHERE key = ?", (key,)).rowcount
            return [HealthRecord(at, provider, model, "closed", None)] if gone else []
        case Unlease(key, call):
            db.execute("UPDATE breakers SET probe = NULL, probe_until = NULL WHERE key = ? AND probe = ?", (key, call))
            return []


def against(db: sqlite3.Connection, asked: Reserve, now: float) -> Refused | None:
    """What stands against a call's probes: still down, or somebody else is finding out."""
    for key in asked.probes:
        row = db.execute(_ASK, (key,)).fetchone()
        if row is None:
            continue
        until, reason, refuses, probe, probe_until = row
        if rests(until, now):
            return Refused(None, 0, until - now, reason, renews=until, down=key, refuses=bool(refuses))
        if probe not in (None, asked.id) and leased(probe_until, now):
            return Refused(None, 0, POLL, f"another call finds out whether it is up again ({reason})", held=True, down=key)
    return None


def take(db: sqlite3.Connection, asked: Reserve, now: float) -> None:
    """Lease the call's probes, as far as they are still wanted."""
    db.executemany(_TAKE, [(asked.id, now + LEASE, key) for key in asked.probes])

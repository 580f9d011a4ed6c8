"""The shape of a ledger file, as the list of steps that lead to it."""

from __future__ import annotations

from typing import Final

_FIRST = """
CREATE TABLE delegations (
    id TEXT PRIMARY KEY, parent TEXT, root TEXT NOT NULL, depth INTEGER NOT NULL, agent TEXT NOT NULL, tier TEXT, profile TEXT,
    stage TEXT, role TEXT, decided_by TEXT NOT NULL, bundle TEXT NOT NULL, bundle_hash TEXT NOT NULL, started REAL NOT NULL,
    latency REAL NOT NULL, outcome TEXT NOT NULL, provider TEXT, model TEXT, reason TEXT, simulated INTEGER NOT NULL
) STRICT;
CREATE INDEX delegations_started ON delegations (started);
CREATE TABLE attempts (
    id TEXT PRIMARY KEY, delegation TEXT NOT NULL, number INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    pattern TEXT NOT NULL, started REAL NOT NULL, latency REAL NOT NULL, outcome TEXT NOT NULL, kind TEXT, reason TEXT
) STRICT;
CREATE INDEX attempts_delegation ON attempts (delegation);
CREATE TABLE calls (
    id TEXT PRIMARY KEY, attempt TEXT NOT NULL, delegation TEXT NOT NULL, root TEXT NOT NULL, agent TEXT NOT NULL, tier TEXT,
    provider TEXT NOT NULL, pattern TEXT NOT NULL, asked TEXT NOT NULL, answered TEXT, started REAL NOT NULL,
    latency REAL NOT NULL, first_token REAL, input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER,
    cache_write_tokens INTEGER, reasoning_tokens INTEGER, estimated INTEGER NOT NULL, cost_pico INTEGER,
    outcome TEXT NOT NULL, reason TEXT, simulated INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_delegation ON calls (delegation);
CREATE INDEX calls_started ON calls (started);
"""

_ACCOUNTS = """
CREATE TABLE accounts (
    account TEXT NOT NULL, bucket INTEGER NOT NULL, settled INTEGER NOT NULL, reserved INTEGER NOT NULL,
    PRIMARY KEY (account, bucket)
) STRICT, WITHOUT ROWID;
CREATE TABLE holders (id INTEGER PRIMARY KEY AUTOINCREMENT, expires REAL NOT NULL) STRICT;
CREATE TABLE reservations (
    id TEXT PRIMARY KEY, holder INTEGER NOT NULL, made REAL NOT NULL, entries TEXT NOT NULL, what TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE closed (key TEXT PRIMARY KEY, until REAL NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE health (
    at REAL NOT NULL, provider TEXT NOT NULL, model TEXT, state TEXT NOT NULL, reason TEXT, until REAL
) STRICT;
CREATE TABLE feedback (at REAL NOT NULL, delegation TEXT NOT NULL, score REAL NOT NULL, note TEXT, source TEXT) STRICT;
ALTER TABLE calls ADD COLUMN family TEXT;
ALTER TABLE calls ADD COLUMN profile TEXT;
ALTER TABLE calls ADD COLUMN stage TEXT;
ALTER TABLE calls ADD COLUMN role TEXT;
ALTER TABLE calls ADD COLUMN tags TEXT;
ALTER TABLE calls ADD COLUMN cost_source TEXT;
ALTER TABLE delegations ADD COLUMN rejected TEXT;
CREATE INDEX delegations_root ON delegations (root);
DROP INDEX calls_started;
"""

_PRUNINGS = """
CREATE TABLE prunings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, before REAL NOT NULL, delegations INTEGER NOT NULL,
    attempts INTEGER NOT NULL, calls INTEGER NOT NULL, cost_pico INTEGER NOT NULL
) STRICT;
"""

_BREAKERS = """
CREATE TABLE breakers (
    key TEXT PRIMARY KEY, provider TEXT NOT NULL, model TEXT, until REAL NOT NULL, times INTEGER NOT NULL,
    reason TEXT NOT NULL, refused INTEGER NOT NULL, probe TEXT, probe_until REAL
) STRICT, WITHOUT ROWID;
"""

_HOPS = """
CREATE TABLE hops (
    delegation TEXT NOT NULL, at REAL NOT NULL, from_provider TEXT NOT NULL, from_model TEXT NOT NULL,
    to_provider TEXT NOT NULL, to_model TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE INDEX hops_delegation ON hops (delegation);
"""

_RESUMED = """
CREATE TABLE resumed (delegation TEXT PRIMARY KEY, session TEXT NOT NULL, at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX resumed_session ON resumed (session);
"""

_RUNS = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, recipe TEXT NOT NULL, bundle TEXT NOT NULL, file TEXT NOT NULL, started REAL NOT NULL,
    updated REAL NOT NULL, status TEXT NOT NULL, reason TEXT, simulated INTEGER NOT NULL, asked TEXT NOT NULL,
    prints TEXT NOT NULL, told TEXT, holder TEXT, until REAL
) STRICT;
CREATE INDEX runs_started ON runs (started);
CREATE TABLE run_steps (
    run TEXT NOT NULL, id TEXT NOT NULL, step TEXT NOT NULL, stage TEXT NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    final INTEGER NOT NULL, at REAL NOT NULL, told TEXT NOT NULL, sets TEXT, output TEXT, PRIMARY KEY (run, id)
) STRICT;
CREATE TABLE run_answers (
    run TEXT NOT NULL, id TEXT NOT NULL, yes INTEGER NOT NULL, note TEXT, at REAL NOT NULL, PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: Final = (_FIRST, _ACCOUNTS, _PRUNINGS, _BREAKERS, _HOPS, _RESUMED, _RUNS)
"""Each brings a file from its index to the next; `user_version` counts those that were run."""

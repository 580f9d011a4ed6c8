"""The ledger's SQLite file: schema as a list of migrations, appending, reading."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.records import AttemptRecord, CallRecord, DelegationRecord, Record, to_pico

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

MIGRATIONS: Final = (_FIRST,)
"""Each brings a file from its index to the next; `user_version` counts those that were run."""

_MAGIC: Final = b"SQLite format 3\x00"
_DELEGATION = f"INSERT INTO delegations VALUES ({','.join('?' * 19)})"
_ATTEMPT = f"INSERT INTO attempts VALUES ({','.join('?' * 11)})"
_CALL = f"INSERT INTO calls VALUES ({','.join('?' * 23)})"


class Store:
    """One connection to a ledger file. Used from one thread at a time. Raises LedgerError for a file it cannot trust."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            if not new and not _may_be_ours(path):
                raise sqlite3.DatabaseError("file is not a database")
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            if new:
                os.chmod(path, 0o600)
            self._db.row_factory = sqlite3.Row
            self._check()  # before anything is written: whatever is refused stays as it was
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise LedgerError(
                f"{path} is not a ledger that can be read ({error}); move it away, or name another with ledger="
            ) from None
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}; name another file with ledger=") from None

    def _check(self) -> None:
        # in one statement: another process may be creating the tables
        query = "SELECT user_version, (SELECT COUNT(*) FROM sqlite_master) FROM pragma_user_version"
        version, tables = self._db.execute(query).fetchone()
        if version > len(MIGRATIONS):
            self._db.close()
            raise LedgerError(
                f"{self.path} was written by a newer version (schema {version}); update, or name another file with ledger="
            )
        if version == 0 and tables:
            self._db.close()
            raise LedgerError(f"{self.path} is a database of another program; name another file with ledger=")

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == len(MIGRATIONS):
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            for index in range(version, len(MIGRATIONS)):
                for statement in MIGRATIONS[index].split(";\n"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def append(self, records: Iterable[Record]) -> None:
        """Write records in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for record in records:
                if isinstance(record, CallRecord):
                    self._db.execute(_CALL, _call_row(record))
                elif isinstance(record, AttemptRecord):
                    self._db.execute(_ATTEMPT, _attempt_row(record))
                else:
                    self._db.execute(_DELEGATION, _delegation_row(record))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """The rows of a query, as mappings."""
        return [dict(row) for row in self._db.execute(query, parameters)]

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def _may_be_ours(path: Path) -> bool:
    """Whether a file is empty or begins as SQLite's do: SQLite itself would write over a short text."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (b"", _MAGIC)


def _delegation_row(r: DelegationRecord) -> tuple[Any, ...]:
    return (
        r.id, r.parent, r.root, r.depth, r.agent, r.tier, r.profile, r.stage, r.role, r.decided_by, r.bundle, r.bundle_hash,
        r.started, r.latency, r.outcome, r.provider, r.model, r.reason, int(r.simulated),
    )  # fmt: skip


def _attempt_row(r: AttemptRecord) -> tuple[Any, ...]:
    return (r.id, r.delegation, r.number, r.provider, r.model, r.pattern, r.started, r.latency, r.outcome, r.kind, r.reason)


def _call_row(r: CallRecord) -> tuple[Any, ...]:
    usage = r.usage
    tokens = (
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
        if usage
        else (None,) * 5
    )
    return (
        r.id, r.attempt, r.delegation, r.root, r.agent, r.tier, r.provider, r.pattern, r.asked, r.answered, r.started, r.latency,
        r.first_token, *tokens, int(bool(usage and usage.estimated)), to_pico(r.cost), r.outcome, r.reason, int(r.simulated),
    )  # fmt: skip

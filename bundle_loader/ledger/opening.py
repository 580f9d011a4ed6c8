"""A ledger's file before anything is asked of it: made, looked at, brought up to date, or refused as it is."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.migrations import MIGRATIONS
from bundle_loader.ledger.operations import Unwritable

BUSY: Final = 30.0
"""Seconds for which one waits for others that are writing."""

_SMALLEST: Final = 512
"""Bytes of the smallest database that there can be."""
_OURS: Final = frozenset({"delegations", "attempts", "calls"})
_FIRST_WAIT: Final = 0.0002
_LONGEST_WAIT: Final = 0.01
REMEDY: Final = "name another file with ledger= (--ledger in the command line)"
_SMALL: Final = 8 << 20
"""Bytes of a file that is looked through each time that it is opened: a few milliseconds."""


def connect(path: Path, *, busy: float = BUSY) -> sqlite3.Connection:
    """A connection without transactions of its own, for use by one thread at a time."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=busy, cached_statements=256)


def opened(path: Path) -> sqlite3.Connection:
    """A connection that writes to a ledger file of the newest shape. Raises LedgerError for one that it cannot trust."""
    db: sqlite3.Connection | None = None
    scheme = path.parts[0] if path.parts else ""
    if scheme.endswith(":") and len(scheme) > 2:  # not the letter of a drive; the rest may hold a password
        raise LedgerError(f"the ledger is a file for now, and '{scheme}//...' is an address; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_or_look(path)
        _look_through(path)
        db = connect(path)
        _check(db, path)  # before anything is written: whatever is refused stays as it was
        _through_locks(db, "PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        _migrate(db)
        db.execute("PRAGMA busy_timeout=0")
        db.execute("PRAGMA wal_autocheckpoint=0")
    except BaseException as error:
        if db is not None:
            db.close()
        if isinstance(error, sqlite3.Error):
            raise _told(path, error) from None
        if isinstance(error, OSError):
            raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}; {REMEDY}") from None
        raise
    return db


def begin(db: sqlite3.Connection, *, wait: bool) -> bool:
    """Begin to write; False where somebody else is writing and `wait` is not wanted. Raises sqlite3.Error after BUSY seconds."""
    pause = _FIRST_WAIT
    until = 0.0
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if not wait:
                return False
            now = time.monotonic()
            until = until or now + BUSY
            if now >= until:
                raise
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_WAIT)
        else:
            return True


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _make_or_look(path: Path) -> None:
    """Make the file for its owner's eyes alone, or see that SQLite may open it: it would write over a short text."""
    if path.is_dir():
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # by its size alone: opening and closing a file drops the locks that SQLite holds on it in this process
        if 0 < path.stat().st_size < _SMALLEST:
            raise sqlite3.DatabaseError("file is not a database") from None


def _look_through(path: Path) -> None:
    """Find damage within a file that is small, or that was not closed: whoever pays for calls must be able to enter them.

    A log of writes beside it is left over by a process that died, or of one that has it open. It stays as it is: one that only
    reads does not bring it into the file.
    """
    log = path.with_name(path.name + "-wal").exists()
    size = path.stat().st_size
    if not size or (size > _SMALL and not log):
        return
    mode = "ro" if log else "rw"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=BUSY)
    try:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        db.close()
    if found != "ok":
        raise sqlite3.DatabaseError(f"it is damaged: {' '.join(str(found).split())}")


def _check(db: sqlite3.Connection, path: Path) -> None:
    # in one statement: another process may be creating the tables
    query = "SELECT user_version, (SELECT group_concat(name) FROM sqlite_master WHERE type = 'table') FROM pragma_user_version"
    version, names = db.execute(query).fetchone()
    tables = set((names or "").split(","))
    if version > len(MIGRATIONS) and "calls" in tables:
        raise LedgerError(f"{path} was written by a newer version (schema {version}); update, or {REMEDY}")
    if names and (version == 0 or not tables >= _OURS):
        raise LedgerError(f"{path} is a database of another program; {REMEDY}")
    if version and not names:
        raise LedgerError(f"{path} is a database of another program; {REMEDY}")


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    begin(db, wait=True)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        for index in range(version, len(MIGRATIONS)):
            for statement in MIGRATIONS[index].split(";\n"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _through_locks(db: sqlite3.Connection, statement: str) -> None:
    """Execute a statement for which SQLite does not itself wait while others hold the file."""
    until = time.monotonic() + BUSY
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= until:
                raise
            time.sleep(_LONGEST_WAIT)


def _told(path: Path, error: sqlite3.Error) -> LedgerError:
    if is_busy(error):
        return Unwritable(f"the ledger {path} has been locked by another program for {BUSY:.0f} s; end it, or {REMEDY}")
    if isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_ERROR:
        return LedgerError(f"the ledger {path} cannot be opened: {error}; {REMEDY}")
    return LedgerError(f"{path} is not a ledger that can be read ({error}); move it away, or {REMEDY}")

"""A ledger in one SQLite file: carrying out operations in one transaction each time, leases, answering questions."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bundle_loader.errors import LedgerError
from bundle_loader.ledger import leases
from bundle_loader.ledger.books import Books, Known
from bundle_loader.ledger.opening import REMEDY, begin, connect, is_busy, opened
from bundle_loader.ledger.operations import (
    Answer,
    Append,
    Close,
    Correct,
    Damaged,
    Open,
    Operation,
    Prune,
    Recover,
    Reserve,
    Settle,
    Settled,
    Unlease,
    Unwritable,
)
from bundle_loader.ledger.pruning import prune
from bundle_loader.ledger.questions import QUESTIONS
from bundle_loader.ledger.records import Record
from bundle_loader.ledger.rows import insert, insert_all
from bundle_loader.ledger.run_records import AnswerRun, BeginRun, EndRun, HoldRun, KeepStep, TakeRun
from bundle_loader.ledger.run_rows import change_run

LEASE: Final = 30.0
"""Seconds after which a process that has not said that it is alive has lost what it held."""

_SWEEP: Final = 1.0
"""Seconds between two looks for processes that died."""
_LONG: Final = 4 << 20
"""Bytes of the write-ahead log from which it is brought into the file."""
_DIED: Final = "its process died while it was under way"
_CLOSED: Final = "the ledger was closed while it was under way"


class SqliteStorage:
    """One ledger file. Used from one thread at a time, `query` from any. Raises LedgerError for a file it cannot trust.

    A process holds its reservations for `lease` seconds, and renews that as long as it lives (`tend`). One that does not,
    because it died or was stopped, loses them to whoever looks next. What it settles later all the same is entered in full.
    """

    def __init__(self, path: Path, *, lease: float = LEASE) -> None:
        self.path = path
        self._lease = lease
        self._holder: int | None = None
        self._expires = 0.0
        """Until when this process surely holds what it reserved."""
        self._seen: float | None = None
        self._doubt = 0.0
        """Until when no other process is taken for dead."""
        self._swept = 0.0
        self._known = Known()
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        self._db = opened(path)
        self._file = _identity(path)
        self._looked = time.monotonic()
        """When the file was last seen to be the one that is open."""

    # --- writing

    def run(self, operations: Sequence[Operation], now: float, *, wait: bool = True) -> list[Answer] | None:
        """Carry out all operations in one transaction, in order; None where others write and `wait` is not wanted."""
        try:
            if time.monotonic() - self._looked >= _SWEEP:
                if _identity(self.path) != self._file:
                    raise Unwritable(
                        f"the ledger {self.path} was moved or deleted while it was open; put it back, or open it anew"
                    )
                self._looked = time.monotonic()
            if not begin(self._db, wait=wait):
                return None
            holder = self._holder
            try:
                answers = self._run(operations, now)
                self._db.execute("COMMIT")
            except BaseException:
                self._holder, self._expires = holder, 0.0
                self._known.clear()
                self._undo()
                raise
        except sqlite3.OperationalError as error:
            raise Unwritable(f"the ledger {self.path} could not be written: {error}") from error
        except (sqlite3.Error, OverflowError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise Damaged(f"the ledger {self.path} is damaged ({error}); move it away, or {REMEDY}") from error
            raise LedgerError(f"the ledger {self.path} could not be written: {error}") from error
        return answers

    def _undo(self) -> None:
        if self._db.in_transaction:  # some failures end it by themselves
            self._db.execute("ROLLBACK")

    def _run(self, operations: Sequence[Operation], now: float) -> list[Answer]:
        self._known.check(self._db)
        books = Books(self._db, lambda: self._held_by(now), now, self._known)
        self._awake(now)
        self._renew(now)
        tidy = abs(now - self._swept) >= _SWEEP and any(isinstance(operation, Reserve) for operation in operations)
        if tidy:
            self._sweep(books, now)
            self._swept = now
        answers: list[Answer] = []
        appended: list[Record] = []
        for operation in operations:
            answer: Answer = None
            match operation:
                case Append(record):
                    appended.append(record)
                case Reserve():
                    answer = books.reserve(operation)
                case Settle():
                    answer = self._settle(books, operation)
                case Correct():
                    books.correct(operation)
                case Close():
                    books.close(operation)
                case Open() | Recover() | Unlease():
                    appended += leases.change(self._db, operation)
                case BeginRun() | TakeRun() | HoldRun() | KeepStep() | EndRun() | AnswerRun():
                    answer = change_run(self._db, operation, now)
                case Prune():
                    answer = prune(self._db, operation, now)
                    self._known.clear()
            answers.append(answer)
        insert_all(self._db, appended)
        books.write(tidy=tidy)
        return answers

    def _settle(self, books: Books, asked: Settle) -> Settled:
        """Settle once: a second time changes nothing, and the truth takes the place of a call that was given up for lost."""
        kept = books.free(asked.id)
        if asked.record is None:
            return books.settle(asked, kept)
        lost = False
        if not kept:
            found = self._db.execute("SELECT outcome FROM calls WHERE id = ?", (asked.record.id,)).fetchone()
            if found is not None and found[0] != "lost":
                return Settled(kept=False)
            lost = found is not None
        if lost:  # the new row comes after all others, where those who read on from a place find it
            self._db.execute("UPDATE calls SET id = id || '~lost' WHERE id = ?", (asked.record.id,))
        insert(self._db, asked.record)
        if lost:
            self._db.execute("DELETE FROM calls WHERE id = ? || '~lost'", (asked.record.id,))
        return books.settle(asked, kept)

    # --- leases

    def _awake(self, now: float) -> None:
        """Note the time. Where this process slept, or the clock was set, so it may be with others: they get time to say so."""
        if self._seen is not None and now - self._seen > self._lease * 0.9:
            self._doubt = now + self._lease / 2
        self._seen = now

    def _held_by(self, now: float) -> int:
        """The number under which this process holds its reservations."""
        if self._holder is None:
            expires = now + self._lease
            self._holder = self._db.execute("INSERT INTO holders (expires) VALUES (?)", (expires,)).lastrowid
            self._expires = expires
        assert self._holder is not None
        return self._holder

    def _renew(self, now: float) -> None:
        """Hold on for another lease, when a third of it is over; give up a holder that was taken for dead."""
        if self._holder is None or self._lease * 2 / 3 < self._expires - now <= self._lease:
            return
        self._expires = now + self._lease
        found = self._db.execute("UPDATE holders SET expires = ? WHERE id = ?", (self._expires, self._holder)).rowcount
        self._holder = self._holder if found else None

    def _sweep(self, books: Books, now: float) -> None:
        """Give back what processes held that are gone, and what nobody is known to hold."""
        longest = max(self._lease, LEASE)
        # after the clock was set back
        self._db.execute("UPDATE holders SET expires = ? WHERE expires > ?", (now + longest, now + 2 * longest))
        if not now < self._doubt <= now + self._lease:
            for (holder,) in self._db.execute(_EXPIRED, (now, self._holder)).fetchall():
                self._give_back(books, holder, _DIED)
        for (holder,) in self._db.execute(_NOBODYS).fetchall():
            self._give_back(books, holder, _DIED)

    def _give_back(self, books: Books, holder: int, why: str) -> None:
        held = self._db.execute("SELECT id, made, entries, what FROM reservations WHERE holder = ?", (holder,)).fetchall()
        for id, made, entries, what in held:
            books.give_back(entries)
            if what:
                self._db.execute(_LOST_CALL, (id, *json.loads(what), made, why))
        self._db.execute("DELETE FROM reservations WHERE holder = ?", (holder,))
        self._db.execute("DELETE FROM holders WHERE id = ?", (holder,))

    def tend(self, now: float) -> None:
        """Say that this process is alive, so that what it holds stays held, and keep the log of writes short."""
        try:
            self._awake(now)
            if self._holder is not None and begin(self._db, wait=True):
                try:
                    self._expires = 0.0
                    self._renew(now)
                    self._db.execute("COMMIT")
                finally:
                    self._undo()
            if _size(self.path.with_name(self.path.name + "-wal")) > _LONG:
                _, pages, moved = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if moved < pages or pages * 4096 > 8 * _LONG:  # while others write all the time, it ends only so
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            self._expires = 0.0
            if not is_busy(error):
                raise LedgerError(f"the ledger {self.path} could not be written: {error}") from error

    def release(self) -> None:
        """Give back everything that this process still holds. Raises LedgerError."""
        if self._holder is None:
            return
        holder, self._holder = self._holder, None
        try:
            begin(self._db, wait=True)
            try:
                self._known.clear()
                books = Books(self._db, lambda: holder, 0.0, self._known)
                self._give_back(books, holder, _CLOSED)
                books.write()
                self._db.execute("COMMIT")
            finally:
                self._undo()
        except sqlite3.Error as error:
            raise Unwritable(f"the ledger {self.path} could not be written: {error}") from error

    # --- reading

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one of the named questions."""
        try:
            with self._reading:
                if self._reader is None:
                    self._reader = connect(self.path)
                cursor = self._reader.execute(QUESTIONS[name], dict(parameters))
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self.path} could not be read: {error}") from error

    def compact(self) -> None:
        """Give the room of what was taken out back to the disk."""
        try:
            db = connect(self.path)
            try:
                db.execute("VACUUM")
            finally:
                db.close()
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self.path} could not be made smaller: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
        self._db.close()


_LOST_CALL: Final = """
INSERT OR IGNORE INTO calls (
    id, attempt, delegation, root, agent, tier, provider, pattern, asked, family, simulated,
    started, latency, estimated, outcome, reason
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 0, 'lost', ?13)
"""


_EXPIRED: Final = "SELECT id FROM holders WHERE expires < ? AND id IS NOT ?"
_NOBODYS: Final = "SELECT DISTINCT holder FROM reservations WHERE holder NOT IN (SELECT id FROM holders)"


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path means; None for none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

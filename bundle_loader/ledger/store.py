"""A ledger in one SQLite file: opening it, carrying out operations in one transaction each time, answering questions."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.books import Books
from bundle_loader.ledger.migrations import MIGRATIONS
from bundle_loader.ledger.operations import Answer, Append, Close, Correct, Operation, Reserve, Settle
from bundle_loader.ledger.questions import QUESTIONS
from bundle_loader.ledger.rows import insert

LEASE: Final = 30.0
"""Seconds after which a process that has not said that it is alive has lost what it held."""

_MAGIC: Final = b"SQLite format 3\x00"
_BUSY: Final = 30.0
_LOST: Final = "its process died while it was under way"


class SqliteStorage:
    """One ledger file. Used from one thread at a time, `query` from any. Raises LedgerError for a file it cannot trust."""

    def __init__(self, path: Path, *, lease: float = LEASE) -> None:
        self.path = path
        self._lease = lease
        self._holder: int | None = None
        self._fresh_holder = self._known_holder = False
        """Whether this transaction made the holder, and whether it has seen that the file still has it."""
        self._swept = 0.0
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            if not new and not _may_be_ours(path):
                raise sqlite3.DatabaseError("file is not a database")
            self._db = self._connect()
            if new:
                os.chmod(path, 0o600)
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

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY, cached_statements=256)
        db.row_factory = None
        return db

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

    # --- writing

    def run(self, operations: Sequence[Operation], now: float) -> list[Answer]:
        """Carry out all operations in one transaction, in order."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                answers = self._run(operations, now)
                self._db.execute("COMMIT")
            except BaseException:
                self._holder = None if self._fresh_holder else self._holder
                self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self.path} could not be written: {error}") from error
        return answers

    def _run(self, operations: Sequence[Operation], now: float) -> list[Answer]:
        self._fresh_holder = self._known_holder = False
        books = Books(self._db, lambda: self._held_by(now), now)
        if now - self._swept >= 1 and any(isinstance(operation, Reserve) for operation in operations):
            self._sweep(books, now)
            self._swept = now
        answers: list[Answer] = []
        for operation in operations:
            answer: Answer = None
            match operation:
                case Append(record):
                    insert(self._db, record)
                case Reserve():
                    answer = books.reserve(operation)
                case Settle():
                    answer = books.settle(operation)
                    if operation.record is not None:
                        insert(self._db, operation.record)
                case Correct():
                    books.correct(operation)
                case Close():
                    books.close(operation)
            answers.append(answer)
        books.write()
        return answers

    def _held_by(self, now: float) -> int:
        """The number under which this process holds its reservations."""
        if self._holder is not None and not self._known_holder:
            # another process takes it away from one that was stopped for longer than its lease
            found = self._db.execute("SELECT 1 FROM holders WHERE id = ?", (self._holder,)).fetchone()
            self._holder = self._holder if found else None
        self._known_holder = True
        if self._holder is None:
            self._holder = self._db.execute("INSERT INTO holders (expires) VALUES (?)", (now + self._lease,)).lastrowid
            self._fresh_holder = True
        assert self._holder is not None
        return self._holder

    def _sweep(self, books: Books, now: float) -> None:
        """Give back what processes held that are gone."""
        for (holder,) in self._db.execute("SELECT id FROM holders WHERE expires < ?", (now,)).fetchall():
            self._give_back(books, holder)
            self._holder = None if holder == self._holder else self._holder

    def _give_back(self, books: Books, holder: int) -> None:
        held = self._db.execute("SELECT id, made, entries, what FROM reservations WHERE holder = ?", (holder,)).fetchall()
        for id, made, entries, what in held:
            books.give_back(entries)
            if what:
                self._db.execute(_LOST_CALL, (id, *json.loads(what), made, _LOST))
        self._db.execute("DELETE FROM reservations WHERE holder = ?", (holder,))
        self._db.execute("DELETE FROM holders WHERE id = ?", (holder,))

    def renew(self, now: float) -> None:
        """Say that this process is alive, so that what it holds stays held."""
        if self._holder is not None:
            with suppress(sqlite3.Error):  # the next renewal comes long before the lease ends
                self._db.execute("UPDATE holders SET expires = ? WHERE id = ?", (now + self._lease, self._holder))

    def release(self) -> None:
        """Give back everything that this process still holds."""
        if self._holder is None:
            return
        holder, self._holder = self._holder, None
        self._db.execute("BEGIN IMMEDIATE")
        try:
            books = Books(self._db, lambda: holder, 0.0)
            self._give_back(books, holder)
            books.write()
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    # --- reading

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one of the named questions."""
        with self._reading:
            if self._reader is None:
                self._reader = self._connect()
            cursor = self._reader.execute(QUESTIONS[name], dict(parameters))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

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


def _may_be_ours(path: Path) -> bool:
    """Whether a file is empty or begins as SQLite's do: SQLite itself would write over a short text."""
    if path.is_dir():
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (b"", _MAGIC)

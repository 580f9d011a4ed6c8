"""A ledger file that is damaged within: seen when it is opened, and while it is open before another call is paid for."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.ledger import Ledger
from tests.support.budgeted import bundled, host_of, provider
from tests.support.command import command

DAY = {"day": {"requests": 500, "per": "day"}}


def spoil(path: Path, *tables: str) -> None:
    """Random bytes, the same each time, in the first page of each table."""
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name = ?"
        pages = [page for table in tables for (page,) in db.execute(query, (table,)) if page]
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(bytes((index * 37 + 91) % 251 for index in range(size)))


@pytest.mark.parametrize("table", ["accounts", "calls", "reservations"])
def test_a_damaged_file_is_refused_at_opening_and_left_alone(tmp_path: Path, table: str) -> None:
    path = tmp_path / "l.db"
    Ledger(path).close()
    spoil(path, table)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LedgerError, match="damaged") as caught:
            Ledger(path)
        said = str(caught.value)
        assert said.count(str(path)) == 1
        assert "move it away" in said
        assert "--ledger" in said
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_that_was_not_closed_keeps_its_log(tmp_path: Path) -> None:
    path, left = tmp_path / "l.db", tmp_path / "left"
    left.mkdir()
    with closing(sqlite3.connect(path)) as db:  # a log that no ledger has brought into the file
        Ledger(path).close()
        db.execute("PRAGMA user_version").fetchone()
        db.execute("CREATE TABLE more (x)")
        db.commit()
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"l.db{end}", left / f"l.db{end}")
    moved = left / "l.db"
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'calls'").fetchone()
    with moved.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)
    before = [(left / f"l.db{end}").read_bytes() for end in ("", "-wal")]
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(moved)
    assert [(left / f"l.db{end}").read_bytes() for end in ("", "-wal")] == before


def test_a_large_file_that_was_closed_is_not_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE much (x)")
        db.executemany("INSERT INTO much VALUES (zeroblob(?))", [(1 << 20,)] * 9)
        db.commit()
    spoil(path, "calls")
    Ledger(path).close()
    path.with_name("l.db-wal").touch()
    with pytest.raises(LedgerError, match="damaged"):
        Ledger(path)


@pytest.mark.parametrize("budgets", [{}, DAY], ids=["no budget", "a budget"])
async def test_once_it_is_known_to_be_damaged_no_more_calls_are_made(tmp_path: Path, budgets: dict[str, object]) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).close()
    sent: list[int] = []

    def count(request: object) -> str:
        sent.append(1)
        return "Done."

    host = host_of(tmp_path, budgets, [provider("dear", answer=count)], tiers={"top": ["dear/m"]})
    await host.__aenter__()
    spoil(path, "calls", "accounts", "delegations", "attempts")
    said = ""
    for _ in range(4):
        try:
            await host.delegate("x", "Go.")
        except LedgerError as error:
            said = str(error)
        try:
            host.ledger.flush()
        except LedgerError as error:
            said = said or str(error)
    assert len(sent) <= 1
    with pytest.raises(LedgerError) as caught:
        await host.delegate("x", "Go.")
    for text in (said, str(caught.value)):
        assert text.count(str(path)) == 1
        assert "damaged" in text
        assert "--ledger" in text
    with pytest.raises(LedgerError, match="damaged"):
        await host.__aexit__(None, None, None)
    assert len(sent) <= 1


def test_the_command_names_its_own_option(tmp_path: Path) -> None:
    bundled(tmp_path, {}, tiers={"top": ["anthropic/claude-haiku-*"]}, prices={})
    (tmp_path / "l.db").write_text("a letter", encoding="utf-8")
    run = ("delegate", "x", "Go.", "--bundle", str(tmp_path / "team.yaml"), "--simulate", "--ledger", str(tmp_path / "l.db"))
    ran = command(*run, home=tmp_path)
    assert (ran.code, "--ledger" in ran.err) == (1, True)

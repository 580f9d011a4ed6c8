"""What a process holds when it dies, is stopped, is cancelled or closes; and files that go away, fill up or are locked."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import Hold, window_of
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.migrations import MIGRATIONS
from bundle_loader.ledger.operations import Granted, Refused, Reserve, Settle
from bundle_loader.ledger.store import SqliteStorage
from tests.support.ledger_load import ROOT, budget
from tests.test_accounts_model import WHAT
from tests.test_ledger import call_record, untouched

LEASE = 1.0
RUN = budget("run", "tokens", "100", "run")
HOLDER = """
import asyncio, sys, time
from bundle_loader.ledger.ledger import Ledger
from tests.test_ledger_leases import LEASE, asked, settled
async def main():
    ledger = Ledger(sys.argv[1], lease=LEASE)
    await ledger.reserve(asked("theirs"))
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print((await ledger.settle(settled("theirs", 60))).kept, flush=True)
    ledger.close()
asyncio.run(main())
"""


def asked(id: str, tokens: int = 60) -> Reserve:
    return Reserve(id, (Hold("run", RUN, window_of(RUN, 0), 0, 1, 100),), tokens, tokens, WHAT)


def settled(id: str, used: int, tokens: int = 60) -> Settle:
    return Settle(id, asked(id).charges(tokens, lambda hold: used), call_record(id))


def sums(ledger: Ledger) -> list[tuple[int, int]]:
    return [(row["settled"], row["reserved"]) for row in ledger.query("accounts", account=None)]


def holding(path: Path) -> subprocess.Popen[str]:
    """A process that holds 60 of 100 tokens, and settles them when it is told to."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def waited(ledger: Ledger, id: str) -> float:
    """Seconds until a call was let in."""
    began = time.monotonic()
    while not isinstance(await ledger.reserve(asked(id)), Granted):
        assert time.monotonic() - began < 30
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.slow
async def test_what_a_killed_process_held_comes_back_after_its_lease(tmp_path: Path) -> None:
    process = await asyncio.to_thread(holding, tmp_path / "l.db")
    ledger = Ledger(tmp_path / "l.db", lease=LEASE)
    await asyncio.sleep(2 * LEASE)
    assert isinstance(await ledger.reserve(asked("early")), Refused), "the living keep what they hold"
    process.kill()
    process.communicate()
    assert LEASE / 3 < await waited(ledger, "mine") < 5 * LEASE
    (lost,) = ledger.calls()
    assert (lost["id"], lost["outcome"], lost["cost"], lost["input_tokens"]) == ("theirs", "lost", None, None)
    assert "died" in lost["reason"]
    ledger.close()


@pytest.mark.slow
async def test_a_process_that_was_stopped_for_longer_than_its_lease_still_enters_the_truth(tmp_path: Path) -> None:
    process = await asyncio.to_thread(holding, tmp_path / "l.db")
    ledger = Ledger(tmp_path / "l.db", lease=LEASE)
    process.send_signal(signal.SIGSTOP)
    await waited(ledger, "mine")
    assert [row["outcome"] for row in ledger.calls()] == ["lost"]
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate("go\n", timeout=30)
    assert out == "False\n"
    await ledger.settle(settled("mine", 50))
    assert sums(ledger) == [(110, 0)], "both were used, and what was used is not hidden"
    assert sorted((row["id"], row["outcome"]) for row in ledger.calls()) == [("mine", "answered"), ("theirs", "answered")]
    ledger.close()


async def test_closing_gives_back_and_a_call_that_ends_later_is_entered(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    await ledger.reserve(asked("a"))
    await asyncio.to_thread(ledger.close)
    other = Ledger(tmp_path / "l.db")
    assert sums(other) == [(0, 0)]
    assert [(row["outcome"], row["reason"]) for row in other.calls()] == [
        ("lost", "the ledger was closed while it was under way")
    ]
    assert (await ledger.settle(settled("a", 40))).kept is False
    assert sums(other) == [(40, 0)]
    assert [row["outcome"] for row in other.calls()] == ["answered"]
    with pytest.raises(LedgerError, match="closed"):
        await ledger.reserve(asked("b"))
    other.close()


def test_a_loop_that_is_closed_under_a_waiting_call_leaves_nothing_held(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")

    async def leave() -> None:
        tasks = [asyncio.create_task(ledger.reserve(asked(str(number), 5))) for number in range(10)]
        await asyncio.sleep(0)
        del tasks

    asyncio.run(leave())
    ledger.flush()
    ledger.flush()
    assert sums(ledger) in ([(0, 0)], [])
    ledger.close()


async def test_settling_twice_charges_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    await ledger.reserve(asked("a"))
    assert [(await ledger.settle(settled("a", 30))).kept for _ in range(3)] == [True, False, False]
    assert sums(ledger) == [(30, 0)]
    ledger.close()


async def test_a_record_that_cannot_be_kept_does_not_take_others_with_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.append(call_record("same"))
    await asyncio.gather(*(ledger.reserve(asked(id, 20)) for id in "abc"))
    ledger.append(call_record("same"))
    done = await asyncio.gather(*(ledger.settle(settled(id, 10, 20)) for id in "abc"))
    assert [one.kept for one in done] == [True] * 3
    with pytest.raises(LedgerError, match="could not be written"):
        ledger.flush()
    ledger._failure = None
    assert sums(ledger) == [(30, 0)]
    ledger.close()


async def test_what_could_not_be_written_is_written_as_soon_as_it_can(tmp_path: Path) -> None:
    """A full disk, in small: no page may be added to the file."""
    path = tmp_path / "l.db"
    storage = SqliteStorage(path)
    ledger = Ledger(path, storage=storage, lease=0.3)
    await ledger.reserve(asked("a"))
    (pages,) = storage._db.execute("PRAGMA page_count").fetchone()
    storage._db.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(300):
        ledger.append(call_record(f"filling-{number}"))
    with pytest.raises(LedgerError, match="full"):
        ledger.flush()
    with pytest.raises(LedgerError, match="full"):
        await ledger.settle(settled("a", 40))
    storage._db.execute("PRAGMA max_page_count = 100000")
    for _ in range(100):
        await asyncio.sleep(0.05)
        if not ledger._owed:
            break
    assert sums(ledger) == [(40, 0)]
    assert len(ledger.calls()) == 301
    ledger.close()


async def test_a_file_that_is_deleted_is_told_and_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    ledger = Ledger(path)
    assert isinstance(await ledger.reserve(asked("a", 5)), Granted)
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink()
    await asyncio.sleep(1.1)
    with pytest.raises(LedgerError, match="moved or deleted while it was open; put it back"):
        await ledger.reserve(asked("b", 5))
    assert not path.exists()
    ledger.append(call_record("x"))
    with pytest.raises(LedgerError, match="put it back"):
        ledger.close()


async def test_a_lock_of_another_is_waited_for(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(ledger.reserve(asked("a")))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    other.execute("COMMIT")
    assert isinstance(await waiting, Granted)
    other.close()
    ledger.close()


async def test_who_leaves_while_the_file_is_locked_holds_nothing_afterwards(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(ledger.reserve(asked("a")))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    other.execute("COMMIT")
    other.close()
    await asyncio.to_thread(ledger.flush)
    await asyncio.to_thread(ledger.flush)
    assert sums(ledger) == [(0, 0)]
    ledger.close()


def test_a_forked_process_is_told_to_open_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    child = os.fork()
    if child == 0:
        try:
            ledger.append(call_record("x"))
        except LedgerError as error:
            os._exit(7 if "open it anew" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ledger.close()


async def test_a_clock_that_was_set_back_frees_what_the_dead_hold_all_the_same(tmp_path: Path) -> None:
    gone = SqliteStorage(tmp_path / "l.db")
    gone.run([asked("theirs")], 2_000_000.0)
    gone.close()
    here = SqliteStorage(tmp_path / "l.db")
    now = 1_000_000.0
    for step in range(12):
        (answer,) = here.run([asked(f"mine-{step}")], now + step * 10) or [None]
        if isinstance(answer, Granted):
            break
    assert isinstance(answer, Granted)
    here.close()


async def test_a_clock_that_was_set_forward_leaves_the_living_time_to_say_so(tmp_path: Path) -> None:
    one, other = (SqliteStorage(tmp_path / "l.db") for _ in range(2))
    one.run([asked("a")], 1_000_000.0)
    other.tend(1_000_001.0)
    (answer,) = other.run([asked("b")], 1_003_600.0) or [None]
    assert isinstance(answer, Refused), "the holder has had no time to renew its lease"
    one.tend(1_003_601.0)
    for step in range(5):
        one.tend(1_003_602.0 + step * 10)
        (answer,) = other.run([asked("c")], 1_003_602.0 + step * 10) or [None]
        assert isinstance(answer, Refused)
    one.close()
    other.close()


# --- files of another shape


def test_a_ledger_of_the_first_schema_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with sqlite3.connect(path) as database:
        for statement in MIGRATIONS[0].split(";\n"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
        database.execute(
            "INSERT INTO calls VALUES ('c', 'a', 'd', 'd', 'worker', NULL, 'openai', 'gpt-*', 'gpt-4o', 'gpt-4o', 1.0, 0.5, NULL,"
            " 10, 5, 0, 0, 0, 0, 250000000, 'answered', NULL, 0)"
        )
        database.execute(
            "INSERT INTO attempts VALUES ('a', 'd', 1, 'openai', 'gpt-4o', 'gpt-*', 1.0, 0.5, 'answered', NULL, NULL)"
        )
        database.execute(
            "INSERT INTO delegations VALUES ('d', NULL, 'd', 0, 'worker', NULL, NULL, NULL, NULL, 'agent', 'b', 'h', 1.0, 0.5,"
            " 'answered', 'openai', 'gpt-4o', NULL, 0)"
        )
    database.close()
    for _ in range(2):
        ledger = Ledger(path)
        (call,), (attempt,), (delegation,) = ledger.calls(), ledger.attempts("d"), ledger.delegations()
        assert (call["id"], str(call["cost"]), call["family"]) == ("c", "0.00025", None)
        assert (attempt["id"], delegation["id"], delegation["calls"]) == ("a", "d", 1)
        ledger.close()


def test_a_truncated_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole" / "l.db"
    ledger = Ledger(path)
    for number in range(200):
        ledger.append(call_record(str(number)))
    ledger.close()
    cut = tmp_path / "cut" / "l.db"
    cut.parent.mkdir()
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    untouched(cut, "not a ledger that can be read")


def test_a_database_of_another_program_with_a_version_of_its_own_is_refused(tmp_path: Path) -> None:
    for version in (1, len(MIGRATIONS), len(MIGRATIONS) + 5):
        path = tmp_path / str(version) / "l.db"
        path.parent.mkdir()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE bookmarks (url TEXT)")
            database.execute(f"PRAGMA user_version = {version}")
        database.close()
        untouched(path, "another program")

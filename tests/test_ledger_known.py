"""What a ledger remembers of its file between two transactions is what is in the file, whoever writes and whatever fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bundle_loader.declared.preference import Preference
from bundle_loader.errors import LedgerError, OverBudget
from bundle_loader.ledger.accounts import Hold, window_of
from bundle_loader.ledger.budgets import Budgets
from bundle_loader.ledger.estimate import CallEstimate, CallScope
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.meter import LedgerMeter
from bundle_loader.ledger.operations import (
    Answer,
    Append,
    Close,
    Granted,
    Operation,
    Prune,
    Refused,
    Reserve,
    Settle,
    Unwritable,
)
from bundle_loader.ledger.prices import Priced
from bundle_loader.ledger.records import AttemptRecord, CallRecord, DelegationRecord, HealthRecord, Record
from bundle_loader.ledger.store import SqliteStorage
from bundle_loader.messages import Usage
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.charged import mark_of
from bundle_loader.routing.price import FREE, Price
from tests.support.full_disk import no_room
from tests.support.ledger_load import budget
from tests.support.records import attempt_record, call_record, delegation_record

NOW = 1_790_000_000.0
RUN = budget("run", "tokens", "100", "run")
MINUTE = budget("minute", "tokens", "100", "minute")
DAY = budget("day", "tokens", "100", "day", zone="Asia/Kolkata")
MARK = "openai|gpt-4o"


@pytest.fixture
def storages(tmp_path: Path) -> Iterator[tuple[SqliteStorage, SqliteStorage]]:
    """Two of one file, as two processes have them."""
    one, other = (SqliteStorage(tmp_path / "l.db") for _ in range(2))
    yield one, other
    one.close()
    other.close()


def asked(id: str, tokens: int = 10, *, now: float = NOW, account: str = "run") -> Reserve:
    known = {"minute": MINUTE, "day": DAY}.get(account, RUN)
    return Reserve(id, (Hold(account, known, window_of(known, now), 0, 1, 100),), tokens, tokens, "", (MARK,))


def settled(reserve: Reserve, used: int) -> Settle:
    return Settle(reserve.id, reserve.charges(reserve.tokens, lambda hold: used))


def run(storage: SqliteStorage, *operations: Operation, now: float = NOW) -> list[Answer]:
    answers = storage.run(operations, now)
    assert answers is not None
    return answers


def left(storage: SqliteStorage, *, now: float = NOW, account: str = "run") -> int:
    """What a call may take of an account at most; nothing is taken."""
    reserve = replace(asked(f"look {time.perf_counter_ns()}", 10**6, now=now, account=account), least=0)
    (answer,) = run(storage, reserve, now=now)
    if isinstance(answer, Refused):
        return answer.left
    assert isinstance(answer, Granted)
    run(storage, Settle(reserve.id, reserve.charges(answer.tokens)), now=now)
    return answer.tokens


def in_file(path: Path) -> dict[tuple[str, int], tuple[int, int]]:
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT account, bucket, settled, reserved FROM accounts WHERE settled OR reserved").fetchall()
    db.close()
    return {(account, bucket): (settled, reserved) for account, bucket, settled, reserved in rows}


# --- others write


def test_two_processes_in_turn_pass_no_ceiling(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    granted = [isinstance(run(storages[number % 2], asked(str(number)))[0], Granted) for number in range(14)]
    assert granted == [True] * 10 + [False] * 4


def test_what_another_settles_and_gives_back_counts_at_once(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    run(one, asked("a", 60))
    assert left(other) == 40
    run(one, settled(asked("a", 60), 25))
    assert (left(other), left(one), left(other)) == (75, 75, 75)


def test_a_key_that_another_closes_is_closed_at_once(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    assert isinstance(run(one, asked("a"))[0], Granted)
    run(other, Close(MARK, NOW + 30, "no more for now"))
    (answer,) = run(one, asked("b"))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.retry_after) == ("no more for now", 30)
    run(one, Close(MARK, NOW + 60, "still"))
    (answer,) = run(one, asked("c"), now=NOW + 40)
    assert isinstance(answer, Refused)
    assert isinstance(run(one, asked("d"), now=NOW + 61)[0], Granted)


def test_what_is_closed_in_a_batch_is_closed_for_what_comes_after_in_it(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    before, _, after = run(storages[0], asked("a"), Close(MARK, NOW + 30, "limited"), asked("b"))
    assert isinstance(before, Granted)
    assert isinstance(after, Refused)


def test_what_is_committed_while_one_waits_for_the_file_counts(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, _ = storages
    run(one, asked("a"))
    outside = sqlite3.connect(one.path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(left(one)))
    waiting.start()
    time.sleep(0.1)  # it has tried to begin, and tries again
    outside.execute("UPDATE accounts SET settled = settled + 55")
    outside.execute("COMMIT")
    waiting.join()
    outside.close()
    assert found == [35]


async def test_two_ledgers_of_one_process_pass_no_ceiling(tmp_path: Path) -> None:
    ledgers = [Ledger(tmp_path / "l.db", clock=lambda: NOW) for _ in range(2)]
    for round in range(5):
        first, second = (asked(f"{round} {number}", 10) for number in range(2))
        for ledger, one in zip(ledgers, (first, second), strict=True):
            assert isinstance(await ledger.reserve(one), Granted)
        await ledgers[round % 2].settle(settled(first, 10))
    for ledger in ledgers:
        assert isinstance(await ledger.reserve(asked("more", 1)), Refused)
    for ledger in ledgers:
        ledger.close()
    assert in_file(tmp_path / "l.db") == {("run", 0): (50, 0)}, "five were given back at the close"


def test_what_is_settled_before_an_account_is_read_counts_in_it(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    for number in range(3):
        kept = asked(f"kept {number}", 30)
        run(one, kept)
        run(other, asked(f"other {number}", 5))  # now the first has to read again
        _, answer = run(one, settled(kept, 10), replace(asked(f"more {number}", 1000), least=0))
        taken = 15 * (number + 1)
        assert isinstance(answer, Granted)
        assert answer.tokens == 100 - taken
        run(one, Settle(answer.id, asked("", answer.tokens).charges(answer.tokens)))
        assert left(one) == left(other) == 100 - taken


def test_what_another_sweeps_is_free(tmp_path: Path) -> None:
    one, other = SqliteStorage(tmp_path / "l.db"), SqliteStorage(tmp_path / "l.db", lease=5)
    run(other, asked("theirs", 70))
    assert left(one) == 30
    assert left(one, now=NOW + 5.5) == 100, "swept by itself, and added to what it knows"
    assert left(other, now=NOW + 6) == 100
    assert in_file(tmp_path / "l.db") == {}
    one.close()
    other.close()


# --- what is taken out, and made smaller


@pytest.mark.parametrize("alone", [True, False])
def test_an_account_that_is_pruned_is_empty_again(storages: tuple[SqliteStorage, SqliteStorage], alone: bool) -> None:
    one, other = storages
    reserve = asked("a", 60, account="tree|tree=d")
    run(one, Append(delegation_record("d", started=NOW - 90 * 86_400)), reserve)
    run(one, settled(reserve, 60))
    assert left(one, account="tree|tree=d") == 40
    prune, again = Prune(NOW - 86_400), asked("b", 100, account="tree|tree=d")
    if alone:
        run(one, prune)
        (answer,) = run(one, again)
    else:
        _, answer = run(one, prune, again)
    assert isinstance(answer, Granted)
    assert left(other, account="tree|tree=d") == 0


def test_making_the_file_smaller_changes_no_account(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    run(one, asked("a", 60))
    one.compact()
    assert left(one) == 40
    run(other, settled(asked("a", 60), 10))
    other.compact()
    assert (left(one), left(other)) == (90, 90)


# --- undone


def test_a_batch_that_is_undone_leaves_nothing_behind(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    kept = asked("kept", 30)
    run(one, Append(call_record("same")), kept)
    bad = Append(call_record("same"))
    for operations in (
        [asked("a", 50), bad],
        [settled(kept, 1), bad],
        [Close(MARK, NOW + 60, "limited"), bad],
        [asked("b", 50, account="other"), settled(asked("b", 50, account="other"), 50), bad],
    ):
        with pytest.raises(LedgerError, match="could not be written"):
            one.run(operations, NOW)
        assert (left(one), left(one, account="other")) == (70, 100)
    assert (left(other), left(other, account="other")) == (70, 100)
    assert in_file(one.path) == {("run", 0): (0, 30)}


def test_a_commit_that_fails_leaves_nothing_behind(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    kept = asked("kept", 30)
    run(one, kept)
    for operations in ([asked("a", 50)], [settled(kept, 1)], [Close(MARK, NOW + 60, "limited")], [asked("c", 9, account="new")]):
        with no_room(), pytest.raises(Unwritable, match="could not be written"):
            one.run(operations, NOW)
        assert (left(one), left(one, account="new")) == (70, 100)
    assert left(other) == 70
    run(one, settled(kept, 1))
    assert in_file(one.path) == {("run", 0): (1, 0)}


def test_a_new_holder_of_a_commit_that_fails_is_none(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    with no_room(), pytest.raises(Unwritable):
        one.run([asked("a", 50)], NOW)
    run(one, asked("b", 50))
    one.tend(NOW + 20)
    assert left(other, now=NOW + 40) == 50, "who says that it lives keeps what it holds"


# --- windows that move on


def test_a_minute_lets_go_of_what_is_remembered(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, other = storages
    for second in range(5):
        reserve = asked(f"m{second}", now=NOW + second, account="minute")
        run(one, reserve, settled(reserve, 10), now=NOW + second)
    seen = [left(one, now=NOW + second, account="minute") for second in (5, 60, 61, 62, 65, 200)]
    assert seen == [50, 50, 60, 70, 100, 100]
    assert left(other, now=NOW + 200, account="minute") == 100


def test_a_day_that_begins_counts_from_zero_and_one_that_is_over_is_settled_in_its_own(
    storages: tuple[SqliteStorage, SqliteStorage],
) -> None:
    one, other = storages
    renews = window_of(DAY, NOW).renews
    assert renews is not None
    late = asked("late", 60, account="day")
    run(one, late)
    assert left(one, account="day") == 40
    assert left(one, now=renews, account="day") == 100
    run(one, asked("new", 5, now=renews, account="day"), settled(late, 80), now=renews)
    assert left(one, now=renews, account="day") == left(other, now=renews, account="day") == 95
    assert left(other, now=renews - 1, account="day") == left(one, now=renews - 1, account="day") == 20
    run(one, settled(asked("new", 5, now=renews, account="day"), 50), now=renews)
    assert left(one, now=renews - 1, account="day") == 20, "the day before has nothing of it"
    assert left(one, now=renews, account="day") == 50


def test_a_clock_that_goes_back_finds_what_was_there(storages: tuple[SqliteStorage, SqliteStorage]) -> None:
    one, _ = storages
    later = window_of(DAY, NOW).renews
    assert later is not None
    before = asked("before", 70, account="day")
    run(one, before, settled(before, 70))
    fresh = SqliteStorage(one.path)
    assert left(fresh, now=later, account="day") == 100
    held = asked("held", 10, account="day")
    assert [type(answer) for answer in run(fresh, asked("x", 1, now=later, account="day"), held, now=later)] == [Granted] * 2
    assert left(fresh, account="day") == 20
    fresh.close()


def test_what_is_remembered_does_not_grow_without_end(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "l.db")
    run(storage, asked("first", 60))
    for batch in range(60):
        run(storage, *(asked(f"{batch} {number}", account=f"tree|tree={batch} {number}") for number in range(150)))
        assert left(storage) == 40
        assert len(storage._known.accounts) <= 4096 + 151
    for second in range(600):
        reserve = asked(f"m{second}", 1, now=NOW + second, account="minute")
        run(storage, reserve, settled(reserve, 1), now=NOW + second)
    assert len(storage._known.accounts["minute"].buckets) < 200
    storage.close()


# --- records that are written together


@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 63, 65, 100])
def test_every_record_of_a_batch_is_kept_in_order(storages: tuple[SqliteStorage, SqliteStorage], count: int) -> None:
    kinds: list[Record] = []
    for number in range(count):
        kinds += [
            call_record(f"c{count - number}"),
            attempt_record(f"a{count - number}"),
            delegation_record(f"d{count - number}"),
            HealthRecord(float(number), "openai", None, f"h{count - number}", None, None),
        ]
    run(storages[0], *map(Append, kinds))
    with sqlite3.connect(storages[0].path) as db:
        for table, kind in (("calls", CallRecord), ("attempts", AttemptRecord), ("delegations", DelegationRecord)):
            ids = [row[0] for row in db.execute(f"SELECT id FROM {table} ORDER BY rowid")]
            assert ids == [record.id for record in kinds if isinstance(record, kind)]
        states = [row[0] for row in db.execute("SELECT state FROM health ORDER BY rowid")]
    db.close()
    assert states == [f"h{count - number}" for number in range(count)]


async def test_who_flushes_while_a_loop_spends_finds_every_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for number in range(20):
        ledger.append(call_record(str(number)))
        flushed = threading.Event()
        ledger._queue.append(flushed)  # as `flush` does, just before the loop's turn
        await ledger.reserve(asked(f"r{number}", 1))
        assert await asyncio.to_thread(flushed.wait, 30)
        assert len(ledger.peek("calls", delegation=None)) == number + 1
    ledger.close()


async def test_pruning_takes_out_what_was_just_appended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", clock=lambda: NOW)
    ledger.append(delegation_record("d", started=1.0))
    ledger.append(call_record("c", started=1.0))
    pruned = await ledger.prune(NOW - 86_400)
    assert (pruned.delegations, pruned.calls) == (1, 1)
    assert await asyncio.to_thread(ledger.calls) == []
    ledger.close()


# --- calls that reserve nothing


def meter(ledger: Ledger, budgets: Budgets, price: Price = FREE, *, agent: str = "worker") -> LedgerMeter:
    scope = CallScope(f"a-{agent}-{time.perf_counter_ns()}", "d", "d", agent, None)
    return LedgerMeter(ledger, scope, lambda candidate, answered: Priced(price, "declared"), lambda: NOW, budgets)


CANDIDATE = Candidate("openai", "gpt-4o", Preference.parse("openai/gpt-4o"), {"max_tokens": 20})


async def called(one: LedgerMeter, cost: Decimal | None = None) -> list[dict[str, object]]:
    """A call that is made; the reservations while it was."""
    async with one.call(CallEstimate(CANDIDATE, 10, 20, None)) as call:
        held = await asyncio.to_thread(one.ledger.query, "reservations")
        call.settle(Usage(10, 20), "gpt-4o", cost)
    return held


async def test_only_a_call_that_an_account_applies_to_reserves(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db", clock=lambda: NOW)
    budgets = Budgets([budget("theirs", "tokens", "100", "day", scope={"agent": ("other",)})])
    assert len(await called(meter(ledger, budgets, agent="other"))) == 1
    assert await called(meter(ledger, budgets)) == []
    rows = await asyncio.to_thread(ledger.query, "accounts", account=None)
    assert [(row["account"], row["settled"], row["reserved"]) for row in rows] == [("theirs", 30, 0)]
    assert len(await asyncio.to_thread(ledger.calls)) == 2
    budgets.close(mark_of("openai", "gpt-4o"), NOW + 30)
    ledger.enter(Close(mark_of("openai", "gpt-4o"), NOW + 30, "limited"))
    with pytest.raises(OverBudget, match="limited"):
        await called(meter(ledger, budgets))
    ledger.close()


@pytest.mark.parametrize("more", [(), (budget("talk", "tokens", "1000", "day"),)])
async def test_what_a_free_call_costs_all_the_same_is_entered(tmp_path: Path, more: tuple[object, ...]) -> None:
    ledger = Ledger(tmp_path / "l.db", clock=lambda: NOW)
    budgets = Budgets([budget("day", "money", "1", "day", alert_at=("0.5",)), *more])  # type: ignore[list-item]
    assert len(await called(meter(ledger, budgets))) == len(more), "no money is reserved for what is free"
    paid = meter(ledger, budgets)
    await called(paid, Decimal("0.6"))
    await called(meter(ledger, budgets), Decimal("0.7"))
    await called(meter(ledger, budgets))  # what is free may be called when all is spent
    rows = {row["account"]: row for row in await asyncio.to_thread(ledger.query, "accounts", account=None)}
    assert (rows["day"]["settled"], rows["day"]["reserved"]) == (1_300_000_000_000, 0)
    assert any("has passed 50%" in note for note in paid.notes)
    assert len(await asyncio.to_thread(ledger.calls)) == 4
    ledger.close()

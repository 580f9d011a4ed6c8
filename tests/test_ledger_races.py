"""Races over one account: each of these fails when the reservation is taken out, which is tested too."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bundle_loader.declared.budget import Budget
from bundle_loader.ledger.accounts import Hold, window_of
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Granted, Refused, Reserve, Settle
from tests.support.ledger_load import Unreserving, budget

WORST = 10
"""Units that each call takes at most."""


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Field:
    """A ledger, and how much the calls that are under way or over have taken at most: what no account may pass."""

    def __init__(self, path: Path, *, reserving: bool, now: float = 1_700_000_000.0) -> None:
        self.clock = Clock(now)
        storage: Any = None if reserving else Unreserving(path)
        self.ledger = Ledger(path, clock=self.clock, storage=storage)
        self.taken: dict[tuple[str, int], int] = {}
        self.most: dict[tuple[str, int], int] = {}

    def asked(self, id: str, *budgets: Budget) -> Reserve:
        holds = tuple(Hold(one.id, one, window_of(one, self.clock()), 0, 1, int(one.limit)) for one in budgets)
        return Reserve(id, holds, WORST, WORST)

    def begin(self, asked: Reserve) -> None:
        """A call was granted: its worst case counts from now on."""
        self._add(asked, WORST)

    def end(self, asked: Reserve, used: int) -> None:
        self._add(asked, used - WORST)

    def _add(self, asked: Reserve, amount: int) -> None:
        for hold in asked.holds:
            key = hold.account, hold.window.bucket
            self.taken[key] = self.taken.get(key, 0) + amount
            self.most[key] = max(self.most.get(key, 0), self.taken[key])

    async def call(self, asked: Reserve, used: int) -> bool:
        """One call that takes a turn or two of the loop."""
        answer = await self.ledger.reserve(asked)
        if isinstance(answer, Refused):
            return False
        self.begin(asked)
        await asyncio.sleep(0)
        self.end(asked, used)
        await self.ledger.settle(Settle(asked.id, asked.charges(answer.tokens, lambda hold: used)))
        return True

    def sums(self) -> dict[tuple[str, int], tuple[int, int]]:
        rows = self.ledger.query("accounts", account=None)
        return {(row["account"], row["bucket"]): (row["settled"], row["reserved"]) for row in rows}

    def holds_true(self, *budgets: Budget) -> None:
        """No ceiling was passed, nothing is held, and what is settled is what was used."""
        limits = {one.id: int(one.limit) for one in budgets}
        assert all(most <= limits[account] for (account, _), most in self.most.items())
        sums = self.sums()
        assert {key: settled for key, (settled, _) in sums.items() if settled} == {k: v for k, v in self.taken.items() if v}
        assert all(reserved == 0 for _, reserved in sums.values())


Race = Callable[[Path, bool], Awaitable[None]]


async def concurrent_requests(folder: Path, reserving: bool) -> None:
    day = budget("day", "tokens", "1000", "day")
    field = Field(folder / "l.db", reserving=reserving)
    asked = [field.asked(str(number), day) for number in range(500)]
    done = await asyncio.gather(*(field.call(one, number % WORST + 1) for number, one in enumerate(asked)))
    field.holds_true(day)
    assert 100 <= sum(done) < 500
    field.ledger.close()


async def cancelled_streams_return(folder: Path, reserving: bool) -> None:
    day = budget("day", "tokens", "200", "day")
    field = Field(folder / "l.db", reserving=reserving)
    chance = random.Random(3)

    async def stream(asked: Reserve) -> None:
        answer = await field.ledger.reserve(asked)
        if isinstance(answer, Refused):
            return
        field.begin(asked)
        used = 1
        try:
            await asyncio.sleep(chance.random() / 50)
            used = WORST
        finally:
            field.end(asked, used)
            charges = asked.charges(answer.tokens, lambda hold: used)
            await asyncio.shield(field.ledger.settle(Settle(asked.id, charges)))

    for round in range(8):
        tasks = [asyncio.create_task(stream(field.asked(f"{round}-{number}", day))) for number in range(60)]
        for turn in range(12):  # at any point: while it waits to be let in, while it streams, while it settles
            await asyncio.sleep(0 if turn % 3 else 0.002)
            for task in chance.sample(tasks, 5):
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    field.ledger.flush()
    await asyncio.sleep(0.05)
    field.holds_true(day)
    field.ledger.close()


async def interleaved_reserve_and_release(folder: Path, reserving: bool) -> None:
    day = budget("day", "tokens", "50", "day")
    field = Field(folder / "l.db", reserving=reserving)
    chance = random.Random(5)
    done = 0

    async def one(worker: int) -> None:
        nonlocal done
        for round in range(40):
            done += await field.call(field.asked(f"{worker}-{round}", day), 0)
            await asyncio.sleep(chance.random() / 1000)

    await asyncio.gather(*(one(worker) for worker in range(20)))
    field.holds_true(day)
    assert done > 50, "what is given back can be taken again"
    field.ledger.close()


async def atomic_over_several_budgets(folder: Path, reserving: bool) -> None:
    day, month = budget("day", "tokens", "1000", "day"), budget("month", "tokens", "300", "month")
    run = budget("run", "tokens", "2000", "run")
    field = Field(folder / "l.db", reserving=reserving)
    shapes = ((day, month, run), (month, run), (run, month, day), (day, run))
    asked = [field.asked(str(number), *shapes[number % 4]) for number in range(600)]
    await asyncio.gather(*(field.call(one, number % WORST + 1) for number, one in enumerate(asked)))
    field.holds_true(day, month, run)
    settled = {account: sums[0] for (account, _), sums in field.sums().items()}
    assert settled["run"] == sum(field.taken[key] for key in field.taken if key[0] == "run")
    field.ledger.close()


def window_change(zone: str, local: str) -> Race:
    """Calls from an hour before until two hours after that moment of a zone."""

    async def race(folder: Path, reserving: bool) -> None:
        moment = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).timestamp()
        limits = budget("day", "tokens", "300", "day", zone=zone), budget("month", "tokens", "500", "month", zone=zone)
        field = Field(folder / "l.db", reserving=reserving, now=moment - 3600)
        for step in range(24):
            field.clock.now = moment - 3600 + step * 450
            before = [field.asked(f"{step}-{number}", *limits) for number in range(20)]
            running = [asyncio.create_task(field.call(one, WORST // 2)) for one in before]
            if step % 3 == 0:  # under way while the window changes
                await asyncio.sleep(0)
                field.clock.now += 440
            await asyncio.gather(*running)
        field.holds_true(*limits)
        days = {bucket for account, bucket in field.taken if account == "day"}
        assert len(days) == 2, "both days were spent from"
        field.ledger.close()

    return race


RACES: dict[str, Race] = {
    "concurrent requests": concurrent_requests,
    "cancelled streams return": cancelled_streams_return,
    "interleaved reserve and release": interleaved_reserve_and_release,
    "atomic over several budgets": atomic_over_several_budgets,
    "the clock goes forward": window_change("Europe/Berlin", "2027-03-29T00:00:00"),
    "the clock goes back": window_change("Europe/Berlin", "2027-10-31T00:00:00"),
    "the end of a month": window_change("America/New_York", "2027-03-01T00:00:00"),
    "a midnight that is not there": window_change("America/Santiago", "2027-09-05T00:00:00"),
    "a midnight that is there twice": window_change("America/Havana", "2027-11-07T00:00:00"),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
async def test_no_race_passes_a_ceiling(tmp_path: Path, race: Race) -> None:
    await race(tmp_path, True)


@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
async def test_the_same_without_reserving_is_caught(tmp_path: Path, race: Race) -> None:
    with pytest.raises(AssertionError):
        await race(tmp_path, False)


def test_two_hundred_threads_share_a_ceiling(tmp_path: Path) -> None:
    """Each thread has an event loop of its own; they share one ledger."""
    day = budget("day", "tokens", "700", "day")
    field = Field(tmp_path / "l.db", reserving=True)
    lock, granted = threading.Lock(), 0

    async def calls(thread: int) -> None:
        nonlocal granted
        for round in range(5):
            asked = field.asked(f"{thread}-{round}", day)
            answer = await field.ledger.reserve(asked)
            if isinstance(answer, Granted):
                with lock:
                    granted += 1
                    field.begin(asked)
                await asyncio.sleep(0)
                with lock:
                    field.end(asked, 3)
                await field.ledger.settle(Settle(asked.id, asked.charges(answer.tokens, lambda hold: 3)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(number),)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    field.holds_true(day)
    assert granted > 70
    field.ledger.close()


# --- what is done with a truth that does not fit


async def test_a_vendor_that_reports_more_than_the_bound_is_believed(tmp_path: Path) -> None:
    day = budget("day", "tokens", "100", "day")
    field = Field(tmp_path / "l.db", reserving=True)
    asked = field.asked("a", day)
    answer = await field.ledger.reserve(asked)
    assert isinstance(answer, Granted)
    await field.ledger.settle(Settle("a", asked.charges(answer.tokens, lambda hold: 140)))
    assert list(field.sums().values()) == [(140, 0)]
    refused = await field.ledger.reserve(field.asked("b", day))
    assert isinstance(refused, Refused)
    assert (refused.left, refused.held) == (0, False)
    field.ledger.close()


async def test_a_call_that_ends_the_day_after_is_charged_to_its_own_day_and_alerts_there(tmp_path: Path) -> None:
    day = budget("day", "tokens", "100", "day", alert_at=["0.8"])
    field = Field(tmp_path / "l.db", reserving=True)
    late = field.asked("late", day)
    await field.ledger.reserve(late)
    field.clock.now += 86_400
    early = field.asked("early", day)
    for _ in range(7):
        early = replace(early, id=f"{early.id}x")
        await field.call(early, WORST)
    done = await field.ledger.settle(Settle("late", late.charges(WORST, lambda hold: WORST)))
    assert done.alerts == (), "ten of a hundred on its own day"
    assert sorted(settled for settled, _ in field.sums().values()) == [10, 70]
    field.ledger.close()

"""The accounts against a model of them in plain Python; and the windows that they are summed over."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bundle_loader.declared.budget import Budget
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import Hold, window_of
from bundle_loader.ledger.operations import Append, Close, Granted, Operation, Refused, Reserve, Settle, Settled, Unwritable
from bundle_loader.ledger.store import SqliteStorage
from tests.support.full_disk import no_room
from tests.support.ledger_load import budget
from tests.test_ledger import call_record

LEASE = 30.0
WHAT = json.dumps(("a", "d", "r", "worker", None, "openai", "gpt-*", "gpt-4o", "gpt-4o", 0))
BUDGETS: Mapping[str, Budget] = {
    "day": budget("day", "tokens", "300", "day", zone="America/Santiago"),
    "month": budget("month", "tokens", "700", "month", zone="Asia/Kolkata"),
    "run": budget("run", "tokens", "900", "run"),
    "minute": budget("minute", "tokens", "120", "minute"),
    "near": budget("near", "tokens", "200", "day", throttle_at="0.5"),
}
START = datetime(2027, 9, 4, 22, tzinfo=ZoneInfo("America/Santiago")).timestamp()
NAMES = st.lists(st.sampled_from(sorted(BUDGETS)), min_size=1, max_size=4, unique=True)


class Accounts(RuleBasedStateMachine):
    """Two processes over one file. The model is two dicts: what is settled, and what each open call holds."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "l.db"
        self.processes = [SqliteStorage(self.path, lease=LEASE) for _ in range(2)]
        self.now = START
        self.settled: dict[tuple[str, int], int] = {}
        self.open: dict[str, tuple[int, Reserve, int]] = {}
        """Call -> its process, what it asked, the tokens that it was granted."""
        self.dead: dict[str, float] = {}
        """Calls of processes that died -> when their lease ends."""
        self.lost: set[str] = set()
        self.over = 0
        """Units that were used beyond what was reserved."""
        self.closed = 0.0
        self.number = 0

    def teardown(self) -> None:
        for process in self.processes:
            process.close()
        self.folder.cleanup()

    # --- the model

    def reserved(self, account: str, since: int, end: float | None) -> int:
        total = 0
        for _, asked, tokens in self.open.values():
            for hold in asked.holds:
                bucket = hold.window.bucket
                if hold.account == account and bucket >= since and (end is None or bucket < end):
                    total += hold.fixed + tokens * hold.per_token
        return total

    def sums(self, hold: Hold) -> tuple[int, int]:
        since, end = hold.window.since, hold.window.renews
        settled = sum(
            amount
            for (account, bucket), amount in self.settled.items()
            if account == hold.account and bucket >= since and (end is None or bucket < end)
        )
        return settled, self.reserved(hold.account, since, end)

    def expected(self, asked: Reserve) -> int | None:
        """The tokens that the call may have; None where it is refused."""
        if self.closed > self.now:
            return None
        tokens = asked.tokens
        for hold in asked.holds:
            settled, reserved = self.sums(hold)
            threshold = hold.budget.throttle_at
            if threshold is not None and reserved and settled >= threshold * hold.limit:
                return None
            left = hold.limit - settled - reserved - hold.fixed
            if left < min(asked.least, asked.tokens):
                return None
            tokens = min(tokens, left)
        return tokens

    def sweep(self) -> None:
        """What a look for the dead gives back."""
        for id in [id for id, ends in self.dead.items() if ends < self.now]:
            del self.dead[id]
            self.open.pop(id)
            self.lost.add(id)

    # --- what happens

    @rule(process=st.integers(0, 1), names=NAMES, tokens=st.integers(1, 90), least=st.integers(1, 40), fixed=st.integers(0, 20))
    def reserve(self, process: int, names: list[str], tokens: int, least: int, fixed: int) -> None:
        self.number += 1
        budgets = [BUDGETS[name] for name in names]
        holds = tuple(Hold(one.id, one, window_of(one, self.now), fixed, 1, int(one.limit)) for one in budgets)
        asked = Reserve(f"c{self.number}", holds, tokens, least, WHAT, ("openai|gpt-4o",))
        self.now += 1.001  # so that each reserving looks for the dead
        self.sweep()
        self.run(process, asked)

    def run(self, process: int, *asked: Reserve) -> None:
        """Reserve in one transaction: each is answered as the model says after those before it."""
        answers = self.processes[process].run(asked, self.now)
        assert answers is not None
        for one, answer in zip(asked, answers, strict=True):
            expected = self.expected(one)
            if expected is None:
                assert isinstance(answer, Refused)
                assert answer.retry_after is None or answer.retry_after > 0
            else:
                assert isinstance(answer, Granted)
                assert answer.tokens == expected
                self.open[one.id] = process, one, expected

    def another(self, name: str, tokens: int) -> Reserve:
        self.number += 1
        one = BUDGETS[name]
        holds = (Hold(one.id, one, window_of(one, self.now), 0, 1, int(one.limit)),)
        return Reserve(f"c{self.number}", holds, tokens, tokens // 2, WHAT, ("openai|gpt-4o",))

    @rule(process=st.integers(0, 1), names=NAMES, tokens=st.integers(1, 60))
    def reserve_many(self, process: int, names: list[str], tokens: int) -> None:
        self.now += 1.001
        self.sweep()
        self.run(process, *(self.another(name, tokens) for name in [*names, *names]))

    @rule(process=st.integers(0, 1), names=NAMES, tokens=st.integers(1, 90), full=st.booleans(), close=st.booleans())
    def fail(self, process: int, names: list[str], tokens: int, full: bool, close: bool) -> None:
        """A batch of which nothing comes: its last operation cannot be carried out, or it cannot be committed."""
        batch: list[Operation] = [self.another(name, tokens) for name in names]
        for id in self.alive()[:2]:
            _, asked, granted = self.open[id]
            batch.append(Settle(id, asked.charges(granted, lambda hold: 3), call_record(id)))
        if close:
            batch.append(Close("openai|gpt-4o", self.now + 60, "limited"))
        if full:
            with no_room(), pytest.raises(Unwritable):
                self.processes[process].run([*batch, Append(call_record("once"))], self.now)
        else:
            with pytest.raises(LedgerError):
                self.processes[process].run([*batch, *[Append(call_record("twice"))] * 2], self.now)

    @rule(how=st.sampled_from(["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)", "ANALYZE"]))
    def look_after_the_file(self, how: str) -> None:
        with sqlite3.connect(self.path, isolation_level=None) as db:
            db.execute(how).fetchall()
        db.close()

    def alive(self) -> list[str]:
        return [id for id in self.open if id not in self.dead]

    @precondition(alive)
    @rule(data=st.data(), part=st.floats(0, 1), more=st.sampled_from([0, 0, 0, 7]), twice=st.booleans())
    def settle(self, data: Any, part: float, more: int, twice: bool) -> None:
        id = data.draw(st.sampled_from(self.alive()))
        process, asked, tokens = self.open.pop(id)
        self.use(process, asked, tokens, part, more, twice)

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), twice=st.booleans())
    def settle_what_was_given_up(self, data: Any, twice: bool) -> None:
        """Its process was only stopped: the truth is entered."""
        id = data.draw(st.sampled_from(sorted(self.lost)))
        self.lost.discard(id)
        holds = tuple(Hold(one.id, one, window_of(one, self.now), 0, 1, int(one.limit)) for one in (BUDGETS["run"],))
        self.use(0, Reserve(id, holds, 5, 5), 5, 1, 0, twice, kept=False)
        self.over += 5

    def use(self, process: int, asked: Reserve, tokens: int, part: float, more: int, twice: bool, kept: bool = True) -> None:
        def used(hold: Hold) -> int:
            return int((hold.fixed + tokens * hold.per_token) * part) + more

        settle = Settle(asked.id, asked.charges(tokens, used), call_record(asked.id))
        for again in range(1 + twice):
            answers = self.processes[process].run([settle], self.now)
            assert answers is not None
            assert isinstance(answers[0], Settled)
            assert answers[0].kept == (kept and not again)
        for hold in asked.holds:
            key = hold.account, hold.window.bucket
            self.settled[key] = self.settled.get(key, 0) + used(hold)
        self.over += more

    @precondition(alive)
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        id = data.draw(st.sampled_from(self.alive()))
        process, asked, tokens = self.open.pop(id)
        self.processes[process].run([Settle(id, asked.charges(tokens))], self.now)

    @rule(process=st.integers(0, 1))
    def die(self, process: int) -> None:
        """A process is gone without a word, and another takes its place."""
        held = [id for id in self.alive() if self.open[id][0] == process]
        self.processes[process].tend(self.now)  # the last that was heard of it
        self.processes[process].close()
        self.processes[process] = SqliteStorage(self.path, lease=LEASE)
        for id in held:
            self.dead[id] = self.now + LEASE

    @rule(seconds=st.sampled_from([0.2, 5, 61, 3600, 86_400]))
    def pass_time(self, seconds: float) -> None:
        """The living say all the while that they live."""
        end = self.now + seconds
        # the minutes in the middle of a long time are all the same; at its end all have said that they live
        steps = [self.now + LEASE / 3 * step for step in range(1, int(seconds / (LEASE / 3)) + 1)]
        for moment in [*steps[:4], *steps[-8:], end]:
            self.now = moment
            for process in self.processes:
                process.tend(self.now)

    @rule(seconds=st.sampled_from([1, 30]))
    def close_key(self, seconds: float) -> None:
        until = self.now + seconds
        self.processes[0].run([Close("openai|gpt-4o", until, "limited")], self.now)
        self.closed = max(self.closed, until)

    @invariant()
    def the_file_is_as_the_model(self) -> None:
        rows = self.processes[0].query("accounts", {"account": None})
        settled = {(row["account"], row["bucket"]): row["settled"] for row in rows if row["settled"]}
        oldest = min((bucket for account, bucket in settled if account == "minute"), default=0)
        model = {key: sum for key, sum in self.settled.items() if sum and (key[0] != "minute" or key[1] >= oldest)}
        if not any(account == "minute" for account, _ in settled):
            model = {key: sum for key, sum in model.items() if key[0] != "minute"}
        assert settled == model
        held: dict[tuple[str, int], int] = {}
        for _, asked, tokens in self.open.values():
            for hold in asked.holds:
                key = hold.account, hold.window.bucket
                held[key] = held.get(key, 0) + hold.fixed + tokens * hold.per_token
        assert {(row["account"], row["bucket"]): row["reserved"] for row in rows if row["reserved"]} == {
            key: amount for key, amount in held.items() if amount
        }
        for name, one in BUDGETS.items():
            taken = sum(self.sums(Hold(name, one, window_of(one, self.now), 0, 1, int(one.limit))))
            assert taken <= one.limit + self.over

    @invariant()
    def the_lost_are_recorded(self) -> None:
        rows = self.processes[0].query("calls", {"delegation": None})
        assert {row["id"] for row in rows if row["outcome"] == "lost"} == self.lost


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


# --- windows

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "America/Havana", "Asia/Kathmandu", "Asia/Beirut",
     "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Gaza"]
)  # fmt: skip
INSTANTS = st.floats(datetime(1995, 1, 1, tzinfo=UTC).timestamp(), datetime(2035, 1, 1, tzinfo=UTC).timestamp())
PERIODS = st.sampled_from(["day", "month"])


@given(ZONES, INSTANTS, PERIODS)
@settings(max_examples=400)
def test_every_instant_lies_in_exactly_one_window(zone: str, now: float, per: str) -> None:
    one = budget("b", "tokens", "1", per, zone=zone)
    window = window_of(one, now)
    assert window.renews is not None
    assert window.bucket == window.since <= now < window.renews
    assert window_of(one, window.since) == window_of(one, window.renews - 0.001) == window
    after, before = window_of(one, window.renews), window_of(one, window.since - 0.001)
    assert after.since == window.renews
    assert before.renews == window.since
    local = [datetime.fromtimestamp(int(moment), ZoneInfo(zone)) for moment in (window.since, now, window.renews - 0.001)]
    names = {(moment.year, moment.month, moment.day if per == "day" else 1) for moment in local}
    assert len(names) == 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2027-03-28", 23),
        ("Europe/Berlin", "2027-10-31", 25),
        ("Europe/Berlin", "2027-06-01", 24),
        ("America/Santiago", "2027-09-05", 23),
        ("America/Havana", "2027-11-07", 25),
        ("Australia/Lord_Howe", "2027-10-03", 23.5),
        ("UTC", "2027-03-28", 24),
    ],
)
def test_a_day_has_the_hours_that_it_has_there(zone: str, day: str, hours: float) -> None:
    noon = (datetime.fromisoformat(day) + timedelta(hours=12)).replace(tzinfo=ZoneInfo(zone)).timestamp()
    window = window_of(budget("b", "tokens", "1", "day", zone=zone), noon)
    assert window.renews is not None
    assert window.renews - window.since == hours * 3600


@given(INSTANTS)
def test_a_minute_slides_over_sixty_seconds_and_the_running_one(now: float) -> None:
    window = window_of(budget("b", "tokens", "1", "minute"), now)
    assert (window.bucket, window.since, window.renews) == (int(now), int(now) - 60, None)

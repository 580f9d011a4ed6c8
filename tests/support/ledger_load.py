"""Processes that spend from one ledger file, one that watches it, and what must hold of the file afterwards.

python -m tests.support.ledger_load work FILE ACKNOWLEDGED NAME TASKS LEASE 1  # until its input closes
python -m tests.support.ledger_load watch FILE                                 # until its input closes; prints what it saw
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from bundle_loader.declared.budget import Budget
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import OverBudget
from bundle_loader.ledger.accounts import MINUTE
from bundle_loader.ledger.budgets import Budgets, Cap
from bundle_loader.ledger.estimate import CallEstimate, CallScope
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.meter import LedgerMeter
from bundle_loader.ledger.operations import Answer, Granted, Operation, Reserve
from bundle_loader.ledger.prices import Priced
from bundle_loader.ledger.store import SqliteStorage
from bundle_loader.messages import Usage
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.charged import PICO
from bundle_loader.routing.price import Price

ROOT: Final = Path(__file__).parent.parent.parent
INPUT, OUTPUT = 200, 400
"""Tokens at most of each call."""
PRICE: Final = Price(((0, Decimal(3)),), ((0, Decimal(15)),))
CAP: Final = Decimal("0.05")
"""Dollars that one tree of delegations may cost."""


def budget(id: str, unit: str, limit: str, per: str, **more: Any) -> Budget:
    """A budget as a bundle would declare it."""
    given = {"id": id, "unit": unit, "limit": Decimal(limit), "per": per, "least_tokens": 16, **more}
    return Budget.model_validate(given)


BUDGETS: Final = (
    budget("day", "money", "5", "day", zone="Europe/Berlin", scope={"agent": ("even", "odd")}),
    budget("half", "money", "1.5", "day", zone="Europe/Berlin", share_of="day", scope={"agent": ("even",)}),
    budget("month", "tokens", "200000", "month", zone="America/New_York", scope={"agent": ("odd",)}),
    budget("minute", "requests", "15000", "minute"),
    budget("talk", "tokens", "500000", "minute", each=("agent",), scope={"agent": ("third",)}),
    budget("tree", "requests", "6", "run"),
)
"""Small enough that most of them are full at some time; only the agent `third` can go on for ever."""


@dataclass(slots=True)
class Seen:
    """What was seen of the accounts."""

    samples: int = 0
    fullest: dict[str, float] = field(default_factory=dict)
    """Budget -> the largest part of its limit that was taken at a time."""
    over: list[str] = field(default_factory=list)
    """The first time that an account of each budget was above its limit."""


def limit_of(account: str) -> int:
    """What an account may hold at most, in whole units."""
    id = account.partition("|")[0]
    if id == "cap":
        return int(CAP * PICO)
    found = next(one for one in BUDGETS if one.id == id)
    return int(found.limit * PICO) if found.unit == "money" else int(found.limit)


def look(db: sqlite3.Connection, seen: Seen) -> None:
    """Sum every account over every window that it can have, in one read transaction."""
    db.execute("BEGIN")
    rows = db.execute(
        "SELECT account, bucket, settled + reserved FROM accounts WHERE account NOT LIKE 'cap|%' AND account NOT LIKE 'tree|%'"
    ).fetchall()
    # one window each, and thousands of them
    rows += db.execute(
        "SELECT account, bucket, MAX(settled + reserved) FROM accounts WHERE account LIKE 'cap|%' OR account LIKE 'tree|%' "
        "GROUP BY substr(account, 1, 4)"
    ).fetchall()
    db.execute("COMMIT")
    seen.samples += 1
    by_account: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for account, bucket, taken in rows:
        by_account[account].append((bucket, taken))
    sliding = {one.id for one in BUDGETS if one.per == "minute"}
    for account, buckets in by_account.items():
        id, limit = account.partition("|")[0], limit_of(account)
        length = MINUTE if id in sliding else 0
        for last, amount in buckets:
            taken = sum(more for bucket, more in buckets if last - length <= bucket <= last) if length else amount
            seen.fullest[id] = max(seen.fullest.get(id, 0.0), taken / limit)
            if taken > limit and not any(one.startswith(id) for one in seen.over):
                seen.over.append(f"{account}: {taken} of {limit} in the window to {last}")


def watch(path: str) -> None:
    """Look until the input closes, then say what was seen."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    seen = Seen()
    while not ended.is_set():
        look(db, seen)
        time.sleep(0.002)
    db.close()
    sys.stdout.write(json.dumps({"samples": seen.samples, "fullest": seen.fullest, "over": seen.over}))


class Unreserving:
    """A storage that grants every call and reserves nothing: what a test of reserving must catch."""

    def __init__(self, path: str | Path) -> None:
        self._storage = SqliteStorage(Path(path))

    def run(self, operations: Sequence[Operation], now: float, *, wait: bool = True) -> list[Answer] | None:
        """All but the reservations."""
        answers = self._storage.run([one for one in operations if not isinstance(one, Reserve)], now, wait=wait)
        if answers is None:
            return None
        rest = iter(answers)
        return [Granted(one.id, one.tokens) if isinstance(one, Reserve) else next(rest) for one in operations]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class Spender:
    """Tasks that make calls through the meter and note each one that was settled."""

    def __init__(self, ledger: Ledger, acknowledged: TextIO, name: str, *, pause: float = 0.02) -> None:
        self.ledger = ledger
        self.budgets = Budgets(BUDGETS)
        self.acknowledged = acknowledged
        self.name = name
        self.pause = pause
        self.refused = 0

    def meter(self, task: int, round: int) -> LedgerMeter:
        """The meter of one attempt; eight of one task's make a tree."""
        root = f"{self.name}-{task}-{round // 8}"
        agent = ("even", "odd", "third", "third")[task % 4]
        scope = CallScope(f"{root}-{round}", root, root, agent, None, caps=(Cap(root, agent, CAP),))
        return LedgerMeter(self.ledger, scope, lambda candidate, answered: Priced(PRICE, "declared"), time.time, self.budgets)

    async def spend(self, task: int, until: threading.Event, rounds: int = sys.maxsize) -> None:
        """One task: calls, one after the other; some are cut, some fail, most are answered."""
        chance = random.Random(f"{self.name}-{task}")
        candidate = Candidate("openai", "gpt-4o", Preference.parse("openai/gpt-4o"), {"max_tokens": OUTPUT})
        for round in range(rounds):
            if until.is_set():
                return
            meter = self.meter(task, round)
            try:
                async with asyncio.timeout(chance.choice((self.pause / 2, 60))):
                    await self.call(meter, candidate, chance)
            except OverBudget:
                self.refused += 1
                await asyncio.sleep(self.pause)
            except (ValueError, TimeoutError):
                pass

    async def call(self, meter: LedgerMeter, candidate: Candidate, chance: random.Random) -> None:
        """One call: it takes its time, uses no more than was granted, and is acknowledged once it is settled."""
        async with meter.call(CallEstimate(candidate, INPUT, OUTPUT, None)) as call:
            await asyncio.sleep(chance.random() * self.pause)
            call.streamed(8)
            if chance.random() < 0.1:
                raise ValueError("the connection broke")
            used = Usage(chance.randrange(INPUT // 4), chance.randrange(min(call.output_bound, OUTPUT // 4)))
            call.settle(used, "gpt-4o")
        self.acknowledged.write(f"{meter.scope.attempt}-1 {used.input_tokens} {used.output_tokens}\n")
        self.acknowledged.flush()


def work(path: str, acknowledged: str, name: str, tasks: int, lease: float, reserving: bool) -> None:
    """Spend until the input closes."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    storage: Any = None if reserving else Unreserving(path)
    ledger = Ledger(path, lease=lease, storage=storage)

    async def everybody(notes: TextIO) -> None:
        spender = Spender(ledger, notes, name)
        await asyncio.gather(*(spender.spend(task, ended) for task in range(tasks)))

    def alone(task: int) -> None:
        with Path(f"{acknowledged}-{task}").open("a", encoding="utf-8") as notes:
            asyncio.run(Spender(ledger, notes, name).spend(task, ended))

    if int(name[1:]) % 8 == 0:  # every eighth process has threads, each with an event loop of its own
        threads = [threading.Thread(target=alone, args=(task,)) for task in range(tasks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        with Path(acknowledged).open("a", encoding="utf-8") as notes:
            asyncio.run(everybody(notes))
    ledger.close()


def start(*arguments: object) -> subprocess.Popen[str]:
    """One of the processes of this module."""
    command = [sys.executable, "-m", "tests.support.ledger_load", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run under fire ended."""

    killed: int
    calls: int
    lost: int
    acknowledged: int
    seen: Seen
    faults: tuple[str, ...]
    """What must not be and is."""


def under_fire(
    folder: Path, *, processes: int, tasks: int, seconds: float, lease: float = 6.0, reserving: bool = True, killing: bool = True
) -> Outcome:
    """Processes that spend, killed at random and replaced, under the eyes of another; then what is in the file."""
    path, chance = folder / "ledger.db", random.Random(7)
    Ledger(path).close()
    watcher = start("watch", path)
    names = iter(range(10**6))

    def worker() -> subprocess.Popen[str]:
        name = next(names)
        return start("work", path, folder / f"acknowledged-{name}", f"w{name}", tasks, lease, int(reserving))

    working = [worker() for _ in range(processes)]
    _begun(path)
    killed, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.2 + chance.random() * 0.8)
        if not killing:
            continue
        place = chance.randrange(processes)
        working[place].kill()
        working[place].communicate()
        killed += 1
        working[place] = worker()
    faults: list[str] = []
    for process in working:  # the last ones end by themselves
        process.communicate(timeout=120)
        if process.returncode:
            faults.append(f"a process ended with {process.returncode}")
    said = json.loads(watcher.communicate(timeout=60)[0])
    seen = Seen(said["samples"], said["fullest"], said["over"])
    faults += seen.over
    calls, lost, acknowledged = _afterwards(path, folder, lease, faults)
    return Outcome(killed, calls, lost, acknowledged, seen, tuple(faults))


def _begun(path: Path) -> None:
    """Return once a call is in the file, however slow the machine is to start processes."""
    db = sqlite3.connect(path, timeout=30)
    latest = time.monotonic() + 60
    while not db.execute("SELECT 1 FROM calls LIMIT 1").fetchone() and time.monotonic() < latest:
        time.sleep(0.05)
    db.close()


def _afterwards(path: Path, folder: Path, lease: float, faults: list[str]) -> tuple[int, int, int]:
    time.sleep(lease + 0.1)
    swept = Ledger(path, lease=lease)
    looked = asyncio.run(swept.reserve(Reserve("look", (), 0, 0)))
    assert isinstance(looked, Granted)
    swept.close()
    db = sqlite3.connect(path)
    left, holders = (db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("reservations", "holders"))
    (held,) = db.execute("SELECT TOTAL(ABS(reserved)) FROM accounts").fetchone()
    if left or holders > 1 or held:
        faults.append(f"{left} reservations of {holders} holders are left, {held} units of them on the accounts")
    faults += sums_differ(db)
    answered = dict(db.execute("SELECT id, input_tokens || ' ' || output_tokens FROM calls WHERE outcome = 'answered'"))
    lines = [line for file in folder.glob("acknowledged-*") for line in file.read_text("utf-8").splitlines(keepends=True)]
    notes = dict(line.rstrip("\n").split(" ", 1) for line in lines if line.endswith("\n"))
    faults += [f"{id} was settled and is not in the ledger" for id, used in notes.items() if answered.get(id) != used]
    calls, lost = (db.execute(f"SELECT COUNT(*) FROM calls {which}").fetchone()[0] for which in ("", "WHERE outcome = 'lost'"))
    db.close()
    return calls, lost, len(notes)


def sums_differ(db: sqlite3.Connection) -> list[str]:
    """Accounts whose settled units are not those of the calls that are in the file. A minute's are forgotten when it is over."""
    settled = dict(db.execute("SELECT account, SUM(settled) FROM accounts GROUP BY account"))
    used: dict[str, int] = defaultdict(int)
    rows = db.execute("SELECT root, agent, cost_pico, input_tokens + output_tokens FROM calls WHERE outcome <> 'lost'")
    for root, agent, cost, tokens in rows:
        used["day"] += cost if agent != "third" else 0
        used["half"] += cost if agent == "even" else 0
        used["month"] += tokens if agent == "odd" else 0
        used["minute"] += 1
        used["talk|agent=third"] += tokens if agent == "third" else 0
        used[f"tree|tree={root}"] += 1
        used[f"cap|{root}"] += cost
    differ = []
    for account in settled.keys() | used.keys():
        have, want = settled.get(account, 0), used.get(account, 0)
        minute = account.partition("|")[0] in ("minute", "talk")
        if have > want if minute else have != want:
            differ.append(f"{account}: {have} units are settled, the calls used {want}")
    return differ


def main() -> None:
    """See the module's docstring."""
    what, path, *rest = sys.argv[1:]
    if what == "watch":
        watch(path)
    else:
        work(path, rest[0], rest[1], int(rest[2]), float(rest[3]), rest[4] == "1")


if __name__ == "__main__":
    main()

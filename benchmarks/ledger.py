"""What the ledger costs: pairs of reserve and settle per second from four processes, and its share of a delegation's CPU.

`python -m benchmarks.ledger [vendor ...]`. Every pair is one reserve over three accounts (money a day, tokens and requests a
minute) and one settle with the record of its call. `one commit each` calls the storage, so that each of the two is a
transaction of its own; `group commit` goes through `Ledger.reserve` and `Ledger.settle` with many tasks in each process. The
share is the CPU of `host.delegate` with budgets in force, less that with a storage that does nothing, against the bare SDK's
call; the four are measured as in `benchmarks.delegation`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bare import SDKS, Bare, Chat
from benchmarks.delegation import BLOCK, TASK, Ask, instant_server, sequential, write_bundle
from benchmarks.figures import ROOT, Figure, report
from bundle_loader import Host
from bundle_loader.declared.budget import Budget
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import hold_of
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Answer, Granted, Operation, Reserve, Settle, Settled
from bundle_loader.ledger.records import CallRecord
from bundle_loader.ledger.store import SqliteStorage
from bundle_loader.messages import Usage
from bundle_loader.routing.charged import CallFacts
from bundle_loader.routing.price import Price
from tests.support.world import World

PROCESSES = 4
PAIRS = 5_000
"""Of each process."""
TASKS = 50
BLOCKS = 9
SINGLE, GROUPED = 5_000, 10_000
SHARE = 0.10
_HUGE = Decimal(1_000_000)
_BUDGETS = (
    Budget(id="day", unit="money", limit=_HUGE, per="day"),
    Budget(id="talk", unit="tokens", limit=_HUGE * 10_000, per="minute"),
    Budget(id="often", unit="requests", limit=_HUGE * 1000, per="minute"),
)
_PRICE = Price(((0, Decimal(1)),), ((0, Decimal(5)),))
_FACTS = CallFacts("openai", "gpt-4o-mini", "gpt-4o-mini", "worker", "tree")


class Nothing:
    """A storage that keeps nothing and grants everything."""

    def run(self, operations: Sequence[Operation], now: float, *, wait: bool = True) -> list[Answer] | None:
        return [_granted(operation) for operation in operations]

    def tend(self, now: float) -> None: ...

    def release(self) -> None: ...

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return []

    def compact(self) -> None: ...

    def close(self) -> None: ...


def _granted(operation: Operation) -> Answer:
    if isinstance(operation, Reserve):
        return Granted(operation.id, operation.tokens)
    return Settled() if isinstance(operation, Settle) else None


def pairs(name: str, count: int) -> Iterator[tuple[Reserve, Settle]]:
    """What so many calls reserve, and what each is settled with."""
    for number in range(count):
        now = time.time()
        holds = tuple(hold_of(budget, _FACTS, now, 300, _PRICE) for budget in _BUDGETS)
        asked = Reserve(
            f"{name}-{number}", holds, 500, 16, '["a", "d", "r", "w", null, "openai", "p", "m", "f", 0]', ("openai|m",)
        )
        record = CallRecord(
            asked.id, name, name, name, "worker", None, "openai", "gpt-*", "gpt-4o-mini", "gpt-4o-mini", now, 0.5, 0.1,
            Usage(100, 50), Decimal("0.00035"), "answered", None, False,
        )  # fmt: skip
        yield asked, Settle(asked.id, asked.charges(500, lambda hold: 1), record)


def single(path: Path, name: str) -> int:
    """Each operation in a transaction of its own; gives the errors."""
    store, errors = SqliteStorage(path), 0
    _ready()
    for asked, settled in pairs(name, PAIRS):
        for operation in (asked, settled):
            try:
                store.run([operation], time.time())
            except LedgerError:
                errors += 1
    sys.stdout.write(f"{errors}\n")
    sys.stdout.flush()
    store.close()
    return 0


async def grouped(path: Path, name: str) -> int:
    """Many tasks at once; gives the errors."""
    ledger, errors = Ledger(path), 0
    _ready()
    left = pairs(name, PAIRS)

    async def worker() -> None:
        nonlocal errors
        for asked, settled in left:
            try:
                assert isinstance(await ledger.reserve(asked), Granted)
                await ledger.settle(settled)
            except LedgerError:
                errors += 1

    await asyncio.gather(*(worker() for _ in range(TASKS)))
    sys.stdout.write(f"{errors}\n")
    sys.stdout.flush()
    ledger.close()
    return 0


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def rate(way: str) -> tuple[float, int]:
    """Pairs per second of all processes together, and how many errors there were."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        Ledger(path).close()
        command = [sys.executable, "-m", "benchmarks.ledger", way, str(path)]
        workers = [
            subprocess.Popen([*command, f"p{number}"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(PROCESSES)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        begin = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        errors = sum(int(worker.stdout.readline()) for worker in workers if worker.stdout is not None)
        spent = time.perf_counter() - begin
        for worker in workers:
            worker.communicate()
        ledger = Ledger(path)
        kept = len(ledger.calls())
        left = sum(row["reserved"] for row in ledger.query("accounts", account=None))
        ledger.close()
        assert (kept, left) == (PROCESSES * PAIRS, 0)
    return PROCESSES * PAIRS / spent, errors


async def share(vendor: str, host: Host, idle: Host, bare: Bare) -> Figure:
    """The ledger's part of a delegation, against the SDK's whole call."""
    agent = f"git-{vendor}"
    first = await host.delegate(agent, TASK)
    run = await host.prepare(agent, TASK)
    written = host.bundle.agent(agent).config
    chat = Chat(first.model, run.base.instruction, TASK, int(written["max_tokens"]), float(written["temperature"]))

    def of(which: Host) -> Ask:
        return lambda: which.delegate(agent, TASK)

    costs: list[list[float]] = [[], [], []]
    for _ in range(1 + BLOCKS):
        for ask, found in zip((of(host), of(idle), lambda: bare.ask(chat)), costs, strict=True):
            start = time.process_time()
            await sequential(ask)
            host.ledger.flush()
            idle.ledger.flush()
            found.append((time.process_time() - start) / BLOCK * 1e6)
    with_it, without, sdk = (found[1:] for found in costs)
    ours = median(mine - none for mine, none in zip(with_it, without, strict=True))
    name = f"{vendor}, CPU of the ledger in a delegation"
    return Figure(name, f"{ours:.0f} of {median(with_it):.0f} us", f"{median(sdk):.0f} us", ours / median(sdk), SHARE)


async def shares(vendors: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, instant_server() as base:
        folder = Path(name)
        environment = World().environment(base)
        bundle = write_bundle(folder)
        with bundle.open("a", encoding="utf-8") as file:
            file.write("budgets:\n  day: {money: 100000, per: day}\n  talk: {tokens: 1000000000, per: minute}\n")
            file.write("  often: {requests: 100000000, per: minute}\n")
        async with (
            Host(bundle, ledger=folder / "ledger.db", environment=environment) as host,
            Host(bundle, ledger=folder / "idle.db", environment=environment) as idle,
        ):
            idle.ledger.flush()
            idle.ledger._store.close()
            idle.ledger._store = Nothing()
            for vendor in vendors:
                bare = SDKS[vendor](environment)
                figures.append(await share(vendor, host, idle, bare))
                await bare.aclose()
            assert all(row["reserved"] == 0 for row in host.ledger.query("accounts", account=None))
    return figures


def main() -> int:
    if len(sys.argv) == 4 and sys.argv[1] == "single":
        return single(Path(sys.argv[2]), sys.argv[3])
    if len(sys.argv) == 4 and sys.argv[1] == "grouped":
        return asyncio.run(grouped(Path(sys.argv[2]), sys.argv[3]))
    figures: list[Figure] = []
    faults: list[str] = []
    for way, must, what in (("single", SINGLE, "one commit each"), ("grouped", GROUPED, f"group commit, {TASKS} tasks each")):
        runs = [rate(way) for _ in range(3)]
        found = median(pairs_a_second for pairs_a_second, _ in runs)
        errors = sum(count for _, count in runs)
        faults += [f"{errors} errors with {what}"] if errors else []
        name = f"reserve+settle from {PROCESSES} processes, {what} (lock errors: {errors})"
        figures.append(Figure(name, f"{found:,.0f}/s", f"{must:,}/s wanted", must / found, 1.0))
    figures += asyncio.run(shares(sys.argv[1:] or list(SDKS)))
    load = f"load average {os.getloadavg()[0]:.1f}"
    title = f"The ledger: medians of 3 runs, and of {BLOCKS} alternating blocks of {BLOCK} calls; {load}"
    return report(title, figures, faults=faults)


if __name__ == "__main__":
    sys.exit(main())

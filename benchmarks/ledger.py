"""What the ledger costs: pairs of reserve and settle per second from four processes, and its share of a delegation's CPU.

`python -m benchmarks.ledger [vendor ...]`; with `share` before the vendors only the share is measured.
Every pair is one reserve over three accounts (money a day, tokens and requests a minute) and one settle with the record of
its call. `one commit each` calls the storage, so that each of the two is a transaction of its own; `group commit` goes
through `Ledger.reserve` and `Ledger.settle` with many tasks in each process. The share is the CPU of all threads in
`host.delegate`, less that of the same host with a storage that does nothing, against the bare SDK's call; +- is half of the
95 % interval of the median, and where that is too wide nothing is said to be met.
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
from statistics import median, quantiles
from typing import Any

from benchmarks.bare import SDKS, Bare, Chat
from benchmarks.delegation import TASK, Ask, write_bundle
from benchmarks.figures import ROOT, Figure, report
from benchmarks.instant import instant_vendors
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
ROUNDS = 60
SMALL = 20
"""Delegations of one block: long enough for the writer to come round, short enough for a slow spell to hit both ways."""
SINGLE, GROUPED = 5_000, 10_000
SHARE = 0.10
LIMITS = """budgets:
  day: {money: 100000, per: day}
  talk: {tokens: 1000000000, per: minute}
  often: {requests: 100000000, per: minute}
"""
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


def spread(values: Sequence[float]) -> float:
    """How far the median of so many values may be from the truth: half of its 95 % interval, from the quartiles."""
    first, _, third = quantiles(values, n=4)
    return 1.96 * 1.2533 * (third - first) / 1.349 / len(values) ** 0.5


async def share(name: str, host: Host, agent: str, bare: Bare, chat: Chat) -> Figure:
    """The ledger's part of a delegation, against the SDK's whole call.

    The same host delegates with its own storage and with one that does nothing, block by block, in turn.
    """
    ledger = host.ledger
    real, ways = ledger._store, (ledger._store, Nothing())

    async def cost(ask: Ask) -> float:
        start = time.process_time()
        for _ in range(SMALL):
            await ask()
        ledger.flush()
        return (time.process_time() - start) / SMALL * 1e6

    with_it: list[float] = []
    without: list[float] = []
    sdk: list[float] = []
    for turn in range(1 + ROUNDS):
        for way, found in zip(ways, (with_it, without), strict=True) if turn % 2 else ((ways[1], without), (ways[0], with_it)):
            with ledger._turn:
                ledger._store = way
            found.append(await cost(lambda: host.delegate(agent, TASK)))
        with ledger._turn:
            ledger._store = real
        sdk.append(await cost(lambda: bare.ask(chat)))
    differences = [mine - none for mine, none in zip(with_it[1:], without[1:], strict=True)]  # the first round warms up
    ours, noise, peer = median(differences), spread(differences), median(sdk[1:])
    said = f"{ours:.0f} +- {noise:.0f} of {median(with_it[1:]):.0f} us"
    most = SHARE * peer
    unclear = ours <= -noise or (noise > most / 2 and ours - noise <= most)  # beyond all noise it is missed
    return Figure(name, said, f"{peer:.0f} us", ours / peer, SHARE, unclear=unclear)


async def shares(vendors: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, instant_vendors() as base:
        folder = Path(name)
        environment = World().environment(base)
        plain = write_bundle(folder)
        limited = folder / "limited.yaml"
        limited.write_text(plain.read_text("utf-8") + LIMITS, "utf-8")
        async with (
            Host(limited, ledger=folder / "limited.db", sessions=None, environment=environment) as host,
            Host(plain, ledger=folder / "plain.db", sessions=None, environment=environment) as free,
        ):
            for vendor in vendors:
                agent, bare = f"git-{vendor}", SDKS[vendor](environment)
                first = await free.delegate(agent, TASK)
                run = await free.prepare(agent, TASK)
                written = free.bundle.agent(agent).config
                most, heat = int(written["max_tokens"]), float(written["temperature"])
                chat = Chat(first.model, run.base.instruction, TASK, most, heat)
                for which, what in ((host, "budgets in force"), (free, "records only")):
                    figures.append(await share(f"{vendor}, CPU of the ledger in a delegation, {what}", which, agent, bare, chat))
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
    only = sys.argv[1:2] == ["share"]
    for way, must, what in (("single", SINGLE, "one commit each"), ("grouped", GROUPED, f"group commit, {TASKS} tasks each"))[
        : 0 if only else 2
    ]:
        runs = [rate(way) for _ in range(3)]
        found = median(pairs_a_second for pairs_a_second, _ in runs)
        errors = sum(count for _, count in runs)
        faults += [f"{errors} errors with {what}"] if errors else []
        name = f"reserve+settle from {PROCESSES} processes, {what} (lock errors: {errors})"
        figures.append(Figure(name, f"{found:,.0f}/s", f"{must:,}/s wanted", must / found, 1.0))
    figures += asyncio.run(shares(sys.argv[1 + only :] or list(SDKS)))
    load = f"load average {os.getloadavg()[0]:.1f}"
    title = f"The ledger: medians of 3 runs, and of {ROUNDS} alternating blocks of {SMALL} calls; {load}"
    return report(title, figures, faults=faults)


if __name__ == "__main__":
    sys.exit(main())

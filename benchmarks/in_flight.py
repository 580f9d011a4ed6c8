"""Many delegations in flight in one process, against the bare SDKs on their default transports: memory and throughput.

`python -m benchmarks.in_flight [vendor ...]`. The vendors are a process of their own. Memory is the most that 1,000 calls which
take 1 s each add to a process (one for each way and repeat) that has made one call before; throughput is calls per second
with 32 and with 256 in flight to a server that answers at once, in alternating blocks.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.bare import SDKS, Chat
from benchmarks.delegation import CHAIN, TASK, write_bundle
from benchmarks.figures import ROOT, Figure, paired, report
from benchmarks.instant import instant_vendors
from bundle_loader import Host
from tests.support.world import World

AT_ONCE = 1000
SECONDS = 1.0
REPEATS = 3
MEMORY_MUST = 1.3
BLOCKS = 5
CALLS = 1024
IN_FLIGHT = (32, 256)
GOAL_AT = {256: 3.0}

Ask = Callable[[], Awaitable[object]]


def chat_of(host: Host, vendor: str, instruction: str, model: str) -> Chat:
    """What a delegation asks, for the bare SDK."""
    written = host.bundle.agent(f"git-{vendor}").config
    return Chat(model, instruction, TASK, int(written["max_tokens"]), float(written["temperature"]))


# --- memory, each in a process of its own


def resident() -> float:
    """KiB of this process now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def grown(ask: Ask) -> dict[str, float]:
    """KiB per call that so many at once add at the most, and the seconds that they took together."""
    for _ in range(3):
        await ask()
    gc.collect()
    before = most = resident()
    start = perf_counter()
    calls = [asyncio.ensure_future(ask()) for _ in range(AT_ONCE)]
    while not all(call.done() for call in calls):
        most = max(most, resident())
        await asyncio.sleep(0.02)
    took = perf_counter() - start
    for call in calls:
        call.result()
    return {"kib": (max(most, resident()) - before) / AT_ONCE, "seconds": took}


async def memory_of(way: str, vendor: str, base: str) -> dict[str, float]:
    """What this process grows by; to be run in a child."""
    environment = World().environment(base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if way == "bare":
            bare = SDKS[vendor](environment)
            chat = Chat(MODELS[vendor], "You are git-ops.", TASK, 2000, 0.2)
            found = await grown(lambda: bare.ask(chat))
            await bare.aclose()
            return found
        kept = {"ledger": folder / "ledger.db", "sessions": folder / "sessions"}
        async with Host(write_bundle(folder), **kept, environment=environment) as host:
            return await grown(lambda: host.delegate(f"git-{vendor}", TASK))


MODELS = {"anthropic": "claude-haiku-4-5-20251001", "openai": "gpt-4o-mini", "google": "gemini-2.5-flash", "ollama": "qwen3:8b"}


def child(way: str, vendor: str, base: str) -> dict[str, float]:
    """`memory_of` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.in_flight", "--child", way, vendor, base]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory(vendors: list[str]) -> list[Figure]:
    figures = []
    with instant_vendors("--delay", str(SECONDS)) as base:
        for vendor in vendors:
            found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
            for _ in range(REPEATS):
                for way, heard in found.items():
                    heard.append(child(way, vendor, base))
            ours, bare = ([one["kib"] for one in heard] for heard in found.values())
            took, took_bare = (median(one["seconds"] for one in heard) for heard in found.values())
            name = f"{vendor}, memory per delegation, {AT_ONCE:,} at once (done in {took:.1f} s; the SDK's in {took_bare:.1f} s)"
            ratio = median(ours) / median(bare)
            figures.append(Figure(name, f"{median(ours):.1f} KiB", f"{median(bare):.1f} KiB", ratio, MEMORY_MUST))
    return figures


# --- throughput


async def at_once(ask: Ask, in_flight: int) -> float:
    """Calls per second."""
    left = iter(range(CALLS))

    async def worker() -> None:
        for _ in left:
            await ask()

    start = perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return CALLS / (perf_counter() - start)


async def throughput(vendors: list[str]) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as name, instant_vendors() as base:
        folder = Path(name)
        environment = World().environment(base)
        kept = {"ledger": folder / "ledger.db", "sessions": folder / "sessions"}
        async with Host(write_bundle(folder), **kept, environment=environment) as host:
            for vendor in vendors:
                agent = f"git-{vendor}"
                first = await host.delegate(agent, TASK)
                assert first.provider == vendor
                run = await host.prepare(agent, TASK)
                bare = SDKS[vendor](environment)
                chat = chat_of(host, vendor, run.base.instruction, first.model)
                ways: tuple[Ask, Ask] = (lambda agent=agent: host.delegate(agent, TASK), lambda: bare.ask(chat))  # noqa: B023
                for in_flight in IN_FLIGHT:
                    ours, theirs = [], []
                    for turn in range(1 + BLOCKS):
                        for ask, found in zip(ways, (ours, theirs), strict=True):
                            rate = await at_once(ask, in_flight)
                            host.ledger.flush()
                            found += [rate] if turn else []
                    # the table's ratios are costs: seconds per call
                    goal = GOAL_AT.get(in_flight)
                    cost = paired(theirs, ours)
                    name = f"{vendor}, seconds per call at {in_flight} in flight ({1 / cost:.2f} x the SDK's calls per second)"
                    sides = f"{median(ours):.0f}/s", f"{median(theirs):.0f}/s"
                    figures.append(Figure(name, *sides, cost, 1.0, goal and 1 / goal))
                await bare.aclose()
    return figures


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        sys.stdout.write(json.dumps(asyncio.run(memory_of(*sys.argv[2:5]))))
        return 0
    vendors = sys.argv[1:] or list(CHAIN)
    figures = [*asyncio.run(throughput(vendors)), *memory(vendors)]
    return report(f"In flight: medians of {BLOCKS} blocks of {CALLS:,} calls, and of {REPEATS} processes", figures)


if __name__ == "__main__":
    sys.exit(main())

"""What a delegation costs above the SDK that it drives: CPU of all threads, against the bare SDK's own streaming call.

`python -m benchmarks.delegation [vendor ...]`. Both ask a loopback server in another process, which answers at once, for the
same model with the same prompt. Ours is `await host.delegate(...)` with everything that a host has: four candidates in
each route, the ledger on disk, committed within the time that is counted.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.bare import SDKS, Bare, Chat
from benchmarks.figures import ROOT, Figure, paired, report
from benchmarks.instant import instant_vendors
from bundle_loader import Host
from tests.support.world import World

BLOCK = 100
BLOCKS = 15
IN_FLIGHT = 32
CONCURRENT_BLOCKS = 5
MUST, GOAL = 1.3, 1.0
TASK = "Commit what is staged with a fitting message, then tell me which files it changed and what is left in the tree."
CHAIN = {
    "anthropic": "claude-haiku-*",
    "openai": "gpt-4o-mini",
    "google": "gemini-*-flash*",
    "ollama": "qwen3:*",
}

Ask = Callable[[], Awaitable[object]]


def write_bundle(folder: Path) -> Path:
    """git-ops once per vendor, each with that vendor first and the others after it."""
    text = (ROOT / "agents" / "git-ops.md").read_text("utf-8")
    start, end = text.index("  - {provider"), text.index("tier: budget")
    for vendor in CHAIN:
        order = [vendor, *(other for other in CHAIN if other != vendor)]
        rows = "".join(f'  - {{provider: {name}, model: "{CHAIN[name]}"}}\n' for name in order)
        agent = (text[:start] + rows + text[end:]).replace("tier: budget\n", "").replace("aliases: [git]\n", "")
        (folder / f"git-{vendor}.md").write_text(agent.replace("name: git-ops", f"name: git-{vendor}"), "utf-8")
    bundle = folder / "bench.yaml"
    bundle.write_text('format: 1\nbundle: {name: bench}\nagents: {include: ["*.md"]}\n', "utf-8")
    return bundle


async def sequential(ask: Ask) -> None:
    """One block of calls, one after the other."""
    for _ in range(BLOCK):
        await ask()


async def concurrent(ask: Ask, calls: int) -> None:
    """That many calls, `IN_FLIGHT` of them at any time."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await ask()

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def compare(vendor: str, host: Host, bare: Bare) -> list[Figure]:
    """CPU per call and calls per second of both ways."""
    agent = f"git-{vendor}"
    first = await host.delegate(agent, TASK)
    assert len(first.route.candidates) == len(CHAIN)
    assert first.provider == vendor
    run = await host.prepare(agent, TASK)
    written = host.bundle.agent(agent).config
    chat = Chat(first.model, run.base.instruction, TASK, int(written["max_tokens"]), float(written["temperature"]))
    text, tokens = await bare.ask(chat)
    assert (text, tokens) == (first.text, first.usage.output_tokens)

    def ours() -> Awaitable[object]:
        return host.delegate(agent, TASK)

    def theirs() -> Awaitable[object]:
        return bare.ask(chat)

    mine: list[float] = []
    peer: list[float] = []
    for _ in range(1 + BLOCKS):
        for ask, found in ((ours, mine), (theirs, peer)):
            start = time.process_time()
            await sequential(ask)
            host.ledger.flush()
            found.append((time.process_time() - start) / BLOCK * 1e6)
    # the first round only warms up
    mine, peer = mine[1:], peer[1:]
    fast: list[float] = []
    other: list[float] = []
    for _ in range(1 + CONCURRENT_BLOCKS):
        for ask, found in ((ours, fast), (theirs, other)):
            begin = time.perf_counter()
            await concurrent(ask, 4 * BLOCK)
            host.ledger.flush()
            found.append(4 * BLOCK / (time.perf_counter() - begin))
    fast, other = fast[1:], other[1:]
    return [
        Figure(f"{vendor}, CPU per call", f"{median(mine):.0f} us", f"{median(peer):.0f} us", paired(mine, peer), MUST, GOAL),
        Figure(
            f"{vendor}, calls/s at {IN_FLIGHT} in flight (ratio > 1: ours is faster)",
            f"{median(fast):.0f}",
            f"{median(other):.0f}",
            paired(fast, other),
        ),
    ]


async def measure(vendors: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, instant_vendors() as base:
        folder = Path(name)
        environment = World().environment(base)
        async with Host(
            write_bundle(folder), ledger=folder / "ledger.db", sessions=folder / "sessions", environment=environment
        ) as host:
            for vendor in vendors:
                bare = SDKS[vendor](environment)
                figures += await compare(vendor, host, bare)
                await bare.aclose()
    return figures


def main() -> int:
    vendors = sys.argv[1:] or list(SDKS)
    figures = asyncio.run(measure(vendors))
    title = f"One delegation against the bare SDK: medians of {BLOCKS} alternating blocks of {BLOCK} calls each way"
    return report(title, sorted(figures, key=lambda figure: figure.must is None))


if __name__ == "__main__":
    sys.exit(main())

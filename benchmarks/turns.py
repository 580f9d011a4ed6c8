"""What a turn and a tool call cost above the bare SDK's own loop: CPU of all threads, beside pydantic-ai's agent.

`python -m benchmarks.turns [vendor ...]`. Each way has the same conversation with a loopback server in another process, which
answers at once: ten turns, nine of which ask for the tool `look`, once or five times in parallel. Ours is
`await host.delegate(...)` with everything that a host has, and the ledger on disk is flushed within the time that is counted.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.bare import Chat
from benchmarks.bare_loops import LOOPS, PydanticAgent, pydantic_agent_of
from benchmarks.delegation import TASK, write_bundle
from benchmarks.figures import Figure, paired, report
from benchmarks.instant import instant_vendors
from bundle_loader import Host, Tool
from tests.support.world import World

TURNS = 10
CALLS = (1, 5)
BLOCK = 15
BLOCKS = 11
MUST, GOAL = 1.3, 1.0
TEXT = "A line of a file that somebody reads.\n" * 8

Ask = Callable[[], Awaitable[object]]


async def look(path: str) -> str:
    """Look at a file of the working folder."""
    return f"{path}\n{TEXT}"


async def cost_of(ask: Ask, host: Host) -> float:
    """CPU seconds of one turn, over a block of conversations."""
    gc.collect()
    start = time.process_time()
    for _ in range(BLOCK):
        await ask()
    host.ledger.flush()
    return (time.process_time() - start) / BLOCK / TURNS


async def compare(vendor: str, calls: int, host: Host, base: str) -> list[list[float]]:
    """CPU seconds of a turn: ours, the bare loop's, and pydantic-ai's where it is there; run for run."""
    environment = World().environment(base)
    agent = f"git-{vendor}"
    first = await host.delegate(agent, TASK, tools=[look])
    assert (first.provider, first.turns) == (vendor, TURNS), first
    assert sum(len(message.parts) for message in first.messages if message.role == "tool") == calls * (TURNS - 1)
    run = await host.prepare(agent, TASK, tools=[look])
    written = host.bundle.agent(agent).config
    chat = Chat(first.model, run.base.instruction, TASK, int(written["max_tokens"]), float(written["temperature"]))
    spec = Tool.of(look).spec
    bare = LOOPS[vendor](environment, look, spec.schema, spec.description)
    assert await bare.run(chat) == first.text
    peer = PydanticAgent(vendor, environment, look, chat) if pydantic_agent_of(vendor) else None
    ways: list[Ask] = [lambda: host.delegate(agent, TASK, tools=[look]), lambda: bare.run(chat)]
    if peer is not None:
        assert await peer.run(chat) == first.text
        ways.append(lambda: peer.run(chat))
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(1 + BLOCKS):
        for ask, costs in zip(ways, found, strict=True):
            costs.append(await cost_of(ask, host))
    await bare.aclose()
    if peer is not None:
        await peer.aclose()
    # the first round only warms up
    return [costs[1:] for costs in found]


async def measure(vendors: Sequence[str]) -> list[Figure]:
    found: dict[tuple[str, int], list[list[float]]] = {}
    for calls in CALLS:
        with tempfile.TemporaryDirectory() as name, instant_vendors("--turns", str(TURNS - 1), "--calls", str(calls)) as base:
            folder = Path(name)
            async with Host(
                write_bundle(folder), ledger=folder / "ledger.db", sessions=folder, environment=World().environment(base)
            ) as host:
                for vendor in vendors:
                    found[vendor, calls] = await compare(vendor, calls, host, base)
    figures = []
    for (vendor, calls), costs in found.items():
        what = f"{vendor}, a turn with {calls} tool call{'s' if calls > 1 else ''}"
        figures.append(_figure(what, costs[0], costs[1], MUST, GOAL))
        if len(costs) > 2:
            figures.append(_figure(f"{what}: pydantic-ai's agent against the same loop", costs[2], costs[1]))
    for vendor in vendors:
        few, many = (found[vendor, calls] for calls in CALLS)
        more = [[(b - a) / (CALLS[1] - CALLS[0]) for a, b in zip(*pair, strict=True)] for pair in zip(few, many, strict=True)]
        figures.append(_figure(f"{vendor}, one more tool call in a turn", more[0], more[1]))
        if len(more) > 2:
            figures.append(_figure(f"{vendor}, one more tool call: pydantic-ai's agent against the same loop", more[2], more[1]))
    return figures


def _figure(
    name: str, ours: Sequence[float], peer: Sequence[float], must: float | None = None, goal: float | None = None
) -> Figure:
    return Figure(name, f"{median(ours) * 1e6:.0f} us", f"{median(peer) * 1e6:.0f} us", paired(ours, peer), must, goal)


def main() -> int:
    figures = asyncio.run(measure(sys.argv[1:] or list(LOOPS)))
    title = f"A turn against the bare SDK's loop: CPU, medians of {BLOCKS} alternating blocks of {BLOCK} times {TURNS} turns"
    return report(title, sorted(figures, key=lambda figure: figure.must is None))


if __name__ == "__main__":
    sys.exit(main())

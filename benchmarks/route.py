"""What a route costs with a warm catalogue, against looking a model up in a dict by the agent's name.

`python -m benchmarks.route`: bundle foundation, the shipped snapshot of every provider's catalogue; reported, not judged.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, alternate, paired, report
from bundle_loader import Host
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route

REPEATS = 15
CALLS = 2_000


def each(call: Callable[[], object]) -> float:
    """Microseconds of CPU of one call."""
    start = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - start) / CALLS * 1e6


async def each_awaited(call: Callable[[], Awaitable[object]]) -> float:
    """As `each`, for calls that are awaited."""
    start = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - start) / CALLS * 1e6


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        async with Host("foundation", simulate=True, ledger=Path(name) / "ledger.db", environment={}) as host:
            offers = await host.offers()
            resolver = Resolver()
            table = dict.fromkeys(host.bundle.agents, "claude-haiku-4-5")

            def looked_up() -> object:
                return table["git-ops"]

            def pure() -> object:
                return route(host.bundle, make_request(host.bundle.agent("git-ops")), offers, resolver)

            assert len(pure().candidates) == 4  # type: ignore[attr-defined]
            found, peer = alternate(REPEATS, lambda: each(pure), lambda: each(looked_up))
            figures.append(_figure("route(), pure", found, peer))
            whole: list[float] = []
            for _ in range(1 + REPEATS):
                whole.append(await each_awaited(lambda: host.route("git-ops")))
            figures.append(_figure("await host.route('git-ops')", whole[1:], peer))
            caller: list[float] = []
            for _ in range(1 + REPEATS):
                caller.append(await each_awaited(lambda: host.route("git-ops", preferences=["openai/gpt-4o-mini"])))
            figures.append(_figure("the same with the caller's own list", caller[1:], peer))
    return figures


def _figure(name: str, ours: list[float], peer: list[float]) -> Figure:
    return Figure(name, f"{median(ours):.1f} us", f"{median(peer):.2f} us", paired(ours, peer))


def main() -> int:
    title = f"A route of git-ops (four preferences) over warm catalogues: medians of {REPEATS} x {CALLS:,} calls"
    return report(title, asyncio.run(measure()))


if __name__ == "__main__":
    sys.exit(main())

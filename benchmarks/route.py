"""What a route costs with a warm catalogue, against looking a model up in a dict by the agent's name.

`python -m benchmarks.route`: bundle foundation, the shipped snapshot of every provider's catalogue; reported, not judged. Then
the same route over four providers of 100, 400, 1,000 and 10,000 models each, as the median of single calls: at 400 it must take
less than 50 microseconds. The first route over a list, which orders it, is told beside it.
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
from bundle_loader.providers.snapshot import snapshot_models
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from bundle_loader.sources.load import load_bundle

REPEATS = 15
CALLS = 2_000
SIZES = (100, 400, 1_000, 10_000)
JUDGED, MOST = 400, 50.0
"""Models of each provider, and the most microseconds that half of the routes over them may take."""


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
        async with Host("foundation", simulate=True, ledger=Path(name) / "ledger.db", sessions=None, environment={}) as host:
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


def grown(size: int) -> dict[str, Catalogue]:
    """The four lists that git-ops asks, each of so many models: those that were shipped, then more versions like them."""
    found = {}
    for id in ("anthropic", "openai", "google", "github-copilot"):
        shipped = snapshot_models(id)[:size]
        made = (f"{shipped[number % len(shipped)].id}-v{number}" for number in range(size - len(shipped)))
        found[id] = Catalogue(id, (*shipped, *map(ModelInfo, made)), version=size)
    return found


def growth() -> list[Figure]:
    """Half of the warm routes take no longer than this, for lists of growing length, against the shortest ones."""
    bundle = load_bundle("foundation")
    offers = {size: Offers({id: Offer(id, one) for id, one in grown(size).items()}) for size in SIZES}
    resolver = Resolver()
    first, halves = {}, {}
    for size, offered in offers.items():
        began = time.perf_counter()
        assert len(route(bundle, make_request(bundle.agent("git-ops")), offered, resolver).candidates) == 4
        first[size] = time.perf_counter() - began
        took = []
        for _ in range(CALLS * 2):
            began = time.perf_counter()
            route(bundle, make_request(bundle.agent("git-ops")), offered, resolver)
            took.append(time.perf_counter() - began)
        halves[size] = median(took) * 1e6
    figures = []
    for size, half in halves.items():
        name = f"route(), 4 providers x {size:,} models, p50; the first {first[size] * 1000:.1f} ms"
        figures.append(Figure(name, f"{half:.1f} us", f"{halves[SIZES[0]]:.1f} us at {SIZES[0]}", half / halves[SIZES[0]]))
    half = halves[JUDGED]
    figures.append(Figure(f"route(), 4 providers x {JUDGED} models, p50", f"{half:.1f} us", f"{MOST:g} us", half / MOST, 1.0))
    return figures


def _figure(name: str, ours: list[float], peer: list[float]) -> Figure:
    return Figure(name, f"{median(ours):.1f} us", f"{median(peer):.2f} us", paired(ours, peer))


def main() -> int:
    title = f"A route of git-ops (four preferences) over warm catalogues: medians of {REPEATS} x {CALLS:,} calls"
    return report(title, [*asyncio.run(measure()), *growth()])


if __name__ == "__main__":
    sys.exit(main())

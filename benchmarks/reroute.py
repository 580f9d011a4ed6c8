"""What a reroute adds to a delegation: a first that is known to be down, and one that answers 503, against the second alone.

`python -m benchmarks.reroute`. The vendors are in a process of their own, reached over loopback sockets through the real
SDK; the ledger is on disk. Pairs of delegations, one through the first and one to the second alone, are compared each with
its neighbour. With 64 in flight each vendor's answer takes 2.0 s +- 0.5 s and says so: what is left of a delegation's time
without that is shown, so everything that it costs here counts, not only the hop.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import yaml

from benchmarks.figures import Figure, report
from benchmarks.vendor import MODEL, vendors
from bundle_loader import Host, load_bundle
from bundle_loader.delegation.result import DelegationResult

PAIRS = 600
WARM = 60
IN_FLIGHT = 64
EACH = 12
PROVIDER_SECONDS = 2.0
VENDORS = {
    "well": {},
    # one in three, so that it is met by surprise each time: half of them would have it passed over from then on
    "busy": {"status": 503, "every": 3},
    "down": {"status": 503, "retry_after": 290.0},
    "slow": {"delay": PROVIDER_SECONDS, "jitter": 0.5},
}
FIRSTS = {"down": "known to be down", "busy": "answers 503"}
MUST = {"down": 1.0, "busy": 5.0}
"""Milliseconds at the median."""
P99_MUST = 100.0


def write_bundle(folder: Path, base: str) -> Path:
    """An agent for each way to come to the second: alone, past one that is down, past one that says 503."""
    agents = {
        f"{first}{second}": {
            "description": "d",
            "provider_preferences": [*([f"{first}/{MODEL}"] if first else []), f"{second}/{MODEL}"],
        }
        for second in ("well", "slow")
        for first in ("", *FIRSTS)
    }
    providers = {name: {"kind": "vllm", "base_url": f"{base}/{name}/v1"} for name in VENDORS}
    path = folder / "reroute.yaml"
    path.write_text(yaml.safe_dump({"bundle": {"name": "reroute"}, "agents": agents, "providers": providers}), "utf-8")
    return path


async def timed(host: Host, agent: str) -> tuple[float, DelegationResult]:
    """Milliseconds, and what came of it."""
    start = perf_counter()
    result = await host.delegate(agent, "Work.")
    return (perf_counter() - start) * 1000, result


async def rerouted(host: Host, first: str, second: str) -> float:
    """Milliseconds of the next delegation that came to the second by way of the first."""
    while True:
        took, result = await timed(host, first + second)
        if result.provider == second:
            assert len(result.attempts) == (1 if first == "down" else 2)
            return took


async def in_pairs(host: Host, first: str) -> Figure:
    """What the way past `first` adds to a delegation, next to one that has only the second."""
    added: list[float] = []
    for turn in range(WARM + PAIRS):
        if turn % 2:
            through = await rerouted(host, first, "well")
            alone, _ = await timed(host, "well")
        else:
            alone, _ = await timed(host, "well")
            through = await rerouted(host, first, "well")
        if turn >= WARM:
            added.append(through - alone)
    cuts = quantiles(added, n=100)
    name = f"first {FIRSTS[first]}: added p50 (p90 {cuts[89]:.2f}, p99 {cuts[98]:.2f} ms)"
    return Figure(name, f"{median(added):.2f} ms", f"{MUST[first]:g} ms", median(added) / MUST[first], 1.0)


async def at_once(host: Host, first: str) -> list[float]:
    """Milliseconds of delegations beside what the second itself took, with 64 in flight; only those that the second answered."""
    own: list[float] = []

    async def worker(number: int) -> None:
        await asyncio.sleep(number * PROVIDER_SECONDS / IN_FLIGHT)  # else all of them would go in step
        for turn in range(EACH):
            took, result = await timed(host, f"{first}slow")
            while result.provider != "slow":
                took, result = await timed(host, f"{first}slow")
            if turn:
                own.append(took - float(result.text) * 1000)

    await asyncio.gather(*(worker(number) for number in range(IN_FLIGHT)))
    return own


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, vendors("benchmarks.vendor:steady", VENDORS) as base:
        folder = Path(name)
        kept = {"ledger": folder / "ledger.db", "sessions": folder / "sessions"}
        async with Host(load_bundle(write_bundle(folder, base)), **kept, environment={}) as host:
            for _ in range(6):
                await host.delegate("downwell", "Work.")
            gc.collect()
            gc.freeze()
            figures += [await in_pairs(host, first) for first in FIRSTS]
            alone = quantiles(await at_once(host, ""), n=100)
            for first, what in FIRSTS.items():
                cuts = quantiles(await at_once(host, first), n=100)
                title = f"first {what}: p99 of all but the second's own time, {IN_FLIGHT} in flight (p50 {cuts[49]:.1f} ms)"
                figures.append(Figure(title, f"{cuts[98]:.1f} ms", f"{P99_MUST:g} ms", cuts[98] / P99_MUST, 1.0))
                title = f"first {what}: the same against the second alone (p50 {alone[49]:.1f} ms)"
                figures.append(Figure(title, f"{cuts[98]:.1f} ms", f"{alone[98]:.1f} ms", cuts[98] / alone[98]))
    return figures


def main() -> int:
    figures = asyncio.run(measure())
    return report(f"Reroutes over loopback sockets: {PAIRS} pairs, and {IN_FLIGHT} x {EACH} delegations at once", figures)


if __name__ == "__main__":
    sys.exit(main())

"""What a step of a recipe costs over its delegation, and a loop of 1,000 elements: `python -m benchmarks.recipes`."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from bundle_loader import Host
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.recipes.lookup import Recipes
from bundle_loader.recipes.result import RunDone, StepEnded
from bundle_loader.recipes.runner import Runner, RunRequest
from bundle_loader.routing.step import StepChoice
from bundle_loader.sources.load import load_bundle
from bundle_loader.sources.recipes import load_recipe

STEPS = 200
ROUNDS = 3
ELEMENTS = 1_000
TOGETHER = 100
MODEL = "claude-haiku-4-5"
AGENT = f"---\nformat: 1\nname: worker\nprovider_preferences: [{{provider: anthropic, model: {MODEL}}}]\n---\nDo the work.\n"
HEAD = "name: measured\ndescription: A recipe whose steps are measured.\nversion: 1.0.0\n"
PROMPT = "Look at all of it."


def host_in(folder: Path, latency: float = 0.0) -> Host:
    """A host whose only model answers at once, or after so many seconds."""
    (folder / "worker.md").write_text(AGENT, encoding="utf-8")
    bundle = load_bundle(folder / "worker.md", strict=True, settings=[])
    provider = SimulatedProvider("anthropic", models=[MODEL], answer="done", latency=latency)
    return Host(bundle, providers={"anthropic": provider}, ledger=folder / "l.db", sessions=folder / "sessions", environment={})


def runner_of(host: Host, folder: Path) -> Runner:
    """A runner over that host."""
    find = Recipes(host.bundle, folder).find
    return Runner(host.bundle, host.prepare, host.ledger, find_recipe=find, sessions=host.sessions, environment={})


async def delegations(host: Host) -> list[float]:
    """Seconds of each delegation, one after the other, as a step would make it."""
    took = []
    for number in range(STEPS):
        began = time.perf_counter()
        await host.delegate("worker", PROMPT, step=StepChoice(name=f"s{number}"), tags=("recipe:measured",))
        took.append(time.perf_counter() - began)
    return took


async def steps(host: Host, folder: Path) -> list[float]:
    """Seconds from the end of one step to the end of the next."""
    written = "".join(f"  - {{id: s{number}, agent: worker, prompt: {PROMPT}, output: o{number}}}\n" for number in range(STEPS))
    path = folder / "measured.yaml"
    path.write_text(f"{HEAD}steps:\n{written}", encoding="utf-8")
    took, last = [], time.perf_counter()
    async with aclosing(runner_of(host, folder).stream(RunRequest(load_recipe(path), workdir=folder))) as events:
        async for event in events:
            if isinstance(event, StepEnded):
                now = time.perf_counter()
                took.append(now - last)
                last = now
            if isinstance(event, RunDone) and event.result.status != "done":
                raise SystemExit(event.result.reason)
    return took


async def loop(host: Host, folder: Path, together: int) -> float:
    """Seconds of a loop over all elements, so many at a time."""
    path = folder / "loop.yaml"
    elements = list(range(ELEMENTS))
    step = (
        f"{{id: each, foreach: {elements}, agent: worker, prompt: 'Look at {{{{item}}}}.', collect: all, parallel: {together}}}"
    )
    path.write_text(f"{HEAD}steps:\n  - {step}\n", encoding="utf-8")
    began = time.perf_counter()
    result = await runner_of(host, folder).run(RunRequest(load_recipe(path), workdir=folder))
    if result.status != "done" or result.outputs["all"] != ["done"] * ELEMENTS:
        raise SystemExit(result.reason)
    return time.perf_counter() - began


async def gathered(host: Host, together: int) -> float:
    """Seconds of as many delegations without a recipe."""
    gate = asyncio.Semaphore(together)

    async def one(number: int) -> None:
        async with gate:
            await host.delegate("worker", f"Look at {number}.", step=StepChoice(name="each"), tags=("recipe:measured",))

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(ELEMENTS)))
    return time.perf_counter() - began


async def measured(work: Callable[[Host, Path], Any], latency: float = 0.0) -> Any:
    """What some work gives with a host of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with host_in(folder, latency) as host:
            await host.delegate("worker", PROMPT)
            return await work(host, folder)


def milliseconds(took: list[float]) -> str:
    ordered = sorted(took)
    return f"p50 {statistics.median(ordered) * 1000:6.2f} ms   p99 {ordered[int(len(ordered) * 0.99)] * 1000:6.2f} ms"


async def main() -> None:
    """Print the figures; exit 1 where a step costs more than it may."""
    alone: list[float] = []
    within: list[float] = []
    for _ in range(ROUNDS):
        alone += await measured(lambda host, folder: delegations(host))
        within += await measured(steps)
    over = (statistics.median(within) - statistics.median(alone)) * 1000
    print(f"a delegation                     {milliseconds(alone)}")
    print(f"a step that makes it             {milliseconds(within)}")
    print(f"a step over its delegation       p50 {over:6.2f} ms   (must: less than 2)")
    bare = await measured(lambda host, folder: gathered(host, TOGETHER), 0.05)
    took = await measured(lambda host, folder: loop(host, folder, TOGETHER), 0.05)
    print(f"{ELEMENTS} delegations of 50 ms, {TOGETHER} at a time          {bare:6.2f} s")
    print(f"foreach of {ELEMENTS} elements of 50 ms, {TOGETHER} at a time  {took:6.2f} s   ({took / bare:.2f} times)")
    if over >= 2:
        sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main())

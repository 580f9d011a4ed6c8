"""What the first routes of a process wait for: sixteen agents over four providers whose lists take 200 ms a page.

`python -m benchmarks.catalogues`. The real SDKs ask a loopback server in another process for lists that nobody has yet. The peer
is the slowest of the four asked alone, in the same run: with its SDK imported already, and for a process from its start. The
calls are counted by the server: one per provider and page, for 16 routes and for 1,000 at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import ROOT, Figure, paired, report
from bundle_loader import Host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.sources.load import load_bundle
from tests.support.vendors import Fault, World, serving

SECONDS = 0.2
AGENTS = 16
MANY = 1_000
REPEATS = 9
COLD_REPEATS = 5
MUST = 1.3
PATTERNS = {"anthropic": "claude-haiku-*", "openai": "gpt-4o*", "google": "gemini-*-flash*", "ollama": "qwen3*"}
PAGES = {"anthropic": 3, "openai": 1, "google": 3, "ollama": 1}
"""Lists of five models, two to a page, where the vendor has pages at all."""


def bundle_of(folder: Path, *providers: str) -> Bundle:
    """Sixteen agents, each with a preference for each of the providers, in turning order."""
    folder.mkdir(parents=True)
    for number in range(AGENTS):
        order = providers[number % len(providers) :] + providers[: number % len(providers)]
        rows = "".join(f'  - {{provider: {name}, model: "{PATTERNS[name]}"}}\n' for name in order)
        header = f"format: 1\nname: agent-{number}\nprovider_preferences:\n{rows}"
        (folder / f"agent-{number}.md").write_text(f"---\n{header}---\nWork.\n", encoding="utf-8")
    (folder / "all.yaml").write_text('format: 1\nbundle: {name: all}\nagents: {include: ["*.md"]}\n', encoding="utf-8")
    return load_bundle(folder / "all.yaml", strict=True)


class Server:
    """The loopback vendors in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.base = self._out.readline().strip()
        self.environment = World().environment(self.base)

    def counts(self) -> dict[str, int]:
        """The list calls of each vendor since the last time."""
        self._in.write("\n")
        self._in.flush()
        found: dict[str, int] = json.loads(self._out.readline())
        return found


@contextmanager
def served() -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.catalogues", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Server(process)
        finally:
            process.terminate()


async def serve() -> None:
    """What the other process does: a line of counts for each line that it reads."""
    world = World()
    for name in PATTERNS:
        world.vendor(name).fault = Fault.list(Fault.stall(SECONDS))
        if PAGES[name] > 1:
            world.vendor(name).page_size = 2
    async with serving(world) as base:
        sys.stdout.write(f"{base}\n")
        sys.stdout.flush()
        while await asyncio.to_thread(sys.stdin.readline):
            sys.stdout.write(json.dumps({name: len(world.lists(name)) for name in PATTERNS}) + "\n")
            sys.stdout.flush()
            world.requests.clear()


async def first_routes(bundle: Bundle, environment: dict[str, str], routes: int = AGENTS) -> float:
    """Seconds until so many routes that were asked for at once are there, with no list yet."""
    with tempfile.TemporaryDirectory() as name:
        own = {**environment, "BUNDLE_LOADER_HOME": name}
        async with Host(bundle, environment=own, ledger=Path(name) / "ledger.db", sessions=None, models_lock=False) as host:
            began = time.perf_counter()
            found = await asyncio.gather(*(host.route(f"agent-{number % AGENTS}") for number in range(routes)))
            took = time.perf_counter() - began
        assert all(not route.rejections and route.candidates for route in found), [*map(str, found[0].rejections)]
        return took


def one_by_one(folder: Path) -> dict[str, Bundle]:
    """A bundle for each provider alone, and `all`."""
    found = {name: bundle_of(folder / name, name) for name in PATTERNS}
    return {**found, "all": bundle_of(folder / "all", *PATTERNS)}


def cold(environment: dict[str, str], *providers: str) -> float:
    """Seconds of a whole process that routes the sixteen agents over these providers."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.catalogues", "route", *providers]
    subprocess.run(command, env={"PATH": "", "HOME": "/nonexistent", **environment}, cwd=ROOT, check=True)
    return time.perf_counter() - began


def measure() -> tuple[list[Figure], list[str]]:
    figures, faults = [], []
    expected = PAGES
    with served() as server, tempfile.TemporaryDirectory() as name:
        bundles = one_by_one(Path(name) / "bundles")
        warm: dict[str, list[float]] = {each: [] for each in bundles}
        for repeat in range(1 + REPEATS):
            for each, bundle in bundles.items():
                server.counts()
                took = asyncio.run(first_routes(bundle, server.environment))
                if repeat:
                    warm[each].append(took)
                if each == "all":
                    faults += _faults(f"{AGENTS} routes", server.counts(), expected)
        figures.append(_figure(f"{AGENTS} routes, SDKs imported", warm["all"], _slowest(warm), MUST))
        server.counts()
        took = asyncio.run(first_routes(bundles["all"], server.environment, MANY))
        counts = server.counts()
        faults += _faults(f"{MANY:,} routes", counts, expected)
        slowest = median(_slowest(warm))
        figures.append(
            Figure(f"{MANY:,} routes at once, SDKs imported; list calls {_told(counts)}", _ms(took), _ms(slowest), took / slowest)
        )
        started: dict[str, list[float]] = {each: [] for each in bundles}
        for _ in range(COLD_REPEATS):
            for each in bundles:
                server.counts()
                started[each].append(cold(server.environment, *([each] if each != "all" else PATTERNS)))
                if each == "all":
                    faults += _faults("a cold process", server.counts(), expected)
        figures.append(_figure(f"{AGENTS} routes, a whole process from its start", started["all"], _slowest(started), None))
    return figures, faults


def _slowest(found: dict[str, list[float]]) -> list[float]:
    """The times of the provider that takes longest alone."""
    return max((times for each, times in found.items() if each != "all"), key=median)


def _faults(what: str, counts: dict[str, int], expected: dict[str, int]) -> list[str]:
    return [] if counts == expected else [f"{what}: list calls {_told(counts)}, expected {_told(expected)}"]


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _figure(name: str, ours: list[float], peer: list[float], must: float | None) -> Figure:
    return Figure(name, _ms(median(ours)), _ms(median(peer)), paired(ours, peer), must)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["serve"]:
        asyncio.run(serve())
        return 0
    if arguments[:1] == ["route"]:
        environment: dict[str, Any] = dict(os.environ)
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(first_routes(bundle_of(Path(name) / "bundle", *arguments[1:]), environment))
        return 0
    title = (
        f"First routes over {len(PATTERNS)} providers, {SECONDS * 1000:.0f} ms a page ({_told(PAGES)} pages): "
        f"medians of {REPEATS} and {COLD_REPEATS}"
    )
    figures, faults = measure()
    return report(title, figures, faults=faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Who survives what: the faults of the failure matrix against bundle_loader, litellm's Router and pydantic-ai's FallbackModel.

`python -m benchmarks.survival [fault ...]`. Each is given a first vendor that fails and a second that works, both of OpenAI's
protocol, over loopback sockets, plainly and as a stream. All have the same time: 50 s for a vendor to answer, 100 s in all. The
peers are set up for fallback as their documentation has it: litellm with `fallbacks` and `context_window_fallbacks` and
`num_retries=0`; pydantic-ai's `FallbackModel` over clients with `max_retries=0`. bundle_loader is left at its defaults, with
`on_broken_stream: continue`. A peer that is not installed is left out: `pip install -e ".[bench]"`.

`second`: answered, by the second. `first`: answered after all, by the first. `raised`: an error, with its class. `hung`: no
end within 100 s. `GARBAGE`: it ended as if all were well, with a text that is not the answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from benchmarks.peers import Peer, installed_peers
from benchmarks.vendor import MODEL
from bundle_loader import Host, load_bundle
from bundle_loader.events import FallbackEvent, TextEvent
from tests.support.vendors import Fault, Reply, World, served_in_thread

CASES = Path(__file__).parent.parent / "tests" / "cases" / "failures" / "matrix.yaml"
ANSWERS = {who: " ".join(f"{who}{number}" for number in range(80)) for who in ("first", "second")}
"""What each would say, so that one sees who answered."""
KEY = "SURVIVAL_KEY"
PATIENCE = 50.0
DEADLINE = 100.0
SILENCE = 600.0
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
SCHEMA = "Invalid schema for function 'note': In context=(), object schema missing properties"

FAULTS: Mapping[str, Fault | None] = {
    "connection refused": None,
    "reset": Fault.reset(),
    "DNS": None,
    "401": Fault.status(401),
    "402": Fault.status(402),
    "403": Fault.status(403),
    "404": Fault.status(404),
    "408": Fault.status(408),
    "413": Fault.status(413),
    "429 short": Fault.status(429, retry_after=1),
    "429 long": Fault.status(429, retry_after=3600),
    "429 daily quota": Fault.status(429, word="insufficient_quota"),
    "500": Fault.status(500),
    "502 HTML": Fault.status(502, body=HTML),
    "503": Fault.status(503),
    "529": Fault.status(529),
    "hang before headers": Fault.stall(SILENCE),
    "hang before first token": Fault.stall_midway(SILENCE, at=0),
    "stall in mid-stream": Fault.stall_midway(SILENCE, at=2),
    "cut at token 40": Fault.cut(at=40),
    "empty 200": Fault.empty(),
    "malformed JSON": Fault.malformed(),
    "error inside a 200 stream": Fault.error_in_stream(),
    "context length": Fault.too_long(),
    "safety block": Fault.refusal(prompt=True),
    "bad tool schema": Fault.status(400, word="invalid_function_parameters", message=SCHEMA),
}
"""As the matrix names them; None where there is no vendor at all at the first's address."""
MEANT_TO_STOP = {"safety block": "refused content goes to no other model, unless the agent says where"}


@dataclass(slots=True)
class Seen:
    """How one way of asking ended."""

    what: str
    seconds: float
    error: str = ""

    def __str__(self) -> str:
        return f"{self.what}{f' {self.error}' if self.error else ''}, {self.seconds:.1f} s"


@dataclass(slots=True)
class Tally:
    """What one contender did, by fault and way."""

    name: str
    seen: dict[tuple[str, str], Seen] = field(default_factory=dict)

    def survived(self) -> int:
        """How often the answer came."""
        return sum(one.what in ("second", "first") for one in self.seen.values())


def word(fault: str) -> str:
    """The fault as a name for a vendor."""
    return fault.lower().replace(" ", "-")


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def worlds(chosen: list[str]) -> World:
    """A first vendor for each fault, and one second for all."""
    world = World("ollama")
    for fault in chosen:
        vendor = world.add_compatible(f"first-{word(fault)}", f"/first-{word(fault)}/v1", MODEL)
        vendor.fault, vendor.answer = FAULTS[fault], Reply(ANSWERS["first"], parts=80)
    second = world.add_compatible("second", "/second/v1", MODEL)
    second.answer = Reply(ANSWERS["second"], parts=80)
    return world


def address(base: str, fault: str) -> str:
    """The base URL of the first vendor."""
    if fault == "connection refused":
        return f"http://127.0.0.1:{closed_port()}/v1"
    if fault == "DNS":
        return "http://no-such-host.invalid/v1"
    return f"{base}/first-{word(fault)}/v1"


class Ours:
    """bundle_loader: one host, an agent for each fault."""

    name = "bundle_loader"

    def __init__(self, stack: AsyncExitStack, folder: Path, base: str, chosen: list[str]) -> None:
        urls = {word(fault): address(base, fault) for fault in chosen} | {"second": f"{base}/second/v1"}
        given = {"kind": "deepseek", "key_variable": KEY, "models": [MODEL]}
        providers = {name: given | {"base_url": url} for name, url in urls.items()}
        agents = {
            f"a-{name}": {
                "description": "d",
                "provider_preferences": [f"{name}/{MODEL}", f"second/{MODEL}"],
                "on_broken_stream": "continue",
            }
            for name in providers
        }
        path = folder / "survival.yaml"
        path.write_text(yaml.safe_dump({"bundle": {"name": "survival"}, "providers": providers, "agents": agents}), "utf-8")
        self.stack = stack
        self.bundle = load_bundle(path)
        self.hosts = 0
        self.folder = folder

    async def _host(self) -> Host:
        """A host of its own for each question, so that no health is known from another."""
        self.hosts += 1
        kept = {"ledger": self.folder / f"ledger{self.hosts}.db", "sessions": self.folder / "sessions"}
        host = Host(self.bundle, **kept, environment={KEY: "none"})
        return await self.stack.enter_async_context(host)

    async def plain(self, fault: str) -> str:
        host = await self._host()
        return (await host.delegate(f"a-{word(fault)}", "Work.", timeout=DEADLINE)).text

    async def stream(self, fault: str) -> str:
        host = await self._host()
        shown: list[str] = []
        async for event in host.stream(f"a-{word(fault)}", "Work.", timeout=DEADLINE):
            if isinstance(event, TextEvent):
                shown.append(event.text)
            elif isinstance(event, FallbackEvent):
                shown.clear()  # who listens is told that the answer begins anew
        return "".join(shown)


async def asked(ask: Callable[[str], Awaitable[str]], fault: str) -> Seen:
    """Ask in one way, and see how it ends."""
    began = perf_counter()
    try:
        async with asyncio.timeout(DEADLINE + 5):
            text = await ask(fault)
    except TimeoutError:
        return Seen("hung", perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - whatever a contender raises is a result
        return Seen("raised", perf_counter() - began, type(error).__name__)
    took = perf_counter() - began
    who = next((who for who, answer in ANSWERS.items() if text == answer), None)
    return Seen(who, took) if who is not None else Seen("GARBAGE", took, f"({len(text)} characters)")


async def contend(contender: Any, chosen: list[str]) -> Tally:
    """All faults in both ways, at the same time."""
    tally = Tally(contender.name)

    async def one(fault: str, way: str) -> None:
        tally.seen[fault, way] = await asked(getattr(contender, way), fault)

    await asyncio.gather(*(one(fault, way) for fault in chosen for way in ("plain", "stream")))
    return tally


async def measure(base: str, chosen: list[str]) -> list[Tally]:
    with tempfile.TemporaryDirectory() as name:
        tallies = []
        async with AsyncExitStack() as stack:
            tallies.append(await contend(Ours(stack, Path(name), base, chosen), chosen))
        addresses = {fault: address(base, fault) for fault in chosen}
        for make in installed_peers(sys.stderr):
            peer: Peer = make(addresses, f"{base}/second/v1", PATIENCE)
            tallies.append(await contend(peer, chosen))
            with suppress(Exception):
                await peer.aclose()
        return tallies


def table(tallies: list[Tally], chosen: list[str]) -> str:
    names = [f"{tally.name}, {way}" for tally in tallies for way in ("plain", "stream")]
    lines = [f"| fault of the first | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for fault in chosen:
        cells = [str(tally.seen[fault, way]) for tally in tallies for way in ("plain", "stream")]
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    many = 2 * len(chosen)
    lines += ["", *(f"{tally.name}: {_summary(tally)} of {many}" for tally in tallies)]
    return "\n".join(lines)


def _summary(tally: Tally) -> str:
    count = {what: sum(one.what == what for one in tally.seen.values()) for what in ("raised", "hung", "GARBAGE")}
    return f"{tally.survived()} answered, " + ", ".join(f"{number} {what}" for what, number in count.items())


def faults_of(ours: Tally, chosen: list[str]) -> list[str]:
    """What bundle_loader did not survive though it should have."""
    missed = []
    for (fault, way), seen in ours.seen.items():
        meant = "raised" if fault in MEANT_TO_STOP else "second"
        if seen.what != meant and not (meant == "second" and seen.what == "first"):
            missed.append(f"{fault}, {way}: {seen}; {meant} was meant")
    if CASES.exists() and (unlike := set(yaml.safe_load(CASES.read_text("utf-8"))) ^ set(FAULTS)):
        missed.append(f"the matrix and this list differ in: {', '.join(sorted(unlike))}")
    return missed


def main() -> int:
    chosen = sys.argv[1:] or list(FAULTS)
    if unknown := [name for name in chosen if name not in FAULTS]:
        sys.stderr.write(f"no such fault: {', '.join(unknown)}; there are: {', '.join(FAULTS)}\n")
        return 2
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with served_in_thread(worlds(chosen)) as base:
        tallies = asyncio.run(measure(base, chosen))
    missed = faults_of(tallies[0], chosen)
    notes = [f"{fault} is meant to be raised: {why}" for fault, why in MEANT_TO_STOP.items() if fault in chosen]
    sys.stdout.write("\n".join([table(tallies, chosen), *notes, *(f"MISSED: {one}" for one in missed)]) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

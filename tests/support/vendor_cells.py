"""The failure matrix: its cells as tests/cases/failures/matrix.yaml lists them, and a chain of real SDKs to play them on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.result import DelegationResult, DoneEvent, StreamEvent
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import NoAnswer
from bundle_loader.events import Event
from bundle_loader.host import Host
from bundle_loader.ledger.meter import Meter
from bundle_loader.messages import StreamPart
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.sources.load import load_bundle
from tests.support.hosting import MODELS, mounted
from tests.support.vendors import Fault, Reply, World

MATRIX = Path(__file__).parents[1] / "cases" / "failures" / "matrix.yaml"
WAYS = ("plain", "stream", "tools")
WORDS = ("model", "vendor", "each", "stop", "broken")
HEALTH = ("model", "provider", "nobody", "model out", "provider out")
TOKENS = 80
TEXT = "".join(f"word{number:03} " for number in range(TOKENS))
"""What every model answers: in a stream, a piece for each word."""
NOWHERE = "http://[::1%25nowhere]"
"""A name that the system cannot find without asking anybody: a loopback address in a zone that is not there."""
SMALL, LARGE = 8_000, 100_000
"""Tokens of the windows: of all models of the vendor that fails, and of the other vendor's."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix."""

    fault: str
    vendor: str
    way: str
    does: Mapping[str, Any]
    kind: str
    health: str
    next: str
    """One of `WORDS`, or `n/a: why`."""

    def __str__(self) -> str:
        return f"{self.fault}, {self.vendor}, {self.way}"

    @property
    def lost(self) -> bool:
        """Whether the vendor cannot be reached at all."""
        return "lost" in self.does

    @property
    def silent(self) -> bool:
        """Whether only a time limit ends it."""
        return self.does.get("is") in ("stall", "stall_midway")

    @property
    def first(self) -> str:
        """The model that fails."""
        return MODELS[self.vendor][0]

    @property
    def second(self) -> str:
        """The vendor's other model."""
        return MODELS[self.vendor][1]

    @property
    def other(self) -> tuple[str, str]:
        """The vendor that stands in, and its model."""
        vendor = "openai" if self.vendor != "openai" else "anthropic"
        return vendor, MODELS[vendor][1]

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Provider and model of every attempt, in order."""
        chain = [(self.vendor, self.first), (self.vendor, self.second), self.other]
        return {"model": chain[:2], "vendor": [chain[0], chain[2]], "each": chain}.get(self.next, chain[:1])

    @property
    def answered(self) -> bool:
        """Whether the work is done in the end."""
        return self.next in ("model", "vendor", "each")


def cells() -> list[Cell]:
    """Every cell of the file, in its order."""
    written = yaml.safe_load(MATRIX.read_text(encoding="utf-8"))
    return [
        Cell(fault, vendor, way, row.get("does", rows.get("does")), row["kind"], row["health"], row[way])
        for fault, rows in written.items()
        for vendor, row in rows.items()
        if vendor != "does"
        for way in WAYS
    ]


def fault_of(cell: Cell, key: str) -> Fault:
    """What the vendor does, to its first model only. `KEY` in its words is the key."""
    said = dict(cell.does)
    if "status" in said:
        said["message"] = said.get("message", "").replace("KEY", key)
        return Fault.status(said.pop("status"), **said).on(cell.first)
    return Fault(said["is"], seconds=30.0, at=said.get("at")).on(cell.first)


class Reached:
    """A real provider that can be lost from the network, all of whose models have one window."""

    def __init__(self, real: Provider, lost: Provider, window: int) -> None:
        self._real = real
        self._lost = lost
        self._window = window
        self.gone = False
        self.asked: list[str] = []
        """The model of each request, sent or not."""

    @property
    def id(self) -> str:
        return self._real.id

    @property
    def local(self) -> bool:
        return self._real.local

    async def list_models(self) -> Sequence[ModelInfo]:
        return [replace(info, window=self._window) for info in await self._real.list_models()]

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self.asked.append(request.model)
        return (self._lost if self.gone else self._real).stream(request)

    async def aclose(self) -> None:
        await self._real.aclose()
        await self._lost.aclose()


class Hurried(ProviderSpawner):
    """The default spawner, which has little patience with one model."""

    def __init__(self, provider_of: Callable[[str], Provider], model: str, patience: float) -> None:
        super().__init__(provider_of)
        self._model = model
        self._patience = patience

    def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        assert context.candidate is not None
        if context.candidate.model == self._model:
            limits = replace(context.limits, first=self._patience, idle=self._patience, load=0.0, due=self._patience)
            context = replace(context, limits=limits)
        return super().spawn(context, meter, tools)


@dataclass
class Played:
    """A cell that was played: what the caller saw, and what the tool did."""

    events: list[StreamEvent] = field(default_factory=list)
    result: DelegationResult | None = None
    error: NoAnswer | None = None
    noted: list[str] = field(default_factory=list)

    def of(self, *kinds: type) -> list[Any]:
        """The events of these kinds."""
        return [event for event in self.events if isinstance(event, kinds)]


def bundle_of(cell: Cell, folder: Path, **keys: object) -> Bundle:
    """The agent `worker` on the cell's chain, under a budget of money and one of tokens. `keys` are of the agent."""
    preferences = [f"{cell.vendor}/{cell.first}", f"{cell.vendor}/{cell.second}", "/".join(cell.other)]
    agent = {"format": 1, "name": "worker", "provider_preferences": preferences, "config": {"max_tokens": 500}, **keys}
    (folder / "worker.md").write_text(f"---\n{yaml.safe_dump(agent)}---\nDo the work.\n", encoding="utf-8")
    budgets = {"day": {"money": 5, "per": "day"}, "talk": {"tokens": 100_000, "per": "day"}}
    written = {"format": 1, "bundle": {"name": "b"}, "agents": {"include": ["worker.md"]}, "budgets": budgets}
    (folder / "b.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return load_bundle(folder / "b.yaml", settings=())


@contextmanager
def unreachable(cell: Cell) -> Iterator[str]:
    """Where nobody answers: an address whose connections are refused, or a name that is not known."""
    with socket.socket() as bound:  # bound and not listened to: nobody else can take it meanwhile
        bound.bind(("127.0.0.1", 0))
        yield NOWHERE if cell.does.get("lost") == "unknown name" else f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def chain(
    cell: Cell, world: World, base: str, folder: Path, *, patience: float = 0.4, **keys: object
) -> AsyncIterator[tuple[Host, Reached]]:
    """An open host over the cell's chain, and the provider that is to fail."""
    for vendor in world.vendors.values():
        vendor.answer = lambda request: Reply(TEXT, parts=TOKENS)
        vendor.required_key = f"secret-of-{vendor.name}-91827364"
    with unreachable(cell) as nowhere:
        real, lost = mounted(world, base), mounted(world, nowhere)
        providers = {
            id: Reached(real[id], lost[id], SMALL if id == cell.vendor else LARGE) for id in (cell.vendor, cell.other[0])
        }
        spawner = Hurried(providers.__getitem__, cell.first if cell.silent else "", patience)
        async with Host(
            bundle_of(cell, folder, **keys),
            providers=providers,
            ledger=folder / "l.db",
            environment=world.environment(base),
            spawner=spawner,
        ) as host:
            yield host, providers[cell.vendor]


async def play(cell: Cell, world: World, host: Host, failing: Reached) -> Played:
    """Have the agent work while the vendor does what the cell says, from the second turn on where it is the tools' turn."""
    played = Played()

    def strike() -> None:
        if cell.lost:
            failing.gone = True
        else:
            world.vendor(cell.vendor).fault = fault_of(cell, world.key(cell.vendor))

    def note(text: str) -> str:
        """Write something down."""
        played.noted.append(text)
        strike()
        return f"noted as number {len(played.noted)}"

    if cell.way == "tools":
        world.vendor(cell.vendor).replies = [Reply("Let me note it.", tool_calls=[("note", {"text": "once-7731"})])]
    else:
        strike()
    run = await host.prepare("worker", "Work.", tools=[note], timeout=40)
    try:
        async for event in run.events(show=cell.way == "stream"):
            played.events.append(event)
            if isinstance(event, DoneEvent):
                played.result = event.result
    except NoAnswer as error:
        played.error = error
    return played

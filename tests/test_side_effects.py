"""A tool with a side effect is never run twice: faults at every request and every part of it, and servers killed in mid-call."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader import Host, NoAnswer, load_bundle
from bundle_loader.events import ToolEvent
from bundle_loader.messages import Delta, StreamPart, ToolResult, Turn
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.routing.catalogue import ModelInfo
from tests.support import mcp_program
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendors import Fault, Reply, Request, World

Served = tuple[World, str]

SHOPPING = ("tea-7731", "milk-7732")
FAULTS = {
    "503": Fault.status(503),
    "429": Fault.status(429, retry_after=60),
    "400": Fault.status(400, message="tools: this model does not support tools"),
    "reset": Fault.reset(),
    "empty": Fault.empty(),
    "cut": Fault.cut(),
    "drop": Fault.cut(abruptly=True),
    "malformed": Fault.malformed(),
    "error": Fault.error_in_stream(),
}
PAIRS = (("anthropic", "openai"), ("google", "ollama"))


class Till:
    """A tool whose every call is a line on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pay(self, what: str) -> str:
        """Pay for something."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{what}\n")
        return f"paid for {what}"

    @property
    def paid(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").split() if self.path.exists() else []


def shopper(tool: str = "pay") -> Any:
    """A model that looks into its history and goes on where it stands, whoever has begun: two payments, then an answer."""

    def answer(request: Request) -> Reply:
        said = json.dumps(request.body_json)
        left = [what for what in SHOPPING if said.count(what) == 0]
        if left:
            return Reply("I will pay.", tool_calls=[(tool, {"what": left[0]})])
        return Reply("All is paid.")

    return answer


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_any_request_of_three_turns(
    vendors: Served, tmp_path: Path, first: str, second: str, fault: str
) -> None:
    world, base = vendors
    bundle = worker(tmp_path, f"{first}/{MODELS[first][1]}", f"{second}/{MODELS[second][1]}")
    for vendor in (first, second):
        world.vendor(vendor).answer = shopper()
    for at in range(len(SHOPPING) + 1):
        till = Till(tmp_path / f"payments-{at}")
        world.vendor(first).faults = [*[None] * at, FAULTS[fault]]
        async with Host(bundle, ledger=tmp_path / f"{at}.db", environment=world.environment(base)) as host:
            result = await host.delegate("worker", "Shop.", tools=[till.pay])
        assert result.text == "All is paid."
        assert till.paid == list(SHOPPING)
        assert world.vendor(first).faults == [], "the fault has struck"
        # the connection of the list may have been idle for so long that its end says nothing, and is made anew
        assert result.provider == second or (fault, at) == ("reset", 0)
        assert result.turns == 3


class Breaking:
    """A provider whose n-th stream breaks at one of its parts: before it, after it, or while it is closed."""

    def __init__(self, real: Provider, request: int, part: int, closing: bool = False) -> None:
        self._real = real
        self._request, self._part, self._closing = request, part, closing
        self._asked = 0
        self.id, self.local = real.id, real.local
        self.struck = False

    async def list_models(self) -> Sequence[ModelInfo]:
        return await self._real.list_models()

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        number, self._asked = self._asked, self._asked + 1
        index = 0
        try:
            async for part in self._real.stream(request):
                self._break(number, index)
                yield part
                index += 1
            self._break(number, index)
        finally:
            if self._closing and number == self._request:
                self.struck = True
                raise OSError("the connection could not be given back")

    def _break(self, number: int, index: int) -> None:
        if not self._closing and (number, index) == (self._request, self._part):
            self.struck = True
            raise OSError("the line broke")

    async def aclose(self) -> None:
        await self._real.aclose()


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_a_break_at_any_part_of_any_request(vendors: Served, tmp_path: Path, first: str, second: str) -> None:
    world, base = vendors
    bundle = worker(tmp_path, f"{first}/{MODELS[first][1]}", f"{second}/{MODELS[second][1]}")
    for vendor in (first, second):
        world.vendor(vendor).answer = shopper()
    struck = 0
    for at, part, show in product(range(3), [*range(8), None], (False, True)):
        till = Till(tmp_path / f"payments-{at}-{part}-{show}")
        providers = mounted(world, base)
        breaking = Breaking(providers[first], at, -1 if part is None else part, closing=part is None)
        async with Host(bundle, ledger=tmp_path / f"{at}-{part}-{show}.db", providers={**providers, first: breaking}) as host:
            try:
                async for event in host.stream("worker", "Shop.", tools=[till.pay]) if show else _events(host, till):
                    assert not isinstance(event, ToolEvent) or not event.result.is_error
            except NoAnswer:  # text of the broken turn was shown
                assert show
        assert not [what for what, times in Counter(till.paid).items() if times > 1]
        assert show or till.paid == list(SHOPPING)
        struck += breaking.struck
    assert struck > 20, "faults were met"


async def _events(host: Host, till: Till) -> AsyncIterator[Any]:
    result = await host.delegate("worker", "Shop.", tools=[till.pay])
    yield result


class Twice:
    """A provider that says every call of a tool twice in one turn, as some servers do."""

    def __init__(self, real: Provider) -> None:
        self._real = real
        self.id, self.local = real.id, real.local

    async def list_models(self) -> Sequence[ModelInfo]:
        return await self._real.list_models()

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        async for part in self._real.stream(request):
            if isinstance(part, Delta):
                yield part
            else:
                message = part.message
                doubled = type(message)(message.role, (*message.parts, *message.tool_calls))
                yield Turn(doubled, part.usage, part.model, part.finish)

    async def aclose(self) -> None:
        await self._real.aclose()


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_call_that_a_model_says_twice_is_made_once(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).answer = shopper()
    till = Till(tmp_path / "payments")
    providers = mounted(world, base)
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][1]}")
    async with Host(bundle, ledger=tmp_path / "l.db", providers={**providers, vendor: Twice(providers[vendor])}) as host:
        result = await host.delegate("worker", "Shop.", tools=[till.pay])
    assert till.paid == list(SHOPPING)
    assert result.text == "All is paid."
    assert {request.status for request in world.chats()} == {200}, "the history is one that the vendor takes"


@pytest.mark.parametrize("fault", [None, "503", "cut"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_a_server_that_is_killed_in_mid_call_while_vendors_fail(
    vendors: Served, tmp_path: Path, first: str, second: str, fault: str | None
) -> None:
    world, base = vendors
    for vendor in (first, second):
        world.vendor(vendor).answer = shopper("mcp__fx__pay_and_die")
    if fault is not None:
        world.vendor(first).faults = [None, FAULTS[fault]]
    server = {"command": sys.executable, "args": [mcp_program.__file__], "env": {"EFFECTS": str(tmp_path)}}
    agent = {
        "description": "Shops.",
        "tools": ["mcp:fx"],
        "provider_preferences": [f"{vendor}/{MODELS[vendor][1]}" for vendor in (first, second)],
    }
    written = {"format": 1, "bundle": {"name": "b"}, "mcp_servers": {"fx": server}, "agents": {"worker": agent}}
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    bundle = load_bundle(tmp_path / "b.yaml", settings=[])
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Shop.", max_turns=3)
    told = [part for message in result.messages if message.role == "tool" for part in message.parts]
    assert [part.is_error for part in told if isinstance(part, ToolResult)] == [True, True]
    assert len({part.call_id for part in told if isinstance(part, ToolResult)}) == 2
    assert result.provider == (first if fault is None else second)
    assert (tmp_path / "payments").read_text(encoding="utf-8").split() == list(SHOPPING)

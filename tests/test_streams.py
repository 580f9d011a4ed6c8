"""Streams of events over real sockets: a slow reader is no slow vendor, and who leaves leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest

from bundle_loader import Host
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.events import Event, FallbackEvent, OutcomeEvent, StatusEvent, TextEvent, ToolEvent, TurnEvent
from bundle_loader.ledger.meter import Meter
from tests.support.budgeted import reserved, settled
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendor_cells import TEXT, TOKENS, Cell, bundle_of
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]
IDLE, SLEEP = 0.5, 1.0


class Impatient(ProviderSpawner):
    """The default spawner, which takes a vendor for stalled after `IDLE` seconds of silence."""

    def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        return super().spawn(replace(context, limits=replace(context.limits, idle=IDLE)), meter, tools)


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize(("pace", "silent"), [(0.0, 0.0), (0.01, 0.0), (0.0, SLEEP + 0.4)], ids=["at once", "meanwhile", "later"])
async def test_a_reader_who_takes_time_is_not_taken_for_a_stalled_vendor(
    vendors: Served, tmp_path: Path, vendor: str, pace: float, silent: float
) -> None:
    """Whether the vendor sends all at once, while the reader is away, or only once it listens again."""
    world, base = vendors
    world.vendor(vendor).answer = lambda request: Reply(TEXT, parts=TOKENS)
    world.vendor(vendor).pace = pace
    world.vendor(vendor).fault = Fault.stall_midway(silent, at=1) if silent else None
    providers = mounted(world, base)
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}")
    async with Host(
        bundle, providers=providers, ledger=tmp_path / "l.db", environment={}, spawner=Impatient(providers.__getitem__)
    ) as host:
        slept = 0
        heard = ""
        async for event in host.stream("worker", "Work.", timeout=40):
            if isinstance(event, TextEvent):
                heard += event.text
                if slept < 2:
                    slept += 1
                    await asyncio.sleep(SLEEP)
        assert isinstance(event, DoneEvent)
        assert (heard, event.result.text, len(event.result.attempts), slept) == (TEXT, TEXT, 1, 2)
        assert host.breakers.down(host.clock()) == {}


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_silence_of_the_vendor_counts_from_when_it_is_listened_to(vendors: Served, tmp_path: Path, vendor: str) -> None:
    """The reader's own time is no silence; the vendor's is one, even after a slow reader."""
    world, base = vendors
    world.vendor(vendor).answer = lambda request: Reply(TEXT, parts=TOKENS)
    world.vendor(vendor).fault = Fault.stall_midway(at=1).on(MODELS[vendor][0])
    providers = mounted(world, base)
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}", f"{vendor}/{MODELS[vendor][1]}", on_broken_stream="continue")
    async with Host(
        bundle, providers=providers, ledger=tmp_path / "l.db", environment={}, spawner=Impatient(providers.__getitem__)
    ) as host:
        hop_after = 0.0
        async for event in host.stream("worker", "Work.", timeout=40):
            if isinstance(event, TextEvent) and not hop_after:
                await asyncio.sleep(0.5)
                hop_after = perf_counter()
            if isinstance(event, FallbackEvent):
                assert IDLE - 0.1 <= perf_counter() - hop_after < IDLE + 10
                assert f"no answer within {IDLE:g} s" in event.reason
        assert isinstance(event, DoneEvent)
        assert event.result.model == MODELS[vendor][1]


LEAVING = {
    "status": (StatusEvent, 1), "text": (TextEvent, 3), "tool": (ToolEvent, 1), "turn": (TurnEvent, 1),
    "fallback": (FallbackEvent, 1), "second status": (StatusEvent, 2), "outcome": (OutcomeEvent, 1),
}  # fmt: skip


@pytest.mark.parametrize("leaving", LEAVING)
@pytest.mark.parametrize("vendor", MODELS)
async def test_who_leaves_closes_the_socket_at_once_and_pays_for_what_came(
    vendors: Served, tmp_path: Path, vendor: str, leaving: str
) -> None:
    world, base = vendors
    kind, count = LEAVING[leaving]
    ill = world.vendor(vendor)
    ill.answer = lambda request: Reply(TEXT, parts=TOKENS)
    if leaving in ("tool", "turn"):
        ill.replies = [Reply("Let me note it.", tool_calls=[("note", {"text": "x"})])]
    elif leaving == "outcome":
        pass
    elif leaving in ("fallback", "second status"):
        ill.fault = Fault.status(503).on(MODELS[vendor][0])
    else:
        ill.pace = 0.05
    cell = Cell("", vendor, "stream", {}, "", "", "")
    before = asyncio.all_tasks()

    def note(text: str) -> str:
        """Write something down."""
        return "noted"

    async with Host(bundle_of(cell, tmp_path), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        stream = host.stream("worker", "Work.", tools=[note], timeout=40)
        seen = 0
        async for event in stream:
            seen += isinstance(event, kind)
            if seen == count:
                break
        asked = len(world.chats())
        began = perf_counter()
        await stream.aclose()
        await world.until(lambda: not any(one.in_flight for one in world.vendors.values()))
        assert perf_counter() - began < 5, "the vendor sees it leave at once"
        assert len(world.chats()) == asked, "nobody else is asked"
        if leaving == "text":
            assert world.chats()[0].disconnected
        (row,) = host.ledger.delegations()
        assert row["outcome"] == "cancelled"
        calls = host.ledger.calls(row["id"])
        assert len(calls) == asked
        assert reserved(host) == 0
        assert host.ledger.query("reservations") == []
        assert settled(host).get("talk", 0) * 10**12 == sum(call["input_tokens"] + call["output_tokens"] for call in calls)
        if leaving == "text":
            (call,) = calls
            assert (call["outcome"], call["estimated"]) == ("cancelled", 1)
            assert 0 < call["output_tokens"] < TOKENS * 2
        assert host.breakers.down(host.clock()) == {}
    await world.until(lambda: not world.connections)
    assert asyncio.all_tasks() == before


async def test_the_events_of_a_stream_with_a_hop_and_a_tool_in_their_order(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.status(529)
    world.vendor("openai").replies = [Reply("Let me note it.", tool_calls=[("note", {"text": "x"})]), Reply("It is noted.")]

    def note(text: str) -> str:
        """Write something down."""
        return "noted"

    bundle = worker(tmp_path, f"anthropic/{MODELS['anthropic'][0]}", f"openai/{MODELS['openai'][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "Work.", tools=[note])]
    kinds = [type(event) for event in events]
    order = [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] is not kind]
    assert order == [
        StatusEvent, FallbackEvent, StatusEvent, TextEvent, ToolEvent, TurnEvent, TextEvent, TurnEvent, OutcomeEvent, DoneEvent,
    ]  # fmt: skip

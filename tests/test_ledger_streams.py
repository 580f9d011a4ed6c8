"""A real SDK's stream that its caller leaves: what it cost is estimated, marked and settled, and nothing stays reserved."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundle_loader import Host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.events import TextEvent
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Reserve
from bundle_loader.sources.load import load_bundle
from tests.support.hosting import MODELS
from tests.support.ledger_load import ROOT
from tests.support.vendors import Reply, World, served_in_thread

TEXT = "a word and " * 200
VENDORS = ("anthropic", "openai")


def budgeted(folder: Path, vendor: str) -> Bundle:
    """An agent on one vendor, under a money budget and one of tokens."""
    (folder / "worker.md").write_text(
        f'---\nformat: 1\nname: worker\nprovider_preferences: ["{vendor}/{MODELS[vendor][0]}"]\n---\nDo the work.\n', "utf-8"
    )
    bundle = folder / "b.yaml"
    bundle.write_text(
        "format: 1\nbundle: {name: b}\nagents: {include: [worker.md]}\n"
        "budgets:\n  day: {money: 5, per: day}\n  talk: {tokens: 100000, per: month}\n",
        "utf-8",
    )
    return load_bundle(bundle)


def slowly(world: World, vendor: str) -> None:
    """An answer that takes longer than anybody waits for it."""
    world.vendor(vendor).replies = [Reply(TEXT)]
    world.vendor(vendor).pace = 0.05


def spent(ledger: Ledger) -> None:
    """The call is there, marked as cut and estimated; the accounts have what it has, and hold nothing."""
    (call,) = ledger.calls()
    assert (call["outcome"], call["estimated"]) == ("cancelled", 1)
    assert call["input_tokens"] > 0
    assert 0 < call["output_tokens"] < len(TEXT) / 4
    assert call["cost"] is not None
    assert call["cost"] > 0
    rows = {row["account"].partition("|")[0]: row for row in ledger.query("accounts", account=None)}
    assert rows["talk"]["settled"] == call["input_tokens"] + call["output_tokens"]
    assert rows["day"]["settled"] == call["cost"] * 10**12
    assert all(row["reserved"] == 0 for row in rows.values())
    assert ledger.query("reservations") == []


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_stream_that_is_left_early_is_paid_for(vendors: tuple[World, str], tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    slowly(world, vendor)
    bundle = budgeted(tmp_path, vendor)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        stream = host.stream("worker", "Go.")
        async for event in stream:
            if isinstance(event, TextEvent):
                break
        await stream.aclose()
        await asyncio.to_thread(spent, host.ledger)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_task_that_is_cancelled_in_the_middle_is_paid_for(
    vendors: tuple[World, str], tmp_path: Path, vendor: str
) -> None:
    world, base = vendors
    slowly(world, vendor)
    bundle = budgeted(tmp_path, vendor)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        shown = asyncio.Event()

        async def read() -> None:
            async for event in host.stream("worker", "Go."):
                if isinstance(event, TextEvent):
                    shown.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(shown.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(200):
            if await asyncio.to_thread(host.ledger.calls):
                break
            await asyncio.sleep(0.02)
        await asyncio.to_thread(spent, host.ledger)


READER = """
import asyncio, json, sys
from pathlib import Path
from bundle_loader import Host
from bundle_loader.events import TextEvent
from tests.test_ledger_streams import budgeted
async def main():
    folder, vendor, environment = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    async with Host(budgeted(folder, vendor), ledger=folder / "l.db", environment=environment) as host:
        async for event in host.stream("worker", "Go."):
            if isinstance(event, TextEvent):
                print("shown", flush=True)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_process_that_is_killed_in_the_middle_leaves_a_lost_call_and_holds_nothing(tmp_path: Path, vendor: str) -> None:
    world = World()
    slowly(world, vendor)
    with served_in_thread(world) as base:
        command = [sys.executable, "-c", READER, str(tmp_path), vendor, json.dumps(dict(world.environment(base)))]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "shown\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = Ledger(tmp_path / "l.db")
    assert sum(row["reserved"] for row in before.query("accounts", account=None)) > 0
    later = before.clock() + 3600
    before.close()
    asyncio.run(_swept(tmp_path / "l.db", later))


async def _swept(path: Path, now: float) -> None:
    ledger = Ledger(path, clock=lambda: now)
    await ledger.reserve(Reserve("look", (), 0, 0))
    rows = await asyncio.to_thread(ledger.query, "accounts", account=None)
    assert all(row["reserved"] == 0 for row in rows)
    (call,) = await asyncio.to_thread(ledger.calls)
    assert (call["outcome"], call["cost"]) == ("lost", None)
    await asyncio.to_thread(ledger.close)

"""Health that processes share: what one finds down the others avoid, and exactly one finds out whether it is up again."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host
from bundle_loader.events import BudgetEvent
from bundle_loader.ledger.breakers import LEAST
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Open
from tests.support.hosting import MODELS, worker
from tests.support.ledger_load import ROOT
from tests.support.vendors import Fault, World, served_in_thread

ILL, WELL = ("anthropic", MODELS["anthropic"][0]), ("openai", MODELS["openai"][0])

WORKER = """
import asyncio, json, sys
from pathlib import Path
from bundle_loader import Host
from bundle_loader.errors import NoAnswer
from tests.support.hosting import worker
async def main():
    folder, ledger, preferences, environment = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
    import anthropic, openai  # noqa: F401 - takes longer than what is measured
    async with Host(worker(folder, *preferences), ledger=ledger, environment=environment) as host:
        await host.prepare("worker", "Warm up.")
        print(json.dumps("ready"), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            try:
                result = await host.delegate("worker", "Work.", timeout=20)
                said = [f"{attempt.provider}/{attempt.model} {attempt.outcome}" for attempt in result.attempts]
                print(json.dumps({"by": result.provider, "attempts": said, "notes": result.notes}), flush=True)
            except NoAnswer as error:
                print(json.dumps({"by": None, "attempts": [str(error)]}), flush=True)
asyncio.run(main())
"""


class Process:
    """A process of its own with a host over the shared ledger."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.running = running

    def hears(self) -> Any:
        assert self.running.stdout is not None
        return json.loads(self.running.stdout.readline())

    def begin(self) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write("go\n")
        self.running.stdin.flush()

    def delegates(self) -> Any:
        self.begin()
        return self.hears()


@contextmanager
def process(folder: Path, name: str, world: World, base: str, *preferences: str) -> Iterator[Process]:
    own = folder / name
    own.mkdir()
    arguments = [str(own), str(folder / "l.db"), json.dumps(preferences), json.dumps(world.environment(base))]
    running = subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Process(running)
    finally:
        running.kill()
        running.communicate()


def chats(world: World) -> Counter[str]:
    return Counter(chat.vendor for chat in world.chats())


def down_until(path: Path, host: Host, until: float, *, at: float) -> None:
    """Somebody has found the first model down until then."""
    ledger = Ledger(path)
    ledger.enter(Open(host.breakers.key(ILL), *ILL, until, 1, "busy 503: gone", at))
    ledger.close()


def test_what_one_process_finds_down_another_avoids_within_a_second(tmp_path: Path) -> None:
    world = World("anthropic", "openai")
    preferences = "/".join(ILL), "/".join(WELL)
    with served_in_thread(world) as base, ExitStack() as stack:
        one, other = (stack.enter_context(process(tmp_path, name, world, base, *preferences)) for name in ("one", "other"))
        assert (one.hears(), other.hears()) == ("ready", "ready")
        assert other.delegates()["attempts"] == [f"{'/'.join(ILL)} answered"], "it works, as far as the other process knows"
        world.vendor("anthropic").fault = Fault.status(503)
        for _ in range(LEAST):
            assert one.delegates()["by"] == "openai"
        assert chats(world) == {"anthropic": 1 + LEAST, "openai": LEAST}
        time.sleep(1.1)  # a standing is a second old at most
        found = other.delegates()
        assert found["by"] == "openai"
        assert found["attempts"] == [f"{'/'.join(WELL)} answered"], "it is not even tried"
        assert chats(world)["anthropic"] == 1 + LEAST, "the ill one was not called"


def test_a_probe_is_made_by_exactly_one_of_many_processes(tmp_path: Path) -> None:
    world = World("anthropic", "openai")
    world.vendor("anthropic").delay = 4.0
    preferences = "/".join(ILL), "/".join(WELL)
    with served_in_thread(world) as base, ExitStack() as stack:
        bundle = worker(tmp_path, *preferences)
        host = Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base))
        down_until(tmp_path / "l.db", host, time.time() - 0.01, at=time.time())
        every = [stack.enter_context(process(tmp_path, f"p{number}", world, base, *preferences)) for number in range(5)]
        assert [one.hears() for one in every] == ["ready"] * 5
        for one in every:
            one.begin()
        answers = [one.hears() for one in every]
        assert Counter(answer["by"] for answer in answers) == {"anthropic": 1, "openai": 4}
        assert chats(world) == {"anthropic": 1, "openai": 4}
        time.sleep(1.1)
        assert {one.delegates()["by"] for one in every[:2]} == {"anthropic"}, "the answer closed it for all"


def test_a_process_that_is_killed_while_it_finds_out_gives_its_lease_back(tmp_path: Path) -> None:
    world = World("anthropic")
    world.vendor("anthropic").delay = 60.0
    with served_in_thread(world) as base:
        bundle = worker(tmp_path, "/".join(ILL))
        environment = world.environment(base)
        host = Host(bundle, ledger=tmp_path / "l.db", environment=environment)
        down_until(tmp_path / "l.db", host, time.time() - 0.01, at=time.time())
        with process(tmp_path, "killed", world, base, "/".join(ILL)) as killed:
            assert killed.hears() == "ready"
            killed.begin()
            deadline = time.time() + 20
            while not world.chats() and time.time() < deadline:
                time.sleep(0.02)
            killed.running.send_signal(signal.SIGKILL)
            killed.running.wait()
        world.vendor("anthropic").delay = 0.0
        with closing(sqlite3.connect(tmp_path / "l.db")) as ledger:
            ((ends,),) = ledger.execute("SELECT probe_until FROM breakers").fetchall()
        found = [state(tmp_path, bundle, environment, ends + after) for after in (-59.0, -1.0, 1.0)]
        assert found == ["held", "held", "answered"]
        assert len(world.chats()) == 2


def state(folder: Path, bundle: Any, environment: dict[str, str], now: float) -> str:
    """What a host finds whose clock stands at that moment."""

    async def ask() -> str:
        host = Host(bundle, ledger=folder / "l.db", environment=environment, clock=lambda: now)
        async with host, aclosing(host.stream("worker", "Work.", timeout=120)) as events:
            async for event in events:
                if isinstance(event, BudgetEvent) and "another call finds out whether it is up again" in event.note:
                    return "held"
        return "answered"

    return asyncio.run(ask())


@pytest.mark.parametrize("status", [401, 402])
async def test_another_key_is_another_provider(tmp_path: Path, status: int) -> None:
    world = World("anthropic", "openai")
    world.vendor("anthropic").fault = Fault.status(status)
    with served_in_thread(world) as base:
        bundle = worker(tmp_path, "/".join(ILL), "/".join(WELL))
        spent, fresh = (world.environment(base) | {"ANTHROPIC_API_KEY": f"key-number-{number}"} for number in (1, 2))

        async def by(environment: dict[str, str]) -> str:
            async with Host(bundle, ledger=tmp_path / "l.db", environment=environment) as host:
                return (await host.delegate("worker", "Work.")).provider

        assert await by(spent) == "openai"
        world.vendor("anthropic").fault = None
        assert await by(spent) == "openai", "that account is out for some minutes, in other processes too"
        assert chats(world)["anthropic"] == 1
        assert await by(fresh) == "anthropic"

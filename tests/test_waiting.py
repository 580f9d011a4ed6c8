"""Waiting for a vendor that says when: the soonest of several, never beyond the deadline, and what the error says then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import pytest
import yaml

from benchmarks.fast_time import JumpLoop
from bundle_loader import AllDown, AllFailed, BudgetRefused, Host, load_bundle
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.events import FallbackEvent, StatusEvent
from bundle_loader.ledger.breakers import FIRST, LEAST
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Open
from bundle_loader.messages import StreamPart, Turn, Usage, assistant
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import MODELS, worker
from tests.support.vendors import DEFAULT_TEXT, Fault, World

Served = tuple[World, str]
CHAIN = ("anthropic", "openai", "google")
PREFERENCES = tuple(f"{vendor}/{MODELS[vendor][0]}" for vendor in CHAIN)


def fail_once(world: World, status: int, waits: Sequence[float]) -> None:
    for vendor, seconds in zip(CHAIN, waits, strict=True):
        world.vendor(vendor).faults = [Fault.status(status, retry_after=seconds)]


@pytest.mark.parametrize("waits", [(1.6, 1.2, 0.6), (0.6, 1.2, 1.6), (1.6, 0.6, 1.2)], ids=str)
@pytest.mark.parametrize("status", [429, 503])
async def test_of_several_that_say_when_the_soonest_is_waited_for(
    vendors: Served, tmp_path: Path, waits: tuple[float, ...], status: int
) -> None:
    world, base = vendors
    fail_once(world, status, waits)
    soonest = CHAIN[waits.index(min(waits))]
    async with Host(worker(tmp_path, *PREFERENCES), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.prepare("worker", "Work.")  # lists of models are not what is waited for here
        began = perf_counter()
        events = [event async for event in host.stream("worker", "Work.", timeout=30)]
        took = perf_counter() - began
        (row,) = host.ledger.delegations()
        hops = host.ledger.query("hops", delegation=row["id"])
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert (done.result.provider, done.result.text) == (soonest, DEFAULT_TEXT)
    assert took >= min(waits) - 0.1
    assert [chat.vendor for chat in world.chats()] == [*CHAIN, soonest], "nobody else is asked twice"
    # a reader is told when an earlier one takes over again, and is not told of mere waiting
    tried = [event.provider for event in events if isinstance(event, StatusEvent)]
    assert tried == [*CHAIN, *([] if soonest == CHAIN[-1] else [soonest])]
    told = [(event.from_provider, event.to_provider) for event in events if isinstance(event, FallbackEvent)]
    assert told == list(pairwise(tried)) == [(hop["from_provider"], hop["to_provider"]) for hop in hops]


async def test_who_is_waited_for_and_fails_again_gives_way_to_the_next_that_said_when(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").faults = [Fault.status(429, retry_after=0.4), Fault.status(500)]
    world.vendor("openai").faults = [Fault.status(429, retry_after=0.8)]
    bundle = worker(tmp_path, *PREFERENCES[:2])
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.", timeout=30)
    assert [attempt.provider for attempt in result.attempts] == ["anthropic", "openai", "anthropic", "openai"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_wait_beyond_the_deadline_is_not_begun_and_the_error_says_when(
    vendors: Served, tmp_path: Path, status: int
) -> None:
    world, base = vendors
    fail_once(world, status, (300, 120, 200))
    async with Host(worker(tmp_path, *PREFERENCES), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.prepare("worker", "Work.")
        began = perf_counter()
        with pytest.raises(
            AllFailed, match=r"every candidate failed; the first may be asked again in 1(19|20) s, at 20"
        ) as caught:
            await host.delegate("worker", "Work.", timeout=20)
    assert perf_counter() - began < 10
    assert caught.value.recovers is not None
    assert 100 < caught.value.recovers - time.time() <= 120
    assert len(world.chats()) == 3


def down_for(host: Host, path: Path, rests: Sequence[float]) -> None:
    """Another process has found the first model of each vendor down, for so many seconds from now on."""
    ledger = Ledger(path)
    now = time.time()
    for vendor, seconds in zip(CHAIN, rests, strict=True):
        pair = vendor, MODELS[vendor][0]
        ledger.enter(Open(host.breakers.key(pair), *pair, now + seconds, 1, "busy 503: gone away", now))
    ledger.close()


async def test_when_all_are_down_the_error_says_when_the_first_recovers(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    host = Host(worker(tmp_path, *PREFERENCES), ledger=tmp_path / "l.db", environment=world.environment(base))
    down_for(host, tmp_path / "l.db", (46.0, 36.0, 49.0))
    async with host:
        with pytest.raises(AllDown, match=r"every candidate is down; the first is asked again in 3[456] s, at 20") as caught:
            await host.delegate("worker", "Work.", timeout=20)
        (row,) = host.ledger.delegations()
    assert world.chats() == [], "nobody was called"
    assert len(caught.value.rejections) == 3
    assert all("is down (busy 503: gone away)" in str(rejection) for rejection in caught.value.rejections)
    assert caught.value.recovers is not None
    assert 20 < caught.value.recovers - time.time() <= 36
    assert (row["outcome"], row["calls"]) == ("failed", 0)


async def test_when_all_are_down_the_earliest_is_waited_for_inside_the_deadline(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    host = Host(worker(tmp_path, *PREFERENCES), ledger=tmp_path / "l.db", environment=world.environment(base))
    down_for(host, tmp_path / "l.db", (46.0, 1.5, 49.0))
    async with host:
        began = time.time()
        result = await host.delegate("worker", "Work.", timeout=30)
        assert (result.provider, result.text) == ("openai", DEFAULT_TEXT)
        assert sorted(provider for provider, _ in host.breakers.down(time.time())) == ["anthropic", "google"], "it is up again"
        assert time.time() - began > 0.5
    assert [chat.vendor for chat in world.chats()] == ["openai"]
    ledger = Ledger(tmp_path / "l.db")
    assert [row["provider"] for row in ledger.query("breakers")] == ["anthropic", "google"]
    ledger.close()


# --- who turns out to be down, in a loop whose time jumps


class Failing:
    """A provider in memory whose first requests fail; the moments of all of them are kept, in the loop's time."""

    id = "p"
    local = False

    def __init__(self, failures: int) -> None:
        self.asked: list[float] = []
        self._failures = failures

    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo("m")]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) <= self._failures:
            raise faults.failure(self.id, request.model, 503, "not now")
        yield Turn(assistant(DEFAULT_TEXT), Usage(20, 8), request.model, "stop")

    async def aclose(self) -> None:
        """Nothing to give back."""


def jumping(work: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        runner.run(work)


def open_host(folder: Path, provider: Failing, requests: int) -> Host:
    budgets = {"few": {"requests": requests, "per": "day"}}
    path = folder / "bundle.yaml"
    agents = {"worker": {"description": "d", "provider_preferences": ["p/m"]}}
    path.write_text(yaml.safe_dump({"bundle": {"name": "b"}, "agents": agents, "budgets": budgets}), "utf-8")
    bundle = load_bundle(path, settings=())
    loop = asyncio.get_running_loop()
    host = Host(bundle, providers={"p": provider}, ledger=folder / "l.db", environment={}, clock=lambda: 1e9 + loop.time())
    assert isinstance(loop, JumpLoop)
    loop.heed(host)
    return host


async def until_it_is_nearly_down(host: Host) -> None:
    for _ in range(LEAST - 1):
        with pytest.raises(AllFailed):
            await host.delegate("worker", "Work.", timeout=60)


def test_who_turns_out_to_be_down_while_it_is_asked_is_asked_again_when_it_may_be(tmp_path: Path) -> None:
    async def work() -> None:
        provider = Failing(LEAST + 1)
        async with open_host(tmp_path, provider, 100) as host:
            await until_it_is_nearly_down(host)
            result = await host.delegate("worker", "Work.", timeout=60)
        assert [attempt.outcome for attempt in result.attempts] == ["failed", "failed", "answered"]
        began, *later = provider.asked[LEAST - 1 :]
        assert [moment - began for moment in later] == pytest.approx([FIRST, 3 * FIRST]), "the failed probe doubles its rest"

    jumping(work())


def test_where_it_is_down_until_after_the_deadline_the_error_comes_at_once_and_says_when(tmp_path: Path) -> None:
    async def work() -> None:
        provider = Failing(100)
        async with open_host(tmp_path, provider, 100) as host:
            await until_it_is_nearly_down(host)
            with pytest.raises(AllFailed, match="the first may be asked again in 5 s"):
                await host.delegate("worker", "Work.", timeout=FIRST - 1)
        assert len(provider.asked) == LEAST
        assert provider.asked[-1] == provider.asked[0]

    jumping(work())


def test_one_that_failed_and_that_a_budget_keeps_from_being_asked_again_ends_as_refused(tmp_path: Path) -> None:
    async def work() -> None:
        provider = Failing(LEAST)
        async with open_host(tmp_path, provider, LEAST) as host:
            await until_it_is_nearly_down(host)
            with pytest.raises(BudgetRefused, match="budget 'few'") as refused:
                await host.delegate("worker", "Work.", timeout=60)
            assert sorted(row["outcome"] for row in host.ledger.delegations()) == [*["failed"] * (LEAST - 1), "refused"]
        assert refused.value.budget == "few"
        assert "not now" in str(refused.value), "the failure before is told of as well"

    jumping(work())

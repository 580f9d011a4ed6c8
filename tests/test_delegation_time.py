"""Time: one deadline for the whole chain, each candidate's share, silence, and leaving early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import pytest

from bundle_loader import DeadlineExceeded, DelegationContext, Host, OutcomeEvent, Preference, ProviderFailure, SimulatedProvider
from bundle_loader.delegation.context import SpawnLimits
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import FailureKind
from bundle_loader.events import Event, TextEvent, TurnEvent
from bundle_loader.ledger.estimate import CallEstimate
from bundle_loader.ledger.meter import Meter
from bundle_loader.messages import Turn, assistant, user
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.price import Price
from bundle_loader.routing.request import DecidedBy
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall_midway()], ids=["stall", "stall midway"])
async def test_a_vendor_that_falls_silent_is_left_at_the_deadline(
    vendors: Served, tmp_path: Path, vendor: str, fault: Fault
) -> None:
    world, base = vendors
    world.vendor(vendor).fault = fault
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.route("worker")  # loading the SDK and listing are not what is measured here
        began = perf_counter()
        with pytest.raises(DeadlineExceeded, match=r"no answer within 1\.5 s") as caught:
            await host.delegate("worker", "Work.", timeout=1.5)
        (row,) = host.ledger.delegations()
        (call,) = host.ledger.calls()
        await world.until(lambda: world.chats()[0].disconnected)
    assert 1.5 <= perf_counter() - began < 12
    assert "timeout: no answer within" in str(caught.value.attempts[0])
    assert (row["outcome"], call["outcome"]) == ("failed", "failed")


async def test_the_deadline_is_one_for_all_candidates(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    for name in ("anthropic", "openai", "google"):
        world.vendor(name).delay = 1.0
        world.vendor(name).fault = Fault.status(503)
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", "google/gemini-2.5-pro")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.route("worker")
        began = perf_counter()
        with pytest.raises(DeadlineExceeded) as caught:
            await host.delegate("worker", "Work.", timeout=1.8)
    assert perf_counter() - began < 12
    assert len(caught.value.attempts) == 2


async def test_the_deadline_is_one_for_all_turns(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").delay = 0.8
    world.vendor("openai").answer = lambda _: Reply(tool_calls=[("again", {})])

    def again() -> str:
        """Ask me again."""
        return "again"

    began = perf_counter()
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.route("worker")
        with pytest.raises(DeadlineExceeded):
            await host.delegate("worker", "Work.", tools=[again], timeout=2.0)
    assert perf_counter() - began < 12
    assert 2 <= len(world.chats()) <= 3


async def test_the_deadline_holds_for_tools(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply(tool_calls=[("sleeps", {})])]
    ended: list[str] = []

    async def sleeps() -> str:
        """Takes its time."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "rested"

    began = perf_counter()
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.route("worker")
        with pytest.raises(DeadlineExceeded, match=r"while its tools ran \(sleeps\)") as caught:
            await host.delegate("worker", "Work.", tools=[sleeps], timeout=2.0)
    assert perf_counter() - began < 12
    assert ended == ["cancelled"]
    assert len(caught.value.attempts) == 1


async def test_the_deadline_holds_for_lists_of_models(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").fault = Fault.list(Fault.stall())
    began = perf_counter()
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(DeadlineExceeded, match="lists of models were still awaited"):
            await host.delegate("worker", "Work.", timeout=0.4)
    assert perf_counter() - began < 12


async def test_the_agents_own_timeout_is_its_deadline_unless_the_caller_gives_one(tmp_path: Path) -> None:
    provider = SimulatedProvider("anthropic", latency=5)
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", limits={"timeout": "0.2s"})
    async with Host(bundle, providers={"anthropic": provider}, ledger=tmp_path / "l.db") as host:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            await host.delegate("worker", "Work.")
        with pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
            await host.delegate("worker", "Work.", timeout=0.1)


class Noting:
    """A spawner of the host's own: notes what it is handed, and answers or fails at once."""

    def __init__(self, failures: int = 0) -> None:
        self.contexts: list[DelegationContext] = []
        self.failures = failures

    async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        self.contexts.append(context)
        candidate = context.candidate
        assert candidate is not None
        if len(self.contexts) <= self.failures:
            raise ProviderFailure(FailureKind.BUSY, candidate.provider, "busy")
        async with meter.call(CallEstimate(candidate, 10, 10, None)) as call:
            call.settle(None, candidate.model)
        turn = Turn(assistant("Done."), None, candidate.model, "stop")
        yield TurnEvent(turn, (turn.message,))
        yield OutcomeEvent("Done.", candidate.model, "stop")


@pytest.mark.parametrize(("timeout", "shares"), [(120.0, [40.0, 60.0, 120.0]), (30.0, [15.0, 15.0, 30.0]), (9.0, [9.0] * 3)])
async def test_each_candidate_has_its_share_for_the_first_token(tmp_path: Path, timeout: float, shares: list[float]) -> None:
    spawner = Noting(failures=2)
    providers = {name: SimulatedProvider(name, models=["m-1"]) for name in "abc"}
    bundle = worker(tmp_path, "a/m-*", "b/m-*", "c/m-*")
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", spawner=spawner) as host:
        result = await host.delegate("worker", "Work.", timeout=timeout)
        assert host.ledger.calls()[0]["estimated"] == 1, "a spawner that knows no usage has it estimated"
    assert result.text == "Done."
    assert [context.limits.first for context in spawner.contexts] == pytest.approx(shares, abs=1)
    assert [context.limits.timeout for context in spawner.contexts] == pytest.approx([timeout] * 3, abs=1)
    assert [context.candidate.model for context in spawner.contexts if context.candidate] == ["m-1"] * 3
    assert [len(context.remaining) for context in spawner.contexts] == [2, 1, 0]
    assert {(context.agent, context.task, context.decided_by) for context in spawner.contexts} == {
        ("worker", "Work.", DecidedBy.AGENT)
    }


# --- silence, at the spawner itself


class Unmetered:
    """A meter that keeps nothing."""

    output_bound = 100

    def call(self, estimate: CallEstimate) -> Unmetered:
        return self

    def price(self, candidate: Candidate) -> Price | None:
        return None

    async def __aenter__(self) -> Unmetered:
        return self

    async def __aexit__(self, *ended: object) -> None: ...

    def streamed(self, size: int) -> None: ...

    def settle(self, usage: object, model: object, cost: object) -> None: ...

    def told(self, limits: object) -> None: ...


async def spawned(world: World, base: str, vendor: str, limits: SpawnLimits) -> tuple[list[Event], ProviderFailure | None]:
    """The events of one spawn on a vendor's first model, and the failure that ended it."""
    providers = mounted(world, base)
    model = MODELS[vendor][0]
    candidate = candidate_of(vendor, model)
    context = DelegationContext(
        "1", None, "1", 0, "worker", "", "Work.", (user("Work."),), candidate, (), DecidedBy.AGENT, limits
    )
    events: list[Event] = []
    failure: ProviderFailure | None = None
    try:
        async for event in ProviderSpawner(providers.__getitem__).spawn(context, Unmetered(), ToolBox(())):  # type: ignore[arg-type]
            events.append(event)
    except ProviderFailure as error:
        failure = error
    await providers[vendor].aclose()
    return events, failure


def candidate_of(vendor: str, model: str) -> Candidate:
    return Candidate(vendor, model, Preference(provider=vendor, model=model))


@pytest.mark.parametrize("vendor", MODELS)
async def test_silence_in_the_middle_is_bounded_by_the_idle_limit(vendors: Served, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.stall_midway()
    began = perf_counter()
    events, failure = await spawned(world, base, vendor, SpawnLimits(timeout=30, first=10, idle=0.3, max_turns=5))
    assert perf_counter() - began < 12
    assert any(isinstance(event, TextEvent) for event in events)
    assert failure is not None
    assert (failure.kind, failure.message) == (FailureKind.BUSY, "timeout: no answer within 0.3 s")
    await world.until(lambda: world.chats()[0].disconnected)


@pytest.mark.parametrize("vendor", MODELS)
async def test_silence_at_the_start_is_bounded_by_the_share(vendors: Served, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.stall()
    began = perf_counter()
    events, failure = await spawned(world, base, vendor, SpawnLimits(timeout=30, first=0.3, idle=10, max_turns=5))
    assert perf_counter() - began < 12
    assert events == []
    assert failure is not None
    assert failure.kind is FailureKind.BUSY


async def test_slow_but_steady_is_not_silent(vendors: Served) -> None:
    world, base = vendors
    world.vendor("openai").pace = 0.1
    events, failure = await spawned(world, base, "openai", SpawnLimits(timeout=30, first=0.5, idle=0.4, max_turns=5))
    assert failure is None
    assert isinstance(events[-1], OutcomeEvent)


# --- leaving early


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall_midway()], ids=["stall", "stall midway"])
async def test_a_cancelled_delegation_closes_its_socket_and_is_recorded(
    vendors: Served, tmp_path: Path, vendor: str, fault: Fault
) -> None:
    world, base = vendors
    world.vendor(vendor).fault = fault
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}", "openai/gpt-4o")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        task = asyncio.create_task(host.delegate("worker", "Work."))
        await world.until(lambda: world.chats())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.until(lambda: world.chats()[0].disconnected)
        (row,) = host.ledger.delegations()
        (call,) = host.ledger.calls(row["id"])
        (attempt,) = host.ledger.attempts(row["id"])
    assert (row["outcome"], attempt["outcome"], call["outcome"]) == ("cancelled",) * 3
    assert call["input_tokens"] > 0, "what was sent is spent"
    assert call["estimated"] == 1
    assert len(world.chats()) == 1


@pytest.mark.parametrize("vendor", MODELS)
async def test_leaving_a_stream_closes_its_socket_and_is_recorded(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.stall_midway()
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        stream = host.stream("worker", "Work.")
        async for event in stream:
            if isinstance(event, TextEvent):
                break
        await stream.aclose()
        (row,) = host.ledger.delegations()
        (call,) = host.ledger.calls(row["id"])
        (attempt,) = host.ledger.attempts(row["id"])
        assert (row["outcome"], attempt["outcome"], call["outcome"]) == ("cancelled",) * 3
        assert call["output_tokens"] > 0
        await world.until(lambda: world.chats()[0].disconnected)

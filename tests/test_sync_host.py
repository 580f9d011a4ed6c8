"""The synchronous twin: from several threads, streams, early exits, and a list of models that is awaited for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle_loader import DoneEvent, Host, NoCandidate, RequestError, SimulatedProvider, SyncHost, TextEvent
from tests.support.hosting import both, worker
from tests.support.vendors import DEFAULT_TEXT, Fault, World, served_in_thread

Served = tuple[World, str]


@pytest.fixture
def threaded(world: World) -> Iterator[Served]:
    """The world served on a thread of its own."""
    with served_in_thread(world) as base:
        yield world, base


def until(condition: object, seconds: float = 3.0) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def own_threads() -> set[threading.Thread]:
    """The threads that this package has started; other tests may have left some."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("bundle-loader")}


def test_it_does_what_the_host_does(threaded: Served, tmp_path: Path) -> None:
    world, base = threaded
    world.vendor("anthropic").fault = Fault.status(503)
    bundle = worker(tmp_path, *both("anthropic"), "openai/gpt-4o")
    with SyncHost(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        route = host.route("worker")
        assert [candidate.provider for candidate in route.candidates] == ["anthropic", "anthropic", "openai"]
        assert host.offers(["openai"]).by_id["openai"].catalogue is not None
        result = host.delegate("worker", "Work.")
        assert (result.provider, result.text) == ("openai", DEFAULT_TEXT)
        assert host.ledger.delegations()[0]["provider"] == "openai"
        with pytest.raises(NoCandidate):
            host.delegate("worker", "Work.", preferences=["nobody/x"])


@pytest.mark.requirement("AGT-24")
async def test_the_list_of_models_is_awaited_for_sync_and_async_callers_alike(tmp_path: Path) -> None:
    """Un-awaited coroutines would be warnings, which are errors here. A glob means what fnmatch says, on that list."""
    models = ["m-1", "m-2", "m-10", "other"]
    chosen = []
    for written in ("m-?", "m-*", "m-[0-1]", "M-1*", "[!m]*"):
        bundle = worker(tmp_path, f"sim/{written}")

        def sync_route(bundle: object = bundle) -> str:
            with SyncHost(bundle, providers={"sim": SimulatedProvider("sim", models=models)}, ledger=tmp_path / "s.db") as host:
                found = host.route("worker").chosen
                assert found is not None
                assert host.delegate("worker", "Work.").model == found.model
                return found.model

        in_a_thread = await asyncio.to_thread(sync_route)
        beside_a_running_loop = sync_route()
        async with Host(bundle, providers={"sim": SimulatedProvider("sim", models=models)}, ledger=tmp_path / "a.db") as host:
            found = (await host.route("worker")).chosen
        assert found is not None
        assert in_a_thread == beside_a_running_loop == found.model
        chosen.append(found.model)
    assert chosen == ["m-2", "m-10", "m-1", "m-10", "other"]


def test_many_threads_share_one_host_and_one_list(threaded: Served, tmp_path: Path) -> None:
    world, base = threaded
    world.vendor("openai").delay = 0.2
    bundle = worker(tmp_path, "openai/gpt-4o")
    with (
        SyncHost(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host,
        ThreadPoolExecutor(8) as pool,
    ):
        results = list(pool.map(lambda number: host.delegate("worker", f"Work {number}."), range(16)))
        assert len({result.id for result in results}) == 16
        assert len(host.ledger.delegations()) == 16
    assert {result.text for result in results} == {DEFAULT_TEXT}
    assert len(world.lists("openai")) == 1
    assert world.vendor("openai").most_in_flight > 1, "they run side by side"


def test_a_stream(threaded: Served, tmp_path: Path) -> None:
    world, base = threaded
    bundle = worker(tmp_path, "openai/gpt-4o")
    with SyncHost(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = list(host.stream("worker", "Work."))
        assert "".join(event.text for event in events if isinstance(event, TextEvent)) == DEFAULT_TEXT
        assert isinstance(events[-1], DoneEvent)
        with pytest.raises(NoCandidate):
            list(host.stream("worker", "Work.", preferences=["nobody/x"]))


def test_leaving_a_stream_early_cancels_the_work(threaded: Served, tmp_path: Path) -> None:
    world, base = threaded
    world.vendor("openai").fault = Fault.stall_midway()
    bundle = worker(tmp_path, "openai/gpt-4o")
    with SyncHost(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        for event in host.stream("worker", "Work."):
            if isinstance(event, TextEvent):
                break
        until(lambda: world.chats()[0].disconnected)
        until(lambda: host.ledger.delegations())
        (row,) = host.ledger.delegations()
        (call,) = host.ledger.calls()
    assert (row["outcome"], call["outcome"]) == ("cancelled", "cancelled")


def test_closing_ends_what_other_threads_wait_for(threaded: Served, tmp_path: Path) -> None:
    world, base = threaded
    world.vendor("openai").fault = Fault.stall_midway()
    ended: list[str] = []
    host = SyncHost(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base))

    def delegates() -> None:
        try:
            host.delegate("worker", "Work.")
        except CancelledError as error:
            ended.append(type(error).__name__)

    def streams() -> None:
        try:
            for _ in host.stream("worker", "Work."):
                pass
        except CancelledError as error:
            ended.append(type(error).__name__)

    with host:
        threads = [threading.Thread(target=target, daemon=True) for target in (delegates, streams)]
        for thread in threads:
            thread.start()
        until(lambda: len(world.chats()) == 2)
    for thread in threads:
        thread.join(3)
    assert ended == ["CancelledError"] * 2
    with SyncHost(host._host.bundle, ledger=tmp_path / "l.db", environment={}) as again:
        assert [row["outcome"] for row in again.ledger.delegations()] == ["cancelled"] * 2


def test_it_is_used_while_it_is_open(tmp_path: Path) -> None:
    before = own_threads()
    provider = SimulatedProvider("sim", models=["m-1"])
    host = SyncHost(worker(tmp_path, "sim/m-*"), providers={"sim": provider}, ledger=tmp_path / "l.db")
    with pytest.raises(RequestError, match="the host is not open"):
        host.route("worker")
    with pytest.raises(RequestError, match="the host is not open"):
        next(iter(host.stream("worker", "Work.")))
    for _ in range(2):
        with host:
            with pytest.raises(RequestError, match="already open"):
                host.__enter__()
            assert host.delegate("worker", "Work.").model == "m-1"
        assert provider.closed
    host.close()
    assert own_threads() <= before


def test_a_ledger_that_cannot_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    from bundle_loader import LedgerError

    before = own_threads()
    broken = tmp_path / "l.db"
    broken.write_text("this is no database, only text that is long enough to be read as a header" * 20)
    host = SyncHost(worker(tmp_path, "sim/m-*"), providers={}, ledger=broken)
    with pytest.raises(LedgerError):
        host.__enter__()
    assert own_threads() <= before

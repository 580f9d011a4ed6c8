"""Lists of models: asked once for many, kept for a time by the given clock, served on when a renewal fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bundle_loader import Host, SimulatedProvider
from bundle_loader.providers.catalogues import KEEP, KEEP_FAILURE, Catalogues
from bundle_loader.providers.live import Missing
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import mounted, worker
from tests.support.vendors import Fault, World

Served = tuple[World, str]


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Held(SimulatedProvider):
    """A provider whose list comes when it is let go."""

    def __init__(self, id: str, **more: object) -> None:
        super().__init__(id, **more)  # type: ignore[arg-type]
        self.let_go = asyncio.Event()

    async def list_models(self) -> Sequence[ModelInfo]:
        listed = await super().list_models()
        await self.let_go.wait()
        return listed


async def chosen(host: Host) -> str | None:
    found = (await host.route("worker")).chosen
    return found.model if found else None


async def failed(host: Host, provider: str) -> None:
    """Wait until the renewal that runs beside has failed."""
    async with asyncio.timeout(10):
        while "failed" not in str((await host.offers([provider])).by_id[provider].stale):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


async def test_many_at_once_ask_once(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", "google/gemini-2.5-pro", "ollama/qwen3*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        assert world.requests == [], "opening a host asks nobody"
        routes = await asyncio.gather(*(host.route("worker") for _ in range(100)))
        assert {len(route.candidates) for route in routes} == {4}
        await host.delegate("worker", "Work.")
    assert {name: len(world.lists(name)) for name in ("anthropic", "openai", "google")} == dict.fromkeys(
        ("anthropic", "openai", "google"), 1
    )
    assert {request.path for request in world.lists("ollama")} == {request.path for request in world.lists("ollama")[:2]}
    assert len(world.lists("ollama")) == len({request.path for request in world.lists("ollama")})
    assert world.lists("openrouter") == []


async def test_providers_are_asked_at_the_same_time(tmp_path: Path) -> None:
    first, second = Held("a", models=["m-1"]), Held("b", models=["m-1"])
    async with Host(worker(tmp_path, "a/m-*", "b/m-*"), providers={"a": first, "b": second}, ledger=tmp_path / "l.db") as host:
        route = asyncio.create_task(host.route("worker"))
        async with asyncio.timeout(2):
            while not (first.list_calls and second.list_calls):  # noqa: ASYNC110 - both before either has answered
                await asyncio.sleep(0.001)
        first.let_go.set()
        second.let_go.set()
        assert len((await route).candidates) == 2


async def test_only_those_that_are_preferred_are_asked(tmp_path: Path) -> None:
    providers = {name: SimulatedProvider(name, models=["m-1"]) for name in "abc"}
    async with Host(worker(tmp_path, "a/m-*", "c/m-*"), providers=providers, ledger=tmp_path / "l.db") as host:
        await host.route("worker")
        assert [providers[name].list_calls for name in "abc"] == [1, 0, 1]
        offers = await host.offers()
        assert [providers[name].list_calls for name in "abc"] == [1, 1, 1]
    assert all(offer.catalogue for offer in offers.by_id.values())


async def test_one_caller_who_gives_up_does_not_take_the_list_from_the_others(tmp_path: Path) -> None:
    provider = Held("a", models=["m-1"])
    async with Host(worker(tmp_path, "a/m-*"), providers={"a": provider}, ledger=tmp_path / "l.db") as host:
        leaves, stays = asyncio.create_task(host.route("worker")), asyncio.create_task(host.route("worker"))
        await asyncio.sleep(0.01)
        leaves.cancel()
        await asyncio.sleep(0.01)
        provider.let_go.set()
        assert (await stays).chosen is not None
    assert provider.list_calls == 1


async def test_a_list_is_kept_for_its_time_and_then_renewed(tmp_path: Path) -> None:
    clock = Clock()
    provider = SimulatedProvider("a", models=["m-1"])
    async with Host(worker(tmp_path, "a/m-*"), providers={"a": provider}, ledger=tmp_path / "l.db", clock=clock) as host:
        assert await chosen(host) == "m-1"
        provider.models = (ModelInfo("m-1"), ModelInfo("m-2"))
        clock.now += KEEP - 1
        assert await chosen(host) == "m-1"
        assert provider.list_calls == 1
        clock.now += 1
        assert await chosen(host) == "m-1", "an older list serves while it is renewed"
        await asyncio.sleep(0.01)
        assert await chosen(host) == "m-2", "resolved when delegated, without loading the bundle again"
        assert (await host.delegate("worker", "Work.")).model == "m-2"
    assert provider.list_calls == 2


async def test_an_old_list_serves_on_with_a_note_when_its_renewal_fails(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Clock()
    providers = mounted(world, base)
    async with Host(worker(tmp_path, "openai/gpt-4o"), providers=providers, ledger=tmp_path / "l.db", clock=clock) as host:
        assert (await host.route("worker")).notes == ()
        world.vendor("openai").fault = Fault.list(Fault.status(503))
        clock.now += KEEP
        assert (await host.route("worker")).notes == ("openai: its list of models is 15 min old and is being renewed",)
        await failed(host, "openai")
        route = await host.route("worker")
        assert route.chosen is not None
        (note,) = route.notes
        assert note.startswith("openai: its list of models is an old one, since the newest try failed (busy 503")
        result = await host.delegate("worker", "Work.")
        assert note in result.notes
        world.vendor("openai").fault = None
        clock.now += KEEP_FAILURE
        assert (await host.route("worker")).notes == (note,), "what failed last is said until a renewal succeeds"
        await host.refresh(["openai"])
        assert (await host.route("worker")).notes == ()
    assert len(world.lists("openai")) == 3


async def test_a_failure_is_remembered_for_a_short_time(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Clock()
    providers = mounted(world, base)
    world.vendor("openai").fault = Fault.list(Fault.status(503))
    async with Host(worker(tmp_path, "openai/gpt-4o"), providers=providers, ledger=tmp_path / "l.db", clock=clock) as host:
        for _ in range(3):
            (rejection,) = (await host.route("worker")).rejections
            assert rejection.reason.startswith("its list of models could not be fetched (busy 503")
        world.vendor("openai").fault = None
        clock.now += KEEP_FAILURE - 1
        assert await chosen(host) is None
        assert len(world.lists("openai")) == 1
        clock.now += 1
        assert await chosen(host) == "gpt-4o"


async def test_a_list_that_does_not_come_is_given_up() -> None:
    slow, quick = Held("slow", models=["m-1"]), SimulatedProvider("quick", models=["m-1"])
    catalogues = Catalogues({"slow": slow, "quick": quick, "none": Missing("none", "no key: set X")}, clock=Clock(), patience=0.1)
    offers = await catalogues.offers()
    assert offers.by_id["slow"].reason == "its list of models could not be fetched (busy: timeout: no answer within 0.1 s)"
    assert offers.by_id["quick"].catalogue is not None
    assert offers.by_id["none"].reason == "no key: set X"
    await catalogues.aclose()


async def test_every_page_of_a_list_counts(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    for name in ("anthropic", "google"):
        world.vendor(name).page_size = 1
    bundle = worker(tmp_path, "anthropic/claude-sonnet-4-5*", "google/gemini-3-flash*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        assert len((await host.route("worker")).candidates) == 2
    assert len(world.lists("google")) == 6

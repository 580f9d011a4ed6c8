"""Lists that are likely to be wrong: a model that is gone renews its provider's, and a local one is asked for again soon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bundle_loader import Host, NoAnswer, SimulatedProvider
from bundle_loader.messages import StreamPart
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.catalogues import BRIEFLY, KEEP, KEEP_LOCAL, KEEP_RENEWED, Catalogues
from bundle_loader.providers.faults import failure
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import mounted, worker
from tests.support.vendors import Fault, World

Served = tuple[World, str]


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Listed(SimulatedProvider):
    """A provider whose list takes a while once it is told so."""

    def __init__(self, id: str, *models: str, local: bool = False) -> None:
        super().__init__(id, models=models, local=local)
        self.seconds = 0.0

    async def list_models(self) -> Sequence[ModelInfo]:
        listed = await super().list_models()
        await asyncio.sleep(self.seconds)
        return listed


def ids(catalogues: Catalogues, id: str) -> list[str]:
    """What serves now."""
    offers = catalogues.current([id])
    catalogue = offers.by_id[id].catalogue if offers is not None else None
    return [model.id for model in catalogue.models] if catalogue is not None else []


# --- a model that is gone

GONE = {
    "anthropic": "claude-haiku-4-5-20251001",
    "openai": "gpt-4o-mini",
    "google": "gemini-2.5-flash",
    "ollama": "qwen3:8b",
}


@pytest.mark.parametrize("vendor", GONE)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_is_gone_renews_the_list_for_the_next_delegation(
    vendors: Served, tmp_path: Path, vendor: str, streamed: bool
) -> None:
    world, base = vendors
    glob = {"anthropic": "claude-*", "openai": "gpt-4o*", "google": "gemini-2.5-*", "ollama": "*"}[vendor]
    served = world.vendor(vendor)
    served.models = [entry for entry in served.models if served.wire.identity(entry) == GONE[vendor]]
    new = {"anthropic": "claude-haiku-9", "openai": "gpt-4o-9", "google": "gemini-2.5-flash-9", "ollama": "qwen9:8b"}[vendor]
    other = "openai/gpt-4o" if vendor != "openai" else "anthropic/claude-sonnet-4-6"
    clock = Clock()
    bundle = worker(tmp_path, f"{vendor}/{glob}", other)
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        await host.route("worker")
        assert len(world.lists(vendor)) == 1
        served.offer(new)
        if streamed:
            _ = [event async for event in host.stream("worker", "Work.")]
        else:
            assert (await host.delegate("worker", "Work.")).provider == other.partition("/")[0]
        result = await host.delegate("worker", "Work.")
        assert (result.provider, result.model) == (vendor, new)
    assert len(world.lists(vendor)) == 2


async def test_a_provider_that_always_answers_so_is_asked_once_a_minute() -> None:
    clock = Clock()
    provider = Listed("a", "m-1")
    catalogues = Catalogues({"a": provider}, clock=clock)
    await catalogues.offers(["a"])
    for minute in range(3):
        for _ in range(4):
            catalogues.renew("a")
            await catalogues.offers(["a"])
        assert provider.list_calls == minute + 2
        clock.now += KEEP_RENEWED


class Gone(Listed):
    """Lists a model that it then knows nothing of."""

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        if request.model == "m-2":
            raise failure(self.id, request.model, 404, "no such model")
        async for part in super().stream(request):
            yield part


async def test_a_listed_model_that_is_always_gone_is_asked_for_in_no_loop(tmp_path: Path) -> None:
    clock = Clock()
    gone = Gone("a", "m-2", "m-1")
    other = Listed("b", "m-1")
    bundle = worker(tmp_path, "a/m-*", "b/m-1")
    async with Host(bundle, providers={"a": gone, "b": other}, ledger=tmp_path / "l.db", clock=clock) as host:
        async with asyncio.timeout(30):
            for turn in range(3):
                result = await host.delegate("worker", "Work.")
                assert (result.provider, result.model) == (("b", "m-1") if not turn and result.provider == "b" else ("a", "m-1"))
                told = str(result.attempts[0]) if not turn else " ".join(result.notes)
                assert "m-2" in told, "the first asks it, and each after says until when it is passed over"
                assert not turn or "free again in" in told
            assert gone.list_calls == 2, "once at first, and once because the model was gone"
            clock.now += KEEP_RENEWED
            for _ in range(2):
                await host.delegate("worker", "Work.")
            assert gone.list_calls <= 3


@pytest.mark.parametrize(
    "fault",
    [Fault.status(403), Fault.status(401), Fault.status(429), Fault.status(503), Fault.too_long(), Fault.status(400)],
    ids=["403", "401", "429", "503", "too long", "400"],
)
async def test_other_failures_renew_nothing(vendors: Served, tmp_path: Path, fault: Fault) -> None:
    world, base = vendors
    world.vendor("openai").fault = fault
    bundle = worker(tmp_path, "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-6")
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        for _ in range(2):
            # what a request that is wrong ends in is not what is tested
            with contextlib.suppress(NoAnswer):
                await host.delegate("worker", "Work.")
        await host.offers()
    assert len(world.lists("openai")) == 1


async def test_a_renewal_that_hangs_is_waited_for_briefly() -> None:
    provider = Listed("a", "m-1")
    catalogues = Catalogues({"a": provider}, clock=Clock())
    await catalogues.offers(["a"])
    provider.models, provider.seconds = (ModelInfo("m-2"),), 30.0
    catalogues.renew("a")
    catalogues.renew("a")
    catalogues.renew("nobody")
    began = time.monotonic()
    offers = await catalogues.offers(["a"])
    assert BRIEFLY * 0.9 < time.monotonic() - began < 10
    assert offers.by_id["a"].catalogue is not None
    assert [model.id for model in offers.by_id["a"].catalogue.models] == ["m-1"]
    assert offers.by_id["a"].stale == "it is being renewed"
    assert provider.list_calls == 2
    await catalogues.aclose()


async def test_a_renewal_needs_a_list_to_renew() -> None:
    provider = Listed("a", "m-1")
    catalogues = Catalogues({"a": provider}, clock=Clock())
    catalogues.renew("a")
    await asyncio.sleep(0)
    assert provider.list_calls == 0


# --- local ones


async def test_a_model_that_was_pulled_is_seen_by_the_next_delegation(tmp_path: Path) -> None:
    clock = Clock()
    here, cloud = Listed("here", "m-1", local=True), Listed("cloud", "m-1")
    providers = {"here": here, "cloud": cloud}
    bundle = worker(tmp_path, "here/m-*", "cloud/m-*")
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", clock=clock) as host:
        await host.route("worker")
        here.models = cloud.models = (ModelInfo("m-1"), ModelInfo("m-2"))
        clock.now += KEEP_LOCAL - 0.1
        assert [one.model for one in (await host.route("worker")).candidates] == ["m-1", "m-1"]
        assert (here.list_calls, cloud.list_calls) == (1, 1)
        clock.now += 0.2
        result = await host.delegate("worker", "Work.")
        assert (result.provider, result.model, result.notes) == ("here", "m-2", ())
        assert (here.list_calls, cloud.list_calls) == (2, 1)
        clock.now += KEEP
        cloud.seconds = 30.0
        assert [one.model for one in (await host.route("worker")).candidates] == ["m-2", "m-1"], "a cloud's serves meanwhile"


async def test_a_local_list_that_hangs_is_waited_for_briefly_and_serves_on() -> None:
    clock = Clock()
    here = Listed("here", "m-1", local=True)
    catalogues = Catalogues({"here": here}, clock=clock)
    await catalogues.offers()
    clock.now += KEEP_LOCAL
    here.models, here.seconds = (ModelInfo("m-2"),), 30.0
    began = time.monotonic()
    offer = (await catalogues.offers()).by_id["here"]
    assert time.monotonic() - began < 10
    assert offer.catalogue is not None
    assert [model.id for model in offer.catalogue.models] == ["m-1"]
    assert offer.note == "here: its list of models is 10 s old and is being renewed"
    await catalogues.aclose()

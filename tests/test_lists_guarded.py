"""Providers of others that do what they like while they are asked for models or closed: a reason, in time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host, SimulatedProvider
from bundle_loader.providers.catalogues import KEEP, KEEP_FAILURE, Catalogues
from bundle_loader.providers.endpoint import endpoint
from bundle_loader.providers.saved import SavedCatalogues
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.model_names import newest_models
from tests.support.hosting import worker


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Own:
    """A host's own provider, whose list is what a function does."""

    local: Any = False

    def __init__(self, listing: Callable[[], Any], closing: Callable[[], Any] | None = None) -> None:
        self.id = "own"
        self.listing, self.closing = listing, closing
        self.asked = 0

    async def list_models(self) -> Any:
        self.asked += 1
        found = self.listing()
        return await found if asyncio.iscoroutine(found) else found

    async def stream(self, request: Any) -> Any:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        if self.closing is not None:
            found = self.closing()
            if asyncio.iscoroutine(found):
                await found


class Wordless(Exception):
    """Its own text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Odd(BaseException):
    """Neither an error nor one of Python's own ends."""


def raising(error: BaseException) -> Callable[[], Any]:
    def listing() -> Any:
        raise error

    return listing


async def stubborn() -> Any:
    """Swallows that it is cancelled, for a while longer than any test waits."""
    until = time.monotonic() + 20
    while time.monotonic() < until and not LET_GO.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
    return []


LET_GO = threading.Event()


@pytest.fixture(autouse=True)
def let_go() -> None:
    """A stubborn task ends with its test: the loop waits for it."""
    LET_GO.clear()


ENDS: dict[str, tuple[BaseException, str]] = {
    "a cancellation of its own": (asyncio.CancelledError(), "it raised CancelledError"),
    "an exit": (SystemExit(3), "it raised SystemExit"),
    "an interruption": (KeyboardInterrupt(), "it raised KeyboardInterrupt"),
    "something else": (Odd(), "it raised Odd"),
    "no words": (Wordless(), "Wordless"),
    "a time limit of its own": (TimeoutError(), "timeout: no answer"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_whatever_a_provider_raises_is_its_reason_and_the_others_serve(tmp_path: Path, name: str) -> None:
    error, said = ENDS[name]
    providers: Any = {"own": Own(raising(error)), "good": SimulatedProvider("good", models=["m-1"])}
    async with Host(worker(tmp_path, "own/*", "good/*"), providers=providers, ledger=tmp_path / "l.db") as host:
        found = await host.route("worker")
    assert [candidate.provider for candidate in found.candidates] == ["good"]
    assert said in found.rejections[0].reason


async def test_who_asks_may_be_cancelled() -> None:
    catalogues = Catalogues({"own": Own(lambda: asyncio.sleep(30))}, clock=Clock())
    asking = asyncio.create_task(catalogues.offers())
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    began = time.monotonic()
    await catalogues.aclose()
    assert time.monotonic() - began < 2


async def test_a_provider_that_swallows_its_cancellation_holds_nobody_up(tmp_path: Path) -> None:
    providers: Any = {"own": Own(stubborn), "good": SimulatedProvider("good", models=["m-1"])}
    catalogues = Catalogues(providers, clock=Clock(), patience=0.1)
    began = time.monotonic()
    offers = await catalogues.offers()
    assert offers.by_id["own"].reason == "its list of models could not be fetched (busy: timeout: no answer within 0.1 s)"
    assert offers.by_id["good"].catalogue is not None
    await catalogues.aclose()
    assert time.monotonic() - began < 5
    LET_GO.set()


CLOSING_ENDS = [SystemExit(3), asyncio.CancelledError(), Wordless(), RuntimeError("x")]


@pytest.mark.parametrize("error", CLOSING_ENDS, ids=lambda error: type(error).__name__)
async def test_a_provider_that_cannot_be_closed_leaves_the_others_closed(tmp_path: Path, error: BaseException) -> None:
    closed: list[str] = []
    providers: Any = {
        "own": Own(lambda: ["m"], raising(error)),
        "other": Own(lambda: ["m"], lambda: closed.append("other")),
    }
    async with Host(worker(tmp_path, "own/*"), providers=providers, ledger=tmp_path / "l.db") as host:
        await host.route("worker")
    assert closed == ["other"]


async def test_a_host_closes_in_time_though_a_provider_does_not(tmp_path: Path) -> None:
    providers: Any = {"own": Own(lambda: ["m"], stubborn)}
    host = Host(worker(tmp_path, "own/*"), providers=providers, ledger=tmp_path / "l.db")
    async with host:
        began = time.monotonic()
    assert time.monotonic() - began < 15
    LET_GO.set()


# --- what it lists

ODD: dict[str, Any] = {
    "created": "2026",
    "window": {"a": 1},
    "output_limit": "5",
    "capabilities": 5,
    "assumed": None,
    "kind": 5,
    "stage": [7],
    "barred": 5,
    "retires": "soon",
    "aliases": None,
    "prices": None,
    "declared": "no",
    "from_table": None,
    "digest": [1],
    "extra": None,
}


@pytest.mark.parametrize("field", ODD)
async def test_a_value_of_a_wrong_type_is_not_known(tmp_path: Path, field: str) -> None:
    odd = ModelInfo("m-1", **{field: ODD[field]})
    clean = ModelInfo("m-1")
    saved = SavedCatalogues(tmp_path / "lists")
    at = endpoint("own", None)
    catalogues = Catalogues({"own": Own(lambda: [odd, ModelInfo("m-0")])}, clock=Clock(), saved=saved, endpoints={"own": at})
    catalogue = (await catalogues.offers()).by_id["own"].catalogue
    await catalogues.aclose()
    assert catalogue is not None
    assert catalogue.models[0].created in (None, datetime(2026, 1, 1, tzinfo=UTC))
    if field != "created":
        assert (catalogue.models[0], catalogue.models[0].extra) == (clean, {})
    assert saved.read("own", at, Clock().now).catalogue is not None, "and can be saved"
    assert [one.id for one in newest_models("m-*", [odd, ModelInfo("m-0")])] == ["m-1", "m-0"]


async def test_what_means_the_same_is_taken() -> None:
    fields: dict[str, Any] = {"capabilities": ["tools"], "aliases": ["a"], "prices": {"input": "x", "output": "1"}}
    told = ModelInfo("m-1", created=datetime(2026, 1, 2), **fields)
    catalogue = (await Catalogues({"own": Own(lambda: [told])}, clock=Clock()).offers()).by_id["own"].catalogue
    assert catalogue is not None
    [model] = catalogue.models
    assert (model.created, model.capabilities) == (datetime(2026, 1, 2, tzinfo=UTC), {"tools"})
    assert (model.aliases, dict(model.prices)) == (("a",), {"output": "1"})


async def test_an_unclear_place_is_not_this_machine(tmp_path: Path) -> None:
    provider = Own(lambda: [ModelInfo("m-1", local="perhaps"), ModelInfo("m-0")])  # type: ignore[arg-type]
    provider.local = True
    claims = Own(lambda: ["m-1"])
    claims.local = "no"
    bundle = worker(tmp_path, "own/m-*", "claims/m-*")
    providers: Any = {"own": provider, "claims": claims}
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        found = await host.route("worker", local_only=True)
    assert [(one.provider, one.model) for one in found.candidates] == [("own", "m-0")]


# --- a clock that is set back


async def test_a_list_from_the_future_is_expired() -> None:
    clock = Clock()
    provider = Own(lambda: ["m-1"])
    catalogues = Catalogues({"own": provider}, clock=clock)
    await catalogues.offers()
    provider.listing = lambda: ["m-2"]
    clock.now -= 3 * 24 * 3600
    assert catalogues.current(["own"]) is None
    catalogue = (await catalogues.offers()).by_id["own"].catalogue
    assert catalogue is not None
    assert ([model.id for model in catalogue.models], catalogue.learnt) == (["m-2"], clock.now), (
        "waited for: its age is not known"
    )
    clock.now += KEEP / 2
    assert catalogues.current(["own"]) is not None
    assert provider.asked == 2


async def test_so_is_a_failure_from_the_future() -> None:
    clock = Clock()
    provider = Own(raising(ValueError("down")))
    catalogues = Catalogues({"own": provider}, clock=clock)
    await catalogues.offers()
    provider.listing = lambda: ["m-1"]
    clock.now -= KEEP_FAILURE / 2
    assert (await catalogues.offers()).by_id["own"].catalogue is not None


# --- saving


class SlowlySaved(SavedCatalogues):
    """Saves the first list only when it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.let_go = threading.Event()
        self.begun: list[str] = []

    def write(self, catalogue: Catalogue, at: Any) -> str | None:
        self.begun.append(catalogue.models[0].id)
        if len(self.begun) == 1:
            self.let_go.wait(10)
        return super().write(catalogue, at)


async def test_a_save_waits_for_the_one_before_and_closing_for_both(tmp_path: Path) -> None:
    clock, at = Clock(), endpoint("own", None)
    saved = SlowlySaved(tmp_path)
    provider = Own(lambda: ["m-1"])
    catalogues = Catalogues({"own": provider}, clock=clock, saved=saved, endpoints={"own": at})
    await catalogues.offers()
    provider.listing = lambda: ["m-2"]
    await catalogues.offers(refresh=True)
    await asyncio.sleep(0.1)
    assert saved.begun == ["m-1"], "the newer one would be overwritten by the older"
    closing = asyncio.create_task(catalogues.aclose())
    await asyncio.sleep(0.05)
    assert not closing.done()
    saved.let_go.set()
    await closing
    kept = saved.read("own", at, clock.now).catalogue
    assert kept is not None
    assert [model.id for model in kept.models] == ["m-2"]


@pytest.mark.parametrize("error", [RuntimeError, LookupError, OSError, ZeroDivisionError])
async def test_a_hosts_listener_may_raise_anything(error: type[Exception]) -> None:
    def listener(old: Catalogue, new: Catalogue) -> None:
        raise error("x")

    provider = Own(lambda: ["m-1"])
    catalogues = Catalogues({"own": provider}, clock=Clock(), changed=listener)
    await catalogues.offers()
    provider.listing = lambda: ["m-2"]
    catalogue = (await catalogues.offers(refresh=True)).by_id["own"].catalogue
    assert catalogue is not None
    assert [model.id for model in catalogue.models] == ["m-2"]

"""Lists of models that do not come, or come wrong: through each real SDK over sockets, a reason in the route, never a crash."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import SimulatedProvider
from bundle_loader.providers import table
from bundle_loader.providers.base import Provider
from bundle_loader.providers.catalogues import Catalogues
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.providers.taken_in import MOST_MODELS
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.request import make_request
from bundle_loader.routing.resolve import Resolver
from bundle_loader.routing.route import route
from tests.support.hosting import worker
from tests.support.vendors import Fault, World, serving

VENDORS = ("anthropic", "openai", "google", "ollama", "openrouter")
PAGED = ("anthropic", "google", "openrouter")
FAILED = "its list of models could not be fetched"


@dataclass(frozen=True)
class Case:
    """What the list does, and what the rejection says of it (a pattern)."""

    fault: Fault
    said: str
    patience: float = 15.0


def _of_status(status: int, kind: str) -> Case:
    return Case(Fault.status(status), rf"{FAILED} \({kind} {status}: ")


_BROKEN = rf"{FAILED} \(broken answer: "
CASES: Mapping[str, Case] = {
    "reset": Case(Fault.reset(), rf"{FAILED} \(busy: no connection"),
    "hang up": Case(Fault.hang_up(), rf"{FAILED} \((busy|broken answer): "),
    "unauthorised": _of_status(401, "refused"),
    "forbidden": _of_status(403, "refused"),
    "not found": _of_status(404, "refused"),
    "limited": _of_status(429, "limited"),
    "broken server": _of_status(500, "busy"),
    "down for work": _of_status(503, "busy"),
    "slow": Case(Fault.stall(), rf"{FAILED} \(busy: timeout: no answer within 0.5 s\)", 0.5),
    "slow midway": Case(Fault.stall_midway(), rf"{FAILED} \(busy: timeout: no answer within 0.5 s\)", 0.5),
    "no bytes": Case(Fault.empty(), _BROKEN),
    "a page for people": Case(Fault.html(), _BROKEN),
    "half": Case(Fault.malformed(), _BROKEN),
    "cut": Case(Fault.cut(), rf"{FAILED} \((busy|broken answer): "),
    "another shape": Case(Fault.wrong_shape(), rf"{FAILED} \(broken answer|matches none of 0 models"),
    "nothing": Case(Fault.status(200, body=b"null"), rf"{FAILED} \(broken answer: "),
    "a bare number": Case(Fault.status(200, body=b"7"), rf"{FAILED} \(broken answer: "),
    "very large": Case(
        Fault.status(200, body=b'{"data":[' + b" " * (9 << 20) + b"]}"), rf"{_BROKEN}the list of models is larger than 8 MB"
    ),
}
"""Each fault, at every vendor, whose list alone has it."""


def providers(world: World, base: str) -> dict[str, Provider]:
    """The real adapters, each led to its vendor here."""
    live = live_providers(world.environment(base))
    found = {id: one for id, one in live.items() if not isinstance(one, Missing)}
    row = table.rows()["openrouter"]
    return found | {"openrouter": CompatibleProvider(row, api_key="test-key", base_url=world.url(base, "openrouter"))}


@asynccontextmanager
async def asking(world: World, **more: Any) -> AsyncIterator[Catalogues]:
    async with serving(world) as base:
        mounted = providers(world, base)
        catalogues = Catalogues(mounted, clock=Clock(), **more)
        yield catalogues
        await catalogues.aclose()
        for provider in mounted.values():
            await provider.aclose()


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def routed(catalogues: Catalogues, folder: Path, *preferences: str) -> Route:
    bundle = worker(folder, *preferences)
    offers = await catalogues.offers(preference.partition("/")[0] for preference in preferences)
    return route(bundle, make_request(bundle.agent("worker")), offers, Resolver())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_list_that_fails_is_a_reason_and_the_next_provider_serves(
    world: World, tmp_path: Path, vendor: str, name: str
) -> None:
    case = CASES[name]
    other = "openai" if vendor != "openai" else "anthropic"
    world.vendor(vendor).fault = Fault.list(case.fault)
    async with asking(world, patience=case.patience) as catalogues:
        found = await routed(catalogues, tmp_path, f"{vendor}/*", f"{other}/*")
    assert [candidate.provider for candidate in found.candidates] == [other]
    [rejection] = found.rejections
    assert re.search(case.said, rejection.reason), rejection.reason
    assert "test-key" not in rejection.reason
    assert len(rejection.reason) < 800


@pytest.mark.parametrize("name", CASES)
async def test_a_later_page_that_fails_fails_the_list(world: World, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    for vendor in PAGED:
        world.vendor(vendor).page_size = 2
        world.vendor(vendor).faults = [Fault.list(Fault.stall(0)), *[Fault.list(case.fault)] * 4]
    async with asking(world, patience=case.patience) as catalogues:
        found = await routed(catalogues, tmp_path, *(f"{vendor}/*" for vendor in PAGED))
    assert found.candidates == (), "half a list is no list"
    assert {rejection.provider for rejection in found.rejections} == set(PAGED)
    for rejection in found.rejections:
        assert FAILED in rejection.reason
    if case.patience > 1:
        assert all(len(world.lists(vendor)) >= 2 for vendor in PAGED), "a connection that is lost may be made anew"


async def test_nobody_there(tmp_path: Path) -> None:
    world = World()
    async with serving(world) as base:
        mounted = providers(world, base)
    catalogues = Catalogues(mounted, clock=Clock())
    found = await routed(catalogues, tmp_path, *(f"{vendor}/*" for vendor in VENDORS))
    assert found.candidates == ()
    assert len(found.rejections) == len(VENDORS)
    for rejection in found.rejections:
        assert rejection.reason.startswith(f"{FAILED} (busy: no connection"), rejection.reason
    await catalogues.aclose()
    for provider in mounted.values():
        await provider.aclose()


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_model_that_is_listed_twice_is_one(world: World, vendor: str) -> None:
    served = world.vendor(vendor)
    ids = list(served.ids)
    served.models = [*served.models, *served.models]
    async with asking(world) as catalogues:
        catalogue = (await catalogues.offers([vendor])).by_id[vendor].catalogue
    assert catalogue is not None
    assert [model.id for model in catalogue.models] == ids


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_list_that_becomes_empty_takes_no_good_one_with_it(world: World, vendor: str, tmp_path: Path) -> None:
    async with asking(world) as catalogues:
        before = (await catalogues.offers([vendor])).by_id[vendor].catalogue
        assert before is not None
        world.vendor(vendor).models = []
        offer = (await catalogues.offers([vendor], refresh=True)).by_id[vendor]
        found = await routed(catalogues, tmp_path, f"{vendor}/*")
    assert offer.catalogue is not None
    if vendor == "ollama":
        assert (offer.catalogue.models, offer.stale) == ((), None), "whoever runs it may take all of its models away"
        return
    assert offer.catalogue.models == before.models
    assert "no" in str(offer.stale)
    assert "the newest try failed (broken answer" in str(offer.stale)
    assert len(found.candidates) == 1
    assert found.notes == (offer.note,)


class Odd:
    """A host's own provider, whose list is whatever it is given."""

    local = False

    def __init__(self, id: str, listed: Any) -> None:
        self.id, self.listed = id, listed

    async def list_models(self) -> Sequence[ModelInfo]:
        listed: Sequence[ModelInfo] = self.listed() if callable(self.listed) else self.listed
        return listed

    async def stream(self, request: Any) -> Any:
        raise NotImplementedError
        yield

    async def aclose(self) -> None:
        return


ODD: Mapping[str, tuple[Any, str]] = {
    "none": (None, "broken answer: the provider broke (TypeError"),
    "a number": (7, "broken answer: the provider broke (TypeError"),
    "numbers": ([1, 2], "broken answer: the provider broke ("),
    "no id": ([{"window": 5}], "a model needs an id"),
    "too many": (lambda: [ModelInfo(f"m-{number}") for number in range(MOST_MODELS + 1)], "it lists more than 20,000 models"),
    "endless": (lambda: _endless(), "it lists more than 20,000 models"),
}


def _endless() -> Any:
    while True:
        yield ModelInfo("m")


@pytest.mark.parametrize("name", ODD)
async def test_a_hosts_own_provider_may_list_anything(tmp_path: Path, name: str) -> None:
    listed, said = ODD[name]
    mounted: dict[str, Any] = {"odd": Odd("odd", listed), "good": SimulatedProvider("good", models=["m-1"])}
    catalogues = Catalogues(mounted, clock=Clock())
    found = await routed(catalogues, tmp_path, "odd/*", "good/*")
    assert [candidate.provider for candidate in found.candidates] == ["good"]
    assert said in found.rejections[0].reason
    await catalogues.aclose()


async def test_what_has_no_id_is_left_out() -> None:
    catalogues = Catalogues({"odd": Odd("odd", [ModelInfo(""), ModelInfo("  "), ModelInfo("m")])}, clock=Clock())
    catalogue = (await catalogues.offers()).by_id["odd"].catalogue
    assert catalogue is not None
    assert [model.id for model in catalogue.models] == ["m"]

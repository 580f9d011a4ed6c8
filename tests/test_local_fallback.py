"""Clouds that are down, each in its own way: a local model answers, goes on with what was done, and all of it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import AllFailed, Host
from bundle_loader.events import FallbackEvent, StatusEvent
from bundle_loader.testing import collected
from tests.support.hosting import MODELS, worker
from tests.support.script import Request
from tests.support.vendors import Fault, Reply, World

CLOUDS = ("anthropic", "openai", "google")
CHAIN = [f"{vendor}/{MODELS[vendor][0]}" for vendor in (*CLOUDS, "ollama")]


def off(vendor: Any) -> None:
    """Nothing of it is reached any more: connections, those for lists too, are reset."""
    vendor.on = False


def status(code: int) -> Callable[[Any], None]:
    def fail(vendor: Any) -> None:
        vendor.fault = Fault.status(code)

    return fail


DOWN: dict[str, Sequence[Callable[[Any], None]]] = {
    "no connection at all": (off, off, off),
    "every one busy": (status(503), status(529), status(500)),
    "each in its way": (status(401), off, status(429)),
}


@pytest.mark.requirement("TSK-64")
async def test_a_local_model_answers_while_the_clouds_are_down_and_that_is_recorded(
    vendors: tuple[World, str], tmp_path: Path
) -> None:
    """From the first request, and in the middle of the work: what a tool has done is not done again."""
    world, base = vendors
    effects: list[str] = []
    ways: Sequence[Callable[[Any], None]] = ()

    def take_down() -> None:
        for vendor, fail in zip(CLOUDS, ways, strict=True):
            fail(world.vendor(vendor))

    def pay(what: str) -> str:
        """Pay for it; from then on the clouds are down."""
        effects.append(what)
        take_down()
        return f"paid {what}"

    def cloud(request: Request) -> Reply:
        return Reply("First.", tool_calls=[("pay", {"what": "rent"})])

    environment = world.environment(base) | {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    world.vendor("ollama").answer = lambda request: Reply("Done here.")
    for name, midway in product(DOWN, (False, True)):
        ways = DOWN[name]
        for vendor in CLOUDS:
            world.vendor(vendor).on, world.vendor(vendor).fault, world.vendor(vendor).answer = True, None, cloud
        if not midway:
            take_down()
        folder = tmp_path / f"{name} {midway}"
        folder.mkdir()
        effects.clear()
        async with Host(worker(folder, *CHAIN), ledger=folder / "l.db", environment=environment, sessions=None) as host:
            events = await collected(host.stream("worker", "Pay the rent.", tools=[pay]))
            result = events[-1].result  # type: ignore[union-attr]
            [row] = host.ledger.delegations()
            attempts, hops, calls = (host.ledger.query(table, delegation=result.id) for table in ("attempts", "hops", "calls"))
        assert (result.text, result.provider, result.model) == ("Done here.", "ollama", MODELS["ollama"][0]), name
        assert effects == (["rent"] if midway else [])
        # who answered, what failed before with its reason, and every hop, as the ledger and the caller have them
        assert (row["provider"], row["model"], row["outcome"]) == ("ollama", MODELS["ollama"][0], "answered")
        assert [(one["provider"], one["outcome"]) for one in attempts] == [(one.provider, one.outcome) for one in result.attempts]
        assert attempts[-1]["provider"] == calls[-1]["provider"] == "ollama"
        assert all(one["reason"] for one in attempts[:-1])
        before = [event for event in events if isinstance(event, StatusEvent)][-1].before
        assert all(any(vendor in line for line in before) for vendor in CLOUDS), (name, before)
        told = [(e.from_provider, e.to_provider, e.reason) for e in events if isinstance(e, FallbackEvent)]
        assert [(hop["from_provider"], hop["to_provider"], hop["reason"]) for hop in hops] == told
        assert len(told) == len(attempts) - 1


async def test_with_the_local_one_down_as_well_every_reason_is_told(vendors: tuple[World, str], tmp_path: Path) -> None:
    world, base = vendors
    for vendor in (*CLOUDS, "ollama"):
        world.vendor(vendor).fault = Fault.status(503)
    environment = world.environment(base) | {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    async with Host(worker(tmp_path, *CHAIN), ledger=tmp_path / "l.db", environment=environment, sessions=None) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("worker", "Pay the rent.")
    assert [attempt.provider for attempt in caught.value.attempts] == [*CLOUDS, "ollama"]

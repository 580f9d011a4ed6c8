"""Bad weather: vendors with outages, bursts of 429, slow first tokens and cut streams, and delegations that come through it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import pytest

from benchmarks.chaos_run import TIERS, Plan, Tally, in_its_own_time
from benchmarks.fast_time import JumpLoop
from benchmarks.weather import BLACKOUT, BURSTS, MOST_OUT, OUTAGES, VENDORS, Weather
from bundle_loader import DelegationResult, Host
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.messages import Delta, StreamPart, Turn, Usage, assistant
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import worker
from tests.support.vendors import DEFAULT_TEXT, Fault, World

ARRIVALS = 1000
"""In ten minutes of weather, in a loop whose time jumps: a seed comes to the same however busy the machine is."""


@pytest.fixture(scope="module", params=[1, 2, 3], ids="seed {}".format)
def weathered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tally:
    return in_its_own_time(Plan(request.param, "ours", ARRIVALS), tmp_path_factory.mktemp("chaos"))


@pytest.mark.slow
@pytest.mark.requirement("RTR-65")
def test_nearly_all_requests_are_handled_despite_outages(weathered: Tally) -> None:
    assert weathered.up >= 0.995, "else the run shows nothing"
    assert weathered.handled >= 0.99, weathered.examples
    assert weathered.garbage == 0


@pytest.mark.requirement("RTR-68")
def test_every_model_type_completes_nearly_all_of_what_is_admitted(weathered: Tally) -> None:
    assert set(weathered.completed) == set(TIERS)
    assert all(share > 0.98 for share in weathered.completed.values()), (weathered.completed, weathered.examples)


@pytest.mark.requirement("RTR-30")
def test_others_answer_where_preferred_models_are_unavailable_and_it_is_on_record(weathered: Tally) -> None:
    assert weathered.degraded > ARRIVALS * 0.1
    assert weathered.faults == [], "no budget is passed, nothing stays reserved, each degraded answer can be explained"
    assert weathered.refused > 0, "the weather has a budget that binds"


@pytest.mark.slow
def test_without_fallback_the_same_weather_is_not_survived(tmp_path: Path) -> None:
    alone = in_its_own_time(Plan(1, "alone", ARRIVALS), tmp_path)
    assert alone.handled < 0.95
    assert alone.faults == [], "failures are on record as well"


def test_time_jumps_over_what_is_waited_for_and_stands_still_while_a_thread_works() -> None:
    async def both() -> list[float]:
        time, moments = asyncio.get_running_loop().time, []

        async def pausing() -> None:
            await asyncio.sleep(3600)
            moments.append(time())

        waits = asyncio.create_task(pausing())
        await asyncio.to_thread(threading.Event().wait, 0.05)
        moments.append(time())
        await waits
        return moments

    began = perf_counter()
    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        assert runner.run(both()) == [0.0, 3600.0]
    assert perf_counter() - began < 60


@pytest.mark.parametrize("seed", range(20))
def test_the_weather_is_what_it_says(seed: int) -> None:
    weather = Weather(seed, 600.0)
    moments = sorted({edge for spell in weather.spells for edge in (spell.start, spell.end)})
    dark = 0.0
    for start, end in pairwise(moments):
        out = [vendor for vendor in VENDORS if weather.spell(vendor, (start + end) / 2)]
        assert len(out) <= MOST_OUT or len(out) == len(VENDORS)
        dark += end - start if len(out) == len(VENDORS) else 0.0
    assert dark == pytest.approx(BLACKOUT)
    for vendor in VENDORS:
        lengths = sorted(spell.end - spell.start for spell in weather.spells if spell.vendor == vendor)
        assert lengths == pytest.approx(sorted([BLACKOUT, *OUTAGES, *BURSTS]))
    assert weather.spells == Weather(seed, 600.0).spells
    assert weather.spells != Weather(seed + 1, 600.0).spells


# --- one dependency


DOWN = {
    "nobody listens": None,
    "503 everywhere": Fault.everywhere(Fault.status(503)),
    "no list": Fault.list(Fault.status(500)),
    "401": Fault.everywhere(Fault.status(401)),
    "html": Fault.everywhere(Fault.html()),
    "cut": Fault.cut(),
}


@pytest.mark.requirement("RTR-16")
@pytest.mark.parametrize("how", DOWN)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
async def test_openrouter_down_leaves_direct_providers_and_the_local_one(
    vendors: tuple[World, str], tmp_path: Path, how: str, streamed: bool
) -> None:
    world, base = vendors
    world.vendor("openrouter").on, world.vendor("openrouter").fault = DOWN[how] is not None, DOWN[how]
    preferences = ("openrouter/anthropic/claude-haiku-4.5", "openrouter/openai/*", "anthropic/claude-haiku-*", "ollama/qwen3*")
    bundle = worker(tmp_path, *preferences, on_broken_stream="continue")
    router = {"OPENROUTER_BASE_URL": world.url(base, "openrouter"), "OPENROUTER_API_KEY": world.key("openrouter")}

    async def answering(host: Host) -> DelegationResult:
        if not streamed:
            return await host.delegate("worker", "Work.")
        last = [event async for event in host.stream("worker", "Work.")][-1]
        assert isinstance(last, DoneEvent)
        return last.result

    async with Host(bundle, ledger=tmp_path / "l.db", environment={**world.environment(base), **router}) as host:
        result = await answering(host)
        assert (result.provider, result.text) == ("anthropic", DEFAULT_TEXT)
        said = [*(attempt.provider for attempt in result.attempts[:-1]), *(no.provider for no in result.rejections)]
        assert set(said) == {"openrouter"}, "the result says why it did not answer"
        world.vendor("anthropic").fault = Fault.everywhere(Fault.status(529))
        result = await answering(host)
        assert (result.provider, result.text) == ("ollama", DEFAULT_TEXT)
        assert [row["provider"] for row in host.ledger.delegations()] == ["ollama", "anthropic"]


# --- the time that a reroute takes

AT_ONCE = 64
EACH = 10


class Timed:
    """A provider in memory that is down, or answers; it notes when it failed or was asked, by the task that asks."""

    local = False

    def __init__(self, id: str, *, down: bool) -> None:
        self.id = id
        self.moments: dict[str, float] = {}
        self._down = down
        self._chance = random.Random(66)

    async def list_models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(f"m{number}") for number in range(AT_ONCE * EACH)]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        if self._down:
            await asyncio.sleep(self._chance.uniform(0.2, 0.4))
            self.moments[request.model] = perf_counter()
            raise faults.failure(self.id, request.model, 503, "down")
        self.moments[request.model] = perf_counter()
        await asyncio.sleep(self._chance.uniform(0.2, 0.4))
        yield Delta("Done.")
        yield Turn(assistant("Done."), Usage(20, 8), request.model, "stop")

    async def aclose(self) -> None:
        """Nothing to give back."""


@pytest.mark.slow
@pytest.mark.requirement("RTR-66")
async def test_a_reroute_takes_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    """With 64 under way; from its failure, or from the beginning where it is known to be down, to the second being asked."""
    begun: dict[str, float] = {}
    first, second = Timed("first", down=True), Timed("second", down=False)
    bundle = worker(tmp_path, "first/m0", "second/m0")
    async with Host(bundle, providers={"first": first, "second": second}, ledger=tmp_path / "l.db", environment={}) as host:

        async def working(number: int) -> None:
            await asyncio.sleep(number * 0.6 / AT_ONCE)
            for turn in range(EACH):
                model = f"m{number * EACH + turn}"
                begun[model] = perf_counter()
                result = await host.delegate("worker", "Work.", preferences=[f"first/{model}", f"second/{model}"])
                assert result.provider == "second"

        await asyncio.gather(*(working(number) for number in range(AT_ONCE)))
    gaps = [asked - first.moments.get(model, begun[model]) for model, asked in second.moments.items()]
    assert len(gaps) == AT_ONCE * EACH
    assert 5 <= len(first.moments) < len(gaps), "some met its failure, the others knew of it"
    assert quantiles(gaps, n=100)[98] < 0.1

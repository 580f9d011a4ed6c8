"""How many calls are under way at a time: caps for the host and for each provider, in turn, over real sockets."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader import Host, RequestError, SimulatedProvider, load_bundle
from bundle_loader.errors import DeadlineExceeded
from bundle_loader.ledger.slots import Slots
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendors import Fault, Reply, World

Served = tuple[World, str]


async def test_first_come_first_served() -> None:
    slots = Slots(1)
    served: list[int] = []

    async def call(number: int) -> None:
        await slots.take("p")
        served.append(number)
        await asyncio.sleep(0)
        slots.give("p")

    await asyncio.gather(*(call(number) for number in range(50)))
    assert served == list(range(50))
    assert (slots.busy, slots.waiting()) == (0, 0)


async def test_whoever_waits_for_a_provider_holds_no_place_of_the_host() -> None:
    slots = Slots(2, {"slow": 1})
    await slots.take("slow")
    waiting = [asyncio.create_task(slots.take("slow")) for _ in range(5)]
    await asyncio.sleep(0)
    assert slots.waiting("slow") == 5
    assert not await slots.take("other"), "there is room for it at once"
    slots.give("other")
    slots.give("slow")
    assert await waiting[0]
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting[1:], return_exceptions=True)
    slots.give("slow")
    assert (slots.busy, slots.waiting()) == (0, 0)


async def test_no_provider_starves_another() -> None:
    slots = Slots(1)
    served: list[str] = []

    async def calls(provider: str, times: int) -> None:
        for _ in range(times):
            await slots.take(provider)
            served.append(provider)
            await asyncio.sleep(0)
            slots.give(provider)

    await asyncio.gather(*(calls("busy", 20) for _ in range(10)), calls("rare", 5))
    assert [index for index, name in enumerate(served) if name == "rare"][-1] < 11 * 6, "one of eleven who come in turn"


async def test_time_ends_the_wait_and_frees_the_place() -> None:
    slots = Slots(None, {"p": 1})
    await slots.take("p")
    with pytest.raises(TimeoutError):
        await slots.take("p", 0.02)
    assert slots.waiting() == 0
    slots.give("p")
    assert not await slots.take("p", 0.02)


async def test_a_place_that_is_given_to_one_who_is_just_leaving_goes_on_to_the_next() -> None:
    slots = Slots(1)
    await slots.take("p")
    first, second = (asyncio.create_task(slots.take("p")) for _ in range(2))
    await asyncio.sleep(0)
    slots.give("p")  # to the first, which has not run since
    first.cancel()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first
    slots.give("p")
    assert (slots.busy, slots.waiting()) == (0, 0)


@given(
    st.integers(1, 4),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["stay", "cancel", "hurry"])), max_size=40),
    st.integers(0, 1000),
)
def test_never_more_than_the_caps_and_nothing_is_lost(
    most: int, each: dict[str, int], calls: list[tuple[str, int, str]], seed: int
) -> None:
    chance = random.Random(seed)
    under_way = dict.fromkeys("abc", 0)
    served = 0

    async def call(slots: Slots, provider: str, steps: int, manner: str) -> None:
        nonlocal served
        await slots.take(provider, 0 if manner == "hurry" else None)
        try:
            under_way[provider] += 1
            assert sum(under_way.values()) <= most
            assert under_way[provider] <= each.get(provider, most)
            served += 1
            for _ in range(steps):
                await asyncio.sleep(0)
        finally:
            under_way[provider] -= 1
            slots.give(provider)

    async def run() -> None:
        slots = Slots(most, each)
        tasks = [asyncio.create_task(call(slots, *wanted)) for wanted in calls]
        for task, (_, _, manner) in zip(tasks, calls, strict=True):
            if manner == "cancel":
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        wrong = [one for one in ended if isinstance(one, BaseException)]
        assert all(isinstance(one, (asyncio.CancelledError, TimeoutError)) for one in wrong)
        assert served >= sum(manner == "stay" for _, _, manner in calls)
        assert (slots.busy, slots.waiting()) == (0, 0)

    asyncio.run(run())


# --- at a host


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_vendor_never_has_more_calls_than_its_cap_and_all_are_served(
    vendors: Served, tmp_path: Path, vendor: str
) -> None:
    world, base = vendors
    world.vendor(vendor).delay = 0.02
    (tmp_path / "b.yaml").write_text(
        f"bundle: {{name: b}}\nagents:\n  worker: {{provider_preferences: ['{vendor}/{MODELS[vendor][0]}']}}\n"
        f"providers:\n  {vendor}: {{max_calls: 3}}\n",
        encoding="utf-8",
    )
    bundle = load_bundle(tmp_path / "b.yaml", strict=True)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        results = await asyncio.gather(*(host.delegate("worker", f"Work {number}.") for number in range(40)))
        assert (host.slots.busy, host.slots.waiting()) == (0, 0)
    assert len(results) == len(world.chats()) == 40
    assert world.vendor(vendor).most_in_flight == 3


async def test_the_hosts_cap_is_over_all_providers(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    for vendor in ("openai", "anthropic"):
        world.vendor(vendor).delay = 0.02
    bundle = worker(tmp_path, f"openai/{MODELS['openai'][0]}")
    providers = mounted(world, base)
    async with Host(bundle, ledger=tmp_path / "l.db", providers=providers, max_calls=2) as host:
        models = (f"openai/{MODELS['openai'][0]}", f"anthropic/{MODELS['anthropic'][0]}")
        work = [host.delegate("worker", "Work.", model=models[number % 2]) for number in range(20)]
        watched = asyncio.gather(*work)
        most = 0
        while not watched.done():
            most = max(most, sum(world.vendor(vendor).in_flight for vendor in ("openai", "anthropic")))
            await asyncio.sleep(0.001)
        await watched
    assert len(world.chats()) == 20
    assert most == 2


async def test_nested_delegations_hold_no_places_for_each_other(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = worker(tmp_path, f"openai/{MODELS['openai'][0]}")
    world.vendor("openai").answer = lambda request: (
        Reply(tool_calls=[("deeper", {})])
        if any(tool["function"]["name"] == "deeper" for tool in request.body_json.get("tools", ()))
        and request.body_json["messages"][-1]["role"] == "user"
        else Reply("Done.")
    )
    async with Host(bundle, ledger=tmp_path / "l.db", providers=mounted(world, base), max_calls=1) as host:

        async def work(depth: int) -> str:
            async def deeper() -> str:
                """Delegate once more."""
                return await work(depth - 1)

            result = await host.delegate("worker", "Work.", tools=[deeper] if depth else [], timeout=20)
            return result.text

        assert await asyncio.gather(*(work(3) for _ in range(4))) == ["Done."] * 4
    assert world.vendor("openai").most_in_flight == 1


async def test_a_turn_that_does_not_come_ends_at_the_deadline_and_counts_against_nobody(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").fault = Fault.stall()
    bundle = worker(tmp_path, f"openai/{MODELS['openai'][0]}")
    async with Host(bundle, ledger=tmp_path / "l.db", providers=mounted(world, base), max_calls=1) as host:
        first = asyncio.create_task(host.delegate("worker", "Work."))
        await world.until(lambda: world.chats())
        with pytest.raises(DeadlineExceeded, match="its turn did not come within"):
            await host.delegate("worker", "Work.", timeout=0.3)
        assert host.slots.waiting() == 0
        assert len(host.ledger.calls()) == 0, "nothing was sent"
        assert not (await host.standing()).down
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.vendor("openai").fault = None
        assert (await host.delegate("worker", "Work.", timeout=10)).text
    assert len(world.chats()) == 2


@pytest.mark.parametrize("wrong", [0, -1, True, 2.5])
def test_a_cap_is_a_whole_number(tmp_path: Path, wrong: object) -> None:
    bundle = worker(tmp_path, "a/m-*")
    with pytest.raises(RequestError, match="max_calls is a whole number of at least 1"):
        Host(bundle, providers={"a": SimulatedProvider("a", models=["m-1"])}, max_calls=wrong)  # type: ignore[arg-type]

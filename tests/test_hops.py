"""Every hop passes all gates again, as the newest known list has its model; and what the error says when nobody is left."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from bundle_loader import AllDown, AllFailed, BudgetRefused, Host
from bundle_loader.declared.agent import Agent
from bundle_loader.declared.budget import Budget
from bundle_loader.declared.preference import Preference
from bundle_loader.delegation.attempts import End, Failed, attempts
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.errors import FailureKind, NoAnswer, ProviderFailure
from bundle_loader.events import Event
from bundle_loader.ledger.breakers import FIRST, LEAST
from bundle_loader.ledger.meter import Meter
from bundle_loader.messages import Message, StreamPart, Text, ToolCall, Turn, Usage, assistant
from bundle_loader.providers import faults
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.gates import local_is_free
from bundle_loader.routing.offer import Offer
from bundle_loader.routing.request import Request, make_request
from bundle_loader.routing.route import readmitted
from bundle_loader.routing.standing import NOTHING, AccountStanding, Standing
from tests.support.budgeted import Clock
from tests.support.hosting import worker

Doing = Callable[[int, str], Awaitable[Turn]]


class Listed:
    """A provider in memory whose list, and what it does with each request, a test sets."""

    def __init__(self, id: str, *models: ModelInfo, local: bool = False, doing: Doing | None = None) -> None:
        self.id, self.local = id, local
        self.models: Sequence[ModelInfo] = models or (ModelInfo("m1"),)
        self.doing = doing
        self.asked: list[str] = []

    async def list_models(self) -> Sequence[ModelInfo]:
        return self.models

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        self.asked.append(request.model)
        if self.doing is None:
            yield Turn(assistant("Done."), Usage(10, 5), request.model, "stop")
        else:
            yield await self.doing(len(self.asked), request.model)

    async def aclose(self) -> None:
        """Nothing to give back."""


def host_of(folder: Path, clock: Callable[[], float], *providers: Listed, **more: object) -> Host:
    bundle = worker(folder, *(f"{one.id}/{one.models[0].id}" for one in providers), **more)
    mounted = {one.id: one for one in providers}
    return Host(bundle, providers=mounted, ledger=folder / "l.db", environment={}, clock=clock)


def always(failure: Callable[[str], ProviderFailure]) -> Doing:
    async def fails(number: int, model: str) -> Turn:
        raise failure(model)

    return fails


def look() -> str:
    """Look."""
    return "x" * 400_000


@pytest.mark.parametrize("later", [0.0, 20.0, 1000.0, 200_000.0])
@pytest.mark.parametrize("local", [False, True])
async def test_gates_hold_at_a_hop_however_old_the_list_is_by_then(tmp_path: Path, local: bool, later: float) -> None:
    clock = Clock()

    async def looks_and_fails(number: int, model: str) -> Turn:
        if number == 1:
            return Turn(Message("assistant", (Text("Look."), ToolCall("1", "look", {}))), Usage(10, 5), model, "tools")
        clock.now += later
        raise faults.failure("a", model, 503, "overloaded")

    small = Listed("b", ModelInfo("m1", window=4000), local=local)
    first, last = Listed("a", doing=looks_and_fails), Listed("c")
    async with host_of(tmp_path, clock, first, small, last) as host:
        result = await host.delegate("worker", "Work.", tools=[look])
    assert (result.provider, small.asked) == ("c", [])
    (refused,) = result.refused
    assert str(refused).startswith("b/m1: m1 takes 4000 tokens, the prompt has at least ")


RETIRED = ModelInfo("m1", retires=datetime(2026, 1, 1, tzinfo=UTC))
RENEWED = {
    "retired": (ModelInfo("m1", stage="retired"), "m1 is retired"),
    "past its last day": (RETIRED, "m1 is retired since 2026-01-01"),
    "gone from the list": (ModelInfo("other"), "m1 is not listed any more"),
    "without tools": (ModelInfo("m1", capabilities=frozenset({"vision"})), "m1 takes no tools"),
    "barred": (ModelInfo("m1", barred="this account may not"), "m1: this account may not"),
    "under another id": (ModelInfo("m1-2026", aliases=("m1",)), None),
    "as before": (ModelInfo("m1", window=100_000), None),
}


@pytest.mark.parametrize("later", [0.0, 1000.0])
@pytest.mark.parametrize("case", RENEWED)
async def test_a_hop_is_judged_by_the_list_as_it_was_renewed_in_between(tmp_path: Path, case: str, later: float) -> None:
    model, reason = RENEWED[case]
    second, clock = Listed("b"), Clock()

    async def renews_and_fails(number: int, model_id: str) -> Turn:
        second.models = (model,)
        await host.refresh(["b"])
        clock.now += later
        raise faults.failure("a", model_id, 503, "overloaded")

    async with host_of(tmp_path, clock, Listed("a", doing=renews_and_fails), second, Listed("c")) as host:
        result = await host.delegate("worker", "Work.", tools=[look])
    assert result.provider == ("b" if reason is None else "c")
    assert second.asked == ([] if reason is not None else ["m1"])
    assert [refused.reason for refused in result.refused] == ([reason] if reason is not None else [])


# --- the gates themselves, at a hop

AGENT = Agent(name="x", description="d")


def candidate(provider: str = "p", **more: object) -> Candidate:
    return Candidate(provider, "m", Preference(provider=provider, model="m"), **more)  # type: ignore[arg-type]


def against(request: Request, one: Candidate, offer: Offer | None, tier: str | None = None, standing: Standing = NOTHING) -> str:
    return readmitted(request, one, offer, tier, standing, local_is_free) or ""


def test_without_any_list_a_models_own_information_and_place_hold() -> None:
    here = make_request(AGENT, local_only=True)
    assert against(here, candidate(), None) == "local_only: p is not local"
    assert against(here, candidate(local=True), None) == ""
    assert "is not local" in against(here, candidate(local=True, info=ModelInfo("m", local=False)), None)
    assert against(make_request(AGENT), candidate(info=ModelInfo("m", stage="retired")), None) == "m is retired"
    assert against(make_request(AGENT), candidate(), Offer("p", reason="no key: set P", configured=False)) == "no key: set P"


def budgeted(tier: str, *, renews: float | None = None, emergency: str | None = None) -> Standing:
    scope = {"tier": (tier,)}
    budget = Budget(id="few", unit="requests", limit=Decimal(1), per="day", scope=scope, emergency=emergency)
    return Standing(accounts={"few": AccountStanding("few", budget, 1, 1, 0, renews)})


def test_a_budget_that_does_not_renew_holds_for_the_tier_of_the_route() -> None:
    offer, request = Offer("p", Catalogue("p", (ModelInfo("m"),))), make_request(AGENT)
    assert "it does not renew" in against(request, candidate(), offer, "top", budgeted("top"))
    assert against(request, candidate(), offer, "low", budgeted("top")) == ""
    assert against(request, candidate(), offer, None, budgeted("top")) == ""


def test_what_renews_or_has_an_emergency_tier_is_left_to_the_meter() -> None:
    offer, request = Offer("p", Catalogue("p", (ModelInfo("m"),))), make_request(AGENT)
    assert against(request, candidate(), offer, "top", budgeted("top", renews=1e9)) == ""
    assert against(request, candidate(), offer, "top", budgeted("top", emergency="spare")) == ""


# --- who is waited for, and for how long the others count


async def test_a_model_that_refuses_is_not_waited_for_though_its_rest_ends_in_time(tmp_path: Path) -> None:
    one = Listed("a")
    async with host_of(tmp_path, time.time, one) as host:
        refused = ProviderFailure(FailureKind.REFUSED, "a", "not for you", model="m1", status=403, retry_after=5.0)
        host.breakers.failed("a", "m1", refused, "before", time.time())
        run = await host.prepare("worker", "Work.", timeout=60)
        assert [down.refused for _, down in run.route.waiting] == [True]
        with pytest.raises(AllDown, match="every candidate is down; the first is asked again in"):
            [event async for event in run.events(show=False)]
    assert one.asked == []


async def test_those_that_will_be_asked_again_leave_the_others_a_smaller_share(tmp_path: Path) -> None:
    shares: dict[str, float] = {}

    class Noting(ProviderSpawner):
        async def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
            assert context.candidate is not None
            shares[context.candidate.provider] = context.limits.first
            async for event in super().spawn(context, meter, tools):
                yield event

    mounted = {"a": Listed("a", doing=limited(100)), "b": Listed("b")}
    spawner = Noting(lambda id: mounted[id])
    bundle = worker(tmp_path, "a/m1", "b/m1")
    async with Host(bundle, providers=mounted, spawner=spawner, ledger=tmp_path / "l.db", environment={}) as host:
        await host.delegate("worker", "Work.", timeout=200)
    assert shares == {"a": pytest.approx(100, abs=20), "b": pytest.approx(100, abs=20)}, "the first is still to be asked again"


def test_what_a_provider_that_is_out_had_promised_is_forgotten() -> None:
    first, second = candidate("a"), Candidate("a", "n", Preference(provider="a", model="n"))
    flow = attempts((first, second))
    next(flow)
    flow.send(Failed(ProviderFailure(FailureKind.BUSY, "a", "busy", retry_after=5.0), False, 100.0))
    with pytest.raises(StopIteration) as stop:
        flow.send(Failed(ProviderFailure(FailureKind.REFUSED, "a", "no such key", status=401, scope="provider"), False, 90.0))
    assert stop.value.value.end is End.ALL_FAILED


# --- what the error says


def limited(seconds: float) -> Doing:
    return always(lambda model: faults.failure("a", model, 429, "rate limit", retry_after=seconds))


def overloaded(model: str) -> ProviderFailure:
    return faults.failure("b", model, 503, "overloaded")


async def error_of(host: Host, timeout: float) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        await host.delegate("worker", "Work.", timeout=timeout)
    return caught.value


async def test_one_limited_and_one_down_say_when_the_first_of_both_may_be_asked(tmp_path: Path) -> None:
    clock = Clock()
    async with host_of(tmp_path, clock, Listed("a", doing=limited(100)), Listed("b", doing=always(overloaded))) as host:
        for _ in range(LEAST):
            error = await error_of(host, 2)
        assert isinstance(error, AllFailed)
        assert error.recovers == pytest.approx(clock() + FIRST)
        clock.now += 1.5  # by now both are known to the route
        error = await error_of(host, 2)
    assert isinstance(error, AllDown)
    assert error.recovers == pytest.approx(clock() + FIRST - 1.5)
    assert "every candidate is down or is held back; the first is asked again in 4 s" in str(error)


async def test_a_limit_that_ends_before_the_one_that_is_down_is_what_is_told(tmp_path: Path) -> None:
    clock = Clock()
    slow = always(lambda model: faults.failure("b", model, 503, "overloaded", retry_after=200))
    async with host_of(tmp_path, clock, Listed("a", doing=limited(30)), Listed("b", doing=slow)) as host:
        for _ in range(LEAST):
            await error_of(host, 2)
        began = clock()
        clock.now += 1.5
        error = await error_of(host, 2)
    assert isinstance(error, AllDown)
    assert error.recovers == pytest.approx(began + 30)


async def test_one_that_is_limited_counts_beside_one_that_fails(tmp_path: Path) -> None:
    clock = Clock()
    cut = always(lambda model: faults.broken("b", model, "cut"))
    async with host_of(tmp_path, clock, Listed("a", doing=limited(30)), Listed("b", doing=cut)) as host:
        await error_of(host, 2)
        began = clock()
        clock.now += 1.5
        error = await error_of(host, 2)
    assert isinstance(error, AllFailed)
    assert error.recovers == pytest.approx(began + 30)
    assert "every candidate failed or is held back; the first may be asked again in 29 s" in str(error)


async def test_of_several_limits_the_first_that_ends_is_told(tmp_path: Path) -> None:
    clock = Clock()
    shorter = always(lambda model: faults.failure("b", model, 429, "rate limit", retry_after=40))
    async with host_of(tmp_path, clock, Listed("a", doing=limited(100)), Listed("b", doing=shorter)) as host:
        await error_of(host, 2)
        began = clock()
        clock.now += 1.5
        error = await error_of(host, 2)
    assert isinstance(error, BudgetRefused)
    assert error.renews == pytest.approx(began + 100)
    assert error.recovers == pytest.approx(began + 40)
    assert "the first may be asked again in 39 s" in str(error)


async def test_who_was_waited_for_and_failed_again_is_told_of_once(tmp_path: Path) -> None:
    provider = Listed("b", doing=always(overloaded))
    async with host_of(tmp_path, time.time, provider) as host:
        rests(host, 2.0)
        error = await error_of(host, 5)
        (row,) = host.ledger.delegations()
    assert len(provider.asked) == 1, "it was asked once its rest was over, and failed again"
    assert isinstance(error, AllFailed)
    assert (list(error.rejections), [one.model for one in error.attempts]) == ([], ["m1"])
    assert row["rejected"] in (None, "[]")


async def test_who_was_waited_for_and_is_still_down_is_told_of_once(tmp_path: Path) -> None:
    provider = Listed("b")
    async with host_of(tmp_path, time.time, provider) as host:
        rests(host, 2.0)
        run = await host.prepare("worker", "Work.", timeout=30)
        assert run.route.waiting
        host.breakers.failed("b", "m1", faults.failure("b", "m1", 403, "not for you"), "another", time.time())
        with pytest.raises(AllDown) as caught:
            [event async for event in run.events(show=False)]
        (row,) = host.ledger.delegations()
    (rejection,) = caught.value.rejections
    assert "b/m1 is down (refused 403: not for you)" in rejection.reason, "the latest word"
    assert str(caught.value).count("b/m1 is down") == 1
    assert row["rejected"].count("b/m1 is down") == 1


def rests(host: Host, seconds: float) -> None:
    """The model of `b` is down for so many seconds more."""
    for number in range(LEAST):
        host.breakers.failed("b", "m1", overloaded("m1"), f"c{number}", time.time() - FIRST + seconds)


async def test_a_failure_that_comes_when_the_deadline_is_over_says_nothing_of_the_provider(tmp_path: Path) -> None:
    async def late(number: int, model: str) -> Turn:
        time.sleep(0.3)  # noqa: ASYNC251 - the loop stands still: the failure is there before the deadline's timer
        raise overloaded(model)

    async with host_of(tmp_path, time.time, Listed("b", doing=late)) as host:
        for _ in range(LEAST + 1):
            await error_of(host, 0.2)
        assert host.breakers.down(time.time()) == {}

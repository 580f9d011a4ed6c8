"""What a refusal says and carries: which budget, what is left of it, what was needed, and when it is free again."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import RequestError
from bundle_loader.errors import BudgetRefused, LimitReached
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Close
from bundle_loader.providers.simulated import SimulatedProvider
from bundle_loader.routing.charged import amount, in_seconds
from tests.support.budgeted import NOON, Clock, bundled, host_of, provider
from tests.support.command import command

MIDNIGHT = Clock("2026-03-11T00:00:00+00:00").now
APRIL = Clock("2026-04-01T00:00:00+00:00").now


async def refused(folder: Path, budgets: dict[str, Any], calls: int, timeout: float = 20, **more: Any) -> BudgetRefused:
    """The refusal of the call after so many that are answered."""
    async with host_of(folder, budgets, [provider("dear")], tiers={"top": ["dear/m"]}, **more) as host:
        for _ in range(calls):
            await host.delegate("x", "Go.")
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("x", "Go.", timeout=timeout)
    return caught.value


async def test_a_minute_says_when_it_is_free_again(tmp_path: Path) -> None:
    error = await refused(tmp_path, {"few": {"requests": 1, "per": "minute"}}, 1, timeout=5)
    assert (error.budget, error.left, error.needed, error.renews) == ("few", "0 requests", "1 request", NOON + 61)
    assert "free again in 61 s" in str(error)


async def test_what_the_route_already_knows_is_told_alike(tmp_path: Path) -> None:
    clock = Clock()
    budgets = {"few": {"requests": 1, "per": "minute"}}
    async with host_of(tmp_path, budgets, [provider("dear")], tiers={"top": ["dear/m"]}, clock=clock) as host:
        await host.delegate("x", "Go.")
        clock.now += 2
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("x", "Go.", timeout=5)
    error = caught.value
    assert error.attempts == ()
    assert (error.budget, error.left, error.needed, error.renews) == ("few", "0 requests", "1 request", NOON + 61)
    assert "free again in 59 s" in str(error)


@pytest.mark.parametrize("order", [("day", "month"), ("month", "day")])
@pytest.mark.parametrize("later", [0.0, 2.0])
async def test_of_several_the_one_that_renews_last_is_named(tmp_path: Path, order: tuple[str, str], later: float) -> None:
    clock = Clock()
    budgets = {per: {"requests": 1, "per": per} for per in order}
    async with host_of(tmp_path, budgets, [provider("dear")], tiers={"top": ["dear/m"]}, clock=clock) as host:
        await host.delegate("x", "Go.")
        clock.now += later  # by then the route knows it
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("x", "Go.")
    assert (caught.value.budget, caught.value.renews) == ("month", APRIL)
    assert "budget 'day' (1 request a day)" in str(caught.value)


async def test_the_emergency_tier_of_any_that_refuses_takes_over(tmp_path: Path) -> None:
    budgets = {
        "month": {"requests": 1, "per": "month", "scope": {"provider": "dear"}},
        "day": {"requests": 1, "per": "day", "scope": {"provider": "dear"}, "emergency": "low"},
    }
    tiers = {"top": ["dear/m"], "low": ["cheap/m"]}
    clock = Clock()
    async with host_of(tmp_path, budgets, tiers=tiers, clock=clock) as host:
        answered = [(await host.delegate("x", "Go.")).provider for _ in range(2)]
        clock.now += 2
        answered.append((await host.delegate("x", "Go.")).provider)
    assert answered == ["dear", "cheap", "cheap"]


async def test_a_vendors_own_limit_is_told_as_the_vendors(tmp_path: Path) -> None:
    clock = Clock()
    async with host_of(tmp_path, {}, [provider("dear")], tiers={"top": ["dear/m"]}, clock=clock) as host:
        await host.delegate("x", "Go.")
        with closing(Ledger(tmp_path / "ledger.db", clock=clock)) as other:
            other.enter(Close("dear|m", NOON + 600.2, "limited: slow down"))
            other.flush()
        host.budgets.close("dear|m", NOON + 600.2)
        for later in (0.0, 2.0):  # the first is refused by the ledger, the second by the route
            clock.now = NOON + later
            with pytest.raises(BudgetRefused) as caught:
                await host.delegate("x", "Go.", timeout=5)
            said = str(caught.value)
            assert (caught.value.budget, caught.value.renews) == (None, NOON + 600.2)
            assert "dear has limited its m for now (slow down)" in said
            assert f"free again in {601 - int(later)} s" in said
            assert "no budget" not in said


async def test_a_cap_gives_no_advice_that_it_cannot_take(tmp_path: Path) -> None:
    unpriced = SimulatedProvider("odd", models=["m"])
    async with host_of(tmp_path, {}, [unpriced], tiers={"top": ["odd/m"]}) as host:
        with pytest.raises(LimitReached, match="is not known; declare it under prices, or leave out max_cost") as caught:
            await host.delegate("x", "Go.", max_cost="1")
    assert "unknown_price" not in str(caught.value)


def test_seconds_are_rounded_up_and_one_is_one() -> None:
    assert [in_seconds(value) for value in (0.001, 1.0, 1.2)] == ["free again in 1 s", "free again in 1 s", "free again in 2 s"]
    assert [amount("requests", count) for count in (0, 1, 2)] == ["0 requests", "1 request", "2 requests"]
    assert amount("tokens", 1) == "1 token"
    assert amount("money", 10**12) == f"${Decimal('1.0000')}"


def test_json_carries_what_the_words_say(tmp_path: Path) -> None:
    bundled(tmp_path, {"day": {"requests": 0, "per": "day"}}, tiers={"top": ["anthropic/claude-haiku-*"]}, prices={})
    run = ("delegate", "x", "Go.", "--bundle", str(tmp_path / "team.yaml"), "--simulate", "--ledger", str(tmp_path / "l.db"))
    ran = command(*run, "--json", home=tmp_path)
    said = json.loads(ran.out)["error"]
    assert ran.code == 4
    assert said["kind"] == "BudgetRefused"
    assert (said["budget"], said["left"], said["needed"], said["zone"]) == ("day", "0 requests", "1 request", "UTC")
    assert isinstance(said["renews"], float)
    bundled(tmp_path, {}, tiers={"top": ["anthropic/claude-haiku-*"]}, prices={})
    capped = json.loads(command(*run, "--json", "--max-cost", "0", home=tmp_path).out)["error"]
    assert (capped["kind"], capped["limit"]) == ("LimitReached", "max_cost")


async def test_tags_in_another_case_are_no_account_of_their_own(tmp_path: Path) -> None:
    clock = Clock()
    budgets = {"tagged": {"requests": 1, "per": "day", "each": "tag"}}
    async with host_of(tmp_path, budgets, [provider("dear")], tiers={"top": ["dear/m"]}, clock=clock) as host:
        await host.delegate("x", "Go.", tags=["nightly", "Nightly"])
        for tags in (["Nightly"], ["NIGHTLY", "other"]):
            with pytest.raises(BudgetRefused):
                await host.delegate("x", "Go.", tags=tags)
            clock.now += 2
        await host.delegate("x", "Go.", tags=["other"])


@pytest.mark.parametrize(("tag", "says"), [("t" * 201, "at most 200"), ("", "list of words"), (" ", "list of words")])
async def test_a_tag_is_a_word(tmp_path: Path, tag: str, says: str) -> None:
    async with host_of(tmp_path, {}) as host:
        with pytest.raises(RequestError, match=says):
            await host.delegate("x", "Go.", tags=[tag])
        assert (await host.delegate("x", "Go.", tags=["t" * 200])).provider == "dear"

"""Rate limits are budgets: never more is sent than a vendor allows, a full bucket moves on, vendors' words correct the table."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader import AllFailed, Host, load_bundle
from bundle_loader.declared.budget import Budget, rate_limit
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.result import DelegationResult
from bundle_loader.errors import BudgetRefused
from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.budgets import Budgets
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Answer, Close, Correct, Granted, Operation, Refused, Reserve, Settle
from bundle_loader.ledger.store import SqliteStorage
from bundle_loader.ledger.vendor_limits import LONGEST_CLOSED, arrived, heard
from bundle_loader.messages import Turn, Usage, VendorLimit, user
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.rates import rate_limits
from bundle_loader.providers.table import rows
from bundle_loader.routing.charged import CallFacts
from bundle_loader.routing.model_names import family
from bundle_loader.sources.settings import find_settings
from tests.support.declared import write
from tests.support.hosting import mounted
from tests.support.limiter import Limiter, like_openai, nothing
from tests.support.vendors import Fault, Reply, World, served_in_thread

Served = tuple[World, str]

HAIKU, SONNET, OPUS = "claude-haiku-4-5-20251001", "claude-sonnet-4-6", "claude-opus-4-6"
FLASH, PRO, MINI = "gemini-2.5-flash", "gemini-2.5-pro", "gpt-4o-mini"


class Ticking:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.25

    def __call__(self) -> float:
        return self.now


def team(folder: Path, agents: Mapping[str, list[str]], **keys: Any) -> Bundle:
    """A bundle with these agents and their lists."""
    for name, preferences in agents.items():
        header = {"format": 1, "name": name, "provider_preferences": preferences}
        (folder / f"{name}.md").write_text(f"---\n{yaml.safe_dump(header)}---\nWork.\n", encoding="utf-8")
    header = {"format": 1, "bundle": {"name": "team"}, "agents": {"include": ["*.md"]}, **keys}
    (folder / "team.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    return load_bundle(folder / "team.yaml", strict=True, settings=())


def per_minute(**limits: int) -> dict[str, dict[str, int]]:
    return {id: {"requests_per_minute": limit} for id, limit in limits.items()}


async def together(
    host: Host, jobs: Mapping[str, int], timeout: float = 5.0
) -> tuple[list[DelegationResult], list[BaseException]]:
    """So many delegations to each agent, all at once: the answers and the errors."""
    started = [host.delegate(agent, "Work.", timeout=timeout) for agent, count in jobs.items() for _ in range(count)]
    ended = await asyncio.gather(*started, return_exceptions=True)
    return [one for one in ended if isinstance(one, DelegationResult)], [one for one in ended if isinstance(one, BaseException)]


def by_model(results: list[DelegationResult]) -> Counter[str]:
    return Counter(f"{result.provider}/{result.model}" for result in results)


# --- sixty a minute


@pytest.mark.requirement("TSK-37")
async def test_sixty_a_minute_are_held_under_five_hundred_at_once(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Ticking()
    # the table gives Google 60 a minute: the lower end, until the vendor's headers say otherwise
    google, openai = world.vendor("google"), world.vendor("openai")
    google.limiter = Limiter(60, clock=clock)
    openai.limiter = Limiter(10_000, clock=clock)
    bundle = team(tmp_path, {"worker": [f"google/{FLASH}", f"openai/{MINI}"]})
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        results, failed = await together(host, {"worker": 500}, timeout=120)
        assert not failed
        assert by_model(results) == {f"google/{FLASH}": 60, f"openai/{MINI}": 440}
        assert all("rate:google" in result.refused[0].reason for result in results if result.provider == "openai")
        clock.now += 59.7  # still within the sixty seconds
        results, _ = await together(host, {"worker": 20}, timeout=60)
        assert by_model(results) == {f"openai/{MINI}": 20}
        clock.now += 300  # the time that calls really took is part of what is known of them
        results, _ = await together(host, {"worker": 100}, timeout=60)
        assert by_model(results) == {f"google/{FLASH}": 60, f"openai/{MINI}": 40}
    assert google.limiter.refused == 0
    assert google.limiter.most() == 60
    assert len(google.limiter.arrivals) == 120


_MANY = """
import asyncio, sys
from pathlib import Path
from bundle_loader import Host, load_bundle
from bundle_loader.providers.live import Missing, live_providers

async def main(bundle, ledger, base, count):
    live = live_providers({"GEMINI_API_KEY": "test-key-google", "GOOGLE_GEMINI_BASE_URL": base + "/google",
                           "OPENAI_API_KEY": "test-key-openai", "OPENAI_BASE_URL": base + "/openai/v1"})
    providers = {id: live[id] for id in ("google", "openai")}
    async with Host(load_bundle(bundle, settings=()), providers=providers, ledger=ledger) as host:
        print("READY", flush=True)
        sys.stdin.readline()
        done = await asyncio.gather(*(host.delegate("worker", "Work.", timeout=100) for _ in range(count)))
        print(sum(result.provider == "google" for result in done), len(done), flush=True)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
"""


def test_processes_that_share_a_ledger_share_the_limit(world: World, tmp_path: Path) -> None:
    google = world.vendor("google")
    google.limiter = Limiter(60)
    team(tmp_path, {"worker": [f"google/{FLASH}", f"openai/{MINI}"]})
    with served_in_thread(world) as base:
        command = [sys.executable, "-c", _MANY, tmp_path / "team.yaml", tmp_path / "l.db", base, "75"]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) for _ in range(2)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "READY\n"
            began = time.monotonic()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            counts = [process.communicate(timeout=100)[0].split() for process in processes]
            took = time.monotonic() - began
        finally:
            for process in processes:
                process.kill()
                process.wait()
    answered = sum(int(count) for count, _ in counts)
    assert [total for _, total in counts] == ["75", "75"]
    assert google.limiter.refused == 0
    assert google.limiter.most() <= 60
    assert took >= 55 or answered == 60


@pytest.mark.requirement("TSK-37")
async def test_one_too_many_goes_to_the_next_or_is_refused_and_is_never_sent(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = team(
        tmp_path,
        {"worker": [f"anthropic/{HAIKU}", f"openai/{MINI}"], "alone": [f"anthropic/{HAIKU}"]},
        providers=per_minute(anthropic=2),
    )
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        answered = [(await host.delegate("worker", "Work.")).provider for _ in range(4)]
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("alone", "Work.", timeout=5)
    assert answered == ["anthropic", "anthropic", "openai", "openai"]
    assert len(world.chats("anthropic")) == 2
    assert caught.value.budget == "rate:anthropic"
    assert "2 requests a minute" in str(caught.value)


async def test_with_nobody_left_it_waits_inside_the_deadline(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = team(tmp_path, {"worker": [f"anthropic/{HAIKU}", f"openai/{MINI}"]}, providers=per_minute(anthropic=2, openai=1))
    providers = mounted(world, base)
    # both buckets are full with calls of nearly a minute ago; anthropic's is free again a second before openai's
    for seconds, provider in ((59.4, "anthropic"), (58.4, "openai")):
        then = time.time() - seconds
        budgets = Budgets(rates=rate_limits([provider], bundle.providers))
        ledger = Ledger(tmp_path / "l.db", clock=lambda then=then: then)  # type: ignore[misc]
        model = HAIKU if provider == "anthropic" else MINI
        for number in range(2 if provider == "anthropic" else 1):
            holds = budgets.holds(facts(provider, model), then, 10, None)
            assert not isinstance(holds, Refused)
            assert isinstance(await ledger.reserve(Reserve(f"{provider}{number}", holds, 10, 0)), Granted)
            await ledger.settle(Settle(f"{provider}{number}", holds_charged(holds)))
        ledger.close()
    began = time.monotonic()
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        result = await host.delegate("worker", "Work.", timeout=20)
    assert result.provider == "anthropic"
    assert 0.2 < time.monotonic() - began < 5
    assert len(world.chats()) == 1


def facts(provider: str, model: str, **more: Any) -> CallFacts:
    return CallFacts(provider, model, family(model), "worker", "tree", **more)


def holds_charged(holds: tuple[Hold, ...]) -> Any:
    return Reserve("", holds, 0, 0).charges(0, lambda hold: 1)


# --- families apart


@pytest.mark.requirement("AGT-38", "AGT-39")
async def test_a_full_bucket_of_haiku_leaves_opus_and_sonnet_and_other_providers(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    openrouter = world.vendor("openrouter")
    agents = {
        "fast": [f"anthropic/{HAIKU}"],
        "medium": [f"anthropic/{SONNET}"],
        "deep": [f"anthropic/{OPUS}"],
        "elsewhere": ["openrouter/anthropic/claude-haiku-4.5"],
    }
    bundle = team(tmp_path, agents, providers=per_minute(anthropic=3, openrouter=3))
    other = CompatibleProvider(rows()["openrouter"], api_key="k", base_url=world.url(base, openrouter.name))
    async with Host(bundle, providers=mounted(world, base, {"openrouter": other}), ledger=tmp_path / "l.db") as host:
        results, refused = await together(host, dict.fromkeys(agents, 5))
        accounts = {row["account"] for row in host.ledger.query("accounts", account=None)}
    assert Counter(request.model for request in world.chats()) == {
        HAIKU: 3, SONNET: 3, OPUS: 3, "anthropic/claude-haiku-4.5": 3,
    }  # fmt: skip
    assert len(results) == 12
    assert {type(error) for error in refused} == {BudgetRefused}
    assert accounts == {
        "rate:anthropic|provider=anthropic|family=claude-haiku",
        "rate:anthropic|provider=anthropic|family=claude-sonnet",
        "rate:anthropic|provider=anthropic|family=claude-opus",
        "rate:openrouter|provider=openrouter|family=claude-haiku",
    }


@pytest.mark.requirement("AGT-39")
async def test_a_vendors_429_for_haiku_closes_haiku_and_nothing_else(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.status(429, retry_after=900).on("claude-haiku-*")
    bundle = team(tmp_path, {"fast": [f"anthropic/{HAIKU}"], "medium": [f"anthropic/{SONNET}"], "deep": [f"anthropic/{OPUS}"]})
    providers = mounted(world, base)
    async with (
        Host(bundle, providers=providers, ledger=tmp_path / "l.db") as one,
        Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as other,
    ):
        with pytest.raises(AllFailed):
            await one.delegate("fast", "Work.", timeout=30)
        for host in (one, other):  # what the ledger holds is every process's
            with pytest.raises(Exception, match="limited"):
                await host.delegate("fast", "Work.", timeout=30)
            assert (await host.delegate("medium", "Work.")).model == SONNET
            assert (await host.delegate("deep", "Work.")).model == OPUS
    assert Counter(request.model for request in world.chats()) == {HAIKU: 1, SONNET: 2, OPUS: 2}


async def test_no_word_of_a_vendor_closes_for_longer_than_an_hour(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Ticking()
    bundle = team(tmp_path, {"fast": [f"anthropic/{HAIKU}", f"openai/{MINI}"]})
    world.vendor("anthropic").faults = [Fault.status(429, retry_after=31_536_000)]
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        assert (await host.delegate("fast", "Work.")).provider == "openai"
        clock.now += LONGEST_CLOSED - 1
        assert (await host.delegate("fast", "Work.")).provider == "openai"
        clock.now += 2
        assert (await host.delegate("fast", "Work.")).provider == "anthropic"
    assert len(world.chats("anthropic")) == 2


async def test_a_429_that_says_nothing_closes_nothing(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    bundle = team(tmp_path, {"fast": [f"anthropic/{HAIKU}", f"openai/{MINI}"]})
    world.vendor("anthropic").faults = [Fault.status(429)]
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        assert [(await host.delegate("fast", "Work.")).provider for _ in range(2)] == ["openai", "anthropic"]


async def test_a_429_without_retry_after_closes_until_the_reset_of_its_headers(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Ticking()
    spent = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30s"}
    bundle = team(tmp_path, {"fast": [f"openai/{MINI}", f"anthropic/{HAIKU}"]})
    world.vendor("openai").faults = [Fault.status(429, headers=spent)]
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        answered = []
        for seconds in (0, 29, 2):
            clock.now += seconds
            answered.append((await host.delegate("fast", "Work.")).provider)
    assert answered == ["anthropic", "anthropic", "openai"]


# --- many at once


@pytest.mark.requirement("AGT-4")
async def test_mixed_tiers_are_not_throttled_by_a_limit_that_throttles_one_model(vendors: Served, tmp_path: Path) -> None:
    routed, baseline = await _spread(vendors, tmp_path)
    results, failed, refused, quotas = routed
    assert (failed, refused) == ([], 0)
    assert len(results) == 60
    assert len(quotas) >= 3
    assert len(baseline[1]) == 60 - 20  # the same work on one model


@pytest.mark.requirement("AGT-40")
async def test_spreading_at_least_doubles_what_one_quota_serves(vendors: Served, tmp_path: Path) -> None:
    routed, baseline = await _spread(vendors, tmp_path)
    assert len(baseline[0]) == 20
    assert len(routed[0]) >= 2 * len(baseline[0])
    assert len({quota.partition("/")[0] for quota in routed[3]}) >= 2
    assert max(routed[3].values()) <= 20
    families = {quota for quota in routed[3] if quota.startswith("anthropic/")}
    assert len(families) >= 2


async def _spread(vendors: Served, folder: Path) -> Any:
    """Sixty delegations in one minute, on mixed tiers and all on one model; each model takes 20 a minute."""
    world, base = vendors
    clock = Ticking()
    tiers = {
        "budget": [f"anthropic/{HAIKU}", f"openai/{MINI}", f"google/{FLASH}"],
        "strong": [f"anthropic/{SONNET}", "openai/gpt-4o", f"google/{PRO}"],
        "frontier": [f"anthropic/{OPUS}", "openai/gpt-4o", f"google/{PRO}"],
    }
    limits = per_minute(anthropic=20, openai=20, google=20)
    for name in tiers:
        (folder / f"{name}.md").write_text(f"---\nformat: 1\nname: {name}\ntier: {name}\n---\nWork.\n", encoding="utf-8")
    single = {"format": 1, "name": "single", "provider_preferences": [f"anthropic/{OPUS}"]}
    (folder / "single.md").write_text(f"---\n{yaml.safe_dump(single)}---\nWork.\n", encoding="utf-8")
    bundle = team(folder, {}, tiers=tiers, providers=limits)
    found = []
    for jobs in ({"budget": 30, "strong": 25, "frontier": 5}, {"single": 60}):
        for name in ("anthropic", "openai", "google"):
            world.vendor(name).limiter = Limiter(20, clock=clock)
        async with Host(bundle, providers=mounted(world, base), ledger=folder / f"{len(found)}.db", clock=clock) as host:
            results, failed = await together(host, jobs, timeout=60)
        refused = sum(vendor.limiter.refused for vendor in world.vendors.values() if vendor.limiter is not None)
        found.append((results, failed, refused, by_model(results)))
    return found


@pytest.mark.requirement("AGT-40")
async def test_what_one_tier_cannot_serve_goes_to_the_others_of_its_chain(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Ticking()
    chain = [f"anthropic/{HAIKU}", f"openai/{MINI}", f"google/{FLASH}", f"anthropic/{SONNET}"]
    bundle = team(tmp_path, {"worker": chain}, providers=per_minute(anthropic=15, openai=15, google=15))
    for name in ("anthropic", "openai", "google"):
        world.vendor(name).limiter = Limiter(15, clock=clock)
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        results, failed = await together(host, {"worker": 60}, timeout=60)
    assert by_model(results) == dict.fromkeys(chain, 15)
    assert not failed


# --- windows


class Journal:
    """The accounts of a ledger file, one operation to a transaction."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.store = SqliteStorage(Path(self._folder.name) / "l.db", lease=1e9)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        self._folder.cleanup()

    def run(self, operation: Operation, now: float) -> Answer:
        return self.store.run([operation], now)[0]

    def take(self, id: str, holds: tuple[Hold, ...], now: float) -> bool:
        return isinstance(self.run(Reserve(id, holds, 0, 0), now), Granted)

    def used(self, hold: Hold) -> int:
        rows = self.store.query("accounts", {"account": hold.account})
        return sum(row["settled"] + row["reserved"] for row in rows if row["bucket"] >= hold.window.since)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with Journal() as kept:
        yield kept


def holds_at(budgets: Budgets, now: float, provider: str = "google", model: str = FLASH) -> tuple[Hold, ...]:
    found = budgets.holds(facts(provider, model), now, 100, None, likely=100)
    assert not isinstance(found, Refused)
    return found


CALL = st.tuples(st.floats(0, 25), st.floats(0, 8), st.floats(0, 45))
"""Seconds since the call before, until its vendor has it, and until its answer has ended."""


@settings(max_examples=60)
@given(limit=st.integers(1, 12), calls=st.lists(CALL, min_size=1, max_size=80))
def test_no_sixty_seconds_ever_hold_more_than_the_limit(limit: int, calls: list[tuple[float, float, float]]) -> None:
    """By the vendor's clock, where a call comes later than it was reserved."""
    with Journal() as journal:
        budgets = Budgets(rates=(rate_limit("google", "requests", limit),))
        now = 1_795_000_000.0
        came: list[float] = []
        ends: list[tuple[float, int, Any]] = []
        for number, (gap, late, lasts) in enumerate(calls):
            now += gap
            for end in sorted(ends, key=lambda end: end[0]):
                if end[0] <= now:
                    ends.remove(end)
                    journal.run(Settle(str(end[1]), end[2]), end[0])
            holds = holds_at(budgets, now)
            if journal.take(str(number), holds, now):
                came.append(now + late)
                charges = arrived(Reserve("", holds, 0, 0).charges(0, lambda hold: 1), now + late)
                ends.append((now + late + lasts, number, charges))
        assert all(sum(1 for other in came if at - 60 < other <= at) <= limit for at in came)
        # and it is not idle: whoever comes with the whole minute empty is let through
        assert journal.take("last", holds_at(budgets, now + 200), now + 200)


def test_a_limit_is_used_up_to_the_last_call(journal: Journal) -> None:
    budgets = Budgets(rates=(rate_limit("google", "requests", 60),))
    taken = [journal.take(str(second), holds_at(budgets, 1000.0 + second / 2), 1000.0 + second / 2) for second in range(500)]
    assert [taken[start : start + 122].count(True) for start in (0, 122, 244, 366)] == [60, 60, 60, 60]


def test_accounts_are_kept_apart_by_provider_and_family() -> None:
    budgets = Budgets(rates=[rate_limit(id, "requests", 1) for id in ("google", "openrouter")])
    pairs = [("google", FLASH), ("google", PRO), ("openrouter", f"google/{FLASH}"), ("openrouter", f"google/{PRO}")]
    accounts = [holds_at(budgets, 0.0, *pair)[0].account for pair in pairs]
    assert len(set(accounts)) == 4
    assert holds_at(budgets, 0.0, "google", "gemini-3-flash-preview")[0].account == accounts[0]


# --- the vendor's word


def limit_of(budgets: Budgets, provider: str = "google", model: str = FLASH, unit: str = "requests") -> int | None:
    return next((hold.limit for hold in holds_at(budgets, 0.0, provider, model) if hold.budget.unit == unit), None)


def say(budgets: Budgets, *limits: VendorLimit, now: float = 1000.0, provider: str = "google", model: str = FLASH) -> Any:
    return heard(budgets, facts(provider, model), limits, now)


def test_a_stated_limit_raises_and_lowers_the_tables_for_its_family_only() -> None:
    budgets = Budgets(rates=rate_limits(["google", "anthropic"], {}))
    for stated in (1000, 5, 60):
        say(budgets, VendorLimit("requests", stated, None, None))
        assert (limit_of(budgets), limit_of(budgets, model=PRO)) == (stated, 60)
    assert limit_of(budgets, "anthropic", HAIKU) is None
    say(budgets, VendorLimit("requests", 50, None, None), provider="anthropic", model=HAIKU)
    assert (limit_of(budgets, "anthropic", HAIKU), limit_of(budgets, "anthropic", OPUS)) == (50, None)
    say(budgets, VendorLimit("requests", 0, None, None), VendorLimit("requests", -3, -1, None))
    assert limit_of(budgets) == 60


def test_the_users_own_limit_is_lowered_but_not_raised() -> None:
    budgets = Budgets(rates=(rate_limit("google", "requests", 10, firm=True), rate_limit("google", "tokens", 900, firm=True)))
    say(budgets, VendorLimit("requests", 1000, 999, 0.1), VendorLimit("tokens", 1000, 999, 0.1))
    assert (limit_of(budgets), limit_of(budgets, unit="tokens")) == (10, 900)
    say(budgets, VendorLimit("requests", 4, None, None))
    assert limit_of(budgets) == 4


def test_tokens_that_only_the_vendor_limits_cut_no_answer_and_never_shut_out_a_long_one(journal: Journal) -> None:
    budgets = Budgets()
    say(budgets, VendorLimit("tokens", 1000, None, None))
    now = 1000.0
    (hold,) = budgets.holds(facts("google", FLASH), now, 40_000, None, likely=14_000)  # type: ignore[misc]
    assert (hold.fixed, hold.per_token, hold.limit) == (100, 0, 1000)
    assert [journal.take(str(number), (hold,), now) for number in range(12)] == [True] * 10 + [False] * 2
    (short,) = budgets.holds(facts("google", FLASH), now, 40, None, likely=30)  # type: ignore[misc]
    assert short.fixed == 30


async def test_what_a_cache_served_does_not_use_up_a_vendors_tokens(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    anthropic = world.vendor("anthropic")
    left = {"anthropic-ratelimit-tokens-limit": "5000", "anthropic-ratelimit-tokens-remaining": "4990"}
    anthropic.limiter = Limiter(100, says=lambda limit, remaining, reset: left)
    anthropic.answer = lambda request: Reply("Done.", usage=Usage(20_000, 10, cache_read_tokens=19_900))
    bundle = team(tmp_path, {"worker": [f"anthropic/{HAIKU}", f"openai/{MINI}"]})
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        answered = [(await host.delegate("worker", "Work.")).provider for _ in range(12)]
        rows = host.ledger.query("accounts", account=None)
    assert answered == ["anthropic"] * 12
    assert sum(row["settled"] for row in rows) == 10 + 11 * 110  # what the vendor said of the first, then each call's own


def test_what_somebody_else_used_is_entered_until_the_reset(journal: Journal) -> None:
    budgets = Budgets(rates=(rate_limit("google", "requests", 60),))
    now = 1000.5
    holds = holds_at(budgets, now)
    for number in range(10):
        assert journal.take(str(number), holds, now)
    (correct,) = say(budgets, VendorLimit("requests", 60, 20, 30.0), now=now)
    assert isinstance(correct, Correct)
    for _ in range(3):  # said again, it is not entered again
        journal.run(correct, now)
        assert journal.used(holds[0]) == 40
    assert journal.used(holds_at(budgets, now + 29)[0]) == 40
    assert journal.used(holds_at(budgets, now + 32)[0]) == 10
    assert journal.used(holds_at(budgets, now + 62)[0]) == 0


def test_more_left_than_this_ledger_knows_changes_nothing(journal: Journal) -> None:
    budgets = Budgets(rates=(rate_limit("google", "requests", 60),))
    holds = holds_at(budgets, 1000.0)
    for number in range(10):
        journal.take(str(number), holds, 1000.0)
    (correct,) = say(budgets, VendorLimit("requests", 60, 59, 1.0))
    journal.run(correct, 1000.0)
    assert journal.used(holds[0]) == 10


def test_an_old_word_counts_from_when_it_was_said(journal: Journal) -> None:
    budgets = Budgets(rates=(rate_limit("google", "requests", 60),))
    holds = holds_at(budgets, 1000.0)
    for number in range(60):
        assert journal.take(str(number), holds, 1000.0)
    # the answer took 50 s: what the vendor then counted are the calls of then, all of them this ledger's own
    (correct,) = say(budgets, VendorLimit("requests", 60, 1, 60.0, age=50.0), now=1050.0)
    journal.run(correct, 1050.0)
    assert journal.used(holds_at(budgets, 1050.0)[0]) == 60
    assert journal.used(holds_at(budgets, 1062.0)[0]) == 0
    assert say(budgets, VendorLimit("requests", 60, 1, 60.0, age=300.0), now=1300.0) == []
    assert say(budgets, VendorLimit("requests", None, 0, 60.0, age=61.0), now=1300.0) == []
    (shut,) = say(budgets, VendorLimit("requests", None, 0, 60.0, age=50.0), now=1300.0)
    assert (shut.key, shut.until) == ("google|gemini-flash", 1310.0)


def test_nothing_left_closes_until_the_reset_an_hour_at_most() -> None:
    budgets = Budgets()
    for reset, until in ((30.0, 1030.0), (1e9, 4600.0), (float("inf"), 4600.0)):
        (shut,) = say(budgets, VendorLimit("requests", None, 0, reset))
        assert isinstance(shut, Close)
        assert shut.until == until
    assert say(budgets, VendorLimit("requests", None, 0, float("nan")), VendorLimit("requests", None, 0, -5.0)) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["requests", "tokens"]),
            st.none() | st.integers(-(10**12), 10**12),
            st.none() | st.integers(-(10**12), 10**12),
            st.none() | st.floats(),
            st.floats(allow_nan=True),
        ),
        max_size=6,
    )
)
def test_a_lying_vendor_can_close_a_family_for_an_hour_at_most(told: list[Any]) -> None:
    with Journal() as journal:
        budgets, now = Budgets(rates=(rate_limit("google", "requests", 60),)), 1_795_000_000.0
        for operation in heard(budgets, facts("google", FLASH), [VendorLimit(*one) for one in told], now):
            journal.run(operation, now)
        later = now + LONGEST_CLOSED + 121
        asked = Reserve("later", holds_at(budgets, later), 0, 0, marks=("google|gemini-flash",))
        assert isinstance(journal.run(asked, later), Granted)


# --- the vendor's word, over the wire


@pytest.mark.parametrize("others", [0, 30])
async def test_calls_under_way_are_never_counted_twice(vendors: Served, tmp_path: Path, others: int) -> None:
    world, base = vendors
    openai = world.vendor("openai")
    limiter = openai.limiter = Limiter(200, says=like_openai, others=others)
    openai.delay = 0.05
    drawn = random.Random(7)
    openai.answer = lambda request: "word " * drawn.randint(1, 40)
    openai.pace = 0.002
    bundle = team(tmp_path, {"worker": [f"openai/{MINI}"]})
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        await host.delegate("worker", "Work.")  # the limit is learnt
        for _ in range(2):
            results, failed = await together(host, {"worker": 50}, timeout=60)
            assert (len(results), failed) == (50, [])
        (account,) = {row["account"] for row in host.ledger.query("accounts", account=None)}
        rows = host.ledger.query("accounts", account=account)
    assert account == "rate:openai|provider=openai|family=gpt-4o-mini"
    used = sum(row["settled"] for row in rows)
    assert sum(row["reserved"] for row in rows) == 0
    # the first call was made before there was an account: as it is the vendor's word, it counts as somebody else's
    assert used == others + len(limiter.arrivals) == others + 101
    assert limiter.refused == 0


async def test_a_limit_in_headers_holds_the_next_calls_back(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    openai = world.vendor("openai")
    clock = Ticking()
    limiter = openai.limiter = Limiter(4, clock=clock, says=like_openai)
    bundle = team(tmp_path, {"worker": [f"openai/{MINI}", f"anthropic/{HAIKU}"]})
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        answered = [(await host.delegate("worker", "Work.")).provider for _ in range(6)]
        clock.now += 61
        limiter.limit = 8
        answered += [(await host.delegate("worker", "Work.")).provider for _ in range(9)]
    assert Counter(answered[:6]) == {"openai": 4, "anthropic": 2}
    assert Counter(answered[6:]) == {"openai": 8, "anthropic": 1}
    assert limiter.refused == 0


async def test_what_routing_knows_of_a_limit_is_the_vendors_word(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    clock = Ticking()
    limiter = world.vendor("google").limiter = Limiter(90, clock=clock, says=like_openai)
    bundle = team(tmp_path, {"worker": [f"google/{FLASH}", f"openai/{MINI}"]})
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db", clock=clock) as host:
        await host.delegate("worker", "Work.")
        results, _ = await together(host, {"worker": 85}, timeout=30)
        clock.now += 2  # what is known is a second old at most
        standing = await host.standing()
        results += (await together(host, {"worker": 8}, timeout=30))[0]
    (account,) = standing.accounts.values()
    assert (account.limit, account.settled) == (90, 86)
    assert by_model(results) == {f"google/{FLASH}": 89, f"openai/{MINI}": 4}
    assert limiter.refused == 0


@pytest.mark.parametrize(
    ("vendor", "model", "headers"),
    [
        (
            "anthropic",
            HAIKU,
            {
                "anthropic-ratelimit-requests-limit": "9",
                "anthropic-ratelimit-requests-remaining": "7",
                "anthropic-ratelimit-tokens-limit": "40000",
                "anthropic-ratelimit-tokens-remaining": "39000",
            },
        ),
        (
            "openai",
            MINI,
            {
                "x-ratelimit-limit-requests": "9",
                "x-ratelimit-remaining-requests": "7",
                "x-ratelimit-limit-tokens": "40000",
                "x-ratelimit-remaining-tokens": "39000",
            },
        ),
        ("google", FLASH, {"x-ratelimit-limit": "9", "x-ratelimit-remaining": "7", "x-ratelimit-limit-tokens": "40000"}),
    ],
)
async def test_each_adapter_hands_on_what_the_headers_say(
    vendors: Served, vendor: str, model: str, headers: dict[str, str]
) -> None:
    world, base = vendors
    world.vendor(vendor).limiter = Limiter(1000, says=lambda limit, left, reset: headers)
    provider = mounted(world, base)[vendor]
    request = ChatRequest(model, (user("Hello."),), "", (), 100, {}, 30.0)
    world.vendor(vendor).pace = 0.02
    parts = [part async for part in provider.stream(request)]
    await provider.aclose()
    turn = parts[-1]
    assert isinstance(turn, Turn)
    assert [(limit.unit, limit.limit) for limit in turn.limits] == [("requests", 9), ("tokens", 40000)]
    assert turn.limits[0].remaining == 7
    assert all(0.02 < limit.age < 10 for limit in turn.limits)  # the headers came before the answer


async def test_groqs_requests_of_a_day_are_not_learnt_as_a_minutes(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.add_compatible("groq", "/groq/v1", "llama-3.3-70b-versatile")
    says = {"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14399", "x-ratelimit-reset-requests": "6s"}
    limiter = world.vendor("groq").limiter = Limiter(1000, says=lambda limit, left, reset: says)
    groq = CompatibleProvider(rows()["groq"], api_key="k", base_url=base + "/groq/v1")
    bundle = team(tmp_path, {"worker": ["groq/llama-3.3-70b-versatile", f"openai/{MINI}"]})
    async with Host(bundle, providers=mounted(world, base, {"groq": groq}), ledger=tmp_path / "l.db") as host:
        await host.delegate("worker", "Work.")  # whose headers are heard before the others ask
        results, _ = await together(host, {"worker": 40}, timeout=60)
    assert Counter(result.provider for result in results) == {"groq": 29, "openai": 11}
    assert len(limiter.arrivals) == 30


# --- what users set


def rates(bundle: Bundle, *mounted: str) -> dict[str, int]:
    return {budget.id: int(budget.limit) for budget in rate_limits(mounted, bundle.providers)}


def test_users_change_a_limit_in_place(tmp_path: Path) -> None:
    team(tmp_path, {})
    for name, providers in {
        "plain": {},
        "more": {"google": {"requests_per_minute": 1000}},
        "alias": {"gemini": {"requests_per_minute": 7, "tokens_per_minute": 5000}},
        "none": {"google": {"requests_per_minute": 0}},
        "own": {"mine": {"kind": "google"}, "yours": {"kind": "google", "requests_per_minute": 3}},
        "null": {"google": {"requests_per_minute": None}},
    }.items():
        header = {"format": 1, "bundle": {"name": name}, "providers": providers}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(header), encoding="utf-8")
    found = {
        name: rates(load_bundle(tmp_path / f"{name}.yaml", settings=()), "google", "mine", "yours", "anthropic")
        for name in ("plain", "more", "alias", "none", "own", "null")
    }
    assert found == {
        "plain": {"rate:google": 60},
        "more": {"rate:google": 1000},
        "alias": {"rate:google": 7, "rate:google:tokens": 5000},
        "none": {"rate:google": 0},
        "own": {"rate:google": 60, "rate:mine": 60, "rate:yours": 3},
        "null": {"rate:google": 60},
    }


def test_settings_change_a_limit_over_the_bundle_and_null_takes_it_back(tmp_path: Path) -> None:
    bundle = "bundle: {name: team}\nproviders: {google: {requests_per_minute: 100}}\n"
    for said, expected in (("1000", 1000), ("null", 60)):
        files = {
            "home/settings.yaml": f"providers: {{google: {{requests_per_minute: {said}}}}}\n",
            "project/team.yaml": bundle,
        }
        here = write(tmp_path, files, mark=False) / "project"
        found = find_settings({"BUNDLE_LOADER_SITE": str(tmp_path / "site"), "BUNDLE_LOADER_HOME": str(tmp_path / "home")}, here)
        assert rates(load_bundle(here / "team.yaml", settings=found), "google") == {"rate:google": expected}


async def test_a_limit_of_nothing_sends_nothing(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("google").limiter = Limiter(100, says=like_openai)
    bundle = team(tmp_path, {"worker": [f"google/{FLASH}", f"openai/{MINI}"]}, providers=per_minute(google=0))
    async with Host(bundle, providers=mounted(world, base), ledger=tmp_path / "l.db") as host:
        assert (await host.delegate("worker", "Work.")).provider == "openai"
    assert world.chats("google") == []


def test_only_free_models_have_the_free_tiers_limit() -> None:
    budgets = Budgets(rates=rate_limits(["openrouter"], {}))
    assert limit_of(budgets, "openrouter", "qwen/qwen3-coder:free") == 10
    assert limit_of(budgets, "openrouter", "openai/gpt-4o-mini") is None


def test_a_budget_says_whose_it_is() -> None:
    budget: Budget = rate_limit("google", "requests", 60)
    assert str(budget) == "60 requests a minute for provider google for each provider and family"
    assert nothing(1, 1, 1.0) == {}

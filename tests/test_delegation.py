"""Delegation end to end: shipped agents and the four real SDKs over sockets, with providers failing one after the other."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bundle_loader import AllFailed, DecidedBy, Host, NoCandidate, RequestError, SimulatedProvider, load_bundle
from bundle_loader.declared.bundle import Bundle
from bundle_loader.messages import Usage
from bundle_loader.providers.base import Provider
from tests.support.hosting import MODELS, mounted, worker
from tests.support.vendors import DEFAULT_TEXT, Fault, Reply, World

Served = tuple[World, str]

CHAIN = ("anthropic", "openai", "google", "github-copilot")
ANSWERS = ("claude-haiku-4-5-20251001", "gpt-4o-mini", "gemini-2.5-flash", "claude-haiku-4.5")
FRONTIER = "claude-opus-4-6"


@pytest.fixture(scope="module")
def foundation() -> Bundle:
    return load_bundle("foundation")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.mark.parametrize("vendor", MODELS)
async def test_each_sdk_carries_a_delegation(vendors: Served, ledger: Path, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    model = MODELS[vendor][0]
    bundle = worker(tmp_path, f"{vendor}/{model}", body="You are terse: {{ tone }}.")
    async with Host(bundle, ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Say hello.", vars={"tone": "very"})
    assert (result.text, result.provider, result.model) == (DEFAULT_TEXT, vendor, model)
    assert result.decided_by is DecidedBy.AGENT
    assert result.usage == Usage(20, 8)
    assert result.turns == 1
    assert not result.simulated
    (chat,) = world.chats()
    assert chat.vendor == vendor
    sent = str(chat.body_json)
    assert "You are terse: very." in sent
    assert "Say hello." in sent
    assert [message.role for message in result.messages] == ["user", "assistant"]


# --- the chain


def take_down(world: World, count: int, how: str) -> dict[str, Provider]:
    """Fail the first `count` providers of the chain in one of four ways; gives the last one, which is simulated."""
    for name in CHAIN[: min(count, 3)]:
        vendor = world.vendor(name)
        if how == "call":
            vendor.fault = Fault.status(503)
        elif how == "list":
            vendor.fault = Fault.list(Fault.status(500))
        else:
            vendor.on = False
    fault = {"call": "503", "list": "list", "no key": "no-key", "not mounted": "no-key"}[how] if count == 4 else None
    return {"github-copilot": SimulatedProvider("github-copilot", fault=fault)}


@pytest.mark.requirement("AGT-27", "AGT-28", "AGT-29")
@pytest.mark.parametrize("how", ["call", "list", "no key", "not mounted"])
@pytest.mark.parametrize("down", range(5))
async def test_the_next_provider_takes_over_at_every_position(
    foundation: Bundle, vendors: Served, ledger: Path, down: int, how: str
) -> None:
    world, base = vendors
    others = take_down(world, down, how)
    bundle = foundation
    if how == "no key":
        providers = {}
        bundle, providers = foundation, mounted(world, base, others)
        for name in CHAIN[: min(down, 3)]:
            providers[name] = SimulatedProvider(name, fault="no-key")
    else:
        providers = mounted(world, base, others)
    if how == "not mounted" and down == 4:
        del providers["github-copilot"]
    async with Host(bundle, providers=providers, ledger=ledger) as host:
        if down < 4:
            result = await host.delegate("git-ops", "Commit.")
            assert (result.provider, result.model) == (CHAIN[down], ANSWERS[down])
            assert result.text
            reasons = [str(attempt) for attempt in result.attempts[:-1]] + [str(item) for item in result.rejections]
        else:
            with pytest.raises(AllFailed if how == "call" else NoCandidate) as caught:
                await host.delegate("git-ops", "Commit.")
            reasons = [*map(str, caught.value.attempts), *map(str, caught.value.rejections)]
            assert all(reason in str(caught.value) for reason in reasons)
    assert len(reasons) == down
    for name, reason in zip(CHAIN, reasons, strict=False):
        assert f"{name}/" in reason
        words = {"call": "503", "list": "could not be fetched", "no key": "no key: set", "not mounted": "is mounted"}
        assert words[how] in reason


@pytest.mark.requirement("AGT-17")
async def test_a_glob_means_the_newest_of_the_moment(foundation: Bundle, tmp_path: Path) -> None:
    seen = []
    for day, listed in enumerate((["claude-haiku-4-9", "claude-haiku-4-10-20270101"], ["claude-haiku-4-10", "claude-haiku-5"])):
        provider = SimulatedProvider("anthropic", models=listed)
        async with Host(foundation, providers={"anthropic": provider}, ledger=tmp_path / f"{day}.db") as host:
            route = await host.route("git-ops")
            seen.append((route.candidates[0].preference.model, (await host.delegate("git-ops", "Commit.")).model))
    assert seen == [("claude-haiku-*", "claude-haiku-4-10-20270101"), ("claude-haiku-*", "claude-haiku-5")]


async def test_without_any_key_the_error_says_what_to_set(foundation: Bundle, ledger: Path) -> None:
    async with Host(foundation, ledger=ledger, environment={}) as host:
        with pytest.raises(NoCandidate) as caught:
            await host.delegate("git-ops", "Commit.")
    assert [rejection.provider for rejection in caught.value.rejections] == list(CHAIN)
    assert "ANTHROPIC_API_KEY" in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "GEMINI_API_KEY" in str(caught.value)
    assert "no key: set COPILOT_GITHUB_TOKEN" in caught.value.rejections[3].reason
    assert "--simulate" in str(caught.value)


# --- the agent's model, not the session's


@pytest.mark.requirement("AGT-1", "AGT-2")
async def test_each_agent_runs_on_its_own_tier_and_not_on_its_parents_model(
    foundation: Bundle, vendors: Served, ledger: Path
) -> None:
    world, base = vendors
    expected = {"budget": "claude-haiku-4-5-20251001", "strong": "claude-sonnet-4-6", "strong-code": "claude-sonnet-4-6"}
    expected["frontier"] = FRONTIER
    carrying = [agent for agent in foundation.agents.values() if agent.slot is not None]
    assert len(carrying) >= 16
    async with Host(foundation, ledger=ledger, environment=world.environment(base)) as host:
        for agent in carrying:
            result = await host.delegate(agent.name, "Work.", parent=f"anthropic/{FRONTIER}")
            assert agent.tier is not None
            assert result.model == expected[agent.tier], agent.name
            assert world.chats()[-1].model == result.model
            assert result.decided_by is DecidedBy.AGENT
        spent = {row["name"] for row in host.ledger.totals("model")}
    assert spent == set(expected.values())


@pytest.mark.requirement("AGT-12", "AGT-13", "AGT-14")
@pytest.mark.parametrize("session", ["claude-haiku-4-5-20251001", "claude-sonnet-4-6", FRONTIER, "gpt-4o-mini"])
async def test_the_tier_holds_downward_and_upward_from_any_session(
    foundation: Bundle, vendors: Served, ledger: Path, session: str
) -> None:
    world, base = vendors
    parent = f"{'openai' if session.startswith('gpt') else 'anthropic'}/{session}"
    async with Host(foundation, ledger=ledger, environment=world.environment(base)) as host:
        alone = {name: (await host.route(name)).chosen for name, agent in foundation.agents.items() if agent.slot}
        for name, chosen in alone.items():
            assert (await host.route(name, parent=parent)).chosen == chosen
        low = await host.delegate("git-ops", "Commit.", parent=parent)
        high = await host.delegate("zen-architect", "Design.", parent=parent)
        same = await host.delegate("self", "Go on.", parent=parent)
    assert (low.model, high.model, same.model) == ("claude-haiku-4-5-20251001", FRONTIER, session)
    assert (low.decided_by, same.decided_by) == (DecidedBy.AGENT, DecidedBy.PARENT)


@pytest.mark.requirement("AGT-57")
@pytest.mark.parametrize("parent", [f"anthropic/{FRONTIER}", "openai/gpt-4o"])
async def test_a_bundle_without_preferences_inherits_the_parent(
    vendors: Served, ledger: Path, tmp_path: Path, parent: str
) -> None:
    world, base = vendors
    async with Host(worker(tmp_path), ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.", parent=parent)
        with pytest.raises(RequestError, match="no caller to inherit from"):
            await host.delegate("worker", "Work.")
    assert f"{result.provider}/{result.model}" == parent
    assert result.decided_by is DecidedBy.PARENT
    assert [chat.model for chat in world.chats()] == [result.model]


# --- the caller


@pytest.mark.requirement("AGT-30", "AGT-56")
async def test_the_callers_list_wins_and_never_silently_loses(foundation: Bundle, vendors: Served, ledger: Path) -> None:
    world, base = vendors
    async with Host(foundation, ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("git-ops", "Commit.", preferences=["google/gemini-2.5-pro", "openai/gpt-4o"])
        assert (result.provider, result.model, result.decided_by) == ("google", "gemini-2.5-pro", DecidedBy.CALLER)
        pinned = await host.delegate("zen-architect", "Design.", model="openai/gpt-4o-mini")
        assert (pinned.model, pinned.decided_by) == ("gpt-4o-mini", DecidedBy.CALLER)
        tier = await host.delegate("git-ops", "Commit.", tier="frontier", provider="google")
        assert (tier.provider, tier.model) == ("google", "gemini-2.5-pro")
        before = len(world.chats())
        with pytest.raises(NoCandidate) as none:
            await host.delegate("git-ops", "Commit.", preferences=["anthropic/claude-nonsense-*", "mistral/m-*"])
        assert [item.model for item in none.value.rejections] == ["claude-nonsense-*", "m-*"]
        assert len(world.chats()) == before
        world.vendor("google").fault = Fault.status(503)
        with pytest.raises(AllFailed) as failed:
            await host.delegate("git-ops", "Commit.", preferences=["google/gemini-2.5-pro"])
        assert [str(attempt)[:25] for attempt in failed.value.attempts] == ["1. google/gemini-2.5-pro "]
        assert len(world.chats()) == before + 1, "the agent's own list is no safety net for the caller's"


async def test_config_reaches_the_vendor_in_order_of_precedence(vendors: Served, ledger: Path, tmp_path: Path) -> None:
    world, base = vendors
    preference = {"provider": "openai", "model": "gpt-4o", "config": {"temperature": 0.5, "seed": 2}}
    bundle = worker(tmp_path, preference, config={"temperature": 0.1, "top_p": 0.9, "max_tokens": 77})
    async with Host(bundle, ledger=ledger, environment=world.environment(base)) as host:
        await host.delegate("worker", "Work.", config={"seed": 3})
    body = world.chats()[0].body_json
    sent = {key: body.get(key) for key in ("temperature", "seed", "top_p")}
    assert sent == {"temperature": 0.5, "seed": 3, "top_p": 0.9}
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 77


# --- what cannot be asked


async def test_what_cannot_be_asked_is_refused_before_anything_is_sent(foundation: Bundle, vendors: Served, ledger: Path) -> None:
    world, base = vendors
    async with Host(foundation, ledger=ledger, environment=world.environment(base)) as host:
        with pytest.raises(RequestError, match="did you mean 'git-ops'"):
            await host.delegate("git-opps", "Commit.")
        with pytest.raises(RequestError, match="the text to delegate is empty"):
            await host.delegate("git-ops", "  ")
        with pytest.raises(RequestError, match="more than 0 seconds"):
            await host.delegate("git-ops", "Commit.", timeout=0)
        with pytest.raises(RequestError, match=r"messages\[1\].role"):
            await host.delegate("git-ops", "Commit.", messages=[{"role": "user", "content": "x"}, {"role": "system"}])
    assert world.requests == []


async def test_a_host_is_used_while_it_is_open(foundation: Bundle, ledger: Path) -> None:
    provider = SimulatedProvider("anthropic")
    host = Host(foundation, providers={"anthropic": provider}, ledger=ledger)
    with pytest.raises(RequestError, match="the host is not open"):
        await host.route("git-ops")
    async with host:
        with pytest.raises(RequestError, match="already open"):
            await host.__aenter__()
        assert (await host.route("git-ops")).chosen is not None
    assert provider.closed
    with pytest.raises(RequestError, match="the host is not open"):
        await host.delegate("git-ops", "Commit.")
    await host.aclose()
    with pytest.raises(RequestError, match="not both"):
        Host(foundation, providers={}, simulate=True)
    with pytest.raises(RequestError, match="simulate=True"):
        Host(foundation, faults={"anthropic": "503"})


# --- money


async def test_usage_and_cost_are_of_all_attempts(vendors: Served, ledger: Path, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.cut()
    world.vendor("openai").replies = [Reply("Done.", usage=Usage(1_000_000, 100_000, cache_read_tokens=400_000))]
    bundle = worker(tmp_path, "anthropic/claude-haiku-4-5-20251001", "openai/gpt-4o-mini")
    async with Host(bundle, ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
        calls = host.ledger.calls(result.id)
    # gpt-4o-mini: 0.15 in, 0.075 cached, 0.60 out per million
    answered = Decimal("0.15") * Decimal("0.6") + Decimal("0.075") * Decimal("0.4") + Decimal("0.60") * Decimal("0.1")
    assert calls[1]["cost"] == answered
    assert result.attempts[1].cost == answered
    assert result.attempts[0].usage.estimated, "what was streamed before the break is charged, and nobody counted it"
    assert isinstance(result.cost, Decimal)
    assert result.cost == answered + calls[0]["cost"] > answered
    assert result.usage == result.attempts[0].usage + result.attempts[1].usage


async def test_a_cost_that_nobody_knows_is_none(vendors: Served, ledger: Path, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").offer("zz-nobody-sells-this")
    bundle = worker(tmp_path, "openai/zz-*")
    async with Host(bundle, ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
        (call,) = host.ledger.calls()
        (total,) = host.ledger.totals()
    assert result.cost is None
    assert call["cost"] is None
    assert (total["cost"], total["unknown"], total["input_tokens"]) == (None, 1, 20)


async def test_a_model_on_this_machine_costs_nothing(vendors: Served, ledger: Path, tmp_path: Path) -> None:
    world, base = vendors
    async with Host(worker(tmp_path, "ollama/qwen3*"), ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
    assert (result.model, result.cost) == ("qwen3:8b", Decimal(0))


async def test_what_answered_is_told_apart_from_what_was_asked(vendors: Served, ledger: Path, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply("Hi.", model="gpt-4o-mini-2024-07-18")]
    async with Host(worker(tmp_path, "openai/gpt-4o-mini"), ledger=ledger, environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
        (call,) = host.ledger.calls()
    assert (result.model, result.answered_by) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (call["asked"], call["answered"], call["pattern"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini")


async def test_a_prompt_that_cannot_fit_is_not_sent(tmp_path: Path) -> None:
    small = SimulatedProvider("anthropic", models=[{"id": "claude-haiku-9", "window": 8000}])
    large = SimulatedProvider("openai", models=[{"id": "gpt-4o-mini", "window": 128_000}])
    async with Host("foundation", providers={"anthropic": small, "openai": large}, ledger=tmp_path / "ledger.db") as host:
        short = await host.delegate("git-ops", "word " * 1000)
        long = await host.delegate("git-ops", "word " * 40_000)
    assert (short.provider, long.provider) == ("anthropic", "openai")
    [reason] = [rejection.reason for rejection in long.rejections if rejection.provider == "anthropic"]
    assert reason.startswith("claude-haiku-9 takes 8000 tokens, the prompt has at least 126")
    assert len(small.requests) == 1

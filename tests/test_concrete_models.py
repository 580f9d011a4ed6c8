"""What a child runs on: a concrete model of the moment, over the real SDKs, however it was asked for and whoever is out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import AllFailed, Host, load_bundle
from bundle_loader.declared.bundle import Bundle
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.events import Event
from bundle_loader.ledger.meter import Meter
from bundle_loader.providers.base import Provider
from bundle_loader.providers.catalogues import KEEP, STALE
from bundle_loader.sources.settings import find_settings
from tests.support.hosting import mounted, worker
from tests.support.vendors import Fault, World

Served = tuple[World, str]

GROWING = {
    "anthropic": ("claude-haiku-*", "claude-haiku-4-5-20251001", "claude-haiku-5", "claude-haiku-5-1"),
    "openai": ("gpt-[0-9].[0-9]", "gpt-5.2", "gpt-5.4", "gpt-5.6"),
    "google": ("gemini-*-flash", "gemini-2.5-flash", "gemini-3.5-flash", "gemini-3.7-flash"),
    "ollama": ("qwen*", "qwen3:8b", "qwen3.5:8b", "qwen4:8b"),
    "openrouter": ("vendor/m-*", "vendor/m-1", "vendor/m-2", "vendor/m-3"),
}
RELEASED = ("2026-01-15", "2026-05-01", "2026-09-01")


class Clock:
    """Stands until it is moved."""

    now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def environment(world: World, base: str) -> dict[str, str]:
    return {**world.environment(base), "OPENROUTER_BASE_URL": world.url(base, "openrouter"), "OPENROUTER_API_KEY": "k"}


@pytest.mark.requirement("AGT-21")
@pytest.mark.parametrize("stale", [0.0, STALE], ids=["waiting for the list", "renewing it beside"])
@pytest.mark.parametrize("vendor", GROWING)
async def test_a_model_that_appears_is_chosen_by_the_next_delegation(
    vendors: Served, tmp_path: Path, vendor: str, stale: float
) -> None:
    world, base = vendors
    pattern, *names = GROWING[vendor]
    models = list(zip(names, RELEASED, strict=True))
    server, clock = world.vendor(vendor), Clock()
    server.offer(models[0])
    bundle = worker(tmp_path, f"{vendor}/{pattern}")
    at = environment(world, base)
    async with Host(bundle, ledger=tmp_path / "l.db", environment=at, clock=clock, stale=stale) as host:

        async def answered() -> str:
            result = await host.delegate("worker", "Work.")
            assert world.chats(vendor)[-1].model == result.model, "what is told is what was asked for"
            return result.model

        assert await answered() == names[0]
        server.offer(*models[:2])
        await host.refresh([vendor])
        assert await answered() == names[1], "the next delegation, where the host asks for the lists"
        server.offer(*models)
        asked = len(world.lists(vendor))
        clock.now += KEEP
        if stale:
            # the delegation that finds the list too old begins its renewal, and need not wait for it
            await answered()
            await world.until(lambda: len(world.lists(vendor)) > asked)
            await asyncio.sleep(0.05)
        assert await answered() == names[2], "the next delegation, once the list is as old as a list may be"
        assert len(world.lists(vendor)) == asked + 1, "asked once, and by nobody's reload"


class Recording:
    """The default spawner, with every context that it was handed."""

    def __init__(self, provider_of: Callable[[str], Provider]) -> None:
        self.contexts: list[DelegationContext] = []
        self._default = ProviderSpawner(provider_of)

    def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        self.contexts.append(context)
        return self._default.spawn(context, meter, tools)


TEAM = """
tiers:
  quick: [anthropic/claude-haiku-*, {provider: openai, model: "gpt-4o-min?"}]
  nested: [{tier: quick}, "google/gemini-2.5-fla*"]
default: quick
roles:
  seer: ["google/gemini-[2]*-flash", openai/gpt-4o]
profiles:
  cheap: {default: quick, planning: [{provider: gemini, model: "*-pro"}]}
agents:
  listed: {provider_preferences: [openai/gpt-4o-mini*, anthropic/*sonnet*]}
  pinned: {tier: nested}
  aliased: {provider_preferences: [gemini/gemini-2.5-flash, anthropic/claude-haiku-4-5]}
  tiered: {tier: nested}
  roled: {model_role: seer}
  silent: {}
  fallen: {provider_preferences: [anthropic/claude-opus-*], content_fallback: [openai/gpt-4*]}
"""
AGENT = "---\nname: {name}\n---\nWork.\n"

ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "the agent's list of globs": ("listed", {}),
    "another name of a provider, and of a model": ("aliased", {}),
    "a name that stands for its snapshot": ("aliased", {"provider": "anthropic"}),
    "a tier within a tier": ("tiered", {}),
    "a role": ("roled", {}),
    "a pin in settings": ("pinned", {}),
    "the bundle's default": ("silent", {}),
    "the caller's list": ("listed", {"preferences": ["google/*lite", "anthropic/claude-opus-?-*"]}),
    "the caller's glob": ("silent", {"model": "anthropic/claude-*"}),
    "the caller's glob beside a provider": ("silent", {"provider": "gemini", "model": "gemini*pro"}),
    "a glob with a question mark and nothing beside it": ("silent", {"preferences": ["openai/gpt-4o-min?"]}),
    "the caller's glob with a question mark": ("silent", {"model": "anthropic/claude-opus-?-?"}),
    "the caller's tier": ("listed", {"tier": "nested"}),
    "the caller's role": ("listed", {"role": "seer"}),
    "a profile's cell": ("listed", {"profile": "cheap", "stage": "planning"}),
    "a filter on the winner": ("tiered", {"provider": "google"}),
    "the parent": ("self", {"parent": "anthropic/claude-sonnet-4-6"}),
    "a parent that is told by a glob": ("self", {"parent": "openai/gpt-4o-mini*"}),
    "the parent's whole route": ("self", {"parent": [("openai", "gpt-*-codex"), ("anthropic", "claude-haiku-4-5")]}),
    "content that is refused": ("fallen", {}),
}


def team(folder: Path) -> Bundle:
    """A bundle in which every kind of decider names a glob."""
    names = ("listed", "aliased", "tiered", "roled", "silent", "fallen", "pinned")
    for name in names:
        (folder / f"{name}.md").write_text(AGENT.format(name=name), encoding="utf-8")
    included = f"agents:\n  include: [{', '.join(f'{name}.md' for name in names)}]\n"
    path, settings = folder / "team.yaml", folder / "settings.yaml"
    path.write_text("includes: [foundation]\n" + TEAM.replace("agents:\n", included), encoding="utf-8")
    settings.write_text("agents: {pinned: {provider_preferences: [anthropic/claude-son*, gemini/gemini-*]}}\n", encoding="utf-8")
    found = find_settings({"BUNDLE_LOADER_HOME": str(folder), "BUNDLE_LOADER_SITE": str(folder / "none")}, folder)
    bundle = load_bundle(path, settings=found, strict=True)
    assert bundle.pins
    return bundle


@pytest.mark.requirement("AGT-25")
@pytest.mark.parametrize("how", ASKED)
@pytest.mark.parametrize("first", ["answers", "fails"])
async def test_a_child_is_handed_concrete_models_only(vendors: Served, tmp_path: Path, how: str, first: str) -> None:
    world, base = vendors
    agent, choice = ASKED[how]
    bundle = team(tmp_path)
    providers = mounted(world, base)
    recording = Recording(providers.__getitem__)
    if agent == "fallen":
        world.vendor("anthropic").fault = Fault.refusal()
    elif first == "fails":
        world.vendor("anthropic").faults = [Fault.status(503)]
        world.vendor("google").faults = [Fault.status(503)]
        world.vendor("openai").faults = [Fault.status(503)]
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db", spawner=recording) as host:
        try:
            result = await host.delegate(agent, "Work.", **choice)
        except AllFailed:
            # a list of one has nothing to fall back on
            if first == "answers" or not recording.contexts:
                raise
        else:
            assert result.model in world.vendor(result.provider).ids
    assert recording.contexts
    for context in recording.contexts:
        assert context.candidate is not None
        for candidate in (context.candidate, *context.remaining):
            assert candidate.model in world.vendor(candidate.provider).ids
    sent = [(chat.vendor, chat.model) for chat in world.chats()]
    assert sent == [(one.candidate.provider, one.candidate.model) for one in recording.contexts if one.candidate]
    assert all(model in world.vendor(vendor or "").ids for vendor, model in sent)


OUT: dict[str, tuple[Callable[[World], None], Mapping[str, str | None], str]] = {
    "not mounted": (lambda world: None, {}, "no provider 'anthropic' is mounted"),
    "no credentials": (lambda world: None, {"ANTHROPIC_API_KEY": None}, "no key: set ANTHROPIC_API_KEY"),
    "empty credentials": (lambda world: None, {"ANTHROPIC_API_KEY": " "}, "no key: set ANTHROPIC_API_KEY"),
    "wrong credentials": (
        lambda world: setattr(world.vendor("anthropic"), "required_key", "another"), {"ANTHROPIC_API_KEY": "wrong"},
        "its list of models could not be fetched",
    ),
    "nobody listens": (
        lambda world: None, {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}, "its list of models could not be fetched",
    ),
    **{
        f"list: {fault.kind} {fault.code or ''}".strip(): (
            lambda world, fault=fault: setattr(world.vendor("anthropic"), "fault", Fault.list(fault)), {}, said
        )
        for fault, said in (
            (Fault.status(500), "its list of models could not be fetched"),
            (Fault.status(403), "its list of models could not be fetched"),
            (Fault.status(429), "its list of models could not be fetched"),
            (Fault.html(), "its list of models could not be fetched"),
            (Fault.reset(), "its list of models could not be fetched"),
            (Fault.status(200, body={"data": [], "has_more": False}), "matches none of 0 models"),
            (Fault.status(200, body={"nonsense": 1}), "its list of models could not be fetched"),
        )
    },
    **{
        f"call: {fault.kind} {fault.code or ''}".strip(): (
            lambda world, fault=fault: setattr(world.vendor("anthropic"), "fault", fault.on("claude-*")), {}, said
        )
        for fault, said in (
            (Fault.status(401), "401"), (Fault.status(402), "402"), (Fault.status(403), "403"), (Fault.status(404), "404"),
            (Fault.status(429), "429"), (Fault.status(500), "500"), (Fault.status(503), "503"), (Fault.status(529), "529"),
            (Fault.reset(), "busy"), (Fault.html(), "broken answer"), (Fault.empty(), "broken answer"),
        )
    },
}  # fmt: skip


@pytest.mark.requirement("AGT-29")
@pytest.mark.parametrize("how", OUT)
async def test_a_provider_that_is_out_in_any_way_gives_way_to_the_next(vendors: Served, tmp_path: Path, how: str) -> None:
    world, base = vendors
    break_it, changed, said = OUT[how]
    break_it(world)
    at = {name: value for name, value in {**environment(world, base), **changed}.items() if value is not None}
    given: dict[str, Any] = {"environment": at}
    if how == "not mounted":
        given = {"providers": {id: one for id, one in mounted(world, base).items() if id != "anthropic"}}
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o-mini")
    async with Host(bundle, ledger=tmp_path / "l.db", **given) as host:
        result = await host.delegate("worker", "Work.")
        again = await host.delegate("worker", "Work.")
    assert (result.provider, result.model, again.provider) == ("openai", "gpt-4o-mini", "openai")
    assert result.text
    reasons = [*map(str, result.attempts[:-1]), *map(str, result.rejections)]
    assert reasons
    assert all("anthropic/claude-haiku-" in reason for reason in reasons)
    assert said in " ".join(reasons)

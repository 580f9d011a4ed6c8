"""Every kind of failure, from the wire of each vendor: who is tried next, and when the flow stops."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import pytest

from bundle_loader import AllFailed, BrokenAnswer, Host, SimulatedProvider, Stopped, load_bundle
from bundle_loader.delegation.result import DoneEvent
from bundle_loader.errors import FailureKind
from bundle_loader.events import FallbackEvent, StatusEvent, TextEvent
from tests.support.hosting import MODELS, both, mounted, worker
from tests.support.vendors import DEFAULT_TEXT, Fault, Reply, World

Served = tuple[World, str]
K = FailureKind

ODD = "tools.0.custom.input_schema: JSON schema is invalid; invalid schema for function 'x'"
# name -> the fault of the vendor's first model, its kind, and what answers then: its second model, another vendor, or nobody
FAULTS = {
    "500": (Fault.status(500), K.BUSY, "second"),
    "503": (Fault.status(503), K.BUSY, "second"),
    "529": (Fault.status(529), K.BUSY, "second"),
    "reset": (Fault.reset(), K.BUSY, "second"),
    "hang up": (Fault.hang_up(), K.BUSY, "second"),
    "429": (Fault.status(429), K.LIMITED, "second"),
    "401": (Fault.status(401), K.REFUSED, "other"),
    "402": (Fault.status(402), K.REFUSED, "other"),
    "403": (Fault.status(403), K.REFUSED, "second"),
    "404": (Fault.status(404), K.REFUSED, "second"),
    "too long": (Fault.too_long(), K.TOO_LONG, "larger"),
    "413": (Fault.status(413), K.TOO_LONG, "larger"),
    "refused prompt": (Fault.refusal(prompt=True), K.CONTENT_REFUSED, "nobody"),
    "tool schema": (Fault.status(400, message=ODD), K.UNSUPPORTED, "other"),
    "parameter": (Fault.status(400, message="Unsupported parameter: 'top_k'"), K.UNSUPPORTED, "other"),
    "400": (Fault.status(400, message="messages: roles must alternate"), K.WRONG_REQUEST, "nobody"),
    "422": (Fault.status(422, message="messages: roles must alternate"), K.WRONG_REQUEST, "nobody"),
    "cut": (Fault.cut(), K.BROKEN, "second"),
    "cut off": (Fault.cut(abruptly=True), None, "second"),
    "malformed": (Fault.malformed(), K.BROKEN, "second"),
    "empty": (Fault.empty(), K.BROKEN, "second"),
    "html": (Fault.html(), K.BROKEN, "second"),
    "wrong shape": (Fault.wrong_shape(), K.BROKEN, "second"),
}


# Ollama has no refusal of its own: it refuses in ordinary words
EVERY = [(vendor, fault) for fault in FAULTS for vendor in MODELS if (vendor, fault) != ("ollama", "refused prompt")]


@pytest.mark.parametrize(("vendor", "fault"), EVERY)
async def test_what_a_failure_means_for_the_next_step(vendors: Served, tmp_path: Path, vendor: str, fault: str) -> None:
    world, base = vendors
    given, kind, then = FAULTS[fault]
    first, second = MODELS[vendor]
    if then == "larger":  # no second model has a window that is known to be larger
        then = "other"
    other = ("openai", "gpt-4o") if vendor != "openai" else ("anthropic", "claude-sonnet-4-6")
    world.vendor(vendor).fault = given.on(first)
    bundle = worker(tmp_path, *both(vendor), "/".join(other))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        if then == "nobody":
            with pytest.raises(Stopped) as caught:
                await host.delegate("worker", "Work.")
            (tried,) = caught.value.attempts
            assert f"{vendor}/{first} failed: {kind}" in str(tried)
        else:
            result = await host.delegate("worker", "Work.")
            assert (result.provider, result.model) == ((vendor, second) if then == "second" else other)
            assert result.text == DEFAULT_TEXT
            assert len(result.attempts) == 2
            assert result.attempts[0].kind == kind or (kind is None and result.attempts[0].kind in (K.BROKEN, K.BUSY))
        (row, *_) = host.ledger.attempts(host.ledger.delegations()[0]["id"])
    assert (row["provider"], row["model"], row["outcome"]) == (vendor, first, "failed")
    assert len([chat for chat in world.chats(vendor) if chat.model == first]) == 1, "no SDK tries again behind our back"


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "google"])
async def test_an_answer_that_a_safety_system_blocks_stops_the_flow(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.refusal()
    bundle = worker(tmp_path, *both(vendor), "ollama/qwen3*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(Stopped, match="content refused"):
            await host.delegate("worker", "Work.")
    assert len(world.chats()) == 1


async def test_refused_content_goes_to_the_agents_content_fallback_only(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.refusal(prompt=True)
    bundle = worker(tmp_path, *both("anthropic"), content_fallback=["openai/gpt-4o-mini", "google/gemini-2.5-flash"])
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
        assert (result.model, len(result.attempts)) == ("gpt-4o-mini", 2)
        world.vendor("openai").fault = Fault.refusal(prompt=True)
        result = await host.delegate("worker", "Work.")
    assert [attempt.provider for attempt in result.attempts] == ["anthropic", "openai", "google"]


async def test_a_simulated_content_fallback_is_marked(tmp_path: Path, vendors: Served) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.refusal(prompt=True)
    providers = mounted(world, base, {"github-copilot": SimulatedProvider("github-copilot")})
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", content_fallback=["github-copilot/gpt-4o"])
    async with Host(bundle, providers=providers, ledger=tmp_path / "l.db") as host:
        result = await host.delegate("worker", "Work.")
        (row,) = host.ledger.delegations()
    assert result.simulated
    assert row["simulated"] == 1


async def test_a_model_that_is_gone_gives_its_place_to_the_next_match(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").offer("claude-haiku-4-5", "claude-haiku-4-4", "claude-haiku-4-3")
    world.vendor("anthropic").fault = Fault.status(404).on("claude-haiku-4-5")
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Work.")
        assert [attempt.model for attempt in result.attempts] == ["claude-haiku-4-5", "claude-haiku-4-4"]
        world.vendor("anthropic").fault = Fault.status(404)
        result = await host.delegate("worker", "Work.")
    assert [attempt.model for attempt in result.attempts] == ["claude-haiku-4-4", "claude-haiku-4-3", "gpt-4o"]
    assert "anthropic/claude-haiku-4-5 was passed over" in result.notes[0], "what was gone is not asked again for a while"


async def test_the_last_candidate_is_waited_for_when_it_says_how_long(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").faults = [Fault.status(429, retry_after=30)]
    world.vendor("openai").faults = [Fault.status(503, retry_after=0.3)]
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o")
    began = perf_counter()
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "Work.")]
    assert 0.3 <= perf_counter() - began < 25
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert [attempt.provider for attempt in done.result.attempts] == ["anthropic", "openai", "openai"]
    hops = [event for event in events if isinstance(event, FallbackEvent)]
    assert [(hop.from_provider, hop.to_provider) for hop in hops] == [("anthropic", "openai")], "waiting is no hop"


async def test_a_wait_beyond_the_deadline_is_not_begun(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.status(429, retry_after=60)
    began = perf_counter()
    async with Host(
        worker(tmp_path, "anthropic/claude-haiku-*"), ledger=tmp_path / "l.db", environment=world.environment(base)
    ) as host:
        with pytest.raises(AllFailed, match="limited 429"):
            await host.delegate("worker", "Work.", timeout=20)
    assert perf_counter() - began < 12


# --- streams that break


async def hear(host: Host, seen: list[object]) -> None:
    """Keep what a stream yields, up to its error."""
    async for event in host.stream("worker", "Work."):
        seen.append(event)


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_turn_that_breaks_after_text_was_shown_raises_what_was_shown(
    vendors: Served, tmp_path: Path, vendor: str
) -> None:
    world, base = vendors
    world.vendor(vendor).fault = Fault.cut()
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][0]}", "openai/gpt-4o")
    seen: list[object] = []
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(BrokenAnswer) as caught:
            await hear(host, seen)
        (row,) = host.ledger.delegations()
    shown = "".join(event.text for event in seen if isinstance(event, TextEvent))
    assert caught.value.partial == shown
    assert 0 < len(shown) < len(DEFAULT_TEXT)
    assert DEFAULT_TEXT.startswith(shown)
    assert row["outcome"] == "failed"
    assert len(world.chats()) == 1


async def test_on_broken_stream_continue_starts_the_turn_anew_on_the_next(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.cut()
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", on_broken_stream="continue")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "Work.")]
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert (done.result.provider, done.result.text) == ("openai", DEFAULT_TEXT)
    hop = next(index for index, event in enumerate(events) if isinstance(event, FallbackEvent))
    before = "".join(event.text for event in events[:hop] if isinstance(event, TextEvent))
    after = "".join(event.text for event in events[hop:] if isinstance(event, TextEvent))
    assert DEFAULT_TEXT.startswith(before)
    assert after == DEFAULT_TEXT


async def test_a_stream_that_fails_before_any_text_falls_back_with_one_event_for_each_hop(
    vendors: Served, tmp_path: Path
) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.status(503)
    world.vendor("openai").fault = Fault.empty()
    world.vendor("google").fault = Fault.status(401)
    bundle = worker(tmp_path, "anthropic/claude-haiku-*", "openai/gpt-4o", *both("google"), "ollama/qwen3*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("worker", "Work.")]
    steps = [
        event.provider if isinstance(event, StatusEvent) else (event.from_provider, event.to_provider)
        for event in events
        if isinstance(event, StatusEvent | FallbackEvent)
    ]
    assert steps == [
        "anthropic",
        ("anthropic", "openai"),
        "openai",
        ("openai", "google"),
        "google",
        ("google", "ollama"),
        "ollama",
    ]
    assert [event.number for event in events if isinstance(event, StatusEvent)] == [1, 2, 3, 4]


@pytest.mark.requirement("AGT-54")
async def test_events_say_who_is_asked_for_whom_and_why_nobody_before_served(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").fault = Fault.status(503)
    (tmp_path / "b.yaml").write_text(
        "tiers: {swift: [nobody/m-*, anthropic/no-such-*, openai/gpt-4o, ollama/qwen3*]}\n"
        "agents: {quick: {description: d, tier: swift}}\n",
        encoding="utf-8",
    )
    async with Host(load_bundle(tmp_path / "b.yaml"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        events = [event async for event in host.stream("quick", "Work.")]
    first, second = (event for event in events if isinstance(event, StatusEvent))
    assert (first.agent, first.tier, first.preference) == ("quick", "swift", "openai/gpt-4o")
    assert (first.provider, first.model) == ("openai", "gpt-4o")
    assert [reason.partition(":")[0] for reason in first.before] == ["nobody/m-*", "anthropic/no-such-*"]
    assert "matches none" in first.before[1]
    assert (second.provider, second.model, second.preference) == ("ollama", "qwen3:8b", "ollama/qwen3*")
    assert second.before[:2] == first.before
    assert second.before[2].startswith("1. openai/gpt-4o failed: busy 503")
    [hop] = (event for event in events if isinstance(event, FallbackEvent))
    assert (hop.from_model, hop.to_model) == ("gpt-4o", "qwen3:8b")
    assert "503" in hop.reason
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert (done.result.agent, done.result.route.tier, done.result.model) == ("quick", "swift", "qwen3:8b")


async def test_when_all_fail_the_error_tells_the_tried_the_untried_and_the_rejected(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("anthropic").fault = Fault.status(401)
    world.vendor("openai").fault = Fault.status(503)
    bundle = worker(tmp_path, *both("anthropic"), "openai/gpt-4o", "openai/gpt-9", "mistral/m-*")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("worker", "Work.")
    lines = str(caught.value).splitlines()
    assert lines[0] == "agent 'worker': every candidate failed"
    assert lines[1].startswith("  1. anthropic/claude-haiku-4-5-20251001 failed: refused 401: ")
    assert lines[2].startswith("  2. openai/gpt-4o failed: busy 503: ")
    assert lines[3].startswith("  anthropic/claude-sonnet-4-6 was not tried: anthropic refused: ")
    assert lines[4].startswith("  openai/gpt-9: 'gpt-9' is not among its 9 models")
    assert lines[5] == "  mistral/m-*: no key: set MISTRAL_API_KEY"
    assert len(lines) == 6


async def test_no_failure_carries_the_key(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    key = world.key("openai")
    world.vendor("openai").fault = Fault.status(401, message=f"Incorrect API key provided: {key}")
    world.vendor("openai").replies = [Reply("unused")]
    async with Host(worker(tmp_path, "openai/gpt-4o"), ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("worker", "Work.")
    assert "Incorrect API key" in str(caught.value)
    assert key not in str(caught.value)
    assert key.encode() not in (tmp_path / "l.db").read_bytes()

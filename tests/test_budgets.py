"""What budgets do to delegations: moved on, lowered, held back, refused; and what is settled in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle_loader import Host, NoAnswer, RequestError, SyncHost
from bundle_loader.delegation.result import DelegationResult, DoneEvent
from bundle_loader.errors import AllFailed, BudgetRefused, DeadlineExceeded, LimitReached
from bundle_loader.events import BudgetEvent, OutcomeEvent, StatusEvent
from bundle_loader.ledger.budgets import Cap
from bundle_loader.ledger.estimate import CallEstimate, CallScope
from bundle_loader.ledger.meter import LedgerMeter
from bundle_loader.messages import StreamPart, Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply, SimulatedProvider
from bundle_loader.sources.load import load_bundle
from tests.support.budgeted import Clock, bundled, host_of, provider, reserved, settled
from tests.support.command import command

CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "cases" / "budgets" / "flow.yaml").read_text("utf-8"))
AGENTS = {name: {"description": "d", "tier": "top", "config": {"max_tokens": 1000}} for name in "xy"}
TIERS = {"top": ["dear/m", "cheap/m"], "only-dear": ["dear/m"], "low": ["cheap/m"], "here": ["local/m"]}


@pytest.mark.parametrize("name", CASES)
async def test_a_series_of_delegations(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    keys = {key: case[key] for key in ("prices", "agents") if key in case}
    bundle = bundled(
        tmp_path,
        case.get("budgets", {}),
        **{"agents": AGENTS, **keys},
        tiers=TIERS,
        profiles={"cost": {"default": "low", "planning": "low"}},
        roles={"judge": "top"},
    )
    clock = Clock()
    others = [provider("dear"), provider("cheap"), provider("local", local=True)]
    async with host_of(tmp_path, bundle, others, clock=clock) as host:
        for call in case["calls"]:
            if "at" in call:
                clock.to(call["at"])
            await _holds(host, call)
        assert reserved(host) == 0
        if "settled" in case:
            assert {name: float(amount) for name, amount in settled(host).items()} == case["settled"]


async def _holds(host: Host, call: dict[str, Any]) -> None:
    work = host.delegate(call.get("agent", "x"), "Go.", timeout=call.get("timeout", 20), **call.get("give", {}))
    if "error" in call:
        with pytest.raises(NoAnswer) as caught:
            await work
        assert type(caught.value).__name__ == call["error"], caught.value
        assert [words for words in call.get("says", ()) if words not in str(caught.value)] == [], caught.value
        return
    result = await work
    assert result.provider == call["answered"], result
    if "notes" in call:
        assert len(result.notes) >= len(call["notes"])
        assert bool(call["notes"]) == bool(result.notes)
        assert [words for words in call["notes"] if words not in "\n".join(result.notes)] == [], result.notes
    refused = {one.provider: one.reason for one in result.rejections}
    assert [id for id, words in call.get("refused", {}).items() if words not in refused.get(id, "")] == [], refused


# --- refusals and their records


async def test_a_refused_candidate_is_a_rejection_and_no_attempt(tmp_path: Path) -> None:
    async with host_of(tmp_path, {"none": {"requests": 0, "per": "day", "scope": {"provider": "dear"}}}) as host:
        result = await host.delegate("x", "Go.")
        [delegation] = host.ledger.delegations()
    assert [(one.number, one.provider) for one in result.attempts] == [(1, "cheap")]
    assert [(one.provider, one.model) for one in result.rejections] == [("dear", "m")]
    assert "dear" in str(delegation["rejected"])


async def test_a_refusal_is_typed_and_recorded_as_one(tmp_path: Path) -> None:
    budgets = {"day": {"money": "0.0001", "per": "day", "zone": "Asia/Tokyo"}}
    async with host_of(tmp_path, budgets) as host:
        with pytest.raises(BudgetRefused) as caught:
            await host.delegate("x", "Go.")
        [delegation] = host.ledger.delegations()
        assert host.ledger.calls() == []
    error = caught.value
    assert (error.budget, error.left, error.zone) == ("day", "$0.00010", "Asia/Tokyo")
    assert error.renews == Clock("2026-03-11T00:00:00+09:00").now
    assert error.needed is not None
    assert error.needed.startswith("$0.0")
    assert "2026-03-11 00:00 Asia/Tokyo" in str(error)
    assert len(error.rejections) == 2
    assert delegation["outcome"] == "refused"


def test_the_command_says_so_and_ends_with_4(tmp_path: Path) -> None:
    bundled(tmp_path, {"day": {"requests": 0, "per": "day"}}, tiers={"top": ["anthropic/claude-haiku-*"]}, prices={})
    ran = command(
        "delegate",
        "x",
        "Go.",
        "--bundle",
        str(tmp_path / "team.yaml"),
        "--simulate",
        "--ledger",
        str(tmp_path / "l.db"),
        home=tmp_path,
    )
    assert ran.code == 4
    assert "no budget is left for it: budget 'day' (0 requests a day)" in ran.err
    assert "Traceback" not in ran.err


def test_the_command_takes_caps_and_tags(tmp_path: Path) -> None:
    bundled(
        tmp_path,
        {"tagged": {"requests": 1, "per": "day", "scope": {"tag": "night"}}},
        tiers={"top": ["anthropic/claude-haiku-*"]},
    )
    run = ("delegate", "x", "Go.", "--bundle", str(tmp_path / "team.yaml"), "--simulate", "--ledger", str(tmp_path / "l.db"))
    assert command(*run, "--max-turns", "1", "--max-cost", "1", "--tag", "a", "--tag", "night", home=tmp_path).code == 0
    assert command(*run, "--tag", "a", home=tmp_path).code == 0
    refused = command(*run, "--tag", "night", home=tmp_path)
    assert (refused.code, "budget 'tagged'" in refused.err) == (4, True)
    capped = command(*run, "--max-cost", "0", home=tmp_path)
    assert (capped.code, "max_cost of x ($0 with all that it delegates)" in capped.err) == (4, True)
    wrong = command(*run, "--max-cost", "cheap", home=tmp_path)
    assert (wrong.code, "max_cost is an amount of US dollars" in wrong.err) == (1, True)


# --- turns


def looking(tokens: int) -> Reply:
    return Reply("", [("look", {})], usage=Usage(0, tokens))


def look() -> str:
    """Look."""
    return "nothing"


async def test_every_turn_reserves_anew_and_a_refusal_between_turns_moves_the_history_on(tmp_path: Path) -> None:
    dear = provider("dear", replies=[looking(1000), looking(1000)])
    cheap = provider("cheap")
    async with host_of(tmp_path, {"day": {"money": "0.115", "per": "day"}}, [dear, cheap]) as host:
        result = await host.delegate("x", "Go.", tools=[look])
        calls = host.ledger.calls()
    assert [(one.provider, one.outcome, one.kind) for one in result.attempts] == [
        ("dear", "failed", "over budget"),
        ("cheap", "answered", None),
    ]
    assert [message.role for message in cheap.requests[0].messages] == ["user", "assistant", "tool"]
    assert [call["provider"] for call in calls] == ["dear", "cheap"]
    assert result.cost == Decimal("0.11")


async def test_max_turns_of_a_call_names_itself(tmp_path: Path) -> None:
    async with host_of(tmp_path, {}, [provider("dear", replies=[looking(1)] * 3), provider("cheap")]) as host:
        with pytest.raises(LimitReached, match=r"all of its 2 turns") as caught:
            await host.delegate("x", "Go.", tools=[look], max_turns=2)
    assert caught.value.limit == "max_turns"


async def test_a_cap_covers_the_turns_together(tmp_path: Path) -> None:
    def more(request: ChatRequest) -> Reply:
        return looking(min(1000, request.max_tokens))

    async with host_of(tmp_path, {}, [provider("dear", answer=more), provider("cheap", answer=more)]) as host:
        with pytest.raises(LimitReached) as caught:
            await host.delegate("x", "Go.", tools=[look], max_cost="0.125")
        calls = host.ledger.calls()
        assert sum(call["cost"] for call in calls) <= Decimal("0.125")
        assert host.ledger.delegations()[0]["outcome"] == "refused"
    assert caught.value.limit == "max_cost"
    assert [call["provider"] for call in calls[:2]] == ["dear", "cheap"]


@pytest.mark.parametrize(
    "value", [{"max_turns": "2"}, {"max_turns": True}, {"tags": "a"}, {"tags": [1]}, {"tags": [" "]}, {"max_cost": -1}]
)
async def test_wrong_limits_are_the_callers_mistake(tmp_path: Path, value: dict[str, Any]) -> None:
    async with host_of(tmp_path, {}) as host:
        with pytest.raises(RequestError, match=next(iter(value))):
            await host.delegate("x", "Go.", **value)


async def test_what_failed_was_cancelled_or_fell_back_stays_spent(tmp_path: Path) -> None:
    text = "word " * 400
    budgets = {"day": {"money": 1, "per": "day"}}
    dear, cheap = provider("dear", replies=[Reply(text, fault="cut")]), provider("cheap", latency=5.0)
    async with host_of(tmp_path, budgets, [dear, cheap]) as host:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.delegate("x", "Go."), 0.4)
        calls = host.ledger.calls()
        assert [(call["provider"], call["outcome"], call["estimated"]) for call in calls] == [
            ("dear", "failed", 1),
            ("cheap", "cancelled", 1),
        ]
        assert calls[0]["output_tokens"] > 300
        assert all(call["cost"] > 0 for call in calls)
        assert settled(host)["day"] >= calls[0]["cost"] + calls[1]["cost"]
        assert reserved(host) == 0


async def test_a_stream_that_is_left_settles_what_was_streamed(tmp_path: Path) -> None:
    dear = provider("dear", answer=Reply("word " * 600))
    async with host_of(tmp_path, {"day": {"money": 1, "per": "day"}}, [dear, provider("cheap")]) as host:
        stream = host.stream("x", "Go.")
        async for event in stream:
            if type(event).__name__ == "TextEvent":
                break
        await stream.aclose()
        assert reserved(host) == 0
        [call] = host.ledger.calls()
        assert call["outcome"] == "cancelled"
        assert call["output_tokens"] > 200
        assert settled(host)["day"] > Decimal("0.02")


# --- near the limit


async def test_an_answer_that_was_cut_at_a_lowered_bound_says_so(tmp_path: Path) -> None:
    long = Reply("x" * 3900)
    async with host_of(
        tmp_path, {"day": {"money": "0.06", "per": "day"}}, [provider("dear", answer=long), provider("cheap")]
    ) as host:
        result = await host.delegate("x", "Go.", preferences=["dear/m"])
    assert result.finish == "length"
    [said] = [note for note in result.notes if note.startswith("the answer was cut at ")]
    assert said.endswith("tokens: budget 'day' has no more left")


async def test_without_a_word_of_the_config_4096_tokens_are_asked_for_under_a_budget(tmp_path: Path) -> None:
    dear = provider("dear")
    agents = {"x": {"description": "d", "tier": "top"}}
    async with host_of(tmp_path, {"day": {"money": 5, "per": "day"}}, [dear, provider("cheap")], agents=agents) as host:
        await host.delegate("x", "Go.")
    assert dear.requests[0].max_tokens == 4096


async def test_an_alert_is_an_event_a_note_and_a_warning_once_over_all_hosts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    budgets = {"day": {"requests": 10, "per": "day", "alert_at": "50%"}}
    bundle = bundled(tmp_path, budgets)
    said: list[str] = []
    async with host_of(tmp_path, bundle) as one, host_of(tmp_path, bundle) as other:

        async def streamed(host: Host) -> None:
            async for event in host.stream("x", "Go."):
                if isinstance(event, BudgetEvent):
                    said.append(event.note)
                if isinstance(event, DoneEvent) and event.result.notes:
                    said.append(event.result.notes[0])

        with caplog.at_level(logging.WARNING, "bundle_loader"):
            await asyncio.gather(*(streamed(host) for host in (one, other) for _ in range(5)))
        assert settled(one) == settled(other)
    assert len(said) == 2
    assert len(set(said)) == 1
    assert [record.message for record in caplog.records] == said[:1]


async def test_an_alert_of_a_call_that_is_cancelled_is_still_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    budgets = {"day": {"requests": 1, "per": "day", "alert_at": "50%"}}
    async with host_of(tmp_path, budgets, [provider("dear", latency=5.0), provider("cheap")]) as host:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.delegate("x", "Go."), 0.1)
        host.ledger.flush()
        await asyncio.sleep(0.05)
    assert [record.message for record in caplog.records] == ["budget 'day' has passed 50%: 0 requests left of 1 request"]


async def test_throttling_lets_one_call_at_a_time_run_and_is_visible(tmp_path: Path) -> None:
    budgets = {"day": {"requests": 100, "per": "day", "throttle_at": "1%"}}
    running = most = 0

    class Counting(SimulatedProvider):
        async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(0.05)
                async for part in super().stream(request):
                    yield part
            finally:
                running -= 1

    dear = Counting("dear", models=["m"], answer="Done.")
    async with host_of(tmp_path, budgets, [dear], tiers={"top": ["dear/m"]}) as host:
        await host.delegate("x", "Go.")
        most = 0

        async def heard() -> tuple[list[str], DelegationResult]:
            events = [event async for event in host.stream("x", "Go.")]
            assert sum(isinstance(event, StatusEvent) for event in events) == 1
            return [event.note for event in events if isinstance(event, BudgetEvent)], events[-1].result  # type: ignore[union-attr]

        found = await asyncio.gather(*(heard() for _ in range(4)))
    assert most == 1
    note = "budget 'day' held a call back: one call at a time near its limit"
    assert sum(notes == [note] for notes, _ in found) == 3
    assert sum(note in result.notes for _, result in found) == 3
    assert all(result.refused == () for _, result in found)


async def test_a_throttled_call_that_goes_elsewhere_says_why(tmp_path: Path) -> None:
    budgets = {"day": {"requests": 100, "per": "day", "throttle_at": "1%", "scope": {"provider": "dear"}}}
    async with host_of(tmp_path, budgets, [provider("dear", latency=0.2), provider("cheap")]) as host:
        await host.delegate("x", "Go.")
        results = await asyncio.gather(*(host.delegate("x", "Go.") for _ in range(2)))
    assert [result.provider for result in results] == ["dear", "cheap"]
    assert results[1].notes == ("budget 'day' held a call back: one call at a time near its limit",)
    assert [one.provider for one in results[1].refused] == ["dear"]


async def test_what_others_hold_is_waited_for_and_calls_no_emergency(tmp_path: Path) -> None:
    budgets = {"day": {"money": "0.11", "per": "day", "emergency": "low", "scope": {"provider": "dear"}}}
    dear = provider("dear", tokens=10, latency=0.3)
    async with host_of(tmp_path, budgets, [dear, provider("cheap")], tiers={"top": ["dear/m"], "low": ["cheap/m"]}) as host:
        agents = [host.delegate("x", "Go.", timeout=20) for _ in range(2)]
        results = await asyncio.gather(*agents)
    assert [result.provider for result in results] == ["dear", "dear"]
    assert any("held a call back" in note for result in results for note in result.notes)


async def test_a_wait_ends_with_the_deadline(tmp_path: Path) -> None:
    budgets = {"day": {"money": "0.11", "per": "day"}}
    dear = provider("dear", tokens=10, latency=3.0)
    async with host_of(tmp_path, budgets, [dear], tiers={"top": ["dear/m"]}) as host:
        first = asyncio.create_task(host.delegate("x", "Go."))
        await asyncio.sleep(0.2)
        with pytest.raises((BudgetRefused, DeadlineExceeded), match=r"calls under way hold the rest|no answer within"):
            await host.delegate("x", "Go.", timeout=0.8)
        await first


async def test_a_budget_beside_a_broken_provider_is_no_refusal_of_budgets(tmp_path: Path) -> None:
    budgets = {"none": {"requests": 0, "per": "day", "scope": {"provider": "dear"}}}
    async with host_of(tmp_path, budgets, [provider("dear"), provider("cheap", fault="503")]) as host:
        with pytest.raises(AllFailed) as caught:
            await host.delegate("x", "Go.")
    assert "budget 'none'" in str(caught.value)


# --- caps of those above, spawners of a host's own


def scoped(*caps: Cap) -> CallScope:
    return CallScope("d-1", "d", "root", "x", None, caps=caps)


async def test_the_cap_of_a_parent_covers_its_children(tmp_path: Path) -> None:
    parent = Cap("root", "boss", Decimal("0.15"))
    async with host_of(tmp_path, {}) as host:
        candidate = (await host.route("x")).candidates[0]
        for number, child in enumerate((Cap("one", "x", Decimal(1)), Cap("two", "x", Decimal(1)))):
            scope = CallScope(f"d{number}-1", f"d{number}", "root", "x", None, caps=(parent, child))
            meter = LedgerMeter(host.ledger, scope, host.price, host.clock)
            async with meter.call(CallEstimate(candidate, 10, 1000, None)) as call:
                call.settle(Usage(0, call.output_bound), "m")
        assert call.output_bound == 499
        run = await host.prepare("x", "Go.", max_cost="0.5", tags=["a"])
        assert run.base.caps == (Cap(run.base.id, "x", Decimal("0.5")),)
        assert run.base.tags == ("a",)


async def test_a_spawner_that_reserves_once_for_a_whole_run_holds_what_it_says(tmp_path: Path) -> None:
    held: list[int] = []

    class Program:
        async def spawn(self, context: Any, meter: Any, tools: Any) -> Any:
            estimate = CallEstimate(context.candidate, 0, 0, Decimal("0.4"))
            async with meter.call(estimate) as call:
                held.append(reserved(host))
                call.settle(Usage(1000, 1000), "m", Decimal("0.25"))
            yield OutcomeEvent("Done.", "m", "stop")

    bundle = bundled(tmp_path, {"day": {"money": "0.6", "per": "day"}})
    mounted = {"dear": provider("dear"), "cheap": provider("cheap")}
    async with Host(
        bundle, providers=mounted, ledger=tmp_path / "l.db", clock=Clock(), environment={}, spawner=Program()
    ) as host:
        result = await host.delegate("x", "Go.")
        with pytest.raises(BudgetRefused, match=r"\$0\.3500 left, a call needs at least \$0\.4000"):
            await host.delegate("x", "Go.")
    assert held == [400_000_000_000]
    assert result.cost == Decimal("0.25")


async def test_a_spawner_that_raises_or_forgets_to_settle_is_charged(tmp_path: Path) -> None:
    async with host_of(tmp_path, {"day": {"money": 1, "per": "day"}}) as host:
        candidate = (await host.route("x")).candidates[0]
        meter = LedgerMeter(host.ledger, scoped(), host.price, host.clock, host.budgets)
        with pytest.raises(KeyError):
            async with meter.call(CallEstimate(candidate, 4000, 10, None)):
                raise KeyError
        async with meter.call(CallEstimate(candidate, 4000, 10, None)):
            pass
        assert [(call["outcome"], call["input_tokens"]) for call in host.ledger.calls()] == [("failed", 1000)] * 2
        assert settled(host)["day"] == Decimal("0.02")


# --- ledgers


async def test_two_hosts_on_one_file_spend_one_budget(tmp_path: Path) -> None:
    bundle = bundled(tmp_path, {"day": {"money": "0.5", "per": "day"}}, tiers={"top": ["dear/m"]})
    async with host_of(tmp_path, bundle) as one, host_of(tmp_path, bundle) as other:
        work = [host.delegate("x", "Go.", timeout=2) for host in (one, other) for _ in range(6)]
        found = await asyncio.gather(*work, return_exceptions=True)
        assert settled(one)["day"] <= Decimal("0.5")
        assert settled(one)["day"] > Decimal("0.45")
        assert reserved(one) == 0
    assert all(isinstance(one, (DelegationResult, BudgetRefused)) for one in found)


def test_what_is_simulated_spends_in_a_ledger_of_its_own(tmp_path: Path) -> None:
    bundle = bundled(tmp_path, {"day": {"requests": 5, "per": "day"}})
    home = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    with SyncHost(bundle, providers={"dear": provider("dear"), "cheap": provider("cheap")}, environment=home) as host:
        assert host.delegate("x", "Go.", max_cost="1", max_turns=2, tags=["a"]).provider == "dear"
        assert [type(event).__name__ for event in host.stream("x", "Go.", max_cost=1, tags=("a",))][-1] == "DoneEvent"
        assert "simulat" in host.ledger.path.name
    assert load_bundle(tmp_path / "team.yaml", settings=()).budgets["day"].unit == "requests"


# --- requirements


@pytest.mark.requirement("POL-127")
async def test_a_cap_is_enforced_before_the_call(tmp_path: Path) -> None:
    """What a budget or a cap refuses is never sent, neither to the first candidate nor to any that it falls back on."""
    dear, cheap = provider("dear"), provider("cheap")
    async with host_of(tmp_path, {"day": {"money": "0.001", "per": "day"}}, [dear, cheap]) as host:
        with pytest.raises(BudgetRefused):
            await host.delegate("x", "Go.")
        with pytest.raises(LimitReached):
            await _capped(tmp_path, dear, cheap)
        assert host.ledger.calls() == []
    assert (dear.requests, cheap.requests) == ([], [])


async def _capped(folder: Path, *providers: SimulatedProvider) -> DelegationResult:
    async with host_of(folder, {}, providers, ledger="capped.db") as host:
        return await host.delegate("x", "Go.", max_cost="0.0001")


@pytest.mark.requirement("RTR-24")
async def test_money_is_allocated_and_spend_is_tracked_per_model(tmp_path: Path) -> None:
    """A budget in shares per model, and one for each model: what one has spent leaves the other its own."""
    budgets = {
        "day": {"money": 1, "per": "day"},
        "dear": {"share": {"of": "day", "percent": "15%"}, "scope": {"provider": "dear", "model": "m"}},
        "cheap": {"share": {"of": "day", "percent": "85%"}, "scope": {"provider": "cheap"}},
        "each": {"requests": 3, "per": "day", "each": ["provider", "model"]},
    }
    async with host_of(tmp_path, budgets) as host:
        answered = [(await host.delegate("x", "Go.")).provider for _ in range(5)]
        with pytest.raises(BudgetRefused):
            await host.delegate("x", "Go.")
        spent = settled(host)
        by_provider = {row["name"]: row["cost"] for row in host.ledger.totals("provider", simulated=True)}
    assert answered == ["dear", "dear", "cheap", "cheap", "cheap"]
    assert spent["dear"] == by_provider["dear"] <= Decimal("0.15")
    assert spent["cheap"] == by_provider["cheap"] == Decimal("0.03")
    assert spent["day"] == spent["dear"] + spent["cheap"]
    assert spent["each|provider=cheap|model=m"] * 10**12 == 3

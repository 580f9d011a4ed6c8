"""Laws of budgets: no series of delegations passes a ceiling, and no prompt has more tokens than were reserved for it."""

from __future__ import annotations

import asyncio
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle_loader.declared.budget import Budget
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.conversation import prompt_bound
from bundle_loader.delegation.result import DelegationResult
from bundle_loader.errors import NoAnswer
from bundle_loader.host import Host
from bundle_loader.ledger.accounts import Hold, Window
from bundle_loader.ledger.operations import Granted, Reserve, Settle
from bundle_loader.ledger.store import SqliteStorage
from bundle_loader.messages import Message, ToolCall, ToolResult, ToolSpec, Usage, user
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply
from tests.support.budgeted import host_of, provider, reserved, settled
from tests.support.tiny_llama import TinyServer
from tests.test_delegation_llama import ENVIRONMENT, bundle_for, server_as

work = st.fixed_dictionaries(
    {
        "tokens": st.integers(1, 3000),
        "fault": st.sampled_from([None, None, None, "503", "cut", "timeout"]),
        "leave": st.sampled_from([None, None, 0.0, 0.002]),
    }
)


@settings(max_examples=15, deadline=None)
@given(st.lists(work, min_size=1, max_size=12), st.integers(1, 60), st.integers(200, 5000), st.booleans())
def test_no_series_of_delegations_passes_a_ceiling(todo: list[dict[str, Any]], cents: int, tokens: int, throttled: bool) -> None:
    """Whatever providers count, up to what they were allowed, and however calls end."""
    series = iter(todo * 20)

    def answer(request: ChatRequest) -> Reply:
        one = next(series)
        usage = Usage(len(request.system.encode()), min(one["tokens"], request.max_tokens))
        return Reply("word " * 10, usage=usage, fault=one["fault"], latency=0.001)

    budgets = {
        "money": {"money": f"{cents / 100}", "per": "day", **({"throttle_at": "50%"} if throttled else {})},
        "tokens": {"tokens": tokens, "per": "month"},
        "dear": {"share": {"of": "money", "percent": "40%"}, "scope": {"provider": "dear"}},
    }

    async def all_of_it(folder: Path) -> None:
        async with host_of(folder, budgets, [provider("dear", answer=answer), provider("cheap", answer=answer)]) as host:
            found = await asyncio.gather(*(delegated(host, one["leave"]) for one in todo), return_exceptions=True)
            assert all(isinstance(one, (DelegationResult, NoAnswer, TimeoutError)) for one in found), found
            assert reserved(host) == 0
            sums = settled(host)
            assert sums.get("money", Decimal(0)) <= Decimal(cents) / 100
            assert sums.get("dear", Decimal(0)) <= Decimal(cents) / 250
            assert sums.get("tokens", Decimal(0)) * 10**12 <= tokens
            assert sums.get("money", Decimal(0)) == sum(call["cost"] for call in host.ledger.calls())

    async def delegated(host: Host, leave: float | None) -> DelegationResult:
        async with asyncio.timeout(leave):
            return await host.delegate("x", "Go.", timeout=1.5)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(all_of_it(Path(folder)))


BUDGET = Budget(id="b", unit="money", limit=Decimal(1), per="day")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=4
    ),
    st.integers(1, 5000),
    st.integers(0, 400),
)
def test_lowering_takes_what_is_left_and_never_more(accounts: list[tuple[int, int, int, int]], tokens: int, least: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStorage(Path(folder) / "l.db")
        window = Window(0, 0, None)
        holds = tuple(
            Hold(f"a{index}", BUDGET, window, fixed, per, limit) for index, (limit, _, fixed, per) in enumerate(accounts)
        )
        for index, (limit, spent, _, _) in enumerate(accounts):
            before = Hold(f"a{index}", BUDGET, window, min(spent, limit), 0, limit)
            taken = Reserve(f"before{index}", (before,), 0, 0)
            store.run([taken, Settle(taken.id, taken.charges(0, lambda hold: hold.fixed))], 1.0)
        left = [limit - min(spent, limit) for limit, spent, _, _ in accounts]
        [answer] = store.run([Reserve("it", holds, tokens, least)], 1.0)
        need = min(least, tokens)
        fits = all(hold.fixed + need * hold.per_token <= rest for hold, rest in zip(holds, left, strict=True))
        assert isinstance(answer, Granted) == fits
        if isinstance(answer, Granted):
            assert need <= answer.tokens <= tokens
            assert all(hold.fixed + answer.tokens * hold.per_token <= rest for hold, rest in zip(holds, left, strict=True))
            more = answer.tokens + 1
            room = all(hold.fixed + more * hold.per_token <= rest for hold, rest in zip(holds, left, strict=True))
            assert answer.tokens == tokens or not room
        store.close()


# --- the bound of a prompt


TOOL = ToolSpec("delegate", "Hand work to an agent. é", {"type": "object", "properties": {"agent": {"type": "string"}}})


def test_everything_that_is_sent_counts() -> None:
    """Text by its bytes; ids, names, arguments, schemas and settings whole; and something for every message and tool."""
    empty = prompt_bound("", [])
    assert prompt_bound("é", []) == empty + 2
    assert empty >= 64
    said = prompt_bound("", [user("")])
    assert said > empty
    assert prompt_bound("", [user("漢字")]) == said + 6
    call = Message("assistant", (ToolCall("i" * 50, "n" * 20, {"a": "b" * 30}),))
    assert prompt_bound("", [call]) >= said + 100
    result = Message("tool", (ToolResult("i" * 50, "n" * 20, "t" * 30),))
    assert prompt_bound("", [result]) >= said + 100
    assert prompt_bound("", [], [TOOL]) >= empty + len(str(TOOL.schema)) + len(TOOL.description) + 700
    assert prompt_bound("", [], [], {"response_format": "x" * 500}) >= empty + 500


@pytest.mark.parametrize("kind", ["llamacpp", "anthropic"])
@pytest.mark.parametrize("text", ["a", "漢字" * 40, "\x00\x01 ~~~ {}[] <|im_start|>" * 8, "🙂" * 60])
async def test_a_real_tokenizer_counts_no_more(llama: TinyServer, tmp_path: Path, kind: str, text: str) -> None:

    def delegate(agent: str) -> str:
        """Hand work to an agent."""
        return "Committed. " + text

    bundle = bundle_for(tmp_path, server_as(llama, kind))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
        for tools in ((), (delegate,)):
            run = await host.prepare("worker", text, tools=list(tools))
            base: DelegationContext = run.base
            result = await host.delegate("worker", text, tools=list(tools))
            history = list(result.messages)
            sent = history[:-1] if len(history) > 2 else history[:1]
            [call] = host.ledger.calls(result.id)[-1:]
            assert call["input_tokens"] <= prompt_bound(base.instruction, sent, base.tools)

"""Agents that delegate on: whom they may use, what a child gets, its limits, its failure, and what all of it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import ChildEvent, DoneEvent, Host, LimitReached, RequestError, SimulatedProvider, SyncHost
from bundle_loader.delegation.context import DelegationContext
from bundle_loader.delegation.spawner import ProviderSpawner
from bundle_loader.delegation.tools import ToolBox
from bundle_loader.events import Event, TurnEvent
from bundle_loader.ledger.meter import Meter
from bundle_loader.ledger.trees import delegation_tree
from bundle_loader.messages import Text, ToolResult, Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply
from tests.support.team import team

Script = Callable[[ChatRequest], str | Reply]
MODELS = ["boss-1", "mid-1", "small-1"]


def delegating(agent: str, instruction: str = "Do it.", **more: Any) -> Reply:
    """An answer that delegates once."""
    return Reply("", [("delegate", {"agent": agent, "instruction": instruction, **more})])


def last_of(request: ChatRequest) -> str:
    """What was said last: a user's text, or the results of tools."""
    parts = request.messages[-1].parts
    return "|".join(part.text for part in parts if isinstance(part, (Text, ToolResult)))


def said(request: ChatRequest) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


def one(script: Mapping[str, Script], **more: Any) -> SimulatedProvider:
    """A provider whose models answer by their own scripts."""
    return SimulatedProvider("p", models=MODELS, answer=lambda request: script[request.model](request), **more)


def asks(provider: SimulatedProvider, model: str) -> list[ChatRequest]:
    return [request for request in provider.requests if request.model == model]


def host_of(bundle: Any, provider: SimulatedProvider, folder: Path, **more: Any) -> Host:
    environment = {"BUNDLE_LOADER_HOME": str(folder / "home")}
    return Host(bundle, providers={"p": provider}, ledger=folder / "l.db", environment=environment, **more)


BOSS: dict[str, Any] = {"provider_preferences": ["p/boss-*"], "tools": ["delegate"]}
HELPER: dict[str, Any] = {"provider_preferences": ["p/small-*"]}


async def test_the_tool_is_offered_to_agents_that_name_it_and_lists_whom_they_may_use(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda _: "Done.", "small-1": lambda _: "Done."})
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER, "other": HELPER | {"description": "Other work."}})
    async with host_of(bundle, provider, tmp_path) as host:
        await host.delegate("boss", "Go.")
        await host.delegate("helper", "Go.")
    (offered,) = asks(provider, "boss-1")[0].tools
    assert offered.name == "delegate"
    assert offered.schema["properties"]["agent"]["enum"] == ["helper", "other", "self"]
    assert "- helper: Does helper.\n- other: Other work.\n- self: you, once more" in offered.description
    assert "boss" not in offered.description
    assert asks(provider, "small-1")[0].tools == ()


@pytest.mark.parametrize(
    ("listed", "usable"),
    [
        (["other"], ["other"]),
        (["aide", "s*", "boss", "nobody"], ["helper", "self"]),
        (["*"], ["helper", "other", "self"]),
        ("none", []),
    ],
)
async def test_an_agent_uses_only_those_that_its_list_names(tmp_path: Path, listed: Any, usable: list[str]) -> None:
    answers = iter([delegating("helper", "Look."), "Done."])
    provider = one({"boss-1": lambda _: next(answers), "small-1": lambda _: "Looked."})
    agents = {"boss": BOSS | {"agents": listed}, "helper": HELPER | {"aliases": ["aide"]}, "other": HELPER}
    bundle = team(tmp_path, agents)
    async with host_of(bundle, provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
        if usable:
            assert list(host.delegate_tool(caller="boss").parameters["properties"]["agent"]["enum"]) == usable
        else:
            with pytest.raises(RequestError, match="'boss' may delegate to nobody"):
                host.delegate_tool(caller="boss")
        assert "boss" in host.delegate_tool().parameters["properties"]["agent"]["enum"], "a loop of the host's own may use all"
    (first, *_) = asks(provider, "boss-1")
    assert [tool.schema["properties"]["agent"]["enum"] for tool in first.tools] == ([usable] if usable else [])
    told = [
        part.text
        for message in result.messages
        if message.role == "tool"
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert ("Looked." in told[0]) is ("helper" in usable)
    assert bool(asks(provider, "small-1")) is ("helper" in usable), "nobody else is asked, whatever the model says"


@pytest.mark.requirement("AGT-2", "AGT-34")
async def test_a_child_runs_on_its_own_preferences_and_its_answer_comes_back(tmp_path: Path) -> None:
    """The session is on the dearest model; only an agent that says nothing inherits it."""
    answers = iter([delegating("helper", "Look."), delegating("plain", "Think."), "All done."])
    provider = one(
        {"boss-1": lambda request: next(answers) if len(request.tools) else "Thought.", "small-1": lambda _: "Looked."}
    )
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER, "plain": {}})
    async with host_of(bundle, provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
        rows = {row["agent"]: row for row in host.ledger.delegations()}
        tree = delegation_tree(host.ledger.peek, result.id, result.id)
    assert result.text == "All done."
    assert [(child.agent, child.model, child.outcome) for child in result.children] == [
        ("helper", "small-1", "answered"),
        ("plain", "boss-1", "answered"),
    ]
    assert (rows["helper"]["decided_by"], rows["plain"]["decided_by"]) == ("agent", "parent")
    assert {row["root"] for row in rows.values()} == {result.id}
    assert [rows[name]["parent"] for name in ("helper", "plain", "boss")] == [result.id, result.id, None]
    assert [rows[name]["depth"] for name in ("helper", "plain", "boss")] == [1, 1, 0]
    assert [child.row["agent"] for child in tree.children] == ["helper", "plain"]
    told = [part.text for message in result.messages if message.role == "tool" for part in message.parts]  # type: ignore[union-attr]
    assert told[0] == f"Looked.\n[session {(result.children[0].session or '')[:12]}]"


async def test_an_answer_that_was_cut_says_so(tmp_path: Path) -> None:
    provider = one({"small-1": lambda _: "Much to say. " * 20})
    bundle = team(tmp_path, {"helper": HELPER | {"config": {"max_tokens": 5}}})
    async with host_of(bundle, provider, tmp_path, sessions=None) as host:
        result = await host.delegate_tool().handle({"agent": "helper", "instruction": "x"})
    assert result.text.endswith("\n[the answer was cut: it reached its most tokens]")
    assert not result.is_error


async def test_a_child_is_carried_on_by_the_session_that_its_answer_names(tmp_path: Path) -> None:
    def boss(request: ChatRequest) -> str | Reply:
        results = [part.text for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
        if not results:
            return delegating("helper", "Remember 7.")
        session = results[0].rpartition("[session ")[2].rstrip("]")
        return delegating("helper", "What was it?", session=session) if len(results) == 1 else results[1]

    provider = one({"boss-1": boss, "small-1": lambda r: "|".join(text for _, text in said(r))})
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": HELPER}), provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
        totals = {row["name"]: row["calls"] for row in host.ledger.totals("session", simulated=True)}
    assert result.text.startswith("Remember 7.|Remember 7.|What was it?\n[session ")
    first, second = result.children
    assert first.session == second.session == first.id != second.id
    assert totals == {result.session: 3, first.session: 2}


async def test_the_calls_own_words_win_over_the_agents_preferences(tmp_path: Path) -> None:
    answers = iter(
        [
            delegating("helper", preferences=["p/mid-*"]),
            delegating("helper", model="p/boss-1"),
            delegating("helper", tier="middle"),
            "Done.",
        ]
    )
    provider = one(
        {"boss-1": lambda r: next(answers) if r.tools else "1", "mid-1": lambda _: "2", "small-1": lambda _: "never"},
    )
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER}, tiers={"middle": ["p/mid-*"]})
    async with host_of(bundle, provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
        rows = [row["decided_by"] for row in host.ledger.delegations() if row["agent"] == "helper"]
    assert [child.model for child in result.children] == ["mid-1", "boss-1", "mid-1"]
    assert rows == ["caller"] * 3


async def test_self_runs_on_the_parents_candidate_then_on_the_rest_of_its_route(tmp_path: Path) -> None:
    second = SimulatedProvider("q", models=["spare-1"], answer="A part, done.")
    bundle = team(tmp_path, {"boss": BOSS | {"provider_preferences": ["p/boss-*", "q/spare-*"]}})
    first = SimulatedProvider(
        "p", models=["boss-1"], replies=[delegating("self", "A part.")], faults=[None, "503"], answer="Whole."
    )
    async with Host(bundle, providers={"p": first, "q": second}, ledger=tmp_path / "l.db", sessions=None) as host:
        result = await host.delegate("boss", "Go.")
    assert result.text == "Whole."
    (child,) = result.children
    assert (child.provider, child.model) == ("q", "spare-1")
    assert first.requests[1].messages[-1].text == "A part.", "the parent's candidate was asked first"


@pytest.mark.parametrize("max_depth", [0, 1, 3])
async def test_no_one_delegates_deeper_than_allowed(tmp_path: Path, max_depth: int) -> None:
    def script(request: ChatRequest) -> str | Reply:
        return delegating("self", "Deeper.") if request.messages[-1].role == "user" else f"<{last_of(request)}>"

    provider = one({"boss-1": script})
    async with host_of(team(tmp_path, {"boss": BOSS | {"name": "boss"}, "self": BOSS}), provider, tmp_path, sessions=None,
                       max_depth=max_depth) as host:  # fmt: skip
        result = await host.delegate("boss", "Go.")
        depths = sorted(row["depth"] for row in host.ledger.delegations())
    assert depths == list(range(max_depth + 1))
    assert f"you are {max_depth} levels deep, and no more than {max_depth} are allowed (max_depth)" in result.text


async def test_no_one_has_more_children_than_allowed(tmp_path: Path) -> None:
    calls = [("delegate", {"agent": "helper", "instruction": f"Part {number}."}) for number in range(5)]
    provider = one(
        {"boss-1": lambda r: Reply("", calls) if r.messages[-1].role == "user" else "Done.", "small-1": lambda _: "Ok."}
    )
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": HELPER}), provider, tmp_path, max_children=3) as host:
        result = await host.delegate("boss", "Go.")
    assert len(result.children) == 3
    results = [part for message in result.messages if message.role == "tool" for part in message.parts]
    assert [part.is_error for part in results] == [False] * 3 + [True] * 2  # type: ignore[union-attr]
    assert "3 delegations were made already, and no more are allowed (max_children)" in results[3].text  # type: ignore[union-attr]


async def test_children_of_one_turn_work_side_by_side(tmp_path: Path) -> None:
    together = asyncio.Barrier(3)

    async def meet() -> str:
        """Returns once three are here."""
        async with asyncio.timeout(5):
            await together.wait()
        return "met"

    calls = [("delegate", {"agent": "helper", "instruction": "Meet."})] * 3
    helper = HELPER | {"tools": ["meet"]}
    provider = one(
        {
            "boss-1": lambda r: Reply("", calls) if r.messages[-1].role == "user" else last_of(r),
            "small-1": lambda r: Reply("", [("meet", {})]) if r.messages[-1].role == "user" else last_of(r),
        }
    )
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": helper}), provider, tmp_path, sessions=None) as host:
        result = await host.delegate("boss", "Go.", tools=[meet])
    assert result.text == "met|met|met"


async def test_a_child_never_changes_its_parent(tmp_path: Path) -> None:
    answers = iter([delegating("helper", context_depth="all", context_scope="full"), "Done."])
    provider = one({"boss-1": lambda _: next(answers), "small-1": lambda _: "Looked."})
    bundle = team(
        tmp_path, {"boss": BOSS | {"config": {"temperature": 0.5}}, "helper": HELPER | {"config": {"temperature": 0.1}}}
    )
    before = bundle.model_dump()
    async with host_of(bundle, provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.", vars={"x": 1}, messages=[{"role": "user", "content": "Earlier."}])
    parents = asks(provider, "boss-1")
    assert [request.config.get("temperature") for request in parents] == [0.5, 0.5]
    assert asks(provider, "small-1")[0].config.get("temperature") == 0.1
    assert [message.role for message in result.messages] == ["user", "user", "assistant", "tool", "assistant"]
    assert parents[1].messages[:2] == parents[0].messages
    assert bundle.model_dump() == before


EARLIER = [
    {"role": "user", "content": "One."},
    {"role": "assistant", "content": "First."},
    {"role": "user", "content": "Two."},
    {"role": "assistant", "content": "Second."},
]


@pytest.mark.parametrize(
    ("own", "asked", "given"),
    [
        ({}, {}, []),
        ({"depth": "all"}, {}, ["One.", "First.", "Two.", "Second.", "Go."]),
        ({"depth": "recent", "turns": 2}, {}, ["Two.", "Second.", "Go."]),
        ({"depth": "all"}, {"context_depth": "none"}, []),
        ({"depth": "all"}, {"context_depth": "recent", "context_turns": 1}, ["Go."]),
        ({}, {"context_turns": 2}, ["Two.", "Second.", "Go."]),
        ({}, {"context_depth": "all"}, ["One.", "First.", "Two.", "Second.", "Go."]),
    ],
)
async def test_what_a_child_is_given_of_the_conversation(
    tmp_path: Path, own: dict[str, Any], asked: dict[str, Any], given: list[str]
) -> None:
    """The agent's own policy, and the call's words over it."""
    answers = iter([delegating("helper", "Now.", **asked), "Done."])
    provider = one({"boss-1": lambda _: next(answers), "small-1": lambda _: "Ok."})
    helper = HELPER | ({"inherit_context": own} if own else {})
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": helper}), provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.", messages=EARLIER)
    (request,) = asks(provider, "small-1")
    assert [text for _, text in said(request)] == [*given, "Now."]
    assert not [note for note in result.notes if "inherit_context" in note]


async def test_a_childs_failure_is_told_with_its_reasons(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda r: delegating("helper") if r.messages[-1].role == "user" else last_of(r)})
    bundle = team(tmp_path, {"boss": BOSS, "helper": {"provider_preferences": ["p/none-*", "q/x"]}})
    async with host_of(bundle, provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
    assert result.text.startswith("helper gave no answer: ")
    assert "p/none-*: 'none-*' matches none of 3 models" in result.text
    assert "q/x: " in result.text
    assert [child.outcome for child in result.children] == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"agent": "helpr", "instruction": "x"}, "you may use no agent 'helpr'; did you mean 'helper'?"),
        ({"agent": "boss", "instruction": "x"}, "you may use no agent 'boss'"),
        ({"instruction": ""}, "agent: is missing; instruction: is missing"),
        ({"agent": "helper", "instruction": "x", "context_depth": "some"}, "context_depth: write one of none, recent, all"),
        ({"agent": "helper", "instruction": "x", "context_turns": 0}, "context_turns: write a whole number from 1"),
        ({"agent": "helper", "instruction": "x", "contxt": 1}, "contxt: unknown"),
        ({"agent": "helper", "instruction": "x", "self": 1, "call": 2}, "self: unknown; call: unknown"),
        ({"agent": "x" * 500, "instruction": " "}, f"you may use no agent '{'x' * 80}…'; there are helper, self"),
        ({"agent": "helper", "instruction": " "}, "the text to delegate is empty"),
        ({"agent": "helper", "instruction": "x", "preferences": [{"model": 1}]}, "not a preference: "),
        ({"agent": "helper", "instruction": "x", "model": "small-1"}, "names no provider"),
        ({"agent": "helper", "instruction": "x", "session": "ffff"}, "no session in"),
    ],
)
async def test_a_wrong_call_is_told_what_to_write(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    provider = one({"boss-1": lambda r: Reply("", [("delegate", arguments)]) if r.messages[-1].role == "user" else last_of(r)})
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": HELPER}), provider, tmp_path) as host:
        result = await host.delegate("boss", "Go.")
    assert words in result.text
    assert asks(provider, "small-1") == []


async def test_max_cost_of_an_agent_covers_its_children(tmp_path: Path) -> None:
    def script(request: ChatRequest) -> str | Reply:
        return delegating("helper") if request.messages[-1].role == "user" else last_of(request)

    provider = one({"boss-1": script, "small-1": lambda _: "x" * 4000})
    cheap = {"config": {"max_tokens": 1000}}
    bundle = team(
        tmp_path,
        {"boss": BOSS | cheap | {"limits": {"max_cost": 0.012}}, "helper": HELPER | cheap},
        prices={"p/*": {"input": 0.1, "output": 10}},
    )
    async with host_of(bundle, provider, tmp_path, sessions=None) as host:
        result = await host.delegate("boss", "Go.", max_cost="0.05")
        assert result.cost_with_children is not None
        assert result.cost is not None
        assert result.cost_with_children == result.cost + (result.children[0].cost or Decimal(0))
        assert result.children[0].cost > Decimal("0.009")  # type: ignore[operator]
        with pytest.raises(LimitReached, match=r"max_cost of boss") as caught:
            await host.delegate("boss", "Go.", max_cost="0.0101")
        spent = sum((row["cost"] for row in host.ledger.delegations(limit=2)), Decimal(0))
    assert caught.value.limit == "max_cost"
    assert Decimal("0.0095") < spent <= Decimal("0.0101"), "its child has used it up"


class Noting(ProviderSpawner):
    """The default spawner, which notes the context of every attempt."""

    def __init__(self, provider: SimulatedProvider) -> None:
        super().__init__(lambda _: provider)
        self.seen: dict[str, DelegationContext] = {}

    def spawn(self, context: DelegationContext, meter: Meter, tools: ToolBox) -> AsyncIterator[Event]:
        self.seen[context.agent] = context
        return super().spawn(context, meter, tools)


async def test_tags_costs_and_the_deadline_hold_for_children(tmp_path: Path) -> None:
    """The child's own limits are longer than what its parent has left."""
    provider = one(
        {"boss-1": lambda r: delegating("helper") if r.messages[-1].role == "user" else "Ok.", "small-1": lambda _: "Ok."}
    )
    own = {"limits": {"timeout": 200, "max_cost": 9}}
    spawner = Noting(provider)
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER | own}, prices={"p/*": {"input": 1, "output": 1}})
    async with host_of(bundle, provider, tmp_path, spawner=spawner) as host:
        await host.delegate("boss", "Go.", timeout=40, max_cost=5, tags=["secret"])
    child = spawner.seen["helper"]
    assert child.tags == ("secret",)
    assert [(cap.agent, cap.limit) for cap in child.caps] == [("boss", 5), ("helper", 9)]
    assert provider.requests[1].model == "small-1"
    assert max(child.limits.timeout, provider.requests[1].timeout or 999) <= 40


async def test_local_only_holds_for_children(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda r: delegating("helper") if r.messages[-1].role == "user" else last_of(r)}, local=True)
    away = SimulatedProvider("q", models=["big-1"], answer="Sent away.")
    bundle = team(tmp_path, {"boss": BOSS, "helper": {"provider_preferences": ["q/big-*"]}})
    async with Host(bundle, providers={"p": provider, "q": away}, ledger=tmp_path / "l.db", sessions=None) as host:
        result = await host.delegate("boss", "Go.", local_only=True)
    assert away.requests == []
    assert "helper gave no answer" in result.text


async def test_cancelling_the_parent_cancels_its_children(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda _: delegating("helper"), "small-1": lambda _: "Late."}, latency={"small-*": 30.0})
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": HELPER}), provider, tmp_path) as host:
        work = asyncio.create_task(host.delegate("boss", "Go."))
        async with asyncio.timeout(5):
            while not asks(provider, "small-1"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        rows = {row["agent"]: row["outcome"] for row in host.ledger.delegations()}
    assert rows == {"boss": "cancelled", "helper": "cancelled"}


async def test_a_stream_shows_what_children_do_and_whose_it_is(tmp_path: Path) -> None:
    """Children run on a chain, so that theirs is not cut off by having been shown: their text comes turn by turn."""
    mid = {"provider_preferences": ["p/mid-*"], "tools": ["delegate"]}
    provider = one(
        {
            "boss-1": lambda r: delegating("mid") if r.messages[-1].role == "user" else last_of(r),
            "mid-1": lambda r: delegating("helper") if r.messages[-1].role == "user" else last_of(r),
            "small-1": lambda _: "Deep.",
        }
    )
    async with host_of(team(tmp_path, {"boss": BOSS, "mid": mid, "helper": HELPER}), provider, tmp_path, sessions=None) as host:
        events = [event async for event in host.stream("boss", "Go.")]
        plain = await host.delegate("boss", "Go.")
    done = events[-1]
    assert isinstance(done, DoneEvent)
    assert (done.result.text, plain.text) == ("Deep.", "Deep.")
    children = [event for event in events if isinstance(event, ChildEvent)]
    turns = [(event.agent, event.depth) for event in children if isinstance(event.event, TurnEvent)]
    assert turns == [("helper", 2), ("mid", 1), ("mid", 1)], "a turn is over once its tools are"
    ended = {event.agent: event for event in children if isinstance(event.event, DoneEvent)}
    assert ended["helper"].parent == ended["mid"].delegation
    assert ended["mid"].parent == done.result.id


async def test_leaving_a_stream_leaves_no_child_behind(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda _: delegating("helper"), "small-1": lambda _: "Late."}, latency={"small-*": 30.0})
    async with host_of(team(tmp_path, {"boss": BOSS, "helper": HELPER}), provider, tmp_path) as host:
        stream = host.stream("boss", "Go.")
        async for event in stream:
            if isinstance(event, ChildEvent):
                break
        await stream.aclose()
        rows = {row["agent"]: row["outcome"] for row in host.ledger.delegations()}
    assert rows == {"boss": "cancelled", "helper": "cancelled"}


async def test_a_hosts_own_loop_delegates_by_the_same_tool(tmp_path: Path) -> None:
    provider = one({"boss-1": lambda _: "Thought.", "small-1": lambda r: "|".join(text for _, text in said(r))})
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "Go."}]
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER, "plain": {}})
    async with host_of(bundle, provider, tmp_path) as host:
        tool = host.delegate_tool(caller="boss", parent="p/boss-1", messages=lambda: conversation)
        assert tool.parameters["properties"]["agent"]["enum"] == ["helper", "plain", "self"]
        conversation.append({"role": "assistant", "content": "I see."})
        answer = await tool.handle({"agent": "helper", "instruction": "Now.", "context_depth": "all"}, "call-7")
        inherits = await tool.handle('{"agent": "plain", "instruction": "Think."}')
        wrong = [await tool.handle("{"), await tool.handle({"agent": "nobody", "instruction": "x"})]
        rows = {row["agent"]: row for row in host.ledger.delegations()}
    assert (answer.call_id, answer.is_error) == ("call-7", False)
    assert answer.text.startswith("Go.|I see.|Now.\n[session ")
    assert inherits.text.startswith("Thought.")
    assert [result.is_error for result in wrong] == [True, True]
    assert rows["plain"]["model"] == "boss-1"
    assert {(row["parent"], row["root"], row["depth"]) for row in rows.values()} == {(tool.id, tool.id, 1)}
    assert [child.agent for child in tool.children] == ["helper", "plain"]


async def test_a_call_of_a_hosts_own_loop_that_is_cancelled_is_listed_with_its_cost(tmp_path: Path) -> None:
    def script(request: ChatRequest) -> str | Reply:
        return Reply("", [("wait", {})], Usage(1000, 0)) if request.messages[-1].role == "user" else "Late."

    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.sleep(60)

    bundle = team(tmp_path, {"helper": HELPER}, prices={"p/*": {"input": 1, "output": 1}})
    async with host_of(bundle, one({"small-1": script}), tmp_path) as host:
        tool = host.delegate_tool(tools=[wait])
        work = asyncio.create_task(tool.handle({"agent": "helper", "instruction": "x"}))
        async with asyncio.timeout(20):
            await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        [child] = tool.children
        [row] = host.ledger.delegations()
    assert (child.agent, child.outcome, child.cost) == ("helper", "cancelled", Decimal("0.001"))
    assert (row["outcome"], row["cost"], child.session) == ("cancelled", Decimal("0.001"), row["id"])


def test_its_schema_is_in_each_vendors_form(tmp_path: Path) -> None:
    provider = one({"small-1": lambda _: "Ok."})
    bundle = team(tmp_path, {"boss": BOSS, "helper": HELPER})
    environment = {"BUNDLE_LOADER_HOME": str(tmp_path / "home")}
    with SyncHost(bundle, providers={"p": provider}, ledger=tmp_path / "l.db", environment=environment) as host:
        tool = host.delegate_tool(caller="boss")
        assert tool.schema("anthropic")["input_schema"] == tool.parameters
        assert tool.schema("openai")["function"]["parameters"] == tool.parameters
        assert tool.schema("ollama") == tool.schema("openai")
        assert tool.schema("openai-responses")["name"] == "delegate"
        assert tool.schema("gemini")["function_declarations"][0]["parameters_json_schema"] == tool.parameters
        with pytest.raises(RequestError, match="did you mean 'anthropic'"):
            tool.schema("antropic")
        calls = [(str(number), {"agent": "helper", "instruction": "x"}) for number in range(3)]
        assert [result.call_id for result in tool.handle_all(calls)] == ["0", "1", "2"]
        assert tool.handle({"agent": "helper", "instruction": "x"}).text.startswith("Ok.")


async def test_whatever_a_model_says_to_a_hosts_own_loop_is_answered(tmp_path: Path) -> None:
    provider = one({"small-1": lambda _: "Ok."})
    async with host_of(team(tmp_path, {"helper": HELPER}), provider, tmp_path, sessions=None) as host:
        tool = host.delegate_tool(parent=["p/gone-1", "p/small-1"])
        for said in ("{", "[" * 100_000, "5", "null", '"text"', 5, [1], b"{}", None, {1: 2}, {"agent": []}):
            result = await tool.handle(said, "7")  # type: ignore[arg-type]
            assert (result.call_id, result.is_error) == ("7", True), said
        assert asks(provider, "small-1") == []
        assert (await tool.handle({"agent": "self", "instruction": "x"})).text == "Ok.", "the second that the parent named"
        for wrong in ({"tags": "abc"}, {"tools": [5]}, {"parent": 5}, {"parent": ["p/m", "m"]}):
            with pytest.raises(RequestError):
                host.delegate_tool(**wrong)  # type: ignore[arg-type]


def test_limits_of_a_host_are_whole_numbers(tmp_path: Path) -> None:
    bundle = team(tmp_path, {"helper": HELPER})
    for name in ("max_depth", "max_children"):
        with pytest.raises(RequestError, match=f"{name} is a whole number of at least 0"):
            Host(bundle, simulate=True, environment={}, **{name: -1})

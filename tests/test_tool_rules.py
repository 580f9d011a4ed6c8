"""What holds around the call of a tool: allow and deny lists, approval, time, order, names, ids, and what is cancelled."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import DeadlineExceeded, Host, RequestError, Tool, ToolFailed, ToolOutput
from bundle_loader.delegation.one_call_each import one_call_each
from bundle_loader.delegation.tool_names import is_meant, wire_name
from bundle_loader.delegation.tools import MOST_OF_A_BLOB, ToolBox
from bundle_loader.messages import Blob, Message, Text, ToolCall, ToolResult, ToolSpec, Turn
from bundle_loader.providers.simulated import Reply as Played
from bundle_loader.testing import calls, scripted_host
from tests.support.hosting import MODELS, worker
from tests.support.vendors import Reply, World

Served = tuple[World, str]


def ping(word: str = "pong") -> str:
    """Say a word."""
    return word


def named(name: str, call: Any = ping, **more: Any) -> Tool:
    return Tool(ToolSpec(name, "", {"type": "object", "properties": {}}), call, **more)


async def run(box: ToolBox, *names: str) -> list[ToolResult]:
    return await box.run([ToolCall(str(index), name, {}) for index, name in enumerate(names)])


# --- which tools


def test_what_is_denied_is_out_whatever_allows_it() -> None:
    tools = [named(name) for name in ("read", "write", "remove", "mcp:gh/issue", "mcp:gh/merge", "mcp:fx/add")]

    def left(allowed: tuple[str, ...] | None, *denied: str) -> list[str]:
        return [spec.name for spec in ToolBox(tools, allowed, denied).specs]

    assert left(None, "write", "mcp:gh") == ["read", "remove", "mcp__fx__add"]
    assert left(("write", "read"), "write") == ["read"]
    assert left(("mcp:gh", "read")) == ["mcp__gh__issue", "mcp__gh__merge", "read"]
    assert left(("mcp:gh",), "mcp:gh/merge") == ["mcp__gh__issue"]
    assert left(("re*",), "*move") == ["read"]
    assert left(("*",)) == ["read", "write", "remove"], "a tool of a server is never meant by a name of the host's"
    assert left(None, "*") == []
    assert left(None, "*e*") == ["mcp__fx__add"]
    assert left(None, "mcp__gh__merge", "mcp__fx") == ["read", "write", "remove", "mcp__gh__issue"]
    assert left(None, "merge") == left(None), "a name without a server is the host's own tool"
    assert left(None, "mcp:*") == ["read", "write", "remove"]
    assert left((), "read") == []


@pytest.mark.parametrize(
    ("name", "pattern", "meant"),
    [
        ("read", "read", True),
        ("read", "READ", False),
        ("read", "rea", False),
        ("mcp:gh/x", "mcp:gh", True),
        ("mcp:gh/x", "mcp:g", False),
        ("mcp:gh/x", "mcp:g*", True),
        ("mcp:gh/x", "mcp:gh/*", True),
        ("mcp:gh/x/y", "mcp:gh/x", False),
        ("mcp:gh/x", "gh/x", False),
        ("x", "mcp:*", False),
    ],
)
def test_what_an_entry_means(name: str, pattern: str, meant: bool) -> None:
    assert is_meant(name, (pattern,)) is meant


async def test_deny_tools_of_an_agent_file(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    world.vendor("openai").replies = [Reply(tool_calls=[("remove", {})]), Reply("I may not.")]
    removed: list[int] = []

    def remove() -> None:
        """Remove all."""
        removed.append(1)

    bundle = worker(tmp_path, "openai/gpt-4o", deny_tools="remove")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        await host.delegate("worker", "Go.", tools=[ping, remove])
    assert [tool["function"]["name"] for tool in world.chats()[0].body_json["tools"]] == ["ping"]
    assert not removed


# --- names


def test_names_that_no_vendor_takes_are_made_to_fit_and_stay_apart() -> None:
    odd = ["größe", "a b", "a.b", "x" * 100, "x" * 101, "1st", "-"]
    odd += ["mcp:my.server/do it", "mcp:my_server/do_it", "mcp:a/b__c", "mcp:a__b/c"]
    box = ToolBox([named(name) for name in odd])
    wires = [spec.name for spec in box.specs]
    assert len(set(wires)) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", wire) for wire in wires)
    assert wires == [spec.name for spec in ToolBox([named(name) for name in odd]).specs], "the same in every turn and process"
    assert wire_name("read_file") == "read_file"
    assert wire_name("mcp:gh/create-issue") == "mcp__gh__create-issue"


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_tool_is_called_by_the_name_that_was_told(vendors: Served, tmp_path: Path, vendor: str) -> None:
    world, base = vendors
    wire = wire_name("files.größe v2")
    world.vendor(vendor).replies = [Reply(tool_calls=[(wire, {})]), Reply("Done.")]
    bundle = worker(tmp_path, f"{vendor}/{MODELS[vendor][1]}", tools=["files.größe v2"])
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
        result = await host.delegate("worker", "Go.", tools=[named("files.größe v2", lambda: "12 bytes")])
    assert "12 bytes" in json.dumps(world.chats()[1].body_json)
    assert result.notes == () or not any("does not offer" in note for note in result.notes)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(RequestError, match="two tools are named 'ping'"):
        ToolBox([ping, named("ping", lambda: "other")])
    assert len(ToolBox([ping, ping]).specs) == 1


# --- approval


async def test_a_refusal_is_told_to_the_model_and_nothing_runs(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors
    asked: list[tuple[str, str, Any]] = []
    done: list[str] = []
    answers: dict[str, bool | str] = {"a": True, "b": False, "c": "only on Fridays", "d": ""}

    async def approve(agent: str, call: ToolCall) -> bool | str:
        asked.append((agent, call.name, dict(call.arguments)))
        return answers[call.arguments["what"]]

    def remove(what: str) -> str:
        """Remove something."""
        done.append(what)
        return f"removed {what}"

    wishes: list[tuple[str, dict[str, Any]]] = [("remove", {"what": what}) for what in "abcd"]
    world.vendor("anthropic").replies = [Reply(tool_calls=[*wishes, ("remove", {"wat": 1}), ("unknown", {})]), Reply("Done.")]
    bundle = worker(tmp_path, "anthropic/claude-sonnet-4-6")
    async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base), approve=approve) as host:
        result = await host.delegate("worker", "Go.", tools=[remove])
    told = [part for message in result.messages if message.role == "tool" for part in message.parts]
    assert [part.text for part in told if isinstance(part, ToolResult)][:4] == [
        "removed a",
        "the call of 'remove' was refused",
        "the call of 'remove' was refused: only on Fridays",
        "the call of 'remove' was refused",
    ]
    assert [part.is_error for part in told if isinstance(part, ToolResult)] == [False, True, True, True, True, True]
    assert done == ["a"]
    # nobody is asked for what cannot be called
    assert sorted(asked, key=str) == [("worker", "remove", {"what": what}) for what in "abcd"]


async def test_whatever_is_not_a_yes_is_a_no(caplog: pytest.LogCaptureFixture) -> None:
    called: list[int] = []

    def act() -> None:
        called.append(1)

    def breaks(call: ToolCall) -> bool:
        raise OSError("nobody is there")

    answers: list[Any] = [1, None, "yes", breaks]
    for answer in answers:
        box = ToolBox([named("act", act)], approve=answer if callable(answer) else lambda call, answer=answer: answer)
        (result,) = await run(box, "act")
        assert result.is_error
    assert not called
    assert "could not be approved" in caplog.text
    assert (await run(ToolBox([named("act", act)], approve=lambda call: True), "act"))[0].is_error is False


async def test_an_approval_that_blocks_holds_up_neither_the_loop_nor_the_deadline(tmp_path: Path) -> None:
    free, called = threading.Event(), threading.Event()

    def approve(agent: str, call: ToolCall) -> bool:
        return free.wait(30)

    def act() -> None:
        """Act."""
        called.set()

    bundle = worker(tmp_path, "anthropic/claude-haiku-*")
    async with scripted_host(bundle, {"anthropic": [calls("act")]}, approve=approve) as host:
        with pytest.raises(DeadlineExceeded, match="while its tools ran"):
            await host.delegate("worker", "Go.", tools=[act], timeout=0.3)
        free.set()
        assert not called.wait(0.1), "what is approved after the deadline is not done"


async def test_an_approval_that_blocks_is_asked_one_call_at_a_time(tmp_path: Path) -> None:
    asking, most = threading.Semaphore(1), []

    def approve(agent: str, call: ToolCall) -> bool:
        most.append(asking.acquire(blocking=False))
        threading.Event().wait(0.02)
        if most[-1]:
            asking.release()
        return True

    script = {"anthropic": [Played("", [("act", {"what": what}) for what in "abc"]), "Done."]}
    async with scripted_host(worker(tmp_path, "anthropic/claude-haiku-*"), script, approve=approve) as host:
        await host.delegate("worker", "Go.", tools=[named("act", lambda what: what)])
    assert most == [True] * 3


# --- time, and order


async def test_a_tool_has_its_time() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("waits")

    free = threading.Event()

    def blocks() -> None:
        free.wait(30)

    async def own() -> None:
        raise TimeoutError("the server is slow")

    box = ToolBox([named("waits", waits, timeout=0.05), named("blocks", blocks, timeout=0.05), named("own", own)])
    told = [result.text for result in await run(box, "waits", "blocks", "own")]
    free.set()
    assert told == [
        "'waits' was not done within 0.05 s; it was stopped, and may have had effects",
        "'blocks' was not done within 0.05 s; it cannot be stopped, and may yet finish",
        "TimeoutError: the server is slow",
    ]
    assert ended == ["waits"]
    assert (await run(ToolBox([named("ping", timeout=math.inf)]), "ping"))[0].text == "pong"


async def test_one_that_is_alone_runs_beside_no_other() -> None:
    running: set[str] = set()
    together: list[frozenset[str]] = []
    order: list[str] = []

    def tool(name: str, **more: Any) -> Tool:
        async def act() -> str:
            running.add(name)
            together.append(frozenset(running))
            await asyncio.sleep(0.02)
            running.discard(name)
            order.append(name)
            return name

        return named(name, act, **more)

    box = ToolBox([tool("a"), tool("b"), tool("c", alone=True), tool("d"), tool("e")])
    results = await run(box, "a", "b", "c", "d", "e", "c")
    assert [result.text for result in results] == ["a", "b", "c", "d", "e", "c"]
    assert [seen for seen in together if "c" in seen] == [frozenset("c")] * 2
    assert {frozenset("ab"), frozenset("de")} <= set(together)
    assert [order.index("c"), len(order) - 1 - order[::-1].index("c")] == [2, 5]


async def test_cancelling_the_delegation_cancels_its_tools(
    vendors: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, base = vendors
    begun = asyncio.Event()
    free, ended = threading.Event(), threading.Event()
    seen: list[str] = []

    async def waits() -> None:
        """Wait."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    loop = asyncio.get_running_loop()

    def blocks() -> None:
        """Block."""
        loop.call_soon_threadsafe(begun.set)
        free.wait(30)
        ended.set()

    world.vendor("openai").replies = [Reply(tool_calls=[("waits", {}), ("blocks", {})])]
    bundle = worker(tmp_path, "openai/gpt-4o")
    with caplog.at_level(logging.WARNING):
        async with Host(bundle, ledger=tmp_path / "l.db", environment=world.environment(base)) as host:
            task = asyncio.create_task(host.delegate("worker", "Go.", tools=[waits, blocks]))
            await asyncio.wait_for(begun.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert seen == ["cancelled"]
    assert "the tool 'blocks' was cancelled, but runs in a thread, which cannot be stopped" in caplog.text
    assert not ended.is_set(), "nobody waits for the thread"
    free.set()
    assert await asyncio.to_thread(ended.wait, 5)


# --- what comes back


async def test_a_tool_may_give_images_and_say_that_it_failed() -> None:
    pixel = Blob(b"\x89PNG", "image/png")
    given: dict[str, Any] = {
        "image": pixel,
        "both": ["Look:", pixel, {"a": 1}],
        "output": ToolOutput("half done", (pixel,), True),
        "large": ["Much.", Blob(b"x" * (MOST_OF_A_BLOB + 1), "video/mp4"), pixel],
    }

    async def fails() -> None:
        raise ToolFailed("The disk is full; remove something.")

    box = ToolBox([*(named(name, lambda name=name: given[name]) for name in given), named("fails", fails)])
    image, both, output, large, failed = await run(box, *given, "fails")
    assert (image.text, image.parts) == ("", (pixel,))
    assert (both.text, both.parts) == ('Look:\n{"a": 1}', (pixel,))
    assert (output.text, output.parts, output.is_error) == ("half done", (pixel,), True)
    assert (large.text, large.parts) == ("Much.\n[left out: 1 images or files of more than 10 MiB]", (pixel,))
    assert (failed.text, failed.is_error) == ("The disk is full; remove something.", True)


# --- ids


def turn_of(*calls: ToolCall) -> Turn:
    return Turn(Message("assistant", (Text("So."), *calls)), None, None, "tools")


def test_a_call_that_came_twice_is_one_call_and_others_get_ids_of_their_own() -> None:
    first, same = ToolCall("x", "pay", {"a": 1, "b": 2}), ToolCall("x", "pay", {"b": 2, "a": 1})
    other, empty = ToolCall("x", "pay", {"a": 2}), ToolCall("", "pay", {"a": 1})
    taken = ToolCall("x_2", "pay", {})
    made = one_call_each(turn_of(first, same, other, empty, empty, taken)).message
    assert made.text == "So."
    calls = made.tool_calls
    assert [(call.name, dict(call.arguments)) for call in calls] == [
        ("pay", {"a": 1, "b": 2}),
        ("pay", {"a": 2}),
        ("pay", {"a": 1}),
        ("pay", {"a": 1}),
        ("pay", {}),
    ]
    assert len({call.id for call in calls}) == len(calls)
    assert calls[0].id == "x"
    assert calls[-1].id == "x_2"
    sound = turn_of(first, taken)
    assert one_call_each(sound) is sound

"""OpenAI's second protocol: who is spoken to in it, what is sent, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bundle_loader import Host
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Blob, Delta, Message, Text, Thinking, ToolCall, ToolResult, ToolSpec, Turn, Usage, user
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.openai import OpenAIProvider
from tests.support.conversations import PNG, REASONER
from tests.support.hosting import mounted, worker
from tests.support.tiny_llama import TinyServer
from tests.support.vendors import Fault, Reply, World
from tests.test_delegation_llama import ENVIRONMENT, bundle_for, server_as

Served = tuple[World, str]

ADD = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}})


@pytest.fixture
async def openai(vendors: Served) -> AsyncIterator[tuple[World, OpenAIProvider]]:
    world, base = vendors
    provider = OpenAIProvider(api_key="test-key", base_url=world.url(base, "openai"))
    yield world, provider
    await provider.aclose()


async def heard(provider: Any, request: ChatRequest) -> tuple[list[str], Turn]:
    pieces: list[str] = []
    turns: list[Turn] = []
    async with aclosing(provider.stream(request)) as parts:
        async for part in parts:
            if isinstance(part, Delta):
                pieces.append(part.text)
            else:
                turns.append(part)
    (turn,) = turns
    return pieces, turn


def asked(*messages: Message, model: str = REASONER, **more: Any) -> ChatRequest:
    return ChatRequest(model, messages or (user("Hi"),), **{"system": "Be brief.", "max_tokens": 100, **more})


async def test_text_comes_piece_by_piece_and_ends_in_one_turn(openai: tuple[World, OpenAIProvider]) -> None:
    world, provider = openai
    usage = Usage(20, 8, cache_read_tokens=5, cache_write_tokens=2, reasoning_tokens=3)
    world.vendor("openai").replies = [Reply("Hello from here.", usage=usage)]
    pieces, turn = await heard(provider, asked())
    assert len(pieces) > 1
    assert "".join(pieces) == "Hello from here."
    assert turn == Turn(Message("assistant", (Text("Hello from here."),)), usage, REASONER, "stop")
    (request,) = world.chats("openai")
    assert request.path == "/responses"
    body = request.body_json
    assert (body["instructions"], body["store"], body["max_output_tokens"]) == ("Be brief.", False, 100)
    assert "messages" not in body


@pytest.mark.parametrize(
    ("model", "config", "path"),
    [
        (REASONER, {}, "/responses"),
        ("gpt-5.2-pro", {}, "/responses"),
        ("gpt-4o", {}, "/chat/completions"),
        ("gpt-4o", {"api": "responses"}, "/responses"),
        ("gpt-5.2", {"api": "responses", "reasoning_effort": "low", "stop": ["x"], "seed": 1}, "/responses"),
        ("gpt-5.2", {"api": "chat"}, "/chat/completions"),
    ],
)
async def test_the_model_or_the_config_chooses_the_protocol(
    openai: tuple[World, OpenAIProvider], model: str, config: dict[str, Any], path: str
) -> None:
    world, provider = openai
    _, turn = await heard(provider, asked(model=model, config=config))
    (request,) = world.chats("openai")
    assert request.path == path
    assert request.status == 200
    assert "api" not in request.body_json
    if "seed" in config:
        assert request.body_json["reasoning"] == {"effort": "low"}
        assert turn.notes == ("stop dropped: gpt-5.2 does not take it", "seed dropped: gpt-5.2 does not take it")


async def test_a_provider_with_one_protocol_says_that_it_has_only_one(vendors: Served) -> None:
    world, base = vendors
    provider = mounted(world, base)["anthropic"]
    _, turn = await heard(provider, asked(model="claude-opus-4-6", config={"api": "responses"}))
    await provider.aclose()
    assert turn.notes == ("api dropped: anthropic has one only",)


async def test_tools_and_sealed_reasoning_over_two_turns(openai: tuple[World, OpenAIProvider]) -> None:
    world, provider = openai
    world.vendor("openai").replies = [Reply("I add.", [("add", {"a": 1}), ("add", {"a": 2})], thinking="So many sums.")]
    _, turn = await heard(provider, asked(user("Add."), tools=(ADD,)))
    assert turn.finish == "tools"
    thought, text, first, second = turn.message.parts
    assert isinstance(thought, Thinking)
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (thought.text, text) == ("So many sums.", Text("I add."))
    assert (first.arguments, second.arguments) == ({"a": 1}, {"a": 2})
    shot = Blob(PNG, "image/png")
    results = Message("tool", (ToolResult(first.id, "add", "1", parts=(shot,)), ToolResult(second.id, "add", "2")))
    await heard(provider, asked(user("Add."), turn.message, results, tools=(ADD,)))
    items = world.chats("openai")[1].body_json["input"]
    assert [item.get("type", item.get("role")) for item in items] == [
        "user",
        "reasoning",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
    ]
    assert items[1]["encrypted_content"] == thought.data["encrypted_content"]
    assert [part["type"] for part in items[5]["output"]] == ["input_text", "input_image"]
    assert not any(item.get("id") for item in items if item.get("type") != "reasoning")
    await heard(provider, asked(user("Add."), turn.message, results, tools=(ADD,), model="gpt-5.2-pro"))
    assert "reasoning" not in {item.get("type") for item in world.chats("openai")[2].body_json["input"]}, "sealed for one model"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.cut(), FailureKind.BROKEN),
        (Fault.malformed(), FailureKind.BROKEN),
        (Fault.wrong_shape(), FailureKind.BROKEN),
        (Fault.empty(), FailureKind.BROKEN),
        (Fault.html(), FailureKind.BROKEN),
        (Fault.error_in_stream(), FailureKind.BUSY),
        (Fault.error_in_stream("rate_limit_exceeded", "Rate limit reached"), FailureKind.LIMITED),
        (Fault.status(503), FailureKind.BUSY),
        (Fault.status(429), FailureKind.LIMITED),
        (Fault.too_long(), FailureKind.TOO_LONG),
        (Fault.refusal(), FailureKind.CONTENT_REFUSED),
        (Fault.refusal(prompt=True), FailureKind.CONTENT_REFUSED),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
async def test_an_answer_that_is_none_is_sorted(openai: tuple[World, OpenAIProvider], fault: Fault, kind: FailureKind) -> None:
    world, provider = openai
    world.vendor("openai").fault = fault
    with pytest.raises(ProviderFailure) as caught:
        await heard(provider, asked())
    assert caught.value.kind is kind


async def test_an_answer_cut_at_its_limit_says_so(openai: tuple[World, OpenAIProvider]) -> None:
    world, provider = openai
    world.vendor("openai").replies = [Reply("Half an", finish="length", usage=None)]
    _, turn = await heard(provider, asked())
    assert (turn.finish, turn.usage) == ("length", None)


async def test_a_delegation_on_a_model_that_only_this_protocol_serves(vendors: Served, tmp_path: Path) -> None:
    world, base = vendors

    def add(a: int) -> int:
        """Add one."""
        return a + 1

    world.vendor("openai").replies = [Reply("", [("add", {"a": 1})], thinking="hm"), Reply("It is 2.")]
    async with Host(
        worker(tmp_path, f"openai/{REASONER}"), ledger=tmp_path / "l.db", environment=world.environment(base)
    ) as host:
        result = await host.delegate("worker", "Add.", tools=[add])
    assert result.text == "It is 2."
    assert [request.path for request in world.chats()] == ["/responses", "/responses"]
    assert result.usage == Usage(40, 16)


async def test_a_real_server_speaks_it_too(llama: TinyServer, tmp_path: Path) -> None:
    asked: list[str] = []

    def delegate(agent: str) -> str:
        """Hand work to an agent."""
        asked.append(agent)
        return "done"

    bundle = bundle_for(tmp_path, server_as(llama, "llamacpp"))
    async with Host(bundle, ledger=tmp_path / "l.db", environment=ENVIRONMENT) as host:
        said = await host.delegate("worker", "Say hello.", config={"api": "responses"})
        worked = await host.delegate("worker", "Hand it on.", tools=[delegate], config={"api": "responses"})
    assert said.text.strip() == llama.reply
    assert said.usage.input_tokens > 0
    assert not said.usage.estimated
    assert (len(asked), worked.turns, worked.text.strip()) == (1, 2, llama.reply)

"""The Anthropic adapter over real sockets: what it sends, what it makes of each answer, and how each failure is sorted."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import (
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
    assistant,
    user,
)
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.anthropic_wire import messages
from bundle_loader.providers.base import ChatRequest, Provider
from tests.support.asking import asking, failed, heard, until_gone
from tests.support.tiny_llama import TinyServer
from tests.support.vendors import Fault, Reply, World

KEY = "sk-ant-very-secret-key"
MODEL = "claude-haiku-4-5"
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})


@pytest.fixture
async def claude(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, AnthropicProvider]]:
    world, base = vendors
    world.vendor("anthropic").required_key = KEY
    provider = AnthropicProvider(api_key=KEY, base_url=world.url(base, "anthropic"))
    yield world, provider
    await provider.aclose()


async def test_text_arrives_in_pieces_and_then_as_one_turn(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").replies = [Reply("Good morning to you", usage=Usage(100, 50, 30, 20, 10))]
    pieces, turn = await heard(provider, asking(MODEL, system="Be polite.", max_tokens=77))
    assert len(pieces) > 1
    assert "".join(pieces) == "Good morning to you"
    assert turn == Turn(assistant("Good morning to you"), Usage(100, 50, 30, 20, 10), "claude-haiku-4-5-20251001", "stop")
    (request,) = world.chats()
    assert request.body_json == {
        "model": MODEL,
        "max_tokens": 77,
        "stream": True,
        "system": "Be polite.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }
    assert isinstance(provider, Provider)
    assert (provider.id, provider.local) == ("anthropic", False)


async def test_usage_that_is_not_told_is_none(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").replies = [Reply("hi", usage=None)]
    _, turn = await heard(provider, asking(MODEL))
    assert turn.usage is None


async def test_tools_and_thinking_go_round_over_two_turns(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").replies = [
        Reply("I add.", tool_calls=[("add", {"a": 1}), ("add", {})], thinking="Sums are easy."),
        Reply("3"),
    ]
    _, first = await heard(provider, asking(MODEL, tools=(ADD,)))
    assert first.finish == "tools"
    thought, said, call, other = first.message.parts
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.vendor) == ("Sums are easy.", "anthropic")
    assert said == Text("I add.")
    assert isinstance(call, ToolCall)
    assert isinstance(other, ToolCall)
    assert (call.name, call.arguments, other.arguments) == ("add", {"a": 1}, {})

    results = Message("tool", (ToolResult(call.id, "add", "3"), ToolResult(other.id, "add", "", is_error=True)))
    _, second = await heard(provider, asking(MODEL, user("hello"), first.message, results, tools=(ADD,)))
    assert second.message.text == "3"
    asked = world.chats()[1].body_json
    assert asked["tools"] == [{"name": "add", "description": "Add two numbers.", "input_schema": ADD.schema}]
    back = asked["messages"][1]["content"]
    assert back[0] == {"type": "thinking", "thinking": "Sums are easy.", "signature": thought.data["signature"]}
    assert asked["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": call.id, "content": "3"},
            {"type": "tool_result", "tool_use_id": other.id, "is_error": True, "content": "error"},
        ],
    }


async def test_the_history_of_other_vendors_is_made_fit(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").replies = [Reply("done")]
    history = (
        user("one"),
        Message("user", (Text("  "), Text("two"))),
        Message("assistant", (Thinking("hm", "google", {"x": 1}), ToolCall("fc:1/ä", "add", {"a": 1}, "google", "sig"))),
        Message("tool", (ToolResult("fc:1/ä", "add", "1"),)),
        Message("assistant", (ToolCall("fc:1/ä", "add", {"a": 2}),)),
        Message("tool", (ToolResult("fc:1/ä", "add", "2"),)),
        Message("assistant", (Text(""),)),
        user("three"),
    )
    await heard(provider, asking(MODEL, *history, tools=(ADD,)))
    sent = world.chats()[0].body_json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user", "assistant", "user"]
    assert [block["text"] for block in sent[0]["content"]] == ["one", "two"]
    first, second = sent[1]["content"], sent[3]["content"]
    assert [block["type"] for block in first] == ["tool_use"]
    assert first[0]["id"] != second[0]["id"]
    assert sent[2]["content"][0]["tool_use_id"] == first[0]["id"]
    assert sent[4]["content"][0]["tool_use_id"] == second[0]["id"]
    assert messages(history, table.rows()["anthropic"].call_ids) == sent


@pytest.mark.parametrize(
    ("model", "sent", "notes"),
    [
        ("claude-haiku-4-5", {"temperature": 0.2, "stop_sequences": ["END"]}, ()),
        (
            "claude-opus-4-7",
            {"stop_sequences": ["END"]},
            ("temperature dropped: claude-opus-4-7 does not take it",),
        ),
    ],
)
async def test_config_is_translated_and_what_is_not_taken_is_dropped_with_a_note(
    claude: tuple[World, AnthropicProvider], model: str, sent: dict[str, Any], notes: tuple[str, ...]
) -> None:
    world, provider = claude
    world.vendor("anthropic").offer(model)
    world.vendor("anthropic").aliases = {}
    world.vendor("anthropic").refuses_temperature = {"claude-opus-4-7"}
    config = {"temperature": 0.2, "stop": "END", "max_tokens": 9, "metadata": {"user_id": "u"}}
    _, turn = await heard(provider, asking(model, config=config))
    assert turn.notes == notes
    body = world.chats()[0].body_json
    assert {key: body[key] for key in body if key not in ("model", "messages", "stream", "max_tokens", "metadata")} == sent
    assert body["metadata"] == {"user_id": "u"}
    assert body["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("fault", "kind", "scope", "status"),
    [
        (Fault.status(400), FailureKind.WRONG_REQUEST, "model", 400),
        (Fault.status(401), FailureKind.REFUSED, "provider", 401),
        (Fault.status(402), FailureKind.REFUSED, "provider", 402),
        (Fault.status(403), FailureKind.REFUSED, "model", 403),
        (Fault.status(404), FailureKind.REFUSED, "model", 404),
        (Fault.status(408), FailureKind.BUSY, "model", 408),
        (Fault.status(409), FailureKind.BUSY, "model", 409),
        (Fault.status(413), FailureKind.TOO_LONG, "model", 413),
        (Fault.status(422), FailureKind.WRONG_REQUEST, "model", 422),
        (Fault.status(429), FailureKind.LIMITED, "model", 429),
        (Fault.status(500), FailureKind.BUSY, "model", 500),
        (Fault.status(502), FailureKind.BUSY, "model", 502),
        (Fault.status(503), FailureKind.BUSY, "model", 503),
        (Fault.status(504), FailureKind.BUSY, "model", 504),
        (Fault.status(529), FailureKind.BUSY, "model", 529),
        (Fault.status(400, message="Your credit balance is too low"), FailureKind.REFUSED, "provider", 400),
        (Fault.status(302, headers={"location": "http://127.0.0.1:1/"}), FailureKind.BROKEN, "model", 302),
        (Fault.html(502), FailureKind.BUSY, "model", 502),
        (Fault.too_long(), FailureKind.TOO_LONG, "model", 400),
        (Fault.refusal(), FailureKind.CONTENT_REFUSED, "model", None),
        (Fault.refusal(prompt=True), FailureKind.CONTENT_REFUSED, "model", 400),
        (Fault.cut(), FailureKind.BROKEN, "model", None),
        (Fault.cut(abruptly=True), FailureKind.BROKEN, "model", None),
        (Fault.malformed(), FailureKind.BROKEN, "model", None),
        (Fault.wrong_shape(), FailureKind.BROKEN, "model", None),
        (Fault.empty(), FailureKind.BROKEN, "model", None),
        (Fault.html(), FailureKind.BROKEN, "model", None),
        (Fault.status(200, body={"error": {"message": "Overloaded"}}), FailureKind.BUSY, "model", None),
        (Fault.status(200, body={"choices": []}), FailureKind.BROKEN, "model", None),
        (Fault.error_in_stream(), FailureKind.BUSY, "model", None),
        (Fault.error_in_stream("rate_limit_error", "slow down"), FailureKind.LIMITED, "model", None),
        (Fault.error_in_stream("invalid_request_error", "prompt is too long"), FailureKind.TOO_LONG, "model", None),
        (Fault.reset(), FailureKind.BUSY, "provider", None),
        (Fault.hang_up(), FailureKind.BUSY, "provider", None),
        (Fault.stall(), FailureKind.BUSY, "model", None),
        (Fault.stall_midway(), FailureKind.BUSY, "model", None),
    ],
    ids=lambda value: f"{value.kind}-{value.code}-{value.word}" if isinstance(value, Fault) else str(value),
)
async def test_every_fault_is_one_request_and_its_own_kind_of_failure(
    claude: tuple[World, AnthropicProvider], fault: Fault, kind: FailureKind, scope: str, status: int | None
) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = fault
    failure = await failed(provider, asking(MODEL, timeout=1.5 if "stall" in fault.kind else 20.0))
    assert (failure.kind, failure.scope, failure.status) == (kind, scope, status)
    assert (failure.provider, failure.model) == ("anthropic", MODEL)
    assert not isinstance(failure.__context__, _sdk().AnthropicError)
    assert failure.__cause__ is None
    assert len(world.chats()) == 1


def _sdk() -> Any:
    import anthropic

    return anthropic


async def test_the_time_of_a_request_is_for_the_whole_of_it(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").pace = 0.8
    failure = await failed(provider, asking(MODEL, timeout=1.5))
    assert (failure.kind, failure.message) == (FailureKind.BUSY, "timeout: no answer within 1.5 s")


async def test_a_failure_carries_the_vendors_wait_and_request_id(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.status(429, retry_after=7)
    failure = await failed(provider, asking(MODEL))
    assert (failure.retry_after, failure.request_id) == (7.0, "req_011loopback")


async def test_no_server_is_unreachable(claude: tuple[World, AnthropicProvider]) -> None:
    provider = AnthropicProvider(id="mine", api_key=KEY, base_url="http://127.0.0.1:9")
    failure = await failed(provider, asking(MODEL))
    await provider.aclose()
    assert (failure.kind, failure.scope, failure.provider) == (FailureKind.BUSY, "provider", "mine")
    assert "no connection" in failure.message


async def test_no_key_fails_without_a_request(vendors: tuple[World, str]) -> None:
    world, base = vendors
    provider = AnthropicProvider(api_key=None, base_url=world.url(base, "anthropic"))
    failure = await failed(provider, asking(MODEL))
    assert (failure.kind, failure.scope) == (FailureKind.REFUSED, "provider")
    assert "ANTHROPIC_API_KEY" in failure.message
    with pytest.raises(ProviderFailure, match="ANTHROPIC_API_KEY"):
        await provider.list_models()
    assert world.requests == []


@pytest.mark.parametrize("filling", [0, 480])
async def test_a_key_is_nowhere_in_a_failure_even_when_the_server_echoes_it(
    claude: tuple[World, AnthropicProvider], filling: int
) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.everywhere(Fault.status(401, message="x" * filling + f" bad key {KEY} sent"))
    failure = await failed(provider, asking(MODEL))
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    for shown in (failure, caught.value):
        texts = (str(shown), repr(shown), pickle.dumps(shown).decode("latin-1"), repr(provider))
        assert not any(KEY[:8] in text for text in texts)
        assert str(pickle.loads(pickle.dumps(shown))) == str(shown)


async def test_cancelling_closes_the_connection(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.stall_midway()
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in provider.stream(asking(MODEL)):
            begun.set()

    task = asyncio.create_task(listen())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(world)


async def test_leaving_a_stream_closes_the_connection(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.stall_midway()
    async with aclosing(provider.stream(asking(MODEL))) as parts:
        async for _ in parts:
            break
    await until_gone(world)


async def test_a_real_server_answers_and_calls_a_tool(llama: TinyServer) -> None:
    async def asked(request: ChatRequest) -> tuple[str, Turn]:
        # this server closes its connections behind an answer: a provider each
        provider = AnthropicProvider(api_key="any", base_url=llama.base_url)
        pieces, turn = await heard(provider, request)
        await provider.aclose()
        return "".join(pieces), turn

    said, turn = await asked(asking(llama.alias, max_tokens=64))
    assert said == turn.message.text == llama.reply
    assert turn.finish == "stop"
    assert turn.usage is not None
    assert turn.usage.input_tokens > 0 < turn.usage.output_tokens
    tool = ToolSpec("delegate", "Delegate.", {"type": "object", "properties": {"agent": {"type": "string"}}})
    _, first = await asked(asking(llama.alias, tools=(tool,), max_tokens=64))
    (call,) = first.message.tool_calls
    assert (first.finish, call.name, call.arguments) == ("tools", "delegate", {"agent": "git-ops"})
    results = Message("tool", (ToolResult(call.id, "delegate", "done"),))
    said, _ = await asked(asking(llama.alias, user("go"), first.message, results, tools=(tool,), max_tokens=64))
    assert said == llama.reply

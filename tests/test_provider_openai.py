"""The adapters for OpenAI and for servers that speak its protocol, over real sockets."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
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
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.table import ProviderRow
from tests.support.asking import asking, failed, heard, until_gone
from tests.support.vendors import Fault, Reply, World

KEY = "sk-very-secret-key"
MODEL = "gpt-4o-mini"
RELAYED = "openai/gpt-4o-mini"
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def row(name: str) -> ProviderRow:
    found = table.row(name)
    assert found is not None
    return found


@pytest.fixture
async def gpt(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, OpenAIProvider]]:
    world, base = vendors
    world.vendor("openai").required_key = KEY
    provider = OpenAIProvider(api_key=KEY, base_url=world.url(base, "openai"))
    yield world, provider
    await provider.aclose()


async def test_text_arrives_in_pieces_and_then_as_one_turn(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").replies = [Reply("Good morning to you", usage=Usage(100, 50, 30, 20, 10))]
    pieces, turn = await heard(provider, asking(MODEL, system="Be polite.", max_tokens=77))
    assert len(pieces) > 1
    assert "".join(pieces) == "Good morning to you"
    assert turn == Turn(assistant("Good morning to you"), Usage(100, 50, 30, 20, 10), MODEL, "stop")
    (request,) = world.chats()
    assert request.body_json == {
        "model": MODEL,
        "max_completion_tokens": 77,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be polite."}, {"role": "user", "content": "hello"}],
    }
    assert isinstance(provider, Provider)
    assert (provider.id, provider.local) == ("openai", False)


async def test_usage_that_is_not_told_is_none(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").replies = [Reply("hi", usage=None)]
    _, turn = await heard(provider, asking(MODEL))
    assert turn.usage is None


async def test_tools_go_round_over_two_turns(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").replies = [
        Reply("I add.", tool_calls=[("add", {"a": 1}), ("add", {})], thinking="Sums are easy."),
        Reply("3"),
    ]
    _, first = await heard(provider, asking(MODEL, tools=(ADD,)))
    assert first.finish == "tools"
    thought, said, call, other = first.message.parts
    assert thought == Thinking("Sums are easy.", "openai")
    assert said == Text("I add.")
    assert isinstance(call, ToolCall)
    assert isinstance(other, ToolCall)
    assert (call.name, call.arguments, other.arguments) == ("add", {"a": 1}, {})

    results = Message("tool", (ToolResult(call.id, "add", "3"), ToolResult(other.id, "add", "4")))
    _, second = await heard(provider, asking(MODEL, user("hello"), first.message, results, tools=(ADD,)))
    assert second.message.text == "3"
    asked = world.chats()[1].body_json
    function = {"name": "add", "description": "Add two numbers.", "parameters": ADD.schema}
    assert asked["tools"] == [{"type": "function", "function": function}]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "tool", "tool"]
    back = asked["messages"][1]
    assert (back["content"], [called["id"] for called in back["tool_calls"]]) == ("I add.", [call.id, other.id])
    assert json.loads(back["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert "reasoning" not in json.dumps(asked)
    assert asked["messages"][2:] == [
        {"role": "tool", "tool_call_id": call.id, "content": "3"},
        {"role": "tool", "tool_call_id": other.id, "content": "4"},
    ]


async def test_the_history_of_other_vendors_is_made_fit(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    long = "toolu_" + "x" * 60
    history = (
        user("one"),
        Message("assistant", (Thinking("hm", "anthropic", {"signature": "s"}), ToolCall(long, "add", {"a": 1}, "anthropic"))),
        Message("tool", (ToolResult(long, "add", "1"),)),
        Message("assistant", (Text(""),)),
        user("two"),
    )
    await heard(provider, asking(MODEL, *history, tools=(ADD,)))
    sent = world.chats()[0].body_json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] != long
    assert sent[1]["content"] is None


@pytest.mark.parametrize(
    ("model", "sent", "notes"),
    [
        ("gpt-4o", {"temperature": 0.2, "seed": 7}, ("reasoning_effort dropped: gpt-4o does not take it",)),
        (
            "gpt-5.2",
            {"seed": 7, "reasoning_effort": "low"},
            ("temperature dropped: gpt-5.2 does not take it",),
        ),
    ],
)
async def test_config_is_translated_and_what_is_not_taken_is_dropped_with_a_note(
    gpt: tuple[World, OpenAIProvider], model: str, sent: dict[str, Any], notes: tuple[str, ...]
) -> None:
    world, provider = gpt
    config = {"temperature": 0.2, "seed": 7, "reasoning_effort": "low"}
    _, turn = await heard(provider, asking(model, config=config))
    assert turn.notes == notes
    body = world.chats()[0].body_json
    own = ("model", "messages", "stream", "stream_options", "max_completion_tokens")
    assert {key: body[key] for key in body if key not in own} == sent


_FAULTS = [
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
    (Fault.status(429, word="insufficient_quota"), FailureKind.REFUSED, "provider", 429),
    (Fault.status(500), FailureKind.BUSY, "model", 500),
    (Fault.status(502), FailureKind.BUSY, "model", 502),
    (Fault.status(503), FailureKind.BUSY, "model", 503),
    (Fault.status(504), FailureKind.BUSY, "model", 504),
    (Fault.status(529), FailureKind.BUSY, "model", 529),
    (Fault.status(422, body={"detail": [{"msg": "extra inputs are not permitted"}]}), FailureKind.UNSUPPORTED, "provider", 422),
    (Fault.status(302, headers={"location": "http://127.0.0.1:1/"}), FailureKind.BROKEN, "model", 302),
    (Fault.html(502), FailureKind.BUSY, "model", 502),
    (Fault.too_long(), FailureKind.TOO_LONG, "model", 400),
    (Fault.refusal(), FailureKind.CONTENT_REFUSED, "model", None),
    (Fault.cut(), FailureKind.BROKEN, "model", None),
    (Fault.cut(abruptly=True), FailureKind.BROKEN, "model", None),
    (Fault.malformed(), FailureKind.BROKEN, "model", None),
    (Fault.wrong_shape(), FailureKind.BROKEN, "model", None),
    (Fault.empty(), FailureKind.BROKEN, "model", None),
    (Fault.html(), FailureKind.BROKEN, "model", None),
    (Fault.status(200, body={"error": {"message": "Overloaded"}}), FailureKind.BUSY, "model", None),
    (Fault.status(200, body={"choices": []}), FailureKind.BROKEN, "model", None),
    (Fault.reset(), FailureKind.BUSY, "provider", None),
    (Fault.hang_up(), FailureKind.BUSY, "provider", None),
    (Fault.stall(), FailureKind.BUSY, "model", None),
    (Fault.stall_midway(), FailureKind.BUSY, "model", None),
]


def _name(value: object) -> str:
    return f"{value.kind}-{value.code}-{value.word}" if isinstance(value, Fault) else str(value)


@pytest.mark.parametrize(
    ("fault", "kind", "scope", "status"),
    [
        *_FAULTS,
        (Fault.refusal(prompt=True), FailureKind.CONTENT_REFUSED, "model", 400),
        (Fault.error_in_stream(), FailureKind.BUSY, "model", None),
        (Fault.error_in_stream("rate_limit_exceeded", "slow down"), FailureKind.LIMITED, "model", None),
        (Fault.error_in_stream("insufficient_quota"), FailureKind.REFUSED, "provider", None),
    ],
    ids=_name,
)
async def test_every_fault_is_one_request_and_its_own_kind_of_failure(
    gpt: tuple[World, OpenAIProvider], fault: Fault, kind: FailureKind, scope: str, status: int | None
) -> None:
    world, provider = gpt
    world.vendor("openai").fault = fault
    failure = await failed(provider, asking(MODEL, timeout=1.5 if "stall" in fault.kind else 20.0))
    assert (failure.kind, failure.scope, failure.status) == (kind, scope, status)
    assert (failure.provider, failure.model) == ("openai", MODEL)
    assert not isinstance(failure.__context__, _sdk().OpenAIError)
    assert failure.__cause__ is None
    assert len(world.chats()) == 1


def _sdk() -> Any:
    import openai

    return openai


async def test_the_time_of_a_request_is_for_the_whole_of_it(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").pace = 0.8
    failure = await failed(provider, asking(MODEL, timeout=1.5))
    assert (failure.kind, failure.message) == (FailureKind.BUSY, "timeout: no answer within 1.5 s")


async def test_a_failure_carries_the_vendors_wait_and_request_id(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").fault = Fault.status(429, retry_after=7)
    failure = await failed(provider, asking(MODEL))
    assert (failure.retry_after, failure.request_id) == (7.0, "req_loopback")


@pytest.mark.parametrize("filling", [0, 480])
async def test_a_key_is_nowhere_in_a_failure_even_when_the_server_echoes_it(
    gpt: tuple[World, OpenAIProvider], filling: int
) -> None:
    world, provider = gpt
    world.vendor("openai").fault = Fault.everywhere(Fault.status(401, message="x" * filling + f" bad key {KEY} sent"))
    failure = await failed(provider, asking(MODEL))
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    for shown in (failure, caught.value):
        texts = (str(shown), repr(shown), pickle.dumps(shown).decode("latin-1"), repr(provider))
        assert not any(KEY[:8] in text for text in texts)
        assert str(pickle.loads(pickle.dumps(shown))) == str(shown)


async def test_cancelling_closes_the_connection(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").fault = Fault.stall_midway()
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


async def test_leaving_a_stream_closes_the_connection(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    world.vendor("openai").fault = Fault.stall_midway()
    async with aclosing(provider.stream(asking(MODEL))) as parts:
        async for _ in parts:
            break
    await until_gone(world)


async def test_models_are_listed_once(gpt: tuple[World, OpenAIProvider]) -> None:
    world, provider = gpt
    vendor = world.vendor("openai")
    vendor.models[0]["shutdown_date"] = "2027-01-01"
    models = await provider.list_models()
    assert [model.id for model in models] == vendor.ids
    assert models[0].created == datetime(2024, 5, 10, tzinfo=UTC)
    assert (models[0].stage, models[0].retires) == ("deprecated", datetime(2027, 1, 1, tzinfo=UTC))
    assert len(world.lists()) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(500), FailureKind.BUSY),
        (Fault.status(401), FailureKind.REFUSED),
        (Fault.reset(), FailureKind.BUSY),
        (Fault.empty(), FailureKind.BROKEN),
        (Fault.html(), FailureKind.BROKEN),
        (Fault.wrong_shape(), FailureKind.BROKEN),
        (Fault.malformed(), FailureKind.BROKEN),
        (Fault.cut(abruptly=True), FailureKind.BROKEN),
        (Fault.status(200, body={"data": [{"object": "model"}]}), FailureKind.BROKEN),
    ],
    ids=lambda value: f"{value.kind}-{value.code}" if isinstance(value, Fault) else str(value),
)
@pytest.mark.parametrize("name", ["openai", "openrouter"])
async def test_a_list_that_is_none_is_a_failure(vendors: tuple[World, str], name: str, fault: Fault, kind: FailureKind) -> None:
    world, base = vendors
    world.vendor(name).fault = Fault.list(fault)
    url = world.url(base, name)
    provider: Provider = OpenAIProvider(api_key=KEY, base_url=url)
    if name != "openai":
        provider = CompatibleProvider(row(name), api_key=KEY, base_url=url)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    await provider.aclose()
    assert caught.value.kind is kind
    assert caught.value.provider == name
    assert not isinstance(caught.value.__context__, _sdk().OpenAIError)


async def test_closing_is_safe_at_any_time() -> None:
    for provider in (OpenAIProvider(api_key=KEY), CompatibleProvider(row("groq"), id="fast", api_key=KEY)):
        await provider.aclose()
        await provider.aclose()
        assert KEY not in repr(provider)
    assert repr(OpenAIProvider(api_key=KEY)) == "OpenAIProvider(id='openai', base_url='https://api.openai.com/v1')"

"""The Ollama adapter over real sockets: what it sends, what it makes of each answer, and how each failure is sorted."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ollama import AsyncClient

from bundle_loader import Host
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import (
    Blob,
    Delta,
    Message,
    StreamPart,
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
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.declared_models import DeclaredModels
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.ollama_faults import sort
from bundle_loader.providers.ollama_models import AT_ONCE, SECONDS, Shown
from bundle_loader.routing.catalogue import ModelInfo
from tests.support.hosting import worker
from tests.support.pages import serving_pages
from tests.support.vendors import Fault, Reply, World

KEY = "ollama-very-secret-key"
MODEL = "qwen3:8b"
ADD = ToolSpec("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.fixture
async def ollama(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, OllamaProvider]]:
    world, base = vendors
    world.vendor("ollama").required_key = KEY
    provider = OllamaProvider(api_key=KEY, base_url=world.url(base, "ollama"))
    yield world, provider
    await provider.aclose()


def asking(*messages: Message, model: str = MODEL, **more: Any) -> ChatRequest:
    return ChatRequest(model=model, messages=messages or (user("hello"),), **more)


async def heard(provider: Provider, request: ChatRequest) -> tuple[list[str], Turn]:
    parts: list[StreamPart] = [part async for part in provider.stream(request)]
    turn = parts.pop()
    assert isinstance(turn, Turn)
    return [part.text for part in parts if isinstance(part, Delta)], turn


async def until_failed(provider: Provider, request: ChatRequest, shown: list[str]) -> None:
    async for part in provider.stream(request):
        assert isinstance(part, Delta)
        shown.append(part.text)


async def failing(provider: Provider, request: ChatRequest | None = None) -> tuple[ProviderFailure, list[str]]:
    shown: list[str] = []
    with pytest.raises(ProviderFailure) as caught:
        await until_failed(provider, request or asking(), shown)
    failed = caught.value
    for words in (str(failed), repr(failed), repr(failed.__dict__), pickle.dumps(failed).decode("latin-1")):
        assert KEY not in words
    assert failed.__context__ is None
    assert failed.__cause__ is None
    assert failed.provider == "ollama"
    return failed, shown


async def test_text_comes_piece_by_piece_and_ends_in_one_turn(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").replies = [Reply("one two three four five", usage=Usage(100, 30))]
    shown, turn = await heard(provider, asking(system="be brief", max_tokens=77))
    assert len(shown) == 5
    assert "".join(shown) == turn.message.text == "one two three four five"
    assert turn.usage == Usage(100, 30)
    assert (turn.model, turn.finish, turn.notes) == (MODEL, "stop", ())
    (sent,) = world.chats("ollama")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.body_json == {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "tools": [],
        "options": {"num_predict": 77},
    }


async def test_usage_that_is_not_told_is_none(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").replies = [Reply("hi", usage=None)]
    assert (await heard(provider, asking()))[1].usage is None


async def test_tools_over_two_turns(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    calls = [("add", {"a": 1, "deep": {"b": [1]}}), ("add", {"a": 2})]
    world.vendor("ollama").replies = [Reply("wait", tool_calls=calls, thinking="hm"), Reply("3")]
    _, first = await heard(provider, asking(user("add"), tools=(ADD,)))
    assert first.finish == "tools"
    one, two = first.message.tool_calls
    assert (one.id, one.name, one.arguments) == ("call_0_0", "add", {"a": 1, "deep": {"b": [1]}})
    assert two.id == "call_0_1"
    assert first.message.parts[:2] == (Thinking("hm", "ollama"), Text("wait"))

    results = Message("tool", (ToolResult(one.id, "add", "1"), ToolResult(two.id, "add", "no number", is_error=True)))
    _, second = await heard(provider, asking(user("add"), first.message, results, tools=(ADD,)))
    assert (second.message.text, second.finish) == ("3", "stop")
    sent = world.chats("ollama")[1].body_json
    assert sent["messages"] == [
        {"role": "user", "content": "add"},
        {
            "role": "assistant",
            "content": "wait",
            "thinking": "hm",
            "tool_calls": [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls],
        },
        {"role": "tool", "tool_name": "add", "content": "1"},
        {"role": "tool", "tool_name": "add", "content": "error: no number"},
    ]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "add", "description": "Add two numbers.", "parameters": ADD.schema}}
    ]


async def test_what_is_sent_is_what_the_sdks_own_chat_sends(ollama: tuple[World, OllamaProvider], vendors: Any) -> None:
    world, provider = ollama
    calls = (ToolCall("1", "add", {"a": 1, "deep": {"b": [1, None, ""], "c": {}}}), ToolCall("2", "add", {}))
    results = (ToolResult("1", "add", "1"), ToolResult("2", "add", ""), ToolResult("3", "add", "lost"))
    history = (
        user("add \u6f22", Blob(b"\x89PNG", "image/png")),
        Message("assistant", (Thinking("hm", "ollama"), Text("wait"), *calls)),
        Message("tool", results),
        assistant("done"),
        user("again"),
    )
    config = {"temperature": 0.2, "stop": ["END"], "keep_alive": "5m", "reasoning_effort": "low", "num_ctx": 512}
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}}
    for more in ({"system": "be brief", "tools": (ADD,), "config": config}, {"output_schema": schema}, {}):
        request = asking(*history, model="gemma3:4b" if "tools" not in more else MODEL, **more)
        fields, _ = provider._fields(request)
        await heard(provider, request)
        sdk = AsyncClient(host=world.url(vendors[1], "ollama"), headers={"authorization": f"Bearer {KEY}"})
        async for _ in await sdk.chat(**fields, stream=True):
            pass
        await sdk.close()
        ours, theirs = world.chats("ollama")[-2:]
        assert ours.body_json == theirs.body_json


async def test_ids_of_later_turns_differ(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").replies = [Reply(tool_calls=[("add", {"a": 1})])]
    _, turn = await heard(provider, asking(user("one"), assistant("two"), user("three"), tools=(ADD,)))
    assert [call.id for call in turn.message.tool_calls] == ["call_1_0"]


async def test_what_the_sdk_drops_of_a_schema_is_told_in_words(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    schema = {
        "type": "object",
        "$defs": {"Range": {"type": "object", "properties": {"from": {"type": "integer"}}}},
        "properties": {
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Limit"},
            "range": {"$ref": "#/$defs/Range"},
            "path": {"type": "string", "description": "Where.", "pattern": "^/"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Range"}},
            "any": True,
        },
    }
    await heard(provider, asking(tools=(ToolSpec("find", "Find.", schema),)))
    sent = world.chats("ollama")[0].body_json["tools"][0]["function"]["parameters"]
    assert sent == {
        "type": "object",
        "$defs": schema["$defs"],
        "properties": {
            "limit": {"type": "integer"},
            "range": {"type": "object", "description": 'JSON schema: {"properties": {"from": {"type": "integer"}}}'},
            "path": {"type": "string", "description": 'Where. JSON schema: {"pattern": "^/"}'},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Range"}},
            "any": {},
        },
    }


async def test_another_vendors_history_is_taken(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    call = ToolCall("toolu_1", "add", {"a": 1}, "anthropic", "signature")
    said = Message("assistant", (Thinking("secret", "anthropic"), Text("ok"), call))
    result = Message("tool", (ToolResult("toolu_1", "add", "1"),))
    _, turn = await heard(provider, asking(user("add"), said, result, tools=(ADD,)))
    assert turn.finish == "stop"
    assert world.chats("ollama")[0].body_json["messages"][1] == {
        "role": "assistant",
        "content": "ok",
        "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}],
    }


async def test_config_is_translated_and_the_rest_are_options(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    given = {"temperature": 0.2, "stop": "END", "seed": 7, "reasoning_effort": "low", "num_ctx": 8192, "keep_alive": "5m"}
    _, turn = await heard(provider, asking(config={**given, "options": {"mirostat": 1}}))
    assert turn.notes == ()
    sent = world.chats("ollama")[0].body_json
    options = {"temperature": 0.2, "stop": ["END"], "seed": 7, "num_ctx": 8192, "mirostat": 1, "num_predict": 4096}
    assert (sent["options"], sent["think"], sent["keep_alive"]) == (options, "low", "5m")


async def test_no_reasoning_switches_thinking_off(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    await heard(provider, asking(config={"reasoning_effort": "none"}))
    assert world.chats("ollama")[0].body_json["think"] is False


async def test_a_value_that_the_sdk_does_not_take_is_the_requests_own_fault(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    failed, _ = await failing(provider, asking(config={"keep_alive": ["long"]}))
    assert failed.kind is FailureKind.WRONG_REQUEST
    assert "keep_alive" in failed.message
    assert world.chats("ollama") == []


async def test_max_tokens_is_finish_length_even_without_a_word(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").replies = [Reply("half an ans", finish="length"), Reply("", finish="length")]
    assert (await heard(provider, asking()))[1].finish == "length"
    assert (await heard(provider, asking()))[1].finish == "length"


STATUSES = [
    (Fault.status(400, message="invalid role"), FailureKind.WRONG_REQUEST, "model"),
    (Fault.status(400, message='"gemma3" does not support thinking'), FailureKind.UNSUPPORTED, "provider"),
    (Fault.status(401), FailureKind.REFUSED, "provider"),
    (Fault.status(403), FailureKind.REFUSED, "model"),
    (Fault.status(404), FailureKind.REFUSED, "model"),
    (Fault.status(408), FailureKind.BUSY, "model"),
    (Fault.status(413), FailureKind.TOO_LONG, "model"),
    (Fault.status(422, message="odd"), FailureKind.WRONG_REQUEST, "model"),
    (Fault.status(429), FailureKind.LIMITED, "model"),
    (Fault.status(500), FailureKind.BUSY, "model"),
    (Fault.status(502), FailureKind.BUSY, "model"),
    (Fault.status(503), FailureKind.BUSY, "model"),
    (Fault.status(500, body=[]), FailureKind.BUSY, "model"),
    (Fault.status(503, body=b""), FailureKind.BUSY, "model"),
    (Fault.status(429, body={"error": {"message": "slow down"}}), FailureKind.LIMITED, "model"),
    (Fault.html(502), FailureKind.BUSY, "model"),
    (Fault.too_long(), FailureKind.TOO_LONG, "model"),
]


@pytest.mark.parametrize(("fault", "kind", "scope"), STATUSES, ids=lambda value: str(value)[:40])
async def test_an_error_status_is_sorted_after_one_request(
    ollama: tuple[World, OllamaProvider], fault: Fault, kind: FailureKind, scope: str
) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = fault
    failed, shown = await failing(provider)
    assert (failed.kind, failed.scope, failed.model, shown) == (kind, scope, MODEL, [])
    assert failed.status == (fault.code or 400)
    assert len(world.chats("ollama")) == 1


async def test_a_redirect_is_not_followed(vendors: tuple[World, str], ollama: tuple[World, OllamaProvider]) -> None:
    world, base = vendors
    world.vendor("ollama").fault = Fault.status(302, headers={"location": f"{base}/elsewhere"})
    failed, _ = await failing(ollama[1])
    assert (failed.kind, failed.status) == (FailureKind.BROKEN, 302)
    assert len(world.requests) == 1


async def test_a_packed_answer_is_unpacked_once(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    line = json.dumps({"model": MODEL, "message": {"role": "assistant", "content": "hi\u2028"}, "done": True}, ensure_ascii=True)
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    world.vendor("ollama").fault = Fault.status(200, body=gzip.compress(line.encode()), headers=headers)
    assert (await heard(provider, asking()))[1].message.text == "hi\u2028"


async def test_a_model_without_tools_is_left_for_another_provider(ollama: tuple[World, OllamaProvider]) -> None:
    failed, _ = await failing(ollama[1], asking(model="gemma3:4b", tools=(ADD,)))
    assert (failed.kind, failed.scope) == (FailureKind.UNSUPPORTED, "provider")


async def test_a_model_that_is_not_pulled_is_gone(ollama: tuple[World, OllamaProvider]) -> None:
    failed, _ = await failing(ollama[1], asking(model="nope:1b"))
    assert (failed.kind, failed.scope, failed.status) == (FailureKind.REFUSED, "model", 404)


async def test_the_wait_is_kept_though_the_sdk_drops_headers(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = Fault.status(503, retry_after=7, headers={"x-request-id": "req-1"})
    failed, _ = await failing(provider)
    assert (failed.retry_after, failed.request_id) == (7, "req-1")


async def test_the_waits_of_requests_side_by_side_do_not_mix(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    vendor = world.vendor("ollama")
    vendor.delay = 0.05
    vendor.offer(*(f"m:{n}" for n in range(10)))
    vendor.fault = [Fault.status(429, retry_after=n).on(f"m:{n}") for n in range(1, 10)]
    found = await asyncio.gather(*(failing(provider, asking(model=f"m:{n}")) for n in range(1, 10)))
    assert [failed.retry_after for failed, _ in found] == list(range(1, 10))


BREAKS = [
    (Fault.cut(), FailureKind.BROKEN, "before it was done", True),
    (Fault.cut(abruptly=True), FailureKind.BROKEN, "cut off", True),
    (Fault.malformed(), FailureKind.BROKEN, "not JSON", True),
    (Fault.empty(), FailureKind.BROKEN, "before it was done", False),
    (Fault.html(), FailureKind.BROKEN, "not JSON", False),
    (Fault.wrong_shape(), FailureKind.BROKEN, "", False),
    (Fault.reset(), FailureKind.BUSY, "no connection", False),
    (Fault.hang_up(), FailureKind.BUSY, "no connection", False),
    (Fault.error_in_stream(), FailureKind.BROKEN, "unexpected EOF", True),
    (Fault.error_in_stream("server overloaded, try again"), FailureKind.BUSY, "overloaded", True),
    (Fault.error_in_stream("the input length exceeds the context length"), FailureKind.TOO_LONG, "context", True),
]


@pytest.mark.parametrize(("fault", "kind", "words", "partly"), BREAKS, ids=lambda value: str(value)[:40])
async def test_an_answer_that_is_none_is_sorted(
    ollama: tuple[World, OllamaProvider], fault: Fault, kind: FailureKind, words: str, partly: bool
) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = fault
    failed, shown = await failing(provider)
    assert failed.kind is kind
    assert words in failed.message
    assert failed.status is None
    assert bool(shown) is partly
    assert len(world.chats("ollama")) == 1


@pytest.mark.parametrize("reply", [Reply(""), Reply("", finish="load"), Reply("x", finish="unload")])
async def test_a_done_that_is_no_answer_is_broken(ollama: tuple[World, OllamaProvider], reply: Reply) -> None:
    world, provider = ollama
    world.vendor("ollama").replies = [reply]
    assert (await failing(provider))[0].kind is FailureKind.BROKEN


async def test_a_page_that_ends_like_a_stream_is_broken(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    line = json.dumps({"model": MODEL, "message": {"role": "assistant", "content": "hi"}, "done": True})
    world.vendor("ollama").fault = Fault.status(200, body=line, headers={"content-type": "text/html"})
    assert (await failing(provider))[0].kind is FailureKind.BROKEN


@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall_midway()], ids=["before", "midway"])
async def test_a_stall_ends_at_the_requests_timeout(ollama: tuple[World, OllamaProvider], fault: Fault) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = fault
    async with asyncio.timeout(5):
        failed, _ = await failing(provider, asking(timeout=1.5))
    assert (failed.kind, failed.message) == (FailureKind.BUSY, "timeout: no answer within 1.5 s")
    assert await gone(world)


async def test_a_server_that_is_not_there_is_busy() -> None:
    provider = OllamaProvider(base_url="http://127.0.0.1:1")
    failed, _ = await failing(provider)
    assert (failed.kind, failed.scope) == (FailureKind.BUSY, "provider")
    assert "no connection" in failed.message
    await provider.aclose()


@pytest.fixture
async def silent_server() -> AsyncIterator[int]:
    """The port of a server that takes connections and never says a word."""
    waiting = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    waiting.set()
    server.close()
    await server.wait_closed()


async def test_connecting_has_a_limit_of_its_own(silent_server: int) -> None:
    provider = OllamaProvider(api_key=KEY, base_url=f"https://127.0.0.1:{silent_server}", connect_timeout=0.2)
    async with asyncio.timeout(5):
        failed, _ = await failing(provider)
    assert (failed.kind, failed.scope, failed.message) == (
        FailureKind.BUSY,
        "provider",
        "no connection (no connection in time)",
    )
    await provider.aclose()


def test_importing_the_adapter_loads_no_sdk() -> None:
    code = "import sys, bundle_loader.providers.ollama; print({'aiohttp', 'httpx', 'httpx2', 'ollama'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


async def gone(world: World) -> bool:
    """True once the vendor has seen the client leave."""
    for _ in range(200):
        if world.chats("ollama")[-1].disconnected:
            return True
        await asyncio.sleep(0.01)
    return False


async def reached(world: World, count: int, *, answering: bool) -> None:
    """Wait until so many chats have arrived, and the last of them has begun to be answered."""
    for _ in range(500):
        chats = world.chats("ollama")
        if len(chats) == count and (not answering or chats[-1].status):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("early", [True, False], ids=["before the answer", "within the answer"])
async def test_cancelling_closes_the_connection_and_leaves_no_task(ollama: tuple[World, OllamaProvider], early: bool) -> None:
    world, provider = ollama
    await heard(provider, asking())
    world.vendor("ollama").fault = Fault.stall() if early else Fault.stall_midway()
    running = asyncio.create_task(heard(provider, asking()))
    await reached(world, 2, answering=not early)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(world)
    assert [task for task in asyncio.all_tasks() if "aclose" in repr(task) or "athrow" in repr(task)] == []
    assert running not in asyncio.all_tasks()


async def test_leaving_in_the_middle_closes_the_connection(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = Fault.stall_midway()
    async with aclosing(provider.stream(asking())) as parts:
        assert isinstance(await anext(parts), Delta)
    assert await gone(world)


async def test_an_echoed_key_is_taken_out(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = Fault.status(400, message=f"bad header authorization: Bearer {KEY}")
    failed, _ = await failing(provider)
    assert failed.message == "bad header authorization: Bearer [key]"


async def test_what_is_pulled_is_listed_and_shown(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").offer(MODEL, "gpt-oss:120b-cloud")
    models = await provider.list_models()
    assert [model.id for model in models] == [MODEL, "gpt-oss:120b-cloud"]
    here, away = models
    assert (here.created, here.window, here.kind) == (None, 40_960, "chat")
    assert here.capabilities == {"tools", "structured", "streaming"}
    assert here.digest == world.vendor("ollama").models[0]["digest"]
    assert isinstance(here.extra["modified_at"], datetime)
    assert here.extra["parameter_size"] == "8B"
    assert here.local is None
    assert (away.local, away.window, away.capabilities) == (False, None, None)
    asked = [(request.path, (request.body_json or {}).get("model")) for request in world.requests]
    assert asked == [("/api/tags", None), ("/api/show", MODEL)], "what runs elsewhere is not asked about"


async def test_only_new_digests_are_shown_again(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    vendor = world.vendor("ollama")
    vendor.offer("a:1b", "b:1b", "c:1b")
    vendor.refuses_tools = ("b:1b",)
    first = await provider.list_models()
    vendor.offer("a:1b", "b:1b", "d:1b")
    second = await provider.list_models()
    shown = [request.body_json["model"] for request in world.requests if request.path == "/api/show"]
    assert sorted(shown) == ["a:1b", "b:1b", "c:1b", "d:1b"]
    able = {model.id: "tools" in (model.capabilities or ()) for model in (*first, *second)}
    assert able == {"a:1b": True, "b:1b": False, "c:1b": True, "d:1b": True}


async def test_a_server_without_models_is_not_an_error(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    world.vendor("ollama").models = []
    assert list(await provider.list_models()) == []


LIST_FAULTS = [
    (Fault.status(503, retry_after=4), FailureKind.BUSY),
    (Fault.status(401), FailureKind.REFUSED),
    (Fault.empty(), FailureKind.BROKEN),
    (Fault.html(), FailureKind.BROKEN),
    (Fault.wrong_shape(), FailureKind.BROKEN),
    (Fault.malformed(), FailureKind.BROKEN),
    (Fault.cut(), FailureKind.BROKEN),
    (Fault.reset(), FailureKind.BUSY),
]


@pytest.mark.parametrize(("fault", "kind"), LIST_FAULTS, ids=lambda value: str(value)[:40])
async def test_a_list_that_fails_is_sorted(ollama: tuple[World, OllamaProvider], fault: Fault, kind: FailureKind) -> None:
    world, provider = ollama
    world.vendor("ollama").fault = Fault.list(fault)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert (caught.value.kind, caught.value.model, caught.value.retry_after) == (kind, None, fault.retry_after)
    assert caught.value.__context__ is None
    # aiohttp itself sends a GET once more when its connection is lost; never a chat
    assert len(world.lists("ollama")) == (2 if fault.kind == "reset" else 1)


@pytest.fixture
def ambient() -> Iterator[None]:
    wrong = {"OLLAMA_API_KEY": "ambient", "OLLAMA_HOST": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    os.environ.update(wrong)
    yield None
    for name in wrong:
        del os.environ[name]


async def test_the_environment_is_not_read(vendors: tuple[World, str], ambient: None) -> None:
    world, base = vendors
    provider = OllamaProvider(base_url=world.url(base, "ollama"))
    await heard(provider, asking())
    await provider.list_models()
    assert {request.path for request in world.requests} == {"/api/chat", "/api/tags", "/api/show"}
    assert not any("authorization" in request.headers for request in world.requests)
    await provider.aclose()


LOCAL = ["127.0.0.1:11434", "http://localhost", "http://[::1]:11434", "http://192.168.1.7", "10.0.0.2", ":11434", "0.0.0.0", None]
DISTANT = [
    "https://ollama.com",
    "http://8.8.8.8:11434",
    "http://localhost.example.com",
    "http://127.0.0.1@example.com",
    "http://[::1",
]


@pytest.mark.parametrize("url", LOCAL)
def test_this_machine_and_private_addresses_are_local(url: str | None) -> None:
    assert OllamaProvider(base_url=url).local is True


@pytest.mark.parametrize("url", DISTANT)
def test_a_public_address_or_a_name_is_not_local(url: str) -> None:
    assert OllamaProvider(base_url=url).local is False


async def test_closing_is_safe_twice_and_unused_and_a_closed_provider_opens_again(ollama: tuple[World, OllamaProvider]) -> None:
    world, provider = ollama
    unused = OllamaProvider()
    await unused.aclose()
    await unused.aclose()
    await heard(provider, asking())
    await provider.aclose()
    await provider.aclose()
    assert (await heard(provider, asking()))[1].finish == "stop"
    assert len(world.chats("ollama")) == 2


def test_it_is_a_provider_that_shows_no_key() -> None:
    provider = OllamaProvider(id="mine", api_key=KEY)
    assert isinstance(provider, Provider)
    assert provider.id == "mine"
    assert KEY not in repr(provider)


TRANSPORT = [
    ("httpx", "ConnectError", FailureKind.BUSY, FailureKind.BROKEN),
    ("httpx", "ConnectTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx", "ReadTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx", "PoolTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx", "ReadError", FailureKind.BUSY, FailureKind.BROKEN),
    ("httpx", "RemoteProtocolError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ClientConnectionError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ServerDisconnectedError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ConnectionTimeoutError", FailureKind.BUSY, FailureKind.BUSY),
    ("aiohttp", "ClientPayloadError", FailureKind.BROKEN, FailureKind.BROKEN),
    ("httpx", "InvalidURL", FailureKind.WRONG_REQUEST, FailureKind.BROKEN),
    ("builtins", "ConnectionError", FailureKind.BUSY, FailureKind.BROKEN),
    ("builtins", "TimeoutError", FailureKind.BUSY, FailureKind.BUSY),
    ("builtins", "AttributeError", FailureKind.BROKEN, FailureKind.BROKEN),
]


@pytest.mark.parametrize(("module", "name", "before", "after"), TRANSPORT)
def test_the_transports_exceptions_are_sorted(module: str, name: str, before: FailureKind, after: FailureKind) -> None:
    error = getattr(__import__(module), name)("words")
    assert sort(error, "ollama", MODEL).kind is before
    assert sort(error, "ollama", MODEL, status=200).kind is after


AWAY = [
    {"model": "q:120B-CLOUD"},
    {"model": "q:Cloud"},
    {"model": "team/q:120b-cloud"},
    {"model": "copy:latest", "remote_model": "gpt-oss:120b", "remote_host": "https://ollama.com:443"},
    {"model": "half:latest", "remote_host": "http://10.0.0.9"},
]
HERE = [{"model": "x-cloud:latest"}, {"model": "cloud:8b"}, {"name": "old-cloud"}, {"model": "q:8b", "remote_host": ""}]


async def test_local_only_takes_nothing_that_ollama_passes_on(tmp_path: Path) -> None:
    tags = json.dumps({"models": [*AWAY, *HERE]}).encode()
    async with serving_pages({"/api/tags": lambda query: tags}) as pages:
        providers = {"ollama": OllamaProvider(base_url=pages.base)}
        async with Host(worker(tmp_path, "ollama/*"), providers=providers, ledger=tmp_path / "l.db") as host:
            [offer] = (await host.offers()).by_id.values()
            refused = [await host.route("worker", preferences=[f"ollama/{one['model']}"], local_only=True) for one in AWAY]
            taken = [
                await host.route("worker", preferences=[f"ollama/{one.get('model') or one['name']}"], local_only=True)
                for one in HERE
            ]
        shown = [asked for asked, _ in pages.asked if asked == "/api/show"]
    assert offer.catalogue is not None
    assert len(offer.catalogue.models) == len(AWAY) + len(HERE)
    assert all(route.chosen is None and "is not local" in route.rejections[0].reason for route in refused)
    assert all(route.chosen is not None and route.chosen.local for route in taken)
    assert len(shown) == len(HERE), "what runs elsewhere is not asked about"


async def test_a_cloud_model_that_settings_name_is_not_local() -> None:
    provider = DeclaredModels(OllamaProvider(), ["q:120b-cloud", "q:8b"], table.rows()["ollama"])
    assert [model.local for model in await provider.list_models()] == [False, None]


async def test_work_with_tools_goes_to_a_model_that_takes_them(ollama: tuple[World, OllamaProvider], tmp_path: Path) -> None:
    world, provider = ollama
    world.vendor("ollama").offer("gemma3:4b", "qwen3:8b")
    bundle = worker(tmp_path, "ollama/gemma3:4b", "ollama/qwen3:8b")
    async with Host(bundle, providers={"ollama": provider}, ledger=tmp_path / "l.db") as host:
        found = await host.route("worker", needs=["tools"])
    assert [one.model for one in found.candidates] == ["qwen3:8b"]
    assert "gemma3:4b takes no tools" in found.rejections[0].reason


_ABLE = {"capabilities": ["completion", "vision", "thinking"], "model_info": {"general.architecture": "a", "a.context_length": 9}}
_ODD = {"capabilities": 5, "model_info": {"general.architecture": "a", "a.context_length": "x"}}
SHOWN: list[tuple[object, tuple[str | None, int | None, frozenset[str] | None]]] = [
    (_ABLE, ("chat", 9, frozenset({"vision", "reasoning", "structured", "streaming"}))),
    ({"capabilities": ["embedding"], "model_info": {}}, ("embedding", None, None)),
    (_ODD, (None, None, None)),
    ({"capabilities": [], "model_info": 5}, (None, None, None)),
    ([1], (None, None, None)),
]


@pytest.mark.parametrize(("shown", "told"), SHOWN, ids=map(str, range(len(SHOWN))))
async def test_what_a_model_is_shown_to_be(shown: object, told: object) -> None:
    tags, body = json.dumps({"models": [{"model": "m:1", "digest": "d"}]}).encode(), json.dumps(shown).encode()
    async with serving_pages({"/api/tags": lambda query: tags, "/api/show": lambda query: body}) as pages:
        provider = OllamaProvider(base_url=pages.base)
        [model] = await provider.list_models()
        await provider.aclose()
    assert (model.kind, model.window, model.capabilities) == told


class Slow:
    """Shows models, of which one hangs and one fails until it is repaired."""

    def __init__(self) -> None:
        self.broken = True
        self.under_way = self.most = 0

    async def show(self, id: str) -> object:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(60 if self.broken and id == "m:3" else 0.01)
        finally:
            self.under_way -= 1
        if self.broken and id == "m:4":
            raise ConnectionError
        return {"capabilities": ["completion"]}


async def test_what_is_not_shown_in_time_is_not_known_and_is_asked_again() -> None:
    models = [ModelInfo(f"m:{number}", digest=str(number)) for number in range(20)]
    shown, server = Shown(), Slow()
    began = asyncio.get_running_loop().time()
    first = await shown.added(models, server.show)
    assert asyncio.get_running_loop().time() - began < SECONDS + 2
    assert [model.id for model in first if model.capabilities is None] == ["m:3", "m:4"]
    assert (server.most, server.under_way) == (AT_ONCE, 0)
    server.broken = False
    assert all(model.capabilities for model in await shown.added(models, server.show))

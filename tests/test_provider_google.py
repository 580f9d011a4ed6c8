"""The Google adapter over real sockets: what it sends, what it makes of each answer, and how each failure is sorted."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import (
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
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.google_faults import sort
from bundle_loader.providers.watched import current
from tests.support.vendors import Fault, Reply, World

KEY = "AIza-very-secret-key"
MODEL = "gemini-2.5-flash"
NEWER = "gemini-3-pro-preview"
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"const": 1}}}
ADD = ToolSpec("add", "Add two numbers.", SCHEMA)


@pytest.fixture
async def google(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, GoogleProvider]]:
    world, base = vendors
    world.vendor("google").required_key = KEY
    provider = GoogleProvider(api_key=KEY, base_url=world.url(base, "google"))
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
    assert failed.provider == "google"
    return failed, shown


async def test_text_comes_piece_by_piece_and_ends_in_one_turn(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    usage = Usage(100, 30, cache_read_tokens=40, reasoning_tokens=12)
    world.vendor("google").replies = [Reply("one two three four five", usage=usage)]
    shown, turn = await heard(provider, asking(system="be brief", max_tokens=77))
    assert len(shown) == 5
    assert "".join(shown) == turn.message.text == "one two three four five"
    assert turn.usage == usage
    assert (turn.model, turn.finish, turn.notes) == (MODEL, "stop", ())
    assert current() is None
    (sent,) = world.chats("google")
    assert sent.path == f"/v1/models/{MODEL}:streamGenerateContent"
    assert sent.headers["x-goog-api-key"] == KEY
    assert sent.body_json == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {"maxOutputTokens": 77},
    }


async def test_usage_that_is_not_told_is_none(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").replies = [Reply("hi", usage=None)]
    assert (await heard(provider, asking()))[1].usage is None


async def test_prompts_of_the_vendors_own_tools_count_as_input(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    counted = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}
    chunk = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "usageMetadata": counted}
    world.vendor("google").fault = whole_stream(chunk)
    assert (await heard(provider, asking()))[1].usage == Usage(15, 5, reasoning_tokens=3)


def whole_stream(*chunks: dict[str, Any]) -> Fault:
    """A stream of exactly these chunks."""
    body = "".join(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks)
    return Fault.status(200, body=body, headers={"content-type": "text/event-stream"})


async def test_tools_over_two_turns_keep_the_signature(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    vendor = world.vendor("google")
    vendor.replies = [Reply("wait", tool_calls=[("add", {"a": 1}), ("add", {"a": 2})], thinking="hm"), Reply("3")]
    asked = user("add")
    _, first = await heard(provider, asking(asked, model=NEWER, tools=(ADD,)))
    assert first.finish == "tools"
    one, two = first.message.tool_calls
    assert (one.name, one.arguments, one.vendor, two.arguments) == ("add", {"a": 1}, "google", {"a": 2})
    assert one.signature
    assert two.signature is None
    assert one.id != two.id
    thought = first.message.parts[0]
    assert isinstance(thought, Thinking)
    assert (thought.text, thought.vendor) == ("hm", "google")

    results = (ToolResult(one.id, "add", "1"), ToolResult(two.id, "add", "no such number", is_error=True))
    split = (Message("tool", results[:1]), Message("tool", results[1:]))
    _, second = await heard(provider, asking(asked, first.message, *split, model=NEWER, tools=(ADD,)))
    assert (second.message.text, second.finish) == ("3", "stop")
    sent = world.chats("google")[1].body_json
    assert [content["role"] for content in sent["contents"]] == ["user", "model", "user"]
    thought_part, text_part, *calls = sent["contents"][1]["parts"]
    assert thought_part == {"text": "hm", "thought": True}
    assert text_part == {"text": "wait"}
    assert calls == [
        {"functionCall": {"id": one.id, "name": "add", "args": {"a": 1}}, "thoughtSignature": one.signature},
        {"functionCall": {"id": two.id, "name": "add", "args": {"a": 2}}},
    ]
    assert [part["functionResponse"] for part in sent["contents"][2]["parts"]] == [
        {"id": one.id, "name": "add", "response": {"result": "1"}},
        {"id": two.id, "name": "add", "response": {"error": "no such number"}},
    ]
    declared = sent["tools"][0]["functionDeclarations"]
    assert declared == [{"name": "add", "description": ADD.description, "parametersJsonSchema": ADD.schema}]


async def test_a_signature_beside_text_goes_back_in_its_place(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    parts = [[{"text": "he"}], [{"text": "llo"}], [{"text": "", "thoughtSignature": "+/+/c2ln"}]]
    chunks: list[dict[str, Any]] = [{"candidates": [{"content": {"role": "model", "parts": part}}]} for part in parts]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    world.vendor("google").faults = [whole_stream(*chunks)]
    _, turn = await heard(provider, asking())
    assert turn.message.text == "hello"
    await heard(provider, asking(user("hello"), turn.message, user("go on")))
    sent = world.chats("google")[1].body_json["contents"][1]["parts"]
    assert sent == [{"text": "hello"}, {"text": "", "thoughtSignature": "+/+/c2ln"}]


async def test_calls_without_ids_get_the_same_ids_every_time(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    vendor = world.vendor("google")
    calls = [("add", {"a": 1}), ("add", {"a": 2})]
    vendor.replies = [Reply(tool_calls=calls), Reply(tool_calls=calls)]
    request = asking(user("one"), assistant("two"), user("three"), tools=(ADD,))
    for _ in range(2):
        _, turn = await heard(provider, request)
        assert [call.id for call in turn.message.tool_calls] == ["call_1_0", "call_1_1"]


async def test_another_vendors_history_is_taken_by_a_model_that_wants_signatures(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    call = ToolCall("toolu_1", "add", {"a": 1}, "anthropic", "not-googles")
    other = ToolCall("toolu_2", "add", {"a": 2}, "anthropic")
    said = Message("assistant", (Thinking("secret", "anthropic", {"signature": "s"}), Text("ok"), call, other))
    results = Message("tool", (ToolResult("toolu_1", "add", "1"), ToolResult("toolu_2", "add", "2")))
    _, turn = await heard(provider, asking(user("add"), said, results, model=NEWER, tools=(ADD,)))
    assert turn.finish == "stop"
    parts = world.chats("google")[0].body_json["contents"][1]["parts"]
    assert parts[0] == {"text": "ok"}
    assert [part.get("thoughtSignature") for part in parts[1:]] == ["skip_thought_signature_validator", None]
    assert "not-googles" not in json.dumps(parts)


async def test_config_is_translated_and_unknown_keys_go_as_they_are(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    given = {"temperature": 0.2, "top_k": 5, "stop": "END", "seed": 7, "reasoning_effort": "low", "newKnob": {"x": 1}}
    _, turn = await heard(provider, asking(model=NEWER, config=given))
    assert turn.notes == ()
    assert world.chats("google")[0].body_json["generationConfig"] == {
        "temperature": 0.2,
        "topK": 5,
        "stopSequences": ["END"],
        "seed": 7,
        "thinkingConfig": {"thinking_level": "LOW"},
        "newKnob": {"x": 1},
        "maxOutputTokens": 4096,
    }


async def test_config_cannot_lead_the_request_elsewhere(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    given = {"httpOptions": {"base_url": "http://127.0.0.1:9"}, "automatic_function_calling": {"disable": False}}
    _, turn = await heard(provider, asking(config=given))
    assert [note.split()[0] for note in turn.notes] == ["httpOptions", "automatic_function_calling"]
    assert len(world.chats("google")) == 1


async def test_a_value_that_the_sdk_does_not_take_is_the_requests_own_fault(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    failed, _ = await failing(provider, asking(config={"temperature": "hot"}))
    assert failed.kind is FailureKind.WRONG_REQUEST
    assert "temperature" in failed.message
    assert world.chats("google") == []


async def test_max_tokens_is_finish_length_even_without_a_word(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").replies = [Reply("half an ans", finish="length"), Reply("", finish="length")]
    assert (await heard(provider, asking()))[1].finish == "length"
    assert (await heard(provider, asking()))[1].finish == "length"


async def test_an_answer_that_could_go_on_is_not_continued_unasked(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    ended = {"content": {"parts": [{"text": "half"}]}, "finishReason": "CONTINUATION", "continuationToken": "dG9rZW4="}
    world.vendor("google").fault = whole_stream({"candidates": [ended]})
    _, turn = await heard(provider, asking())
    assert (turn.message.text, turn.finish) == ("half", "length")
    assert len(world.chats("google")) == 1


async def test_a_page_that_reads_like_a_stream_is_broken(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    stream = whole_stream({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]})
    world.vendor("google").fault = Fault.status(200, body=stream.body, headers={"content-type": "text/html"})
    failed, shown = await failing(provider)
    assert (failed.kind, failed.message, shown) == (FailureKind.BROKEN, "the answer is text/html, not a stream", [])


STATUSES = [
    (Fault.status(400, message="Please use a valid role: user, model."), FailureKind.WRONG_REQUEST, "model"),
    (Fault.status(400, message='Unknown name "foo": Cannot find field.'), FailureKind.UNSUPPORTED, "provider"),
    (Fault.status(401), FailureKind.REFUSED, "provider"),
    (Fault.status(403), FailureKind.REFUSED, "model"),
    (Fault.status(404), FailureKind.REFUSED, "model"),
    (Fault.status(408), FailureKind.BUSY, "model"),
    (Fault.status(409), FailureKind.BUSY, "model"),
    (Fault.status(413), FailureKind.TOO_LONG, "model"),
    (Fault.status(422, message="odd"), FailureKind.WRONG_REQUEST, "model"),
    (Fault.status(429), FailureKind.LIMITED, "model"),
    (Fault.status(429, message="You exceeded your current quota, please check your plan."), FailureKind.REFUSED, "provider"),
    (Fault.status(500), FailureKind.BUSY, "model"),
    (Fault.status(502), FailureKind.BUSY, "model"),
    (Fault.status(503), FailureKind.BUSY, "model"),
    (Fault.status(504), FailureKind.BUSY, "model"),
    (Fault.status(529), FailureKind.BUSY, "model"),
    (Fault.status(503, body="{not json"), FailureKind.BUSY, "model"),
    (Fault.status(500, body=[]), FailureKind.BUSY, "model"),
    (Fault.status(429, body={"error": "slow down"}), FailureKind.LIMITED, "model"),
    (Fault.html(502), FailureKind.BUSY, "model"),
    (Fault.html(403), FailureKind.REFUSED, "model"),
    (Fault.too_long(), FailureKind.TOO_LONG, "model"),
]


@pytest.mark.parametrize(("fault", "kind", "scope"), STATUSES, ids=lambda value: str(value)[:40])
async def test_an_error_status_is_sorted_after_one_request(
    google: tuple[World, GoogleProvider], fault: Fault, kind: FailureKind, scope: str
) -> None:
    world, provider = google
    world.vendor("google").fault = fault
    failed, shown = await failing(provider)
    assert (failed.kind, failed.scope, failed.model, shown) == (kind, scope, MODEL, [])
    assert failed.status == (fault.code or 400)
    assert len(world.chats("google")) == 1


async def test_a_redirect_is_not_followed(vendors: tuple[World, str], google: tuple[World, GoogleProvider]) -> None:
    world, base = vendors
    world.vendor("google").fault = Fault.status(302, headers={"location": f"{base}/elsewhere"})
    failed, _ = await failing(google[1])
    assert (failed.kind, failed.status) == (FailureKind.BROKEN, 302)
    assert len(world.requests) == 1


async def test_a_wrong_key_puts_the_provider_out(vendors: tuple[World, str]) -> None:
    world, base = vendors
    world.vendor("google").required_key = "another"
    provider = GoogleProvider(api_key=KEY, base_url=world.url(base, "google"))
    failed, _ = await failing(provider)
    assert (failed.kind, failed.scope, failed.status) == (FailureKind.REFUSED, "provider", 400)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert (caught.value.kind, caught.value.scope) == (FailureKind.REFUSED, "provider")
    await provider.aclose()


async def test_no_key_fails_before_anything_is_loaded(world: World) -> None:
    provider = GoogleProvider(id="gem", api_key=None)
    with pytest.raises(ProviderFailure, match="no key: set GEMINI_API_KEY or GOOGLE_API_KEY") as caught:
        await provider.list_models()
    assert (caught.value.kind, caught.value.provider) == (FailureKind.REFUSED, "gem")
    with pytest.raises(ProviderFailure, match="no key"):
        await anext(provider.stream(asking()))


@pytest.mark.parametrize(("status", "wait"), [(429, 7.5), (503, 3.0)])
async def test_the_vendors_wait_is_kept(google: tuple[World, GoogleProvider], status: int, wait: float) -> None:
    world, provider = google
    world.vendor("google").fault = Fault.status(status, retry_after=wait)
    assert (await failing(provider))[0].retry_after == wait


async def test_a_rate_limit_in_the_words_of_a_spent_account_is_a_limit(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    words = "You exceeded your current quota, please check your plan and billing details."
    world.vendor("google").fault = Fault.status(429, message=words, retry_after=11)
    failed, _ = await failing(provider)
    assert (failed.kind, failed.scope, failed.retry_after) == (FailureKind.LIMITED, "model", 11)


BREAKS = [
    (Fault.cut(), FailureKind.BROKEN, "without a finish reason", True),
    (Fault.cut(abruptly=True), FailureKind.BROKEN, "cut off", True),
    (Fault.malformed(), FailureKind.BROKEN, "not JSON", True),
    (Fault.empty(), FailureKind.BROKEN, "without a finish reason", False),
    (Fault.html(), FailureKind.BROKEN, "", False),
    (Fault.wrong_shape(), FailureKind.BROKEN, "without a finish reason", False),
    (Fault.reset(), FailureKind.BUSY, "no connection", False),
    (Fault.hang_up(), FailureKind.BUSY, "no connection", False),
    (Fault.refusal(), FailureKind.CONTENT_REFUSED, "SAFETY", True),
    (Fault.refusal(prompt=True), FailureKind.CONTENT_REFUSED, "PROHIBITED_CONTENT", False),
    (Fault.error_in_stream(), FailureKind.BUSY, "overloaded", True),
    (Fault.error_in_stream("RESOURCE_EXHAUSTED"), FailureKind.LIMITED, "exhausted", True),
    (Fault.error_in_stream("INVALID_ARGUMENT", "input token count exceeds it"), FailureKind.TOO_LONG, "token", True),
]


@pytest.mark.parametrize(("fault", "kind", "words", "partly"), BREAKS, ids=lambda value: str(value)[:40])
async def test_an_answer_that_is_none_is_sorted(
    google: tuple[World, GoogleProvider], fault: Fault, kind: FailureKind, words: str, partly: bool
) -> None:
    world, provider = google
    world.vendor("google").fault = fault
    failed, shown = await failing(provider)
    assert failed.kind is kind
    assert words in failed.message
    assert bool(shown) is partly
    assert len(world.chats("google")) == 1


FINISHES = [
    ("PROHIBITED_CONTENT", FailureKind.CONTENT_REFUSED),
    ("BLOCKLIST", FailureKind.CONTENT_REFUSED),
    ("RECITATION", FailureKind.CONTENT_REFUSED),
    ("SPII", FailureKind.CONTENT_REFUSED),
    ("MALFORMED_FUNCTION_CALL", FailureKind.BROKEN),
    ("UNEXPECTED_TOOL_CALL", FailureKind.BROKEN),
    ("OTHER", FailureKind.BROKEN),
    ("PUP_LIMITED_DISABLED", FailureKind.REFUSED),
]


@pytest.mark.parametrize(("reason", "kind"), FINISHES)
async def test_a_finish_that_is_no_answer_is_sorted(google: tuple[World, GoogleProvider], reason: str, kind: FailureKind) -> None:
    world, provider = google
    world.vendor("google").replies = [Reply("some words", finish=reason)]
    failed, _ = await failing(provider)
    assert failed.kind is kind
    assert reason in failed.message


async def test_a_finish_that_the_sdk_does_not_know_is_broken(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").replies = [Reply("some words", finish="TIRED")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed, _ = await failing(provider)
    assert (failed.kind, failed.message) == (FailureKind.BROKEN, "finish reason TIRED")


async def test_a_stop_without_a_word_is_broken(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").replies = [Reply("")]
    failed, _ = await failing(provider)
    assert (failed.kind, failed.message) == (FailureKind.BROKEN, "an empty answer")


@pytest.mark.parametrize("fault", [Fault.stall(), Fault.stall_midway()], ids=["before", "midway"])
async def test_a_stall_ends_at_the_requests_timeout(google: tuple[World, GoogleProvider], fault: Fault) -> None:
    world, provider = google
    world.vendor("google").fault = fault
    async with asyncio.timeout(5):
        failed, _ = await failing(provider, asking(timeout=1.5))
    assert (failed.kind, failed.message) == (FailureKind.BUSY, "timeout: no answer within 1.5 s")
    # less than ten seconds is an error for the vendor
    assert world.chats("google")[0].headers["x-server-timeout"] == "10"
    assert await gone(world)


async def test_a_server_that_is_not_there_is_busy() -> None:
    provider = GoogleProvider(api_key=KEY, base_url="http://127.0.0.1:1")
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
    provider = GoogleProvider(api_key=KEY, base_url=f"https://127.0.0.1:{silent_server}", connect_timeout=0.2)
    async with asyncio.timeout(5):
        failed, _ = await failing(provider)
    assert (failed.kind, failed.scope, failed.message) == (
        FailureKind.BUSY,
        "provider",
        "no connection (no connection in time)",
    )
    await provider.aclose()


def test_importing_the_adapter_loads_no_sdk() -> None:
    code = "import sys, bundle_loader.providers.google; print({'aiohttp', 'httpx', 'httpx2', 'google.genai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


async def gone(world: World) -> bool:
    """True once the vendor has seen the client leave."""
    for _ in range(200):
        if world.chats("google")[-1].disconnected:
            return True
        await asyncio.sleep(0.01)
    return False


async def reached(world: World, count: int, *, answering: bool) -> None:
    """Wait until so many chats have arrived, and the last of them has begun to be answered."""
    for _ in range(500):
        chats = world.chats("google")
        if len(chats) == count and (not answering or chats[-1].status):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("early", [True, False], ids=["before the answer", "within the answer"])
async def test_cancelling_closes_the_connection_and_leaves_no_task(google: tuple[World, GoogleProvider], early: bool) -> None:
    world, provider = google
    await heard(provider, asking())
    world.vendor("google").fault = Fault.stall() if early else Fault.stall_midway()
    running = asyncio.create_task(heard(provider, asking()))
    await reached(world, 2, answering=not early)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(world)
    assert [task for task in asyncio.all_tasks() if "aclose" in repr(task) or "athrow" in repr(task)] == []
    assert running not in asyncio.all_tasks()


async def test_leaving_in_the_middle_closes_the_connection(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").fault = Fault.stall_midway()
    async with aclosing(provider.stream(asking())) as parts:
        assert isinstance(await anext(parts), Delta)
    assert await gone(world)


async def test_many_calls_share_connections_and_do_not_mix(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").answer = lambda request: Reply(request.body_json["contents"][0]["parts"][0]["text"])
    turns = await asyncio.gather(*(heard(provider, asking(user(f"number {n}"))) for n in range(40)))
    assert [turn.message.text for _, turn in turns] == [f"number {n}" for n in range(40)]


async def test_an_echoed_key_is_taken_out(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    world.vendor("google").fault = Fault.status(400, message=f"bad header x-goog-api-key: {KEY}")
    failed, _ = await failing(provider)
    assert failed.message == "bad header x-goog-api-key: [left out: it looks like a key]"


async def test_every_page_is_listed(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    vendor = world.vendor("google")
    vendor.page_size = 2
    models = await provider.list_models()
    assert [model.id for model in models] == vendor.ids
    assert len(world.lists("google")) == 3
    assert world.lists("google")[0].query["pageSize"] == "1000"
    first, last = models[0], models[-1]
    assert (first.window, first.output_limit, first.kind) == (1_048_576, 65_536, "chat")
    assert first.capabilities is not None
    assert "reasoning" in first.capabilities
    assert first.extra["version"] == "001"
    assert "released on" in str(first.extra["description"])
    assert (last.id, last.kind, last.capabilities) == ("gemini-embedding-001", "embedding", None)


async def test_what_the_list_does_not_say_is_unknown(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    filmed = {"name": "models/veo", "supportedGenerationMethods": ["predictLongRunning"]}
    world.vendor("google").models = [{"name": "models/odd"}, filmed]
    odd, veo = await provider.list_models()
    assert (odd.id, odd.window, odd.kind, odd.capabilities, odd.created) == ("odd", None, None, None, None)
    assert veo.kind == "video"


async def test_a_list_that_leads_back_to_itself_is_broken(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    page = {"models": [{"name": "models/a"}], "nextPageToken": "again"}
    world.vendor("google").fault = Fault.list(Fault.status(200, body=page))
    with pytest.raises(ProviderFailure, match="leads back"):
        await provider.list_models()


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
async def test_a_list_that_fails_is_sorted(google: tuple[World, GoogleProvider], fault: Fault, kind: FailureKind) -> None:
    world, provider = google
    world.vendor("google").fault = Fault.list(fault)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert caught.value.kind is kind
    assert caught.value.model is None
    assert caught.value.__context__ is None
    # aiohttp itself sends a GET once more when its connection is lost; never a chat
    assert len(world.lists("google")) == (2 if fault.kind == "reset" else 1)


async def test_the_environment_is_not_read(vendors: tuple[World, str], ambient: None) -> None:
    world, base = vendors
    provider = GoogleProvider(api_key=KEY, base_url=world.url(base, "google"))
    await heard(provider, asking())
    (sent,) = world.chats("google")
    assert sent.headers["x-goog-api-key"] == KEY
    assert sent.path.startswith("/v1/models/")
    await provider.aclose()


@pytest.fixture
def ambient() -> Iterator[None]:
    wrong = {
        "GOOGLE_API_KEY": "ambient",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9",
    }
    os.environ.update(wrong)
    yield None
    for name in wrong:
        del os.environ[name]


@pytest.fixture
async def proxy() -> AsyncIterator[list[str]]:
    """The request lines that reached a proxy, which the environment names; it answers 503."""
    seen: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    os.environ["HTTP_PROXY"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield seen
    del os.environ["HTTP_PROXY"]
    server.close()
    await server.wait_closed()


async def test_the_environments_proxy_is_used(proxy: list[str]) -> None:
    provider = GoogleProvider(api_key=KEY, base_url="http://gemini.test")
    failed, _ = await failing(provider)
    assert failed.status == 503
    assert [line.split("?")[0] for line in proxy] == [f"POST http://gemini.test/v1/models/{MODEL}:streamGenerateContent"]
    await provider.aclose()


async def test_closing_is_safe_twice_and_unused_and_a_closed_provider_opens_again(google: tuple[World, GoogleProvider]) -> None:
    world, provider = google
    unused = GoogleProvider(api_key=KEY)
    await unused.aclose()
    await unused.aclose()
    await heard(provider, asking())
    await provider.aclose()
    await provider.aclose()
    assert (await heard(provider, asking()))[1].finish == "stop"
    assert len(world.chats("google")) == 2


def test_it_is_a_provider_that_shows_no_key() -> None:
    provider = GoogleProvider(id="gem", api_key=KEY, base_url="http://127.0.0.1:1")
    assert isinstance(provider, Provider)
    assert (provider.id, provider.local) == ("gem", False)
    assert KEY not in repr(provider)


TRANSPORT = [
    ("httpx2", "ConnectError", FailureKind.BUSY, FailureKind.BROKEN),
    ("httpx2", "ConnectTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx2", "ReadTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx2", "PoolTimeout", FailureKind.BUSY, FailureKind.BUSY),
    ("httpx2", "RemoteProtocolError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ClientConnectionError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ServerDisconnectedError", FailureKind.BUSY, FailureKind.BROKEN),
    ("aiohttp", "ServerTimeoutError", FailureKind.BUSY, FailureKind.BUSY),
    ("aiohttp", "ConnectionTimeoutError", FailureKind.BUSY, FailureKind.BUSY),
    ("aiohttp", "ClientPayloadError", FailureKind.BROKEN, FailureKind.BROKEN),
    ("builtins", "ConnectionResetError", FailureKind.BUSY, FailureKind.BROKEN),
    ("builtins", "TimeoutError", FailureKind.BUSY, FailureKind.BUSY),
]


@pytest.mark.parametrize(("module", "name", "before", "after"), TRANSPORT)
def test_the_transports_exceptions_are_sorted(module: str, name: str, before: FailureKind, after: FailureKind) -> None:
    error = getattr(__import__(module), name)("words")
    assert sort(error, "google", MODEL).kind is before
    assert sort(error, "google", MODEL, status=200).kind is after

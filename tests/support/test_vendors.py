"""The loopback vendors, seen through the four official SDKs: lists, answers, faults and what is noted of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google.genai import errors as google_errors
from ollama import ResponseError

from bundle_loader.messages import Usage
from tests.support import sdks
from tests.support.sdks import HEAR, MODELS, Heard, hear, models_of
from tests.support.vendors import DEFAULT_TEXT, Reply, World, served_in_thread, serving

Vendors = tuple[World, str]
SDKS = tuple(HEAR)
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 0.3
"""Seconds that an SDK waits in the tests where the vendor says nothing."""


@pytest.mark.parametrize(("name", "pages"), [("anthropic", 3), ("google", 3), ("openai", 1), ("ollama", 1)])
async def test_models_come_in_pages_where_the_vendor_has_pages(vendors: Vendors, name: str, pages: int) -> None:
    world, _ = vendors
    world.vendor(name).page_size = 2
    assert await models_of(vendors, name) == world.vendor(name).ids
    assert len(world.lists(name)) == pages


async def test_openrouter_pages_by_link_and_the_openai_sdk_sees_the_first_page_only(vendors: Vendors) -> None:
    world, base = vendors
    router = world.vendor("openrouter")
    router.page_size = 3
    assert await models_of(vendors, "openrouter") == router.ids[:3]
    async with httpx2.AsyncClient() as http:
        first = (await http.get(world.url(base, "openrouter") + "/models")).json()
        second = (await http.get(f"{base}/openrouter{first['links']['next']}")).json()
    assert [entry["id"] for entry in first["data"] + second["data"]] == router.ids
    assert (first["total_count"], second["links"]["next"]) == (4, None)


async def test_retired_models_are_listed_only_when_asked_for_and_never_answer(vendors: Vendors) -> None:
    world, base = vendors
    world.vendor("anthropic").models[0]["lifecycle"] = "retired"
    retired = world.vendor("anthropic").ids[0]
    assert retired not in await models_of(vendors, "anthropic")
    async with sdks.anthropic_client(world.url(base, "anthropic")) as client:
        assert [model.id async for model in client.models.list(lifecycle=["retired"])] == [retired]
    with pytest.raises(anthropic.NotFoundError, match=f"model: {retired}"):
        await hear(vendors, "anthropic", model=retired)


async def test_recorded_pages_can_be_loaded(tmp_path: Path) -> None:
    pages = [tmp_path / "1.json", tmp_path / "2.json"]
    for number, page in enumerate(pages):
        page.write_text(json.dumps({"models": [{"name": f"models/gemini-{number}"}], "nextPageToken": "x"}))
    google = World().vendor("google")
    google.load(*pages)
    assert google.ids == ["gemini-0", "gemini-1"]


@pytest.mark.parametrize(
    ("name", "error", "status"),
    [
        ("anthropic", anthropic.AuthenticationError, 401),
        ("openai", openai.AuthenticationError, 401),
        ("google", google_errors.ClientError, 400),
        ("ollama", ResponseError, 401),
    ],
)
async def test_a_required_key_is_required(vendors: Vendors, name: str, error: type[Exception], status: int) -> None:
    world, _ = vendors
    world.vendor(name).required_key = "right"
    with pytest.raises(error):
        await models_of(vendors, name, "wrong")
    assert world.requests[-1].status == status
    assert await models_of(vendors, name, "right") == world.vendor(name).ids


FINISHED = {"anthropic": "end_turn", "openai": "stop", "google": "STOP", "ollama": "stop"}
CALLED = {"anthropic": "tool_use", "openai": "tool_calls", "google": "STOP", "ollama": "stop"}
CUT_SHORT = {"anthropic": "max_tokens", "openai": "length", "google": "MAX_TOKENS", "ollama": "length"}


@pytest.mark.parametrize("name", SDKS)
async def test_text_arrives_in_pieces(vendors: Vendors, name: str) -> None:
    heard = await hear(vendors, name)
    assert (heard.text, heard.finish, heard.model) == (DEFAULT_TEXT, FINISHED[name], MODELS[name])
    assert len(heard.pieces) == 5


@pytest.mark.parametrize("name", SDKS)
async def test_replies_are_used_up_in_order_and_then_the_answer_stands(vendors: Vendors, name: str) -> None:
    vendor = vendors[0].vendor(name)
    calls: list[tuple[str, Mapping[str, Any]]] = [("add", {"a": 1, "b": [2, "drei"]}), ("look", {"at": "wörld"})]
    vendor.replies = [Reply("Let me see.", tool_calls=calls), Reply("No mo", finish="length")]
    vendor.answer = lambda request: f"you asked {request.model}"
    first, second, third = [await hear(vendors, name) for _ in range(3)]
    assert (first.text, first.calls, first.finish) == ("Let me see.", calls, CALLED[name])
    assert (second.text, second.finish) == ("No mo", CUT_SHORT[name])
    assert third.text == f"you asked {MODELS[name]}"


@pytest.mark.parametrize("name", SDKS)
async def test_usage_is_split_as_the_vendor_splits_it(vendors: Vendors, name: str) -> None:
    vendors[0].vendor(name).replies = [
        Reply("x", usage=Usage(100, 40, cache_read_tokens=30, cache_write_tokens=20, reasoning_tokens=15))
    ]
    usage = (await hear(vendors, name)).usage
    if name == "anthropic":
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (50, 30, 20)
        assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (40, 15)
    elif name == "openai":
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 40, 140)
        assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.cache_write_tokens) == (30, 20)
        assert usage.completion_tokens_details.reasoning_tokens == 15
    elif name == "google":
        assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (100, 25, 15)
        assert (usage.cached_content_token_count, usage.total_token_count) == (30, 140)
    else:
        assert (usage.prompt_eval_count, usage.eval_count) == (100, 40)


async def test_a_vendor_can_keep_its_usage_to_itself(vendors: Vendors) -> None:
    for name in ("openai", "google"):
        vendors[0].vendor(name).answer = lambda request: Reply("x", usage=None)
        assert (await hear(vendors, name)).usage is None


async def test_thinking_stays_apart_from_text(vendors: Vendors) -> None:
    for name in SDKS:
        vendors[0].vendor(name).replies = [Reply("42", thinking="six times seven")]
        assert (await hear(vendors, name)).text == "42"


async def test_whole_answers_without_a_stream(vendors: Vendors) -> None:
    world, base = vendors
    question = [{"role": "user", "content": "Hello?"}]
    for name in SDKS:
        world.vendor(name).answer = lambda request: Reply("Yes.", tool_calls=[("add", {"a": 1})])
    async with sdks.anthropic_client(world.url(base, "anthropic")) as claude:
        message = await claude.messages.create(model=MODELS["anthropic"], max_tokens=9, messages=question)  # type: ignore[arg-type]
        assert [block.type for block in message.content] == ["text", "tool_use"]
    async with sdks.openai_client(world.url(base, "openai")) as gpt:
        completion = await gpt.chat.completions.create(model=MODELS["openai"], messages=question)  # type: ignore[arg-type]
        assert completion.model_dump()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'
    async with sdks.google_client(world.url(base, "google")) as gemini:
        content = await gemini.models.generate_content(model=MODELS["google"], contents="Hello?")
        assert (content.candidates[0].content.parts[0].text, content.function_calls[0].args) == ("Yes.", {"a": 1})
    async with sdks.ollama_client(world.url(base, "ollama")) as local:
        response = await local.chat(MODELS["ollama"], question)
        assert response.message.content == "Yes."
        assert [call.function.arguments for call in response.message.tool_calls or ()] == [{"a": 1}]


async def test_most_in_flight_counts_what_runs_side_by_side(vendors: Vendors) -> None:
    world, _ = vendors
    world.vendor("anthropic").delay = 0.1
    await asyncio.gather(*(hear(vendors, "anthropic") for _ in range(3)))
    assert (world.vendor("anthropic").most_in_flight, world.vendor("anthropic").in_flight) == (3, 0)


async def test_requests_are_noted_as_they_came(vendors: Vendors) -> None:
    for name in SDKS:
        await hear(vendors, name)
    world, _ = vendors
    assert [request.vendor for request in world.chats()] == list(SDKS)
    assert [request.path for request in world.chats()] == [
        "/v1/messages",
        "/chat/completions",
        "/v1/models/gemini-2.5-flash:streamGenerateContent",
        "/api/chat",
    ]
    assert all(request.streamed for request in world.chats())
    claude, gemini = world.chats("anthropic")[0], world.chats("google")[0]
    assert claude.headers["authorization"] == "Bearer test-key"
    assert claude.body_json["messages"] == [{"role": "user", "content": "Hello?"}]
    assert (gemini.model, gemini.query, gemini.headers["x-goog-api-key"]) == (MODELS["google"], {"alt": "sse"}, "test-key")


async def test_vendors_that_are_off_are_out_of_reach_and_out_of_the_environment() -> None:
    world = World("ollama", "google")
    world.vendor("google").required_key = "right"
    async with serving(world) as base:
        assert (await hear((world, base), "ollama")).text == DEFAULT_TEXT
        with pytest.raises(openai.APIConnectionError):
            await hear((world, base), "openai")
    environment = world.environment(base)
    assert not os.path.exists(environment.pop("ANTHROPIC_CONFIG_DIR"))  # noqa: ASYNC240
    assert environment == {"OLLAMA_HOST": f"{base}/ollama", "GOOGLE_GEMINI_BASE_URL": f"{base}/google", "GEMINI_API_KEY": "right"}


async def test_compatible_servers_can_be_added(vendors: Vendors) -> None:
    world, base = vendors
    world.add_compatible("groq", "/groq/openai/v1", "llama-3.3-70b").answer = "fast"
    heard = Heard()
    await sdks.hear_openai(world.url(base, "groq"), heard, model="llama-3.3-70b")
    assert heard.text == "fast"
    await sdks.hear_openai(world.url(base, "llamacpp"), heard, model="any-name-at-all")
    assert heard.text == f"fast{DEFAULT_TEXT}"


def test_the_server_runs_on_a_thread_for_blocking_code() -> None:
    world = World()
    with served_in_thread(world) as base:
        assert httpx.get(f"{base}/ollama/api/version").json() == {"version": "0.14.2"}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/ollama/api/version")
    assert [request.path for request in world.requests] == ["/api/version"]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--instant"]], ids=["full", "instant"])
async def test_a_process_of_its_own_serves_the_default_world(flags: list[str]) -> None:
    command = [sys.executable, "-m", "tests.support.vendors", "--port", "0", *flags]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert re.fullmatch(r"READY http://127\.0\.0\.1:\d+\n", line)
        vendors = (World(), line.split()[1])
        for name in SDKS:
            heard = await hear(vendors, name)
            assert (heard.text, heard.finish) == (DEFAULT_TEXT, FINISHED[name])
            assert MODELS[name] in await models_of(vendors, name)
    finally:
        process.kill()
        await process.communicate()

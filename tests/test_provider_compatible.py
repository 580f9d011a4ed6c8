"""Servers that speak OpenAI's protocol, each from its row of the table, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Message, ToolResult, ToolSpec, user
from bundle_loader.providers import table
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.table import ProviderRow
from tests.support.asking import asking, failed, heard
from tests.support.tiny_llama import TinyServer
from tests.support.vendors import Fault, World, served_in_thread

KEY = "sk-very-secret-key"
MODEL = "gpt-4o-mini"
RELAYED = "openai/gpt-4o-mini"


def row(name: str) -> ProviderRow:
    found = table.row(name)
    assert found is not None
    return found


@pytest.fixture
async def router(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, CompatibleProvider]]:
    world, base = vendors
    world.vendor("openrouter").required_key = KEY
    provider = CompatibleProvider(row("openrouter"), api_key=KEY, base_url=world.url(base, "openrouter"))
    yield world, provider
    await provider.aclose()


@pytest.mark.parametrize(
    ("fault", "kind", "scope", "status"),
    [
        (Fault.status(400), FailureKind.WRONG_REQUEST, "model", 400),
        (Fault.status(401), FailureKind.REFUSED, "provider", 401),
        (Fault.status(402), FailureKind.REFUSED, "provider", 402),
        (Fault.status(429), FailureKind.LIMITED, "model", 429),
        (Fault.status(503), FailureKind.BUSY, "model", 503),
        (Fault.too_long(), FailureKind.TOO_LONG, "model", 400),
        (Fault.refusal(), FailureKind.CONTENT_REFUSED, "model", None),
        (Fault.cut(), FailureKind.BROKEN, "model", None),
        (Fault.malformed(), FailureKind.BROKEN, "model", None),
        (Fault.html(), FailureKind.BROKEN, "model", None),
        (Fault.reset(), FailureKind.BUSY, "provider", None),
        (Fault.error_in_stream(), FailureKind.BUSY, "model", 502),
    ],
    ids=lambda value: f"{value.kind}-{value.code}" if isinstance(value, Fault) else str(value),
)
async def test_faults_of_a_compatible_server_are_sorted_in_the_same_way(
    router: tuple[World, CompatibleProvider], fault: Fault, kind: FailureKind, scope: str, status: int | None
) -> None:
    world, provider = router
    world.vendor("openrouter").fault = fault
    failure = await failed(provider, asking(RELAYED, timeout=0.3 if "stall" in fault.kind else 20.0))
    assert (failure.kind, failure.scope, failure.status) == (kind, scope, status)
    assert (failure.provider, failure.model) == ("openrouter", RELAYED)
    assert len(world.chats()) == 1


async def test_no_server_is_unreachable() -> None:
    provider = CompatibleProvider(row("vllm"), id="mine", base_url="http://127.0.0.1:9/v1")
    failure = await failed(provider, asking(MODEL))
    await provider.aclose()
    assert (failure.kind, failure.scope, failure.provider) == (FailureKind.BUSY, "provider", "mine")


async def test_no_key_fails_without_a_request_where_one_is_needed(vendors: tuple[World, str]) -> None:
    world, base = vendors
    for provider in (
        OpenAIProvider(api_key=None, base_url=world.url(base, "openai")),
        CompatibleProvider(row("openrouter"), base_url=world.url(base, "openrouter")),
    ):
        failure = await failed(provider, asking(MODEL))
        assert (failure.kind, failure.scope) == (FailureKind.REFUSED, "provider")
        assert f"{provider.id.upper()}_API_KEY" in failure.message
        with pytest.raises(ProviderFailure, match="no key"):
            await provider.list_models()
    assert world.requests == []


async def test_a_local_server_needs_no_key(vendors: tuple[World, str]) -> None:
    world, base = vendors
    provider = CompatibleProvider(row("llama.cpp"), base_url=world.url(base, "llamacpp"))
    _, turn = await heard(provider, asking("tiny-llama", max_tokens=5))
    assert turn.finish == "stop"
    assert world.chats()[0].body_json["max_tokens"] == 5
    assert provider.local
    assert not CompatibleProvider(row("llama.cpp"), base_url="https://example.org/v1").local
    assert not CompatibleProvider(row("openrouter"), api_key=KEY, base_url=world.url(base, "openrouter")).local
    await provider.aclose()


async def test_all_pages_of_a_compatible_server_are_listed(router: tuple[World, CompatibleProvider]) -> None:
    world, provider = router
    vendor = world.vendor("openrouter")
    vendor.page_size = 3
    models = await provider.list_models()
    assert [model.id for model in models] == vendor.ids
    assert [list_.query for list_ in world.lists()] == [{}, {"offset": "3"}]
    first = models[0]
    assert (first.window, first.output_limit, first.kind) == (128_000, 16_384, "chat")
    assert first.capabilities == frozenset({"tools", "streaming"})
    assert first.prices == {"input": "0.0000001", "output": "0.0000004"}


async def test_a_list_that_leads_elsewhere_or_nowhere_is_broken(router: tuple[World, CompatibleProvider]) -> None:
    world, provider = router
    endless = {"data": [{"id": "a"}], "links": {"next": "http://127.0.0.1:9/steal?offset=1"}}
    world.vendor("openrouter").fault = Fault.list(Fault.status(200, body=endless))
    with pytest.raises(ProviderFailure, match="leads back to an earlier page") as caught:
        await provider.list_models()
    assert caught.value.kind is FailureKind.BROKEN
    assert len(world.lists("openrouter")) == 2


_ALONE = """
import asyncio, sys
from bundle_loader.messages import Turn, user
from bundle_loader.providers import table
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.compatible import CompatibleProvider

async def main(base):
    provider = CompatibleProvider(table.row("openrouter"), api_key="given", base_url=base)
    await provider.aclose()
    assert not {"openai", "httpx2", "aiohttp", "pydantic"} & set(sys.modules), "the SDK was loaded early"
    async for part in provider.stream(ChatRequest("openai/gpt-4o-mini", (user("hi"),))):
        pass
    assert isinstance(part, Turn)
    await provider.list_models()
    await provider.aclose()

asyncio.run(main(sys.argv[1]))
"""


def test_the_sdk_is_loaded_late_and_reads_nothing_of_the_environment() -> None:
    world = World("openrouter")
    ambient = {
        "OPENAI_API_KEY": "ambient",
        "OPENAI_ADMIN_KEY": "ambient",
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "OPENAI_ORG_ID": "ambient",
        "OPENAI_PROJECT_ID": "ambient",
        "OPENAI_CUSTOM_HEADERS": "X-Ambient: ambient\nauthorization: ambient",
        "PATH": "/usr/bin:/bin",
    }
    with served_in_thread(world) as base:
        url = world.url(base, "openrouter")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _ALONE, url], env=ambient, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert len(world.requests) == 2
    for request in world.requests:
        assert request.headers["authorization"] == "Bearer given"
        assert "ambient" not in json.dumps(request.headers)


async def test_a_real_server_lists_answers_and_calls_a_tool(llama: TinyServer) -> None:
    provider = CompatibleProvider(row("llama.cpp"), base_url=llama.openai_url)
    (model,) = await provider.list_models()
    assert model.id == llama.alias
    assert model.window
    pieces, turn = await heard(provider, asking(model.id, max_tokens=64))
    assert "".join(pieces) == turn.message.text == llama.reply
    assert turn.finish == "stop"
    assert turn.usage is not None
    assert turn.usage.input_tokens > 0 < turn.usage.output_tokens
    tool = ToolSpec("delegate", "Delegate.", {"type": "object", "properties": {"agent": {"type": "string"}}})
    _, first = await heard(provider, asking(model.id, tools=(tool,), max_tokens=64))
    (call,) = first.message.tool_calls
    assert (first.finish, call.name, call.arguments) == ("tools", "delegate", {"agent": "git-ops"})
    results = Message("tool", (ToolResult(call.id, "delegate", "done"),))
    _, second = await heard(provider, asking(model.id, user("go"), first.message, results, tools=(tool,), max_tokens=64))
    assert second.message.text == llama.reply
    failure = await failed(provider, asking(model.id, user("hello " * 3000), max_tokens=64))
    assert failure.kind is FailureKind.TOO_LONG
    await provider.aclose()


async def test_a_real_server_answers_many_calls_one_after_the_other(llama: TinyServer) -> None:
    provider = CompatibleProvider(row("llama.cpp"), base_url=llama.openai_url)
    for _ in range(30):
        _, turn = await heard(provider, asking(llama.alias, max_tokens=64))
        assert turn.message.text == llama.reply
    await provider.aclose()


_BESIDE_A_PROXY = """
import asyncio, sys
from bundle_loader.providers import table
from bundle_loader.providers.compatible import CompatibleProvider

async def main(base):
    provider = CompatibleProvider(table.row("llama.cpp"), base_url=base)
    assert [model.id for model in await provider.list_models()] == ["tiny-llama"]
    await provider.aclose()

asyncio.run(main(sys.argv[1]))
"""


def test_a_local_server_is_never_reached_through_a_proxy() -> None:
    world = World("llamacpp")
    ambient = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin"}
    with served_in_thread(world) as base:
        command = [sys.executable, "-W", "error", "-c", _BESIDE_A_PROXY, world.url(base, "llamacpp")]
        done = subprocess.run(command, env=ambient, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(world.lists()) == 1

"""The Anthropic adapter's list of models and its client: pages, environment, loops, closing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers.anthropic import AnthropicProvider
from tests.support.asking import asking, heard
from tests.support.vendors import Fault, World, served_in_thread

KEY = "sk-ant-very-secret-key"
MODEL = "claude-haiku-4-5"


@pytest.fixture
async def claude(vendors: tuple[World, str]) -> AsyncIterator[tuple[World, AnthropicProvider]]:
    world, base = vendors
    world.vendor("anthropic").required_key = KEY
    provider = AnthropicProvider(api_key=KEY, base_url=world.url(base, "anthropic"))
    yield world, provider
    await provider.aclose()


async def test_all_pages_are_listed(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    vendor = world.vendor("anthropic")
    supported = {"supported": True}
    told = dict.fromkeys(("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs"), supported)
    vendor.models[0]["capabilities"] = told | {"thinking": {"supported": False}}
    vendor.models[1]["lifecycle"] = "deprecated"
    vendor.models[2]["created_at"] = "1970-01-01T00:00:00Z"
    vendor.page_size = 2
    models = await provider.list_models()
    assert [model.id for model in models] == vendor.ids
    assert len(world.lists()) == 3
    assert world.lists()[0].query["limit"] == "1000"
    first, second, third = models[:3]
    assert first.created == datetime(2026, 2, 17, tzinfo=UTC)
    assert (first.window, first.output_limit, first.kind, first.stage) == (200_000, 64_000, "chat", "stable")
    assert first.capabilities == frozenset({"tools", "vision", "structured", "streaming"})
    assert (second.stage, second.capabilities) == ("deprecated", None)
    assert third.created is None


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
    ],
    ids=lambda value: f"{value.kind}-{value.code}" if isinstance(value, Fault) else str(value),
)
async def test_a_list_that_is_none_is_a_failure(claude: tuple[World, AnthropicProvider], fault: Fault, kind: FailureKind) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.list(fault)
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert caught.value.kind is kind
    assert caught.value.__context__ is None
    # the transport itself asks once more when a reading request loses its connection
    assert len(world.lists()) == (2 if fault.kind == "reset" else 1)


async def test_an_entry_without_an_id_is_a_broken_list(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    world.vendor("anthropic").fault = Fault.list(Fault.status(200, body={"data": [{"type": "model"}], "has_more": False}))
    with pytest.raises(ProviderFailure) as caught:
        await provider.list_models()
    assert caught.value.kind is FailureKind.BROKEN


async def test_connections_are_used_again(claude: tuple[World, AnthropicProvider]) -> None:
    world, provider = claude
    await asyncio.gather(*(heard(provider, asking(MODEL)) for _ in range(20)))
    assert len(world.chats()) == 20
    await provider.aclose()
    await heard(provider, asking(MODEL))
    assert len(world.chats()) == 21


async def test_closing_is_safe_at_any_time() -> None:
    provider = AnthropicProvider(api_key=KEY)
    await provider.aclose()
    await provider.aclose()
    assert repr(provider) == "AnthropicProvider(id='anthropic', base_url='https://api.anthropic.com')"
    hidden = AnthropicProvider(api_key=KEY, base_url="https://me:secret@host/x?key=1")
    assert repr(hidden) == "AnthropicProvider(id='anthropic', base_url='https://host/x')"


def test_one_provider_serves_two_event_loops() -> None:
    world = World("anthropic")
    with served_in_thread(world) as base:
        provider = AnthropicProvider(api_key=KEY, base_url=world.url(base, "anthropic"))

        async def once() -> str:
            _, turn = await heard(provider, asking(MODEL))
            await provider.aclose()
            return turn.message.text

        assert asyncio.run(once()) == asyncio.run(once())
    assert len(world.chats()) == 2


_ALONE = """
import asyncio, sys
from bundle_loader.messages import Turn, user
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import ChatRequest

async def main(base):
    provider = AnthropicProvider(api_key="given", base_url=base)
    await provider.aclose()
    assert not {"anthropic", "httpx2", "aiohttp", "pydantic"} & set(sys.modules), "the SDK was loaded early"
    async for part in provider.stream(ChatRequest("claude-haiku-4-5", (user("hi"),))):
        pass
    assert isinstance(part, Turn)
    await provider.aclose()

asyncio.run(main(sys.argv[1]))
"""


def test_the_sdk_is_loaded_late_and_reads_nothing_of_the_environment() -> None:
    world = World("anthropic")
    ambient = {
        "ANTHROPIC_API_KEY": "ambient",
        "ANTHROPIC_AUTH_TOKEN": "ambient",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Ambient: ambient\nauthorization: ambient",
        "PATH": "/usr/bin:/bin",
    }
    with served_in_thread(world) as base:
        url = world.url(base, "anthropic")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _ALONE, url], env=ambient, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    (request,) = world.chats()
    assert request.headers["authorization"] == "Bearer given"
    assert "ambient" not in json.dumps(request.headers)


_ANSWER = (
    b'data: {"type": "message_start", "message": {"model": "m"}}\n\n'
    b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}\n\n'
    b'data: {"type": "message_stop"}\n\n'
)


@pytest.mark.parametrize(("silence", "connections"), [(0.02, 1), (30.0, 2)])
async def test_a_late_end_of_the_body_is_awaited_but_not_for_long(silence: float, connections: int) -> None:
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%s\r\n" % (len(_ANSWER), _ANSWER))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), silence)
                    break
                writer.write(b"0\r\n\r\n")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = AnthropicProvider(api_key=KEY, base_url=f"http://127.0.0.1:{port}")
        async with asyncio.timeout(10):
            for _ in range(2):
                _, turn = await heard(provider, asking(MODEL))
                assert turn.finish == "stop"
        await provider.aclose()
        assert opened == connections

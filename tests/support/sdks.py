"""The four official SDKs pointed at the loopback vendors, and one way to hear an answer or a list through each.

`patience` is the SDK's timeout in seconds; no SDK tries twice.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import ollama
import openai
from google import genai
from google.genai import types

from tests.support.world import World

TIMEOUT = 2.0
MODELS = {
    "anthropic": "claude-haiku-4-5-20251001",
    "openai": "gpt-4o-mini",
    "google": "gemini-2.5-flash",
    "ollama": "qwen3:8b",
}


@dataclass(slots=True)
class Heard:
    """What an SDK made of one streamed answer."""

    pieces: list[str] = field(default_factory=list)
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    finish: str | None = None
    usage: Any = None
    model: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@contextlib.asynccontextmanager
async def anthropic_client(
    base_url: str, key: str = "test-key", patience: float = TIMEOUT
) -> AsyncIterator[anthropic.AsyncAnthropic]:
    client = anthropic.AsyncAnthropic(api_key=key, base_url=base_url, max_retries=0, timeout=patience)
    async with client:
        yield client


@contextlib.asynccontextmanager
async def openai_client(base_url: str, key: str = "test-key", patience: float = TIMEOUT) -> AsyncIterator[openai.AsyncOpenAI]:
    client = openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, timeout=patience)
    async with client:
        yield client


@contextlib.asynccontextmanager
async def google_client(base_url: str, key: str = "test-key", patience: float = TIMEOUT) -> AsyncIterator[Any]:
    async with httpx2.AsyncClient(timeout=patience) as http:
        options = types.HttpOptions(
            base_url=base_url,
            timeout=int(patience * 1000),
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=http,
        )
        client = genai.Client(api_key=key, http_options=options)
        try:
            yield client.aio
        finally:
            await client.aio.aclose()
            client.close()


@contextlib.asynccontextmanager
async def ollama_client(base_url: str, key: str = "", patience: float = TIMEOUT) -> AsyncIterator[ollama.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = ollama.AsyncClient(host=base_url, timeout=patience, headers=headers)
    try:
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def hear_anthropic(base_url: str, heard: Heard, patience: float = TIMEOUT, **more: Any) -> None:
    request: dict[str, Any] = {
        "model": MODELS["anthropic"],
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello?"}],
    }
    async with anthropic_client(base_url, patience=patience) as client, client.messages.stream(**request | more) as stream:
        async for text in stream.text_stream:
            heard.pieces.append(text)
        message = await stream.get_final_message()
    heard.calls = [(block.name, dict(block.input)) for block in message.content if block.type == "tool_use"]
    heard.finish, heard.usage, heard.model = message.stop_reason, message.usage, message.model


async def hear_openai(base_url: str, heard: Heard, patience: float = TIMEOUT, **more: Any) -> None:
    request: dict[str, Any] = {"model": MODELS["openai"], "messages": [{"role": "user", "content": "Hello?"}]}
    arguments: dict[int, str] = {}
    names: dict[int, str] = {}
    async with openai_client(base_url, patience=patience) as client:
        stream = await client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **request | more)
        async for chunk in stream:
            heard.usage = chunk.usage or heard.usage
            heard.model = chunk.model
            for choice in chunk.choices or ():
                heard.finish = choice.finish_reason or heard.finish
                if choice.delta.content:
                    heard.pieces.append(choice.delta.content)
                for call in choice.delta.tool_calls or ():
                    if call.function is not None:
                        names.setdefault(call.index, call.function.name or "")
                        arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    heard.calls = [(names[index], json.loads(arguments[index])) for index in sorted(names)]


async def hear_google(base_url: str, heard: Heard, patience: float = TIMEOUT, **more: Any) -> None:
    request: dict[str, Any] = {"model": MODELS["google"], "contents": "Hello?"}
    async with google_client(base_url, patience=patience) as client:
        async for chunk in await client.models.generate_content_stream(**request | more):
            heard.usage = chunk.usage_metadata or heard.usage
            heard.model = chunk.model_version
            if chunk.prompt_feedback is not None:
                heard.finish = f"prompt {chunk.prompt_feedback.block_reason.value}"
            for candidate in chunk.candidates or ():
                heard.finish = candidate.finish_reason.value if candidate.finish_reason else heard.finish
                parts: Sequence[Any] = (candidate.content.parts if candidate.content else None) or ()
                heard.pieces += [part.text for part in parts if part.text and not part.thought]
                heard.calls += [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]


async def hear_ollama(base_url: str, heard: Heard, patience: float = TIMEOUT, **more: Any) -> None:
    request: dict[str, Any] = {"model": MODELS["ollama"], "messages": [{"role": "user", "content": "Hello?"}]}
    async with ollama_client(base_url, patience=patience) as client:
        async for chunk in await client.chat(stream=True, **request | more):
            if chunk.message.content:
                heard.pieces.append(chunk.message.content)
            heard.calls += [(call.function.name, call.function.arguments) for call in chunk.message.tool_calls or ()]
            heard.model = chunk.model
            if chunk.done:
                heard.finish, heard.usage = chunk.done_reason, chunk


HEAR = {"anthropic": hear_anthropic, "openai": hear_openai, "google": hear_google, "ollama": hear_ollama}


async def hear(vendors: tuple[World, str], name: str, **more: Any) -> Heard:
    """One streamed answer of a vendor; `more` goes into the SDK's call."""
    world, base_url = vendors
    heard = Heard()
    await HEAR[name](world.url(base_url, name), heard, **more)
    return heard


async def models_of(vendors: tuple[World, str], name: str, key: str = "test-key") -> list[str]:
    """The ids that the SDK of a vendor lists, all pages that it follows."""
    world, base_url = vendors
    url = world.url(base_url, name)
    if name == "anthropic":
        async with anthropic_client(url, key) as claude:
            return [model.id async for model in claude.models.list(limit=1000)]
    if name == "google":
        async with google_client(url, key) as gemini:
            pager = await gemini.models.list(config={"page_size": 1000})
            return [str(model.name).removeprefix("models/") async for model in pager]
    if name == "ollama":
        async with ollama_client(url, key) as local:
            return [str(model.model) for model in (await local.list()).models]
    async with openai_client(url, key) as gpt:
        return [model.id async for model in gpt.models.list()]

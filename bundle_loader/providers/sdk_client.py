"""What the Anthropic and OpenAI SDKs share: one client per event loop, and the events of one streamed answer."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Protocol

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, StreamPart, Turn
from bundle_loader.providers import faults, limit_headers, sdk_faults
from bundle_loader.providers.aiohttp_session import httpx_client
from bundle_loader.providers.bounded import bounded_response
from bundle_loader.providers.echoes import without_secret
from bundle_loader.providers.link import Link
from bundle_loader.providers.patience import Patience
from bundle_loader.providers.sdk_import import imported
from bundle_loader.providers.sse import SseParser

LIST_SECONDS = 30.0
"""The longest that one page of a list may take."""

_DRAIN_SECONDS = 0.25


class SdkClients:
    """One SDK client for each event loop that asks: an open connection belongs to the loop that made it."""

    def __init__(self, build: Callable[[], Any], sdk: str, *later: str) -> None:
        """`sdk` is the module; `later` are those that `build` and the client's first request import."""
        self._build = build
        self._sdk = sdk
        self._later = later
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}

    async def get(self) -> Any:
        """The client of the running loop, built on first use, once its modules are imported beside the loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            await imported(self._sdk, self._later)
            # somebody else may have built it meanwhile
            client = self._clients.get(loop) or self._build()
            self._clients[loop] = client
        return client

    @property
    def sdk(self) -> ModuleType:
        """The SDK, once a client was got."""
        return sys.modules[self._sdk]

    async def aclose(self) -> None:
        """Close the running loop's client and forget those of loops that have ended."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        for loop in [loop for loop in self._clients if loop.is_closed()]:
            del self._clients[loop]
        if client is not None:
            await client.close()


async def got(clients: SdkClients, provider: str, model: str | None, secret: str | None) -> Any:
    """The client of the running loop. Raises ProviderFailure where it cannot be had."""
    try:
        return await clients.get()
    except Exception as error:  # noqa: BLE001 - the adapter's boundary
        failed = sdk_faults.client_failure(error, provider, model, secret)
    # raised out here so that it has no context
    raise failed


def http_client(base_url: str, link: Link) -> Any:
    """The client that an SDK sends with, in place of its own."""
    import httpx2

    limit = timeout(LIST_SECONDS, link.connect)
    return httpx_client(httpx2, base_url, link, timeout=limit, event_hooks={"response": [bounded_response]})


def without_ambient(client: Any) -> Any:
    """The same client without the headers that the SDK took from its environment variable for custom headers.

    No argument keeps them out, and to omit them by name would take the SDK's own headers of that name along.
    """
    client._custom_headers = {}
    return client


class Answer(Protocol):
    """Folds the events of one streamed answer into a turn."""

    ended: bool
    """The vendor's end mark was seen."""

    def take(self, name: str, event: Any) -> str:
        """The answer text that an event brings, often none. Raises ProviderFailure for an error event or a wrong shape."""
        ...

    def turn(self, notes: tuple[str, ...]) -> Turn:
        """The finished turn. Raises ProviderFailure when the stream had no answer, no end or a refusal."""
        ...


@dataclass(slots=True, kw_only=True, repr=False)
class Call:
    """One streamed request: the SDK sends it, this reads the answer, and every way to fail is a `ProviderFailure`."""

    clients: SdkClients
    provider: str
    model: str
    path: str
    body: Mapping[str, Any]
    seconds: float
    connect_timeout: float
    secret: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    limit_windows: Mapping[str, str] = field(default_factory=dict)
    """As in the provider's row."""
    _client: Any = field(default=None, init=False)
    _response: Any = field(default=None, init=False)

    async def run(self, answer: Answer, notes: tuple[str, ...]) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then the `Turn`.

        The SDK's generic `post` is used: it sends and checks the status as `create` does, without the latter's walk
        over the types of the whole request.
        """
        failed: ProviderFailure | None = None
        turn: Turn | None = None
        self._client = await got(self.clients, self.provider, self.model, self.secret)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.seconds
        patience = Patience()
        try:
            await patience.step(self._send(), deadline)
            answered = clock()
            parser = SseParser()
            chunk: bytes | None = b""
            async with aclosing(self._response.aiter_bytes()) as chunks:
                while chunk is not None and not answer.ended:
                    chunk = await patience.step(anext(chunks, None), deadline)
                    for name, data in parser.close() if chunk is None else parser.feed(chunk):
                        if data == "[DONE]":
                            answer.ended = True
                        elif not answer.ended and (text := answer.take(name, json.loads(data))):
                            yield Delta(text)
                if answer.ended:
                    await _drain(chunks)
            turn = self._with_limits(answer.turn(notes), clock() - answered)
        except Exception as error:  # noqa: BLE001 - the adapter's boundary
            failed = self._failure(error)
        finally:
            patience.close()
            if self._response is not None:
                with suppress(Exception):
                    await self._response.aclose()
        # raised out here so that it has no context: an exception of the SDK holds the key
        if failed is not None:
            raise failed
        if turn is not None:
            yield turn

    async def _send(self) -> None:
        """Open the answer. A success status with a page or a JSON object is not a stream."""
        self._response = await self._client.post(
            self.path,
            cast_to=_response_type(),
            body=self.body,
            stream=True,
            stream_cls=self.clients.sdk.AsyncStream,
            options={"timeout": timeout(self.seconds, self.connect_timeout), **self.options},
        )
        kind = self._response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("text/html", "application/json"):
            return
        body = await self._response.aread()
        if kind == "application/json":
            with suppress(ValueError):
                value = json.loads(body)
                if isinstance(value, dict) and value.get("error"):
                    raise sdk_faults.inside_stream(value["error"], self.provider, self.model)
        raise faults.broken(self.provider, self.model, f"the answer is {kind}, not an event stream")

    def _with_limits(self, turn: Turn, age: float) -> Turn:
        """The turn with what the headers, which came `age` seconds ago, say of rate limits."""
        limits = limit_headers.vendor_limits(self._response.headers, time.time() - age, self.limit_windows, age)
        return replace(turn, limits=limits) if limits else turn

    def _failure(self, error: Exception) -> ProviderFailure:
        answering = self._response is not None
        failed = sdk_faults.sort(
            error,
            self.clients.sdk,
            provider=self.provider,
            model=self.model,
            seconds=self.seconds,
            answering=answering,
            secret=self.secret,
        )
        if answering and failed.request_id is None:
            failed.request_id = sdk_faults.request_id(self._response.headers)
            without_secret(failed, self.secret)
        return failed


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what stands after the end mark, so that the connection can be used again; not for long."""
    with suppress(Exception):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _response_type() -> Any:
    import httpx2

    return httpx2.Response


def timeout(seconds: float, connect_timeout: float) -> Any:
    """The transport's limits for one request: seconds of silence, and seconds to connect."""
    import httpx2

    return httpx2.Timeout(seconds, connect=min(connect_timeout, seconds))

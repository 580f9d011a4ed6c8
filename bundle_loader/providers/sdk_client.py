"""What the Anthropic and OpenAI SDKs share: one client per event loop, and the events of one streamed answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Protocol

from bundle_loader.errors import ProviderFailure
from bundle_loader.messages import Delta, StreamPart, Turn
from bundle_loader.providers import faults, limit_headers, sdk_faults
from bundle_loader.providers.patience import Patience
from bundle_loader.providers.sse import SseParser

CONNECTIONS = 1000
"""The most connections that one provider keeps open at once."""
LIST_SECONDS = 30.0
"""The longest that one page of a list may take."""

_IDLE_SECONDS = 15.0
_DRAIN_SECONDS = 0.25


class SdkClients:
    """One SDK client for each event loop that asks: an open connection belongs to the loop that made it."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}

    def get(self) -> Any:
        """The client of the running loop, built on first use."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._build()
        return client

    async def aclose(self) -> None:
        """Close the running loop's client and forget those of loops that have ended."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        for loop in [loop for loop in self._clients if loop.is_closed()]:
            del self._clients[loop]
        if client is not None:
            await client.close()


def http_client(sdk: ModuleType, *, connect_timeout: float, local: bool) -> Any:
    """The SDK's own aiohttp client, which costs a quarter less CPU than its default.

    Redirects are not followed: they could lead from a local server to a distant one. A local server is never
    reached through a proxy of the environment.
    """
    import httpx2

    return sdk.DefaultAioHttpClient(
        timeout=timeout(LIST_SECONDS, connect_timeout),
        limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=_IDLE_SECONDS),
        follow_redirects=False,
        trust_env=not local,
    )


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

    sdk: ModuleType
    client: Any
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
    _response: Any = field(default=None, init=False)

    async def run(self, answer: Answer, notes: tuple[str, ...]) -> AsyncGenerator[StreamPart]:
        """Any number of `Delta`s, then the `Turn`.

        The SDK's generic `post` is used: it sends and checks the status as `create` does, without the latter's walk
        over the types of the whole request.
        """
        failed: ProviderFailure | None = None
        turn: Turn | None = None
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
        self._response = await self.client.post(
            self.path,
            cast_to=_response_type(),
            body=self.body,
            stream=True,
            stream_cls=self.sdk.AsyncStream,
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
            self.sdk,
            provider=self.provider,
            model=self.model,
            seconds=self.seconds,
            answering=answering,
            secret=self.secret,
        )
        if answering and failed.request_id is None:
            failed.request_id = sdk_faults.request_id(self._response.headers)
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

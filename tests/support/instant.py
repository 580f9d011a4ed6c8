"""The vendors' streamed answers at next to no cost: encoded once, nothing checked, nothing noted. For benchmarks only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.support.script import Reply, Request
from tests.support.vendor import Answer, Stream, Vendor
from tests.support.world import World

_MODELS = {"anthropic": "claude-haiku-4-5-20251001", "openai": "gpt-4o-mini", "google": "gemini-2.5-flash", "ollama": "qwen3:8b"}
_CHAT_PATHS = {"anthropic": "/v1/messages", "ollama": "/api/chat"}


class _Answers:
    """HTTP answers by vendor and endpoint, as the bytes that go on the wire."""

    def __init__(self, world: World) -> None:
        self._chats: dict[bytes, tuple[bytes, bytes]] = {}
        self._lists: dict[bytes, bytes] = {}
        for vendor in world.vendors.values():
            model = _MODELS.get(vendor.name, vendor.ids[0])
            prefix = vendor.prefix.encode()
            self._chats[prefix] = (_encoded(vendor, model, streamed=True), _encoded(vendor, model, streamed=False))
            vendor.page_size = None
            request = Request(vendor.name, "GET", "", {"limit": "1000", "pageSize": "1000"}, {}, None)
            self._lists[prefix] = _frame(vendor.wire.listing(vendor, request))
        self._prefixes = sorted(self._chats, key=len, reverse=True)

    def find(self, method: bytes, target: bytes, body: bytes) -> bytes:
        for prefix in self._prefixes:
            if target.startswith(prefix):
                if method == b"GET":
                    return self._lists[prefix]
                streamed, whole = self._chats[prefix]
                if prefix == b"/google":
                    return streamed if b":streamGenerateContent" in target else whole
                if prefix == b"/ollama":
                    return whole if _flag(body, False) else streamed
                return streamed if _flag(body, True) else whole
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class _Protocol(asyncio.Protocol):
    """Just enough HTTP/1.1: requests with a content-length, one at a time, connections kept."""

    def __init__(self, answers: _Answers, connections: set[asyncio.Transport], delay: float) -> None:
        self._answers = answers
        self._delay = delay
        self._connections = connections
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            length = _content_length(head)
            if len(rest) < length:
                return
            method, target, _ = head.split(b" ", 2)
            answer = self._answers.find(method, target, rest[:length])
            if self._delay and method == b"POST":
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
            else:
                self._transport.write(answer)
            self._buffer = rest[length:]


def _flag(body: bytes, value: bool) -> bool:
    word = b"true" if value else b"false"
    return b'"stream":' + word in body or b'"stream": ' + word in body


def _content_length(head: bytes) -> int:
    start = head.lower().find(b"content-length:")
    if start < 0:
        return 0
    end = head.find(b"\r\n", start)
    return int(head[start + 15 : end if end >= 0 else None])


def _encoded(vendor: Vendor, model: str, *, streamed: bool) -> bytes:
    body = {"model": model, "stream": streamed, "stream_options": {"include_usage": True}}
    path = f"/v1/models/{model}:{'streamGenerateContent' if streamed else 'generateContent'}"
    request = Request(vendor.name, "POST", path if vendor.name == "google" else _CHAT_PATHS.get(vendor.name, ""), {}, {}, body)
    request.model = model
    answer = vendor.answer
    assert isinstance(answer, str)
    made = vendor.wire.stream(vendor, request, Reply(answer)) if streamed else vendor.wire.whole(vendor, request, Reply(answer))
    return _frame(made, vendor.wire.stream_type)


def _frame(answer: Answer | Stream, stream_type: str = "") -> bytes:
    if isinstance(answer, Answer):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n\r\n"
        return head.encode() + answer.body
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {stream_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in answer.pieces)
    return head.encode() + chunks + b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def serving_instantly(world: World, port: int = 0, *, delay: float = 0.0) -> AsyncIterator[str]:
    """Serve the default answers of a world as it is now, chats after `delay` seconds; gives the base URL."""
    answers = _Answers(world)
    connections: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(answers, connections, delay), "127.0.0.1", port, backlog=4096)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for transport in list(connections):
            transport.abort()
        await server.wait_closed()

"""The vendors' streamed answers at next to no cost: encoded once, nothing checked, nothing noted. For benchmarks only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.support.script import Reply, Request
from tests.support.vendor import Answer, Stream, Vendor
from tests.support.world import World

_MODELS = {"anthropic": "claude-haiku-4-5-20251001", "openai": "gpt-4o-mini", "google": "gemini-2.5-flash", "ollama": "qwen3:8b"}
_CHAT_PATHS = {"anthropic": "/v1/messages", "ollama": "/api/chat"}
_RESULTS = {
    b"/anthropic": (b'"tool_result"',),
    b"/google": (b'"functionResponse"',),
    b"/ollama": (b'"role":"tool"', b'"role": "tool"'),
}
_RESULT = (b'"tool_call_id"',)
"""How a request's body says that it holds a tool's result; `_RESULT` in OpenAI's protocol."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A conversation: so many turns that ask for so many calls of the tool `look` at once, then the answer."""

    turns: int = 0
    calls: int = 1

    def reply(self, turn: int, answer: str) -> Reply:
        """What is answered in a turn, counted from 0."""
        if turn >= self.turns:
            return Reply(answer)
        return Reply(tool_calls=[("look", {"path": f"docs/{turn}-{number}.md"}) for number in range(self.calls)])


class _Answers:
    """HTTP answers by vendor and endpoint, as the bytes that go on the wire."""

    def __init__(self, world: World, loop: Loop) -> None:
        self._loop = loop
        self._chats: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._lists: dict[bytes, bytes] = {}
        for vendor in world.vendors.values():
            model = _MODELS.get(vendor.name, vendor.ids[0])
            prefix = vendor.prefix.encode()
            assert isinstance(vendor.answer, str)
            replies = [loop.reply(turn, vendor.answer) for turn in range(loop.turns + 1)]
            self._chats[prefix] = [
                (_encoded(vendor, model, reply, streamed=True), _encoded(vendor, model, reply, streamed=False))
                for reply in replies
            ]
            vendor.page_size = None
            request = Request(vendor.name, "GET", "", {"limit": "1000", "pageSize": "1000"}, {}, None)
            self._lists[prefix] = _frame(vendor.wire.listing(vendor, request))
        self._prefixes = sorted(self._chats, key=len, reverse=True)

    def find(self, method: bytes, target: bytes, body: bytes) -> bytes:
        for prefix in self._prefixes:
            if target.startswith(prefix):
                if method == b"GET":
                    return self._lists[prefix]
                results = sum(map(body.count, _RESULTS.get(prefix, _RESULT))) if self._loop.turns else 0
                streamed, whole = self._chats[prefix][min(results // self._loop.calls, self._loop.turns)]
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


def _encoded(vendor: Vendor, model: str, reply: Reply, *, streamed: bool) -> bytes:
    body = {"model": model, "stream": streamed, "stream_options": {"include_usage": True}}
    path = f"/v1/models/{model}:{'streamGenerateContent' if streamed else 'generateContent'}"
    request = Request(vendor.name, "POST", path if vendor.name == "google" else _CHAT_PATHS.get(vendor.name, ""), {}, {}, body)
    request.model = model
    made = vendor.wire.stream(vendor, request, reply) if streamed else vendor.wire.whole(vendor, request, reply)
    return _frame(made, vendor.wire.stream_type)


def _frame(answer: Answer | Stream, stream_type: str = "") -> bytes:
    if isinstance(answer, Answer):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n\r\n"
        return head.encode() + answer.body
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {stream_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in answer.pieces)
    return head.encode() + chunks + b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def serving_instantly(
    world: World, port: int = 0, conversation: Loop = Loop(), *, delay: float = 0.0
) -> AsyncIterator[str]:
    """Serve the default answers of a world as it is now, after the tool calls of `conversation`; gives the base URL.

    Chats are answered after `delay` seconds.
    """
    answers = _Answers(world, conversation)
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

"""Vendors on the loopback interface: each speaks its own wire format, does what the test says, and notes what arrived.

    world = World()                                        # or World("anthropic", "ollama"): only these are on
    world.vendor("anthropic").replies = [Reply(tool_calls=[("add", {"a": 1})]), Reply("3")]   # then the default answer
    world.vendor("openai").faults = [Fault.status(503, retry_after=2), None]                  # one each, then healthy
    world.vendor("google").fault = Fault.everywhere(Fault.status(500))                        # stands until taken away
    world.vendor("ollama").fault = Fault.list(Fault.empty())                                  # the list of models only
    world.vendor("anthropic").fault = Fault.status(429).on("claude-haiku-*")                  # these models only

    async with serving(world) as base: ...                 # in this event loop
    with served_in_thread(world) as base: ...              # for subprocesses and blocking code
    python -m tests.support.vendors --port 0               # a process of its own; prints READY and the base URL
    python -m tests.support.vendors --port 0 --instant     # pre-encoded answers at next to no cost, for benchmarks

Base URLs: `world.url(base, "openai")`, or `world.environment(base)` for all four SDKs. Afterwards: `world.chats("openai")`,
`world.lists("google")`, `world.requests`. The rest is written at `Reply`, `Fault`, `Request` (script.py), `Vendor` (vendor.py)
and `World` (world.py). Requests are checked as strictly as the vendors check them; a refusal uses up neither reply nor fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from tests.support.instant import Loop, serving_instantly
from tests.support.script import DEFAULT_TEXT, DEFAULT_USAGE, Fault, Reply, Request
from tests.support.vendor import Answer, Stream, Vendor, encode
from tests.support.world import World

__all__ = [
    "DEFAULT_TEXT",
    "DEFAULT_USAGE",
    "Fault",
    "Reply",
    "Request",
    "Vendor",
    "World",
    "served_in_thread",
    "serving",
]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"
_HTML_TYPE = "text/html; charset=utf-8"
_BROKEN = '{"id":"x","choices":[{"delta":{"content":"br'
_MID_STREAM = frozenset({"cut", "drop", "malformed", "error_in_stream", "stall_midway"})


class _Gone(Exception):
    """The client went away."""


class _Exchange:
    """One request and its answer, on the socket."""

    def __init__(self, request: Request, receive: Receive, send: Send) -> None:
        self.request = request
        self._receive = receive
        self._send = send
        self._streaming = False
        self.headers: Mapping[str, str] = {}
        """Beside those of every answer."""

    async def pause(self, seconds: float) -> None:
        """Wait, or stop at once when the client goes away."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return
        raise _Gone

    async def answer(self, answer: Answer) -> None:
        headers = {"content-type": answer.content_type, "content-length": str(len(answer.body)), **answer.headers}
        await self._start(answer.status, headers)
        await self._send({"type": "http.response.body", "body": answer.body})

    async def begin(self, content_type: str) -> None:
        await self._start(200, {"content-type": content_type, "cache-control": "no-cache"})
        self._streaming = True

    async def begin_short(self, answer: Answer) -> None:
        """Promise more bytes than the body has; the connection must be dropped after it."""
        headers = {"content-type": answer.content_type, "content-length": str(len(answer.body) + 64)}
        await self._start(answer.status, headers)
        await self.write(answer.body)

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        self.request.status = status
        headers = {**self.headers, **headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


class Loopback:
    """The ASGI application. `connections` is the server's own set of open connections, for the faults that act on sockets."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connections: set[Any] = set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        vendor = self.world.serving(scope["path"])
        request = await _read(vendor, scope, receive)
        self.world.requests.append(request)
        if vendor is None or not vendor.on:
            self._drop(scope, reset=True)
            return
        request.endpoint, request.model = vendor.wire.endpoint(request)
        exchange = _Exchange(request, receive, send)
        vendor.in_flight += 1
        vendor.most_in_flight = max(vendor.most_in_flight, vendor.in_flight)
        try:
            await self._serve(vendor, exchange, scope)
        except _Gone:
            request.disconnected = True
        finally:
            vendor.in_flight -= 1

    async def _serve(self, vendor: Vendor, exchange: _Exchange, scope: MutableMapping[str, Any]) -> None:
        request, wire = exchange.request, vendor.wire
        if vendor.required_key is not None and wire.key(request) != vendor.required_key:
            await exchange.answer(wire.wrong_key(request))
            return
        if request.endpoint not in ("chat", "list"):
            await exchange.answer(wire.other(vendor, request) or wire.error(404))
            return
        objection = wire.objection(vendor, request) if request.endpoint == "chat" else None
        if objection is not None:
            await exchange.answer(objection)
            return
        fault = vendor.next_fault(request.endpoint, request.model)
        if request.endpoint == "chat" and vendor.limiter is not None:
            fault = vendor.limiter.arrive(request) or fault
            exchange.headers = vendor.limiter.headers(request)
        if request.endpoint == "chat":
            await exchange.pause(vendor.delay)
        if fault is not None and fault.kind in ("reset", "hang_up"):
            self._drop(scope, reset=fault.kind == "reset")
            return
        if fault is not None and fault.kind == "stall":
            await exchange.pause(fault.seconds)
        whole = _instead(vendor, request, fault)
        if whole is not None:
            await exchange.answer(whole)
        elif request.endpoint == "list":
            await self._whole(exchange, wire.listing(vendor, request), fault, scope, wire.error_event("", ""))
        else:
            await self._chat(vendor, exchange, fault, scope)

    async def _chat(self, vendor: Vendor, exchange: _Exchange, fault: Fault | None, scope: MutableMapping[str, Any]) -> None:
        request, wire = exchange.request, vendor.wire
        answer: Answer | Stream
        if fault is not None and fault.kind == "refused_prompt":
            answer = wire.refused_prompt(vendor, request)
        else:
            failing = fault is not None and fault.kind not in ("stall", "stall_midway")
            reply = vendor.peek_reply(request) if failing else vendor.take_reply(request)
            if fault is not None and fault.kind == "refused":
                reply = Reply(reply.text[: len(reply.text) // 2], finish="refused", usage=reply.usage)
            answer = wire.stream(vendor, request, reply) if request.streamed else wire.whole(vendor, request, reply)
        if isinstance(answer, Answer):
            await self._whole(exchange, answer, fault, scope, wire.error_event("", ""))
        else:
            await self._stream(vendor, exchange, answer, fault, scope)

    async def _whole(
        self, exchange: _Exchange, answer: Answer, fault: Fault | None, scope: MutableMapping[str, Any], error: bytes
    ) -> None:
        """An answer in one body, with what a fault in the middle makes of it."""
        half = answer.body[: len(answer.body) // 2]
        kind = fault.kind if fault is not None else ""
        if kind in ("cut", "drop"):
            await exchange.begin_short(Answer(half))
            self._drop(scope, reset=False)
        elif kind == "malformed":
            await exchange.answer(Answer(half))
        elif kind == "error_in_stream":
            start = error.find(b"{")
            await exchange.answer(Answer(error[start:].strip()))
        else:
            if fault is not None and kind == "stall_midway":
                await exchange.pause(fault.seconds)
            await exchange.answer(answer)

    async def _stream(
        self, vendor: Vendor, exchange: _Exchange, stream: Stream, fault: Fault | None, scope: MutableMapping[str, Any]
    ) -> None:
        await exchange.begin(vendor.wire.stream_type)
        striking = fault if fault is not None and fault.kind in _MID_STREAM else None
        shown = stream.shown if fault is None or fault.at is None else stream.lead + fault.at
        for number, piece in enumerate(stream.pieces):
            if striking is not None and number == shown:
                if striking.kind == "stall_midway":
                    await exchange.pause(striking.seconds)
                else:
                    break
            if number:
                await exchange.pause(vendor.pace)
            await exchange.write(piece)
        if striking is not None and striking.kind == "malformed":
            await exchange.write(vendor.wire.event(_BROKEN))
        elif striking is not None and striking.kind == "error_in_stream":
            await exchange.write(vendor.wire.error_event(striking.word, striking.message))
        if striking is not None and striking.kind == "drop":
            self._drop(scope, reset=False)
        else:
            await exchange.end()

    def _drop(self, scope: MutableMapping[str, Any], *, reset: bool) -> None:
        """End the connection that a request came on, by a reset or in good order."""
        for connection in list(self.connections):
            if connection.client == scope["client"]:
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    connection.transport.abort()
                else:
                    connection.transport.close()
                if connection.cycle is not None:
                    connection.cycle.disconnected = True


def _instead(vendor: Vendor, request: Request, fault: Fault | None) -> Answer | None:
    """The answer that a fault puts in the place of the right one; None when the right one begins at least."""
    if fault is None:
        return None
    if fault.kind == "status":
        return _status(vendor, fault)
    if fault.kind == "too_long":
        return vendor.wire.too_long(request.model)
    content_type = vendor.wire.stream_type if request.endpoint == "chat" and request.streamed else "application/json"
    if fault.kind == "empty":
        return Answer(b"", content_type=content_type)
    if fault.kind == "html":
        return Answer(_HTML, fault.code, _HTML_TYPE)
    if fault.kind == "wrong_shape":
        odd = '{"unexpected":true}'
        streamed = request.endpoint == "chat" and request.streamed
        return Answer(vendor.wire.event(odd) if streamed else odd.encode(), content_type=content_type)
    return None


def _status(vendor: Vendor, fault: Fault) -> Answer:
    usual = vendor.wire.error(fault.code, fault.word, fault.message, fault.retry_after)
    body = fault.body
    if body is None:
        body = usual.body
    elif isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = encode(body)
    content_type = _HTML_TYPE if body.startswith(b"<") else usual.content_type
    return Answer(body, fault.code, content_type, {**usual.headers, **fault.headers})


async def _read(vendor: Vendor | None, scope: MutableMapping[str, Any], receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        parsed = json.loads(body) if body else None
    except ValueError:
        parsed = body.decode(errors="replace")
    prefix = vendor.prefix if vendor is not None else ""
    return Request(
        vendor=vendor.name if vendor is not None else "",
        method=scope["method"],
        path=scope["path"][len(prefix) :] or "/",
        query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        body_json=parsed,
    )


@contextlib.asynccontextmanager
async def serving(world: World, port: int = 0) -> AsyncIterator[str]:
    """Serve in the running event loop; gives the base URL. Whatever is open at the end is dropped."""
    app = Loopback(world)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, http="h11", ws="none", lifespan="off", log_config=None, access_log=False
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    app.connections = world.connections = server.server_state.connections
    await server.startup()
    listener = server.servers[0]
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        tasks = list(server.server_state.tasks)
        if tasks:
            await asyncio.wait(tasks)
        await listener.wait_closed()


@contextlib.contextmanager
def served_in_thread(world: World, port: int = 0) -> Iterator[str]:
    """Serve on a thread with a loop of its own; gives the base URL."""
    ready: threading.Event = threading.Event()
    found: list[str] = []
    failed: list[BaseException] = []
    stop: list[Callable[[], None]] = []

    def end(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
        loop.call_soon_threadsafe(stopping.set)

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serving(world, port) as base:
            found.append(base)
            stop.append(lambda: end(loop, stopping))
            ready.set()
            await stopping.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="loopback vendors", daemon=True)
    thread.start()
    ready.wait()
    if failed:
        thread.join()
        raise RuntimeError("the loopback server did not start") from failed[0]
    try:
        yield found[0]
    finally:
        stop[0]()
        thread.join()


async def _serve_forever(port: int, instant: bool, conversation: Loop, delay: float) -> None:
    context = serving_instantly(World(), port, conversation, delay=delay) if instant else serving(World(), port)
    async with context as base:
        sys.stdout.write(f"READY {base}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve the default world until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the loopback vendors.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--instant", action="store_true", help="pre-encoded answers, nothing checked or noted")
    parser.add_argument("--turns", type=int, default=0, help="with --instant: turns with tool calls before the answer")
    parser.add_argument("--calls", type=int, default=1, help="with --instant: calls in each of those turns")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each instant answer to a chat")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_forever(options.port, options.instant, Loop(options.turns, options.calls), options.delay))


if __name__ == "__main__":
    main()

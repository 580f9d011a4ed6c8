"""Vendors of OpenAI's protocol in a process of their own, at next to no cost: what each does is a function of its requests.

    with vendors("benchmarks.vendor:steady", {"well": {}, "busy": {"status": 503}, "slow": {"delay": 1.0}}) as base:
        ...                                                   # base + "/well/v1" is the base URL of one of them

The child imports the function, gives it the plan (JSON), and asks what it returns for every chat.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Literal, TypeAlias

from benchmarks.figures import ROOT
from tests.support.script import DEFAULT_TEXT, Reply, Request
from tests.support.vendor import Vendor
from tests.support.wire_openai import OpenAIWire

MODEL = "m"


@dataclass(frozen=True, slots=True)
class Act:
    """What a vendor does with one chat, after `delay` seconds."""

    status: int = 200
    delay: float = 0.0
    retry_after: float | None = None
    text: str = DEFAULT_TEXT
    ending: Literal["whole", "cut", "reset"] = "whole"
    """`cut`: half of the stream, then its end without the vendor's last words; `reset`: the connection and nothing else."""


Conduct: TypeAlias = Callable[[str, str], Act]
"""A vendor's name and the model that is asked for -> what it does."""


def steady(plan: Mapping[str, Mapping[str, Any]]) -> Conduct:
    """Vendors that always do the same.

    `jitter`: so many seconds more or less of `delay`, which the answer then states as its text. `every`: a `status` that only
    every so-manieth chat is answered with.
    """
    chance = random.Random(7)
    counted: Counter[str] = Counter()

    def act(name: str, model: str) -> Act:
        given = dict(plan[name])
        counted[name] += 1
        if counted[name] % given.pop("every", 1):
            return Act()
        jitter = given.pop("jitter", None)
        if jitter is None:
            return Act(**given)
        delay = given.pop("delay") + chance.uniform(-jitter, jitter)
        return Act(**given, delay=delay, text=f"{delay:.6f}")

    return act


class Bytes:
    """Answers as they go on the wire, each encoded once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Act, str, bool], bytes] = {}
        self._wire = OpenAIWire()

    def of(self, act: Act, model: str, streamed: bool) -> bytes:
        key = (act, model, streamed)
        found = self._kept.get(key)
        if found is None:
            found = self._encoded(act, model, streamed)
            if len(self._kept) < 1000:
                self._kept[key] = found
        return found

    def listed(self) -> bytes:
        vendor = Vendor("openai", "", self._wire)
        vendor.offer(MODEL)
        return _framed(200, self._wire.listing(vendor, Request("openai", "GET", "/models", {}, {}, None)).body)

    def _encoded(self, act: Act, model: str, streamed: bool) -> bytes:
        if act.status != 200:
            answer = self._wire.error(act.status, retry_after=act.retry_after)
            return _framed(act.status, answer.body, **answer.headers)
        body = {"model": model, "stream": streamed, "stream_options": {"include_usage": True}}
        request = Request("openai", "POST", "/chat/completions", {}, {}, body)
        vendor = Vendor("openai", "", self._wire)
        if not streamed:
            whole = self._wire.whole(vendor, request, Reply(act.text)).body
            if act.ending == "whole":
                return _framed(200, whole)
            return _framed(200, whole)[: -len(whole) // 2]
        pieces = self._wire.stream(vendor, request, Reply(act.text)).pieces
        if act.ending == "cut":
            pieces = pieces[: len(pieces) // 2]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        return head + b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


def _framed(status: int, body: bytes, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Served(asyncio.Protocol):
    """Just enough HTTP/1.1: requests with a content-length, one at a time, connections kept."""

    def __init__(self, conduct: Conduct, encoded: Bytes) -> None:
        self._conduct = conduct
        self._encoded = encoded
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            length = _length(head) if separator else 0
            if not separator or len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        if method == b"GET":
            self._transport.write(self._encoded.listed())
            return
        asked = json.loads(body)
        model, streamed = asked["model"], bool(asked.get("stream"))
        act = self._conduct(target.split(b"/", 2)[1].decode(), model)
        # a whole body that is cut short ends with its connection
        closes = act.ending == "reset" or (act.ending == "cut" and not streamed)
        answer = b"" if act.ending == "reset" else self._encoded.of(act, model, streamed)
        if act.delay > 0:
            asyncio.get_running_loop().call_later(act.delay, self._answer, answer, closes)
        else:
            self._answer(answer, closes)

    def _answer(self, answer: bytes, closes: bool) -> None:
        if self._transport.is_closing():
            return
        if answer:
            self._transport.write(answer)
        if closes and not answer:
            self._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        if closes:
            self._transport.close()


def _length(head: bytes) -> int:
    start = head.lower().find(b"content-length:")
    if start < 0:
        return 0
    end = head.find(b"\r\n", start)
    return int(head[start + 15 : end if end >= 0 else None])


@contextmanager
def vendors(conduct: str, plan: Mapping[str, Any]) -> Iterator[str]:
    """The vendors in a child process; gives the URL that their names are paths of."""
    command = [sys.executable, "-m", "benchmarks.vendor", conduct]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(plan) + "\n")
            child.stdin.flush()
            yield child.stdout.readline().split()[1]
        finally:
            child.terminate()


async def _serve(conduct: Conduct) -> None:
    loop = asyncio.get_running_loop()
    encoded = Bytes()
    server = await loop.create_server(lambda: Served(conduct, encoded), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"READY http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    """Serve until terminated."""
    module, _, name = sys.argv[1].partition(":")
    make: Callable[[Mapping[str, Any]], Conduct] = getattr(importlib.import_module(module), name)
    asyncio.run(_serve(make(json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()

"""What may stand between a client and a vendor: a relay that counts connections, with TLS if wanted, and an HTTP proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Relay:
    """A server in front of another one, which passes on every byte."""

    port: int
    """Of the server behind it."""
    url: str = ""
    opened: int = 0
    """Connections that clients made, ever."""
    requests: list[str] = field(default_factory=list)
    """A proxy's: the first line of each connection's first request, and its `proxy-authorization` if any."""
    cut_after: int | None = None
    """How many requests a connection serves: when the next one arrives, it is closed without a word."""
    idle_for: float | None = None
    """Seconds after which a connection is closed on which nothing comes."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def base(self, base_url: str) -> str:
        """The address of the server behind, as it is reached through this one."""
        return self.url + urlsplit(base_url).path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await self._pass_on(reader, writer, *await asyncio.open_connection("127.0.0.1", self.port))

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """CONNECT, and requests in absolute form."""
        self.opened += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode().split(" ")
            allowed = [given for given in rest.decode().split("\r\n") if given.lower().startswith("proxy-authorization:")]
            self.requests += [line.decode(), *allowed]
            parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
            there_reader, there = await asyncio.open_connection(parts.hostname, parts.port)
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there.write(head.replace(f" http://{parts.netloc}".encode(), b" ", 1))
            await self._pass_on(reader, writer, there_reader, there, f" http://{parts.netloc}".encode())

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there_reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
        before: bytes = b"",
    ) -> None:
        """`before` is what stands before the path in the first line of a request, in absolute form."""
        back = asyncio.create_task(_copy(there_reader, writer))
        self.tasks.add(back)
        requests = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                async with asyncio.timeout(self.idle_for if requests else None):
                    piece = await reader.read(65536)
                requests += piece.startswith((b"POST ", b"GET "))
                if not piece or (self.cut_after is not None and requests > self.cut_after):
                    break
                there.write(piece.replace(before, b" ", 1) if piece.startswith((b"POST http", b"GET http")) else piece)
        back.cancel()
        for side in (there, writer):
            side.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await side.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def relay(base: str, *, tls: ssl.SSLContext | None = None, proxy: bool = False) -> AsyncIterator[Relay]:
    """A relay before the server at `base`, while it listens; as a proxy it goes wherever it is told."""
    found = Relay(urlsplit(base).port or 0)
    server = await asyncio.start_server(found.proxy if proxy else found.serve, "127.0.0.1", 0, ssl=tls)
    found.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        for task in found.tasks:
            task.cancel()
        await asyncio.gather(*found.tasks, return_exceptions=True)

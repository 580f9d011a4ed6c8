"""A server that answers every request with the bytes it is given, right or wrong as HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class RawServer:
    """What is answered next, and how often it was asked."""

    def __init__(self) -> None:
        self.answer = b""
        self.requests = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer, and the end of the connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            self.requests += 1
            writer.write(self.answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """The server while it listens on the loopback interface."""
    server = RawServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


def http(body: bytes, content_type: str, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole answer; `length` states another length than the body has."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {size}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(content_type: str, *chunks: bytes, ended: bool = True, headers: tuple[str, ...] = ()) -> bytes:
    """An answer in chunks; without `ended` it breaks off."""
    lines = ["HTTP/1.1 200 OK", f"content-type: {content_type}", "transfer-encoding: chunked", "connection: close", *headers]
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + (b"0\r\n\r\n" if ended else b"")

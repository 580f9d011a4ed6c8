"""A server that answers GET with recorded pages and nothing else, and notes what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

Page: TypeAlias = Callable[[dict[str, str]], bytes]
"""The body for a query."""


@dataclass
class Pages:
    """What is served: path -> its page. `asked` are the requests, `headers` those of the last one."""

    by_path: dict[str, Page]
    base: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on a connection of its own."""
        try:
            target = (await reader.readline()).split()[1].decode()
            lines = [line async for line in _header(reader)]
            self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            parts = urlsplit(target)
            query = dict(parse_qsl(parts.query))
            self.asked.append((parts.path, query))
            page = self.by_path.get(parts.path)
            status, body = ("200 OK", page(query)) if page is not None else ("404 Not Found", b"{}")
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        finally:
            writer.close()


async def _header(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := (await reader.readline()).decode().strip():
        yield line


@asynccontextmanager
async def serving_pages(by_path: dict[str, Page]) -> AsyncIterator[Pages]:
    """Serve them on a loopback port; `base` is the address."""
    pages = Pages(by_path)
    server = await asyncio.start_server(pages.answer, "127.0.0.1", 0)
    pages.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield pages

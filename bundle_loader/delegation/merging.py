"""A delegation's own events, with those of its children between them as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeAlias

from bundle_loader.delegation.result import ChildEvent
from bundle_loader.events import Event

_Item: TypeAlias = "tuple[Event | ChildEvent | None, asyncio.Event | None]"


class Inbox:
    """Where children's events arrive while their parent waits for them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()

    def put(self, event: ChildEvent) -> None:
        """Take in a child's event."""
        self._queue.put_nowait((event, None))

    async def merged(self, own: AsyncIterator[Event]) -> AsyncGenerator[Event | ChildEvent, None]:
        """All of `own`, and what children say meanwhile. `own` runs on in a task of its own, one event at a time."""
        pump = asyncio.create_task(self._pump(own))
        try:
            while True:
                event, taken = await self._queue.get()
                if event is None:
                    await pump  # raises what `own` raised
                    return
                yield event
                if taken is not None:
                    taken.set()
        finally:
            if not pump.done():
                pump.cancel()
                with suppress(asyncio.CancelledError):
                    await pump

    async def _pump(self, own: AsyncIterator[Event]) -> None:
        try:
            async for event in own:
                taken = asyncio.Event()
                self._queue.put_nowait((event, taken))
                await taken.wait()
        finally:
            if isinstance(own, AsyncGenerator):
                await own.aclose()  # in the task that it ran in
            self._queue.put_nowait((None, None))

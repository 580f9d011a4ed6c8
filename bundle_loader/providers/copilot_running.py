"""What runs in one event loop: the CLI, started once for all who ask, and the sessions that wait for results of tools."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.copilot_runtime import Runtime
from bundle_loader.providers.copilot_session import Session

MOST_WAITING: Final = 64
"""Sessions that wait; beyond it the oldest is ended, and its conversation goes on as text."""


class Running:
    """The CLI of one loop. A lost one is replaced by the next who asks."""

    def __init__(self, start: Callable[[], Awaitable[Runtime]], wait_for_tools: float) -> None:
        self._start = start
        self._wait_for_tools = wait_for_tools
        self._starting: asyncio.Task[Runtime] | None = None
        self._left: list[Runtime] = []
        self._waiting: dict[Session, asyncio.TimerHandle] = {}

    async def get(self) -> Runtime:
        """The CLI, up and usable. Whoever is cancelled takes nothing from the others. Raises what the start fails with."""
        starting = self._starting
        if starting is not None and starting.done() and not _is_usable(starting):
            self._leave(starting)
            starting = None
        if starting is None:
            starting = self._starting = asyncio.get_running_loop().create_task(self._started())
            starting.add_done_callback(_heard)
        return await asyncio.shield(starting)

    async def _started(self) -> Runtime:
        return await self._start()

    def _leave(self, starting: asyncio.Task[Runtime]) -> None:
        """Take down what is left of a CLI that is gone; `close` sees to it that nothing is."""
        self._left = [runtime for runtime in self._left if not runtime.gone]
        if not starting.cancelled() and starting.exception() is None:
            starting.result().lose()
            self._left.append(starting.result())

    def keep(self, session: Session) -> None:
        """Let a session wait for the results of its tools, not for ever."""
        while len(self._waiting) >= MOST_WAITING:
            self._give_up(next(iter(self._waiting)))
        timer = asyncio.get_running_loop().call_later(self._wait_for_tools, self._give_up, session)
        self._waiting[session] = timer

    def take(self, request: ChatRequest) -> Session | None:
        """The waiting session that a request goes on with; it does not wait any more."""
        for session in list(self._waiting):
            if not session.runtime.usable:
                self._give_up(session)
            elif session.goes_on_with(request):
                self._waiting.pop(session).cancel()
                return session
        return None

    def _give_up(self, session: Session) -> None:
        self._waiting.pop(session).cancel()
        session.end()

    async def close(self) -> None:
        """Stop the CLI and all that waits."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        starting, self._starting = self._starting, None
        left, self._left = self._left, []
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled() and starting.exception() is None:
                left.append(starting.result())
        await asyncio.gather(*(runtime.close() for runtime in left))


def _is_usable(starting: asyncio.Task[Runtime]) -> bool:
    return not starting.cancelled() and starting.exception() is None and starting.result().usable


def _heard(starting: asyncio.Task[Runtime]) -> None:
    """All who waited for it may be gone: its failure is nobody's then."""
    if not starting.cancelled():
        starting.exception()

"""Time limits on the steps of one stream, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


class Patience:
    """Awaits the steps of one stream, one at a time, each until a time of its own. `close` it in the end.

    It does what `asyncio.timeout_at` around each step does, at a fraction of the cost: a step that ends in time leaves the
    timer alone, and a timer that goes off too early is set again. The steps may run in different tasks.
    """

    __slots__ = ("_expired", "_loop", "_task", "_timer", "_until")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        """The task whose step is awaited now."""
        self._until = 0.0
        self._expired = False

    async def step(self, awaited: Awaitable[_T], until: float) -> _T:
        """The result of `awaited`. Raises TimeoutError when it is not there at `until`, in the loop's time."""
        task = asyncio.current_task()
        assert task is not None
        asked_before = task.cancelling()
        self._task, self._until, self._expired = task, until, False
        if self._timer is None or self._timer.when() > until:
            self.close()
            self._timer = self._loop.call_at(until, self._ring)
        try:
            return await awaited
        except asyncio.CancelledError:
            # somebody else's cancellation, even one at the same moment, is not a timeout
            if self._expired and task.cancelling() - 1 <= asked_before:
                raise TimeoutError from None
            raise
        finally:
            self._task = None
            if self._expired:
                task.uncancel()

    def _ring(self) -> None:
        timer, self._timer = self._timer, None
        if self._task is None or timer is None:
            return
        if timer.when() < self._until:
            self._timer = self._loop.call_at(self._until, self._ring)
            return
        self._expired = True
        self._task.cancel()

    def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

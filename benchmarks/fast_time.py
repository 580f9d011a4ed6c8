"""Event loops whose time is not the machine's: one in which it jumps to the next timer, one in which it runs faster."""

from __future__ import annotations

import asyncio
import selectors
import time
from asyncio import Future
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from bundle_loader import Host

_LOOK = 0.001
"""Real seconds after which work that is under way elsewhere is looked at again."""


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits for what is under way, never for time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.busy: list[Callable[[], bool]] = []

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        while any(busy() for busy in self.busy):
            if events := super().select(_LOOK):
                return events
        if events := super().select(0):  # after the look: whoever is not busy any more has told the loop
            return events
        self.now += timeout
        return []


class JumpLoop(asyncio.SelectorEventLoop):
    """Its time stands still while anything runs, then jumps to the next timer: what happens does not depend on the machine.

    It knows of work in the executors' threads, and asks each of `busy` about other threads. Bytes that others have under way
    are unknown to it: nothing that runs in it may wait for a process or a socket.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        self._in_threads = 0
        super().__init__(self._jumping)
        self.busy = self._jumping.busy
        """Each says whether something is under way that the loop will be told of."""
        self.busy.append(lambda: self._in_threads > 0)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Future[Any]:  # type: ignore[override]
        job = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        job.add_done_callback(self._back)
        return job

    def heed(self, host: Host) -> None:
        """Time stands still, too, until the host's ledger has carried out what it was asked."""

        def busy() -> bool:
            if host.ledger.busy:
                host.ledger.flush()  # it would let more gather, in real time
            return False

        self.busy.append(busy)

    def _back(self, job: Future[Any]) -> None:
        self._in_threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        await super().shutdown_default_executor()  # without the limit: its time would jump past it


class _Scaled(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits a fraction of the time that it is told to."""

    scale = 1.0

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / self.scale if timeout is not None and timeout > 0 else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """Sleeps, timeouts and deadlines all go `scale` times as fast; the work itself does not."""

    def __init__(self, scale: float) -> None:
        selector = _Scaled()
        selector.scale = scale
        self.scale = scale
        super().__init__(selector)

    def time(self) -> float:
        return time.monotonic() * self.scale

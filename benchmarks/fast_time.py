"""An event loop in which time runs so many times as fast, and the clock that goes with it."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waits a fraction of the time that it is told to."""

    scale = 1.0

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / self.scale if timeout is not None and timeout > 0 else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """Sleeps, timeouts and deadlines all go `scale` times as fast; the work itself does not."""

    def __init__(self, scale: float) -> None:
        selector = _Selector()
        selector.scale = scale
        self.scale = scale
        super().__init__(selector)

    def time(self) -> float:
        return time.monotonic() * self.scale


def fast_clock(scale: float, epoch: float, start: float) -> Callable[[], float]:
    """Epoch seconds that are `epoch` at the monotonic moment `start`, and go on `scale` times as fast."""
    return lambda: epoch + (time.monotonic() - start) * scale

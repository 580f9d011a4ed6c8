"""One request through an SDK that hides its response: the deadline holds, and what came back is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import TypeVar

from bundle_loader.providers.patience import Patience

_T = TypeVar("_T")


class Watched:
    """A request, from before it is sent until its answer is read.

    The SDK's HTTP client reports each response to `current()`. That is kept per step in a context variable, so
    requests that run side by side do not mix.
    """

    __slots__ = ("_close", "_deadline", "_patience", "_saw", "headers", "seconds", "status")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._patience = Patience()
        self.status: int | None = None
        """None until a response has begun."""
        self.headers: Mapping[str, str] = {}
        self._close: Callable[[], None] | None = None
        self._saw = 0.0

    def saw(self, status: int, headers: Mapping[str, str], close: Callable[[], None] | None = None) -> None:
        """A response has begun; `close` drops its connection."""
        self.status = status
        self.headers = headers
        self._close = close
        self._saw = asyncio.get_running_loop().time()

    async def step(self, awaited: Awaitable[_T]) -> _T:
        """Await a part of the request. Raises `TimeoutError` once the deadline has passed."""
        token = _CURRENT.set(self)
        try:
            return await self._patience.step(awaited, self._deadline)
        finally:
            _CURRENT.reset(token)

    @property
    def answering(self) -> bool:
        """True once a success status has arrived."""
        return self.status == 200

    @property
    def age(self) -> float:
        """Seconds since a response began."""
        return asyncio.get_running_loop().time() - self._saw

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there was none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def end(self) -> None:
        """No more steps: its timer is taken back."""
        self._patience.close()

    def drop(self) -> None:
        """No more steps, and the connection of a response that was not read to its end is given up."""
        self.end()
        if self._close is not None:
            self._close()


_CURRENT: ContextVar[Watched | None] = ContextVar("bundle_loader_watched_request", default=None)


def current() -> Watched | None:
    """The request whose step runs now in this task."""
    return _CURRENT.get()

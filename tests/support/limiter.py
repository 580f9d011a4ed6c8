"""A vendor's own rate limit: it counts what arrives, refuses what is too many, and says in headers what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tests.support.script import Fault, Request

WINDOW = 60.0

Headers = Callable[[int, int, float], Mapping[str, str]]
"""The limit, what remains and the seconds to the reset -> the headers of an answer."""


def nothing(limit: int, left: int, reset: float) -> Mapping[str, str]:
    """A vendor that says nothing of its limits."""
    return {}


def like_openai(limit: int, left: int, reset: float) -> Mapping[str, str]:
    """Headers as OpenAI writes them."""
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": f"{reset:.3f}s",
    }


class Limiter:
    """So many chats for each model in any stretch of `window` seconds; `others` of them are used up by somebody else."""

    def __init__(
        self,
        limit: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        window: float = WINDOW,
        says: Headers = nothing,
        retry_after: float | None = None,
        others: int = 0,
    ) -> None:
        self.limit = limit
        self.window = window
        self.others = others
        self._clock = clock
        self._says = says
        self._retry_after = retry_after
        self.arrivals: list[tuple[float, str]] = []
        """When a chat came, and for which model; the refused ones too."""
        self.refused = 0

    def arrive(self, request: Request) -> Fault | None:
        """Count a chat; the refusal when it is one too many."""
        self.arrivals.append((self._clock(), request.model))
        if self._used(request.model) <= self.limit:
            return None
        self.refused += 1
        return Fault.status(429, retry_after=self._retry_after, headers=dict(self.headers(request)))

    def headers(self, request: Request) -> Mapping[str, str]:
        """What is said of the limit now."""
        first = min(
            (at for at, model in self.arrivals if model == request.model and at > self._clock() - self.window), default=0.0
        )
        return self._says(self.limit, max(self.limit - self._used(request.model), 0), first + self.window - self._clock())

    def _used(self, model: str) -> int:
        since = self._clock() - self.window
        return self.others + sum(1 for at, asked in self.arrivals if asked == model and at > since)

    def most(self) -> int:
        """The most chats for one model that came within any stretch of the window."""
        return max((self._within(at, model) for at, model in self.arrivals), default=0)

    def _within(self, at: float, model: str) -> int:
        return sum(1 for other, asked in self.arrivals if asked == model and at - self.window < other <= at)

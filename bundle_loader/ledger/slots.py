"""How many calls are under way at a time: a cap for the host and one for each provider, first come, first served.

1. A call has a place of its provider's and one of the host's, or neither: whoever waits for a provider holds nothing up.
2. Of those who wait, the one that has waited longest and for whom both are free is next: no provider starves another.
3. Places are held by calls, not by delegations: a delegation that waits for its children holds none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from bundle_loader.errors import FailureKind, NotSent
from bundle_loader.routing.candidate import Candidate


@dataclass(slots=True, eq=False)
class _Waiting:
    number: int
    place: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """One provider's calls: those under way, and those that wait, in the order of arrival."""

    most: int | None
    busy: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)

    @property
    def has_room(self) -> bool:
        return self.most is None or self.busy < self.most


class Slots:
    """The places of one host. Belongs to one event loop."""

    def __init__(self, most: int | None = None, each: Mapping[str, int] | None = None) -> None:
        """`most` is the host's cap, `each` has a cap for each provider that has one; None is no cap."""
        self.most = most
        self.each = dict(each or {})
        self.busy = 0
        """Calls under way that count."""
        self._lines: dict[str, _Line] = {}
        self._arrived = 0

    def limits(self, provider: str) -> bool:
        """Whether any cap holds for a provider; where none does, its calls need no place."""
        return self.most is not None or provider in self.each

    def waiting(self, provider: str | None = None) -> int:
        """How many calls wait, for one provider or for all."""
        return sum(len(line.waiting) for id, line in self._lines.items() if provider in (None, id))

    async def take(self, provider: str, within: float | None = None) -> bool:
        """Take a place, at once or in turn; True where it had to be waited for. `give` it back.

        Raises TimeoutError once `within` seconds are over.
        """
        line = self._line(provider)
        # no earlier one can be next: whoever leaves a place looks at all who wait
        if line.has_room and self._has_room:
            self._enter(line)
            return False
        self._arrived += 1
        mine = _Waiting(self._arrived, asyncio.get_running_loop().create_future())
        line.waiting.append(mine)
        try:
            async with asyncio.timeout(within):
                await mine.place
        except BaseException:
            if mine.place.done() and not mine.place.cancelled():
                self.give(provider)
            elif mine in line.waiting:
                line.waiting.remove(mine)
            raise
        return True

    def give(self, provider: str) -> None:
        """Give a place back: it goes to whoever is next."""
        line = self._lines[provider]
        line.busy -= 1
        self.busy -= 1
        self._admit()

    @property
    def _has_room(self) -> bool:
        return self.most is None or self.busy < self.most

    def _line(self, provider: str) -> _Line:
        line = self._lines.get(provider)
        if line is None:
            line = self._lines[provider] = _Line(self.each.get(provider))
        return line

    def _enter(self, line: _Line) -> None:
        line.busy += 1
        self.busy += 1

    def _admit(self) -> None:
        """Sentence 2."""
        while self._has_room:
            free = [line for line in self._lines.values() if line.waiting and line.has_room]
            if not free:
                return
            line = min(free, key=lambda line: line.waiting[0].number)
            following = line.waiting.popleft()
            # its task may have been cancelled, and not have run since
            if not following.place.done():
                self._enter(line)
                following.place.set_result(None)


class Place:
    """The place of one call, until it is left."""

    __slots__ = ("_provider", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._provider: str | None = None

    async def take(self, candidate: Candidate, *waits: float | None) -> bool:
        """Take it, where a cap holds for the provider; True where it had to be waited for, `waits` seconds at most.

        Raises NotSent when the wait is over.
        """
        slots, provider = self._slots, candidate.provider
        if not slots.limits(provider):
            return False
        longest = min((seconds for seconds in waits if seconds is not None), default=None)
        try:
            waited = await slots.take(provider, longest)
        except TimeoutError:
            raise _no_place(slots, candidate, longest or 0.0) from None
        self._provider = provider
        return waited

    def leave(self) -> None:
        """Give it back, where it is held."""
        provider, self._provider = self._provider, None
        if provider is not None:
            self._slots.give(provider)


def _no_place(slots: Slots, candidate: Candidate, seconds: float) -> NotSent:
    """The failure for a call whose turn did not come."""
    provider = candidate.provider
    own = slots.each.get(provider)
    whose = f"of {provider} " if own is not None else ""
    said = f"its turn did not come within {seconds:g} s: {own or slots.most} calls {whose}at a time (max_calls)"
    failure = NotSent(FailureKind.BUSY, provider, said, model=candidate.model)
    failure.why, failure.held = said, True
    return failure

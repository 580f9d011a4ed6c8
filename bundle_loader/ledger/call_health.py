"""What one call has to do with health: whether it may be made, what it is to find out, and what its end says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from bundle_loader.errors import LedgerError, ProviderFailure, Unhealthy
from bundle_loader.ledger.breakers import Breakers, Change
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.ledger.operations import Answer, Open, Refused
from bundle_loader.ledger.refusals import unhealthy
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.standing import Down, Pair


class CallHealth:
    """The health of one call's provider and model, and the ledger that hears of it."""

    def __init__(self, breakers: Breakers, ledger: Ledger, candidate: Candidate, call: str, clock: Callable[[], float]) -> None:
        self._breakers = breakers
        self._ledger = ledger
        self._candidate = candidate
        self._whose = candidate.provider, candidate.model
        self._call = call
        self._clock = clock
        self._probes: tuple[Pair, ...] = ()

    def down(self) -> Unhealthy | None:
        """What stands against the call now."""
        now = self._clock()
        down = self._breakers.against(*self._whose, now)
        return None if down is None else unhealthy(down, self._candidate, now)

    def probe(self) -> tuple[str, ...]:
        """Take on what is to be found out; the keys to lease in the ledger, where others share it."""
        self._probes = self._breakers.due(*self._whose)
        self._breakers.probing(self._probes, self._call, self._clock())
        return tuple(map(self._breakers.key, self._probes)) if self._breakers.shares(self._candidate.provider) else ()

    def held(self, why: str) -> Unhealthy:
        """The failure for a call that could not get its leases."""
        now = self._clock()
        return unhealthy(Down(*self._probes[0], now, why, probing=True), self._candidate, now)

    def refused(self, refused: Refused) -> Unhealthy:
        """The failure for a call that the ledger does not give the leases."""
        now = self._clock()
        pair = next(pair for pair in self._probes if self._breakers.key(pair) == refused.down)
        down = Down(*pair, now + (refused.retry_after or 0.0), refused.reason, refused.held, refused.refuses)
        if not refused.held:
            self._breakers.heard(down, now)
        return unhealthy(down, self._candidate, now)

    def left(self) -> None:
        """The call is not made, or ended without telling anything."""
        self._tell(self._breakers.left(*self._whose, self._call))

    def begun(self) -> None:
        """The first of the answer has come."""
        self._tell(self._breakers.begun(*self._whose, self._call, self._clock()))

    def ended(self, error: BaseException | None, *, settled: bool) -> None:
        """The call ended: with a failure, answered, or left."""
        if isinstance(error, ProviderFailure):  # also of an answer that was paid for and is none
            self._tell(self._breakers.failed(*self._whose, error, self._call, self._clock()))
        elif settled:
            self._tell(self._breakers.answered(*self._whose, self._call, self._clock()))
        else:
            self.left()

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            try:
                written = self._ledger.submit(change)
            except (LedgerError, RuntimeError):  # it is closed, or no loop runs any more
                self._ledger.enter(change)
            else:
                written.add_done_callback(partial(self._written, change))

    def _written(self, change: Change, written: asyncio.Future[Answer]) -> None:
        if not written.cancelled() and written.exception() is None and isinstance(change, Open):
            self._breakers.written(change, self._clock())

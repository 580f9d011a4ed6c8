"""The candidates of one delegation: those still to be tried, and those that it is worth asking again."""

from __future__ import annotations

from typing import Final

from bundle_loader.errors import FailureKind, NotSent, OverBudget, ProviderFailure
from bundle_loader.routing.candidate import Candidate

MOST_WAITS: Final = 3
"""How often one candidate is waited for that failed and said when to come again."""


class Chain:
    """Candidates still to be tried, each once."""

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self.queue = list(candidates)
        self.skipped: list[tuple[Candidate, str]] = []
        self._tried: list[Candidate] = []

    def next(self) -> Candidate | None:
        """The next that was not tried yet."""
        while self.queue:
            candidate = self.queue.pop(0)
            if self.take(candidate):
                return candidate
            self.skipped.append((candidate, "it was tried already"))
        return None

    def instead(self, candidates: tuple[Candidate, ...], *, keep: bool = False) -> Candidate | None:
        """The next, others standing in the queue's place unless it is to be kept."""
        if not keep:
            self.queue = list(candidates)
        return self.next()

    def take(self, candidate: Candidate) -> bool:
        """Note that it is tried; False where it was before."""
        if any(same(candidate, other) for other in self._tried):
            return False
        self._tried.append(candidate)
        return True


class Held:
    """Candidates that it is worth asking again, and when. Time is what is left of the deadline."""

    def __init__(self, waiting: tuple[tuple[Candidate, float], ...], left: float) -> None:
        self._until = [(candidate, left - after) for candidate, after in waiting if after < left]
        self._waits: dict[tuple[str, str], int] = {}
        """How often each was waited for that had said itself when to come again."""
        self._later: float | None = None
        """The soonest that a failure gave beyond the deadline."""
        self._left = left
        self.tier: str | None = None
        """The tier that is to take over, as the first budget that names one has it."""

    def note(self, candidate: Candidate, failure: ProviderFailure, left: float, down: float | None = None) -> None:
        """Take in how a try ended; `down` is when its health lets it be asked again, where that is known."""
        out = failure.kind is FailureKind.REFUSED and failure.scope == "provider"
        self._until = [
            (other, until)
            for other, until in self._until
            if not same(other, candidate) and not (out and other.provider == candidate.provider)
        ]
        if isinstance(failure, OverBudget):
            self.tier = self.tier or failure.emergency
        self._left = left
        found_down = failure.retry_after is None and failure.counts_against_health
        after = down if found_down else failure.retry_after
        if after is None:
            return
        until = left - after
        if until <= 0:
            if found_down or failure.kind in (FailureKind.BUSY, FailureKind.LIMITED):
                self._later = until if self._later is None else max(until, self._later)
        elif found_down or self._worth_it(candidate, failure):
            self._until.append((candidate, until))

    @property
    def after(self) -> float | None:
        """Seconds until the first may be asked that said so for after the deadline."""
        return None if self._later is None else self._left - self._later

    def _worth_it(self, candidate: Candidate, failure: ProviderFailure) -> bool:
        if isinstance(failure, NotSent):
            return True
        if failure.kind not in (FailureKind.BUSY, FailureKind.LIMITED):
            return False
        whose = candidate.provider, candidate.model
        self._waits[whose] = self._waits.get(whose, 0) + 1
        return self._waits[whose] <= MOST_WAITS

    def others(self, candidate: Candidate) -> int:
        """How many there are beside this one."""
        return sum(not same(candidate, other) for other, _ in self._until)

    def soonest(self, left: float) -> tuple[Candidate, float] | None:
        """Whom to ask again first, and after how many seconds."""
        if not self._until:
            return None
        candidate, until = max(self._until, key=lambda pair: pair[1])
        return candidate, max(left - until, 0.0)


def same(one: Candidate, other: Candidate) -> bool:
    """Whether both ask the same model in the same way."""
    return (one.provider, one.model) == (other.provider, other.model) and one.config == other.config

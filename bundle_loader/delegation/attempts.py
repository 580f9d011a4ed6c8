"""The flow of attempts: whom to try next, and what a failure means for it. No I/O, no clock.

A generator that yields `Try` and is sent `Answered` or `Failed`; it returns a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from bundle_loader.errors import FailureKind, OverBudget, ProviderFailure
from bundle_loader.routing.candidate import Candidate

MOST_WAITS: Final = 3
"""How often one candidate, the last that is left, is waited for."""


@dataclass(frozen=True, slots=True)
class Try:
    """Try this candidate, after waiting `wait` seconds; `remaining` come after it."""

    candidate: Candidate
    remaining: tuple[Candidate, ...]
    wait: float = 0.0
    again: bool = False
    """True where a budget or its vendor kept it from answering before, and it was only waited for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The candidate answered."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The candidate failed; `shown` when text of the broken turn was already shown to the caller.

    `left` is what remains of the deadline, in seconds.
    """

    failure: ProviderFailure
    shown: bool
    left: float


class End(StrEnum):
    """How the flow ended."""

    ANSWERED = "answered"
    ALL_FAILED = "all failed"
    STOPPED = "stopped"
    BROKEN = "broken"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the flow; `skipped` are candidates that were never tried, with the reason."""

    end: End
    skipped: tuple[tuple[Candidate, str], ...] = ()


class _Held:
    """Candidates that budgets kept from being tried, and when it is worth asking again. Time is what is left of the deadline."""

    def __init__(self) -> None:
        self._until: list[tuple[Candidate, float]] = []
        self.tier: str | None = None
        """The tier that is to take over, as the first budget that names one has it."""

    def note(self, candidate: Candidate, failure: ProviderFailure, left: float) -> None:
        """Take in how a try ended."""
        out = failure.kind is FailureKind.REFUSED and failure.scope == "provider"
        self._until = [
            (other, until)
            for other, until in self._until
            if not _same(other, candidate) and not (out and other.provider == candidate.provider)
        ]
        if isinstance(failure, OverBudget):
            self.tier = self.tier or failure.emergency
            if failure.retry_after is not None and failure.retry_after < left:
                self._until.append((candidate, left - failure.retry_after))

    def soonest(self, left: float) -> tuple[Candidate, float] | None:
        """Whom to ask again first, and after how many seconds."""
        if not self._until:
            return None
        candidate, until = max(self._until, key=lambda pair: pair[1])
        return candidate, max(left - until, 0.0)


Flow: TypeAlias = Generator[Try, Answered | Failed, Verdict]


def attempts(
    candidates: tuple[Candidate, ...],
    *,
    continue_broken: bool = False,
    content_fallback: Callable[[], tuple[Candidate, ...]] = lambda: (),
    emergency: Callable[[str], tuple[Candidate, ...]] = lambda tier: (),
    over: str | None = None,
) -> Flow:
    """The flow over `candidates`, first to last.

    `content_fallback` is asked once, when a safety system refuses, and is then the whole chain; `continue_broken` lets a
    turn that broke after text was shown start anew on the next candidate. A candidate that a budget holds back is waited
    for once nothing else is left; before that `emergency` is asked once, for the tier that the budget names. `over` is such
    a tier where a budget kept models from being candidates at all.
    """
    chain = _Chain(candidates)
    held = _Held()
    waits, wait, again = 0, 0.0, False
    asked = helped = False
    held.tier = over
    candidate = chain.next()
    if candidate is None and over is not None:
        helped = True
        chain.queue = list(emergency(over))
        candidate = chain.next()
    while candidate is not None:
        answer = yield Try(candidate, tuple(chain.queue), wait, again)
        wait, again = 0.0, False
        if isinstance(answer, Answered):
            return Verdict(End.ANSWERED, tuple(chain.skipped))
        failure = answer.failure
        if answer.left <= 0:
            return Verdict(End.LATE, tuple(chain.skipped))
        if answer.shown and not continue_broken:
            return Verdict(End.BROKEN, tuple(chain.skipped))
        if failure.kind is FailureKind.WRONG_REQUEST:
            return Verdict(End.STOPPED, tuple(chain.skipped))
        if failure.kind is FailureKind.CONTENT_REFUSED:
            chain.queue = chain.queue if asked else list(content_fallback())
            asked = True
            candidate = chain.next()
            if candidate is None:
                return Verdict(End.STOPPED, tuple(chain.skipped))
            continue
        held.note(candidate, failure, answer.left)
        chain.queue = _after(candidate, failure, chain.queue, chain.skipped)
        last, candidate = candidate, chain.next()
        if candidate is None and held.tier is not None and not helped:
            helped = True
            chain.queue = list(emergency(held.tier))
            candidate = chain.next()
        if candidate is None:
            soonest = held.soonest(answer.left)
            if soonest is not None:
                candidate, wait = soonest
            elif _worth_waiting(failure, answer.left) and waits < MOST_WAITS:
                waits += 1
                candidate, wait = last, failure.retry_after or 0.0
            again = candidate is not None
    return Verdict(End.ALL_FAILED, tuple(chain.skipped))


class _Chain:
    """Candidates still to be tried, each once."""

    def __init__(self, candidates: tuple[Candidate, ...]) -> None:
        self.queue = list(candidates)
        self.skipped: list[tuple[Candidate, str]] = []
        self._tried: list[Candidate] = []

    def next(self) -> Candidate | None:
        """The next that was not tried yet."""
        while self.queue:
            candidate = self.queue.pop(0)
            if not any(_same(candidate, other) for other in self._tried):
                self._tried.append(candidate)
                return candidate
            self.skipped.append((candidate, "it was tried already"))
        return None


def _same(one: Candidate, other: Candidate) -> bool:
    return (one.provider, one.model) == (other.provider, other.model) and one.config == other.config


def _after(
    candidate: Candidate, failure: ProviderFailure, queue: list[Candidate], skipped: list[tuple[Candidate, str]]
) -> list[Candidate]:
    """The candidates that are worth trying after this failure, in order; the others are skipped with a reason."""
    if failure.kind is FailureKind.REFUSED and failure.scope == "provider":
        return _without(
            queue, skipped, lambda other: other.provider == candidate.provider, f"{candidate.provider} refused: {failure.message}"
        )
    if failure.kind is FailureKind.UNSUPPORTED:
        return _without(
            queue, skipped, lambda other: other.provider == candidate.provider, f"{candidate.provider} does not take this request"
        )
    if failure.kind is FailureKind.TOO_LONG:
        return _larger(candidate, queue, skipped)
    if failure.kind is FailureKind.REFUSED and failure.status != 403 and candidate.spare is not None:
        # the model is gone: once more, with the next best match of the same preference
        return [replace(candidate, model=candidate.spare.id, info=candidate.spare, spare=None, stands_for=None), *queue]
    return queue


def _without(
    queue: list[Candidate], skipped: list[tuple[Candidate, str]], unwanted: Callable[[Candidate], bool], reason: str
) -> list[Candidate]:
    skipped += [(other, reason) for other in queue if unwanted(other)]
    return [other for other in queue if not unwanted(other)]


def _window(candidate: Candidate) -> int | None:
    return candidate.info.window if candidate.info is not None else None


def _larger(candidate: Candidate, queue: list[Candidate], skipped: list[tuple[Candidate, str]]) -> list[Candidate]:
    """Those with a known larger window first, then those whose window is unknown."""
    size = _window(candidate) or 0
    small = [other for other in queue if (window := _window(other)) is not None and window <= size]
    skipped += [(other, f"its window of {_window(other)} tokens is no larger") for other in small]
    known = [other for other in queue if (_window(other) or 0) > size]
    return known + [other for other in queue if _window(other) is None]


def _worth_waiting(failure: ProviderFailure, left: float) -> bool:
    busy = failure.kind in (FailureKind.BUSY, FailureKind.LIMITED)
    return busy and failure.retry_after is not None and failure.retry_after < left

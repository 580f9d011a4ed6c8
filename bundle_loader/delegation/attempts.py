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
) -> Flow:
    """The flow over `candidates`, first to last.

    `content_fallback` is asked once, when a safety system refuses, and is then the whole chain; `continue_broken` lets a
    turn that broke after text was shown start anew on the next candidate. A candidate that a budget holds back is waited
    for once nothing else is left; before that `emergency` is asked once, for the tier that the budget names.
    """
    queue = list(candidates)
    skipped: list[tuple[Candidate, str]] = []
    tried: list[Candidate] = []
    waits = 0
    wait: float | None = None
    asked = False
    held = _Held()
    helped = False
    while queue:
        candidate = queue.pop(0)
        if wait is None and any(_same(candidate, other) for other in tried):
            skipped.append((candidate, "it was tried already"))
            continue
        tried.append(candidate)
        answer = yield Try(candidate, tuple(queue), wait or 0.0)
        wait = None
        if isinstance(answer, Answered):
            return Verdict(End.ANSWERED, tuple(skipped))
        failure = answer.failure
        if answer.left <= 0:
            return Verdict(End.LATE, tuple(skipped))
        if answer.shown and not continue_broken:
            return Verdict(End.BROKEN, tuple(skipped))
        if failure.kind is FailureKind.WRONG_REQUEST:
            return Verdict(End.STOPPED, tuple(skipped))
        if failure.kind is FailureKind.CONTENT_REFUSED:
            queue = queue if asked else list(content_fallback())
            asked = True
            if not queue:
                return Verdict(End.STOPPED, tuple(skipped))
            continue
        held.note(candidate, failure, answer.left)
        queue = _after(candidate, failure, queue, skipped)
        if not queue and held.tier is not None and not helped:
            helped = True
            queue = list(emergency(held.tier))
        again = held.soonest(answer.left)
        if not queue and again is not None:
            queue, wait = [again[0]], again[1]
        elif not queue and _worth_waiting(failure, answer.left) and waits < MOST_WAITS:
            waits += 1
            wait = failure.retry_after or 0.0
            queue = [candidate]
    return Verdict(End.ALL_FAILED, tuple(skipped))


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

"""The flow of attempts: whom to try next, and what a failure means for it. No I/O, no clock.

A generator that yields `Try` and is sent `Answered` or `Failed`; it returns a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from bundle_loader.delegation.chain import Chain, Held
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.routing.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Try:
    """Try this candidate, after waiting `wait` seconds; `remaining` come after it."""

    candidate: Candidate
    remaining: tuple[Candidate, ...]
    wait: float = 0.0
    again: bool = False
    """True where it was only waited for: a budget, its vendor or its health kept it from answering before."""
    held: int = 0
    """How many besides are worth asking again before the deadline: they are candidates left as well."""


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
    down: float | None = None
    """Seconds until it is asked again, where it is known to be down by now."""


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
    after: float | None = None
    """Seconds until the first that said when to come again may be asked, where that is after the deadline."""


Flow: TypeAlias = Generator[Try, Answered | Failed, Verdict]


def attempts(
    candidates: tuple[Candidate, ...],
    *,
    continue_broken: bool = False,
    content_fallback: Callable[[], tuple[Candidate, ...]] = lambda: (),
    emergency: Callable[[str], tuple[Candidate, ...]] = lambda tier: (),
    over: str | None = None,
    waiting: tuple[tuple[Candidate, float], ...] = (),
    left: float = 0.0,
) -> Flow:
    """The flow over `candidates`, first to last.

    `content_fallback` is asked once, when a safety system refuses, and is then the whole chain; `continue_broken` lets a
    turn that broke after text was shown start anew on the next candidate. Once nothing else is left, what a budget holds
    back, what is down or has turned out to be, and what said itself when to come again is waited for, the soonest first;
    before that `emergency` is asked once, for the tier that the budget names. `over` is such a tier where a budget kept
    models from being candidates at all, `waiting` are models that are down and were none for that, with the seconds until
    they are asked again; `left` is what remains of the deadline.
    """
    chain = Chain(candidates)
    held = Held(waiting, left)
    wait, again = 0.0, False
    asked = helped = False
    held.tier = over
    candidate = chain.next()
    if candidate is None and over is not None:
        helped = True
        candidate = chain.instead(emergency(over))
    if candidate is None and (soonest := held.soonest(left)) is not None:
        candidate, wait = soonest
        chain.take(candidate)
    while candidate is not None:
        answer = yield Try(candidate, tuple(chain.queue), wait, again, held.others(candidate))
        wait, again = 0.0, False
        end = _end(answer, continue_broken)
        if end is not None or isinstance(answer, Answered):
            return Verdict(end or End.ANSWERED, tuple(chain.skipped))
        failure = answer.failure
        if failure.kind is FailureKind.CONTENT_REFUSED:
            candidate = chain.instead(() if asked else content_fallback(), keep=asked)
            asked = True
            if candidate is None:
                return Verdict(End.STOPPED, tuple(chain.skipped))
            continue
        held.note(candidate, failure, answer.left, answer.down)
        chain.queue = _after(candidate, failure, chain.queue, chain.skipped)
        candidate = chain.next()
        if candidate is None and held.tier is not None and not helped:
            helped = True
            candidate = chain.instead(emergency(held.tier))
        if candidate is None:
            soonest = held.soonest(answer.left)
            if soonest is not None:
                candidate, wait = soonest
                again = not chain.take(candidate)
    return Verdict(End.ALL_FAILED, tuple(chain.skipped), held.after)


def _end(answer: Answered | Failed, continue_broken: bool) -> End | None:
    """How the flow ends with this answer, whoever is left; None where it goes on."""
    if isinstance(answer, Answered):
        return End.ANSWERED
    if answer.left <= 0:
        return End.LATE
    if answer.shown and not continue_broken:
        return End.BROKEN
    return End.STOPPED if answer.failure.kind is FailureKind.WRONG_REQUEST else None


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
    if failure.model_gone and candidate.spare is not None:
        # once more, with the next best match of the same preference
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

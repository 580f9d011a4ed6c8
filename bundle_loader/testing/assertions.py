"""What a test asserts of routes, attempts, events and requests; what fails prints what there was."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

from bundle_loader.delegation.result import Attempt, DelegationResult
from bundle_loader.errors import NoAnswer
from bundle_loader.events import TextEvent
from bundle_loader.routing.candidate import Route
from bundle_loader.testing.script import Asked

T = TypeVar("T")


class _HasAsked(Protocol):
    @property
    def asked(self) -> tuple[Asked, ...]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """An event that is waited for. See `event`."""

    kind: type
    holds: Callable[[Any], object] | None
    fields: Mapping[str, Any]

    def meets(self, found: Any) -> bool:
        """Whether it is one."""
        if not isinstance(found, self.kind) or (self.holds is not None and not self.holds(found)):
            return False
        return all(_meets(value, getattr(found, name)) for name, value in self.fields.items())

    def __str__(self) -> str:
        said = [f"{name}={value!r}" for name, value in self.fields.items()]
        return f"{self.kind.__name__}({', '.join([*said, '...'] if self.holds else said)})"


def event(kind: type, holds: Callable[[Any], object] | None = None, /, **fields: Any) -> Wanted:
    """An event of that type with these fields: a value to be equal to, or a compiled pattern to be found in it.

    `holds` is a function of the event for all else: `event(ToolEvent, lambda it: it.call.name == "read_file")`. Raises TypeError
    for a field that the type does not have.
    """
    known = getattr(kind, "__dataclass_fields__", {})
    for name in fields:
        if name not in known:
            raise TypeError(f"a {kind.__name__} has no '{name}'; it has {', '.join(known)}")
    return Wanted(kind, holds, fields)


def assert_route(
    found: Route | DelegationResult,
    *candidates: str,
    rejected: Mapping[str, str] | None = None,
    decided_by: str | None = None,
    tier: str | None = None,
) -> None:
    """The candidates, each as `provider/glob`, all of them and in order.

    `rejected` gives rejections (as they were preferred, or globs of that) and words of their reasons; there may be others.
    `decided_by` is caller, step, pin, agent, bundle or parent.
    """
    route = found.route if isinstance(found, DelegationResult) else found
    ids = [f"{candidate.provider}/{candidate.model}" for candidate in route.candidates]
    problems = _in_order("candidate", candidates, ids)
    for pattern, words in (rejected or {}).items():
        reasons = [one.reason for one in route.rejections if _fits(f"{one.provider}/{one.model}", pattern)]
        if not reasons:
            problems.append(f"{pattern} was not rejected")
        elif not any(words in reason for reason in reasons):
            problems.append(f"{pattern} was rejected, but not for {words!r}")
    for name, wanted, had in (("decided_by", decided_by, str(route.decided_by)), ("tier", tier, route.tier)):
        if wanted is not None and wanted != had:
            problems.append(f"{name} is {had!r}, not {wanted!r}")
    _fail(problems, str(route))


def assert_attempts(found: DelegationResult | NoAnswer, *attempts: str) -> None:
    """What was tried, all of it and in order: `"provider/glob outcome"`, then words of its kind or reason.

    `assert_attempts(result, "anthropic/* failed busy", "openai/gpt-* answered")`. Takes the error of a delegation, too.
    """
    problems = [] if len(found.attempts) == len(attempts) else [f"{len(found.attempts)} attempts, not {len(attempts)}"]
    for number, (attempt, said) in enumerate(zip(found.attempts, attempts, strict=False), start=1):
        pattern, _, words = said.partition(" ")
        outcome, _, why = words.partition(" ")
        if not _fits(f"{attempt.provider}/{attempt.model}", pattern):
            problems.append(f"attempt {number} is of {attempt.provider}/{attempt.model}, not of {pattern}")
        if outcome and attempt.outcome != outcome:
            problems.append(f"attempt {number} {attempt.outcome}, not {outcome}")
        if why and why not in _why(attempt):
            problems.append(f"attempt {number} does not say {why!r}")
    _fail(problems, "\n".join(map(str, found.attempts)) or "(nothing was tried)")


def assert_events(events: Iterable[Any], *wanted: type | Wanted, only: bool = False) -> None:
    """These events, in this order, with any others between them; with `only`, no others.

    Pieces of text that follow one another are one `TextEvent` here.
    """
    found = _whole(events)
    wishes = [one if isinstance(one, Wanted) else Wanted(one, None, {}) for one in wanted]
    problems, place = [], 0
    for wish in wishes:
        after = next((index for index in range(place, len(found)) if wish.meets(found[index])), None)
        if after is None:
            earlier = any(wish.meets(one) for one in found[:place])
            problems.append(f"no {wish}" + (" after those before it" if place else "") + (", only earlier" if earlier else ""))
            break
        place = after + 1
    if only and not problems and len(found) != len(wishes):
        problems.append(f"{len(found)} events, not {len(wishes)}")
    _fail(problems, "\n".join(_short(one) for one in found) or "(no events)")


def assert_asked(host: _HasAsked, *models: str) -> None:
    """The models that were asked, as `provider/glob`, one for each request, all of them and in order."""
    asked = host.asked
    problems = _in_order("request", models, [f"{one.provider}/{one.model}" for one in asked])
    _fail(problems, "\n".join(map(str, asked)) or "(nothing was asked)")


async def collected(events: AsyncIterable[T]) -> list[T]:
    """All events of a stream: `events = await collected(host.stream("git-ops", "Commit"))`."""
    return [one async for one in events]


def _whole(events: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for one in events:
        if isinstance(one, TextEvent) and found and isinstance(found[-1], TextEvent):
            found[-1] = TextEvent(found[-1].text + one.text)
        else:
            found.append(one)
    return found


def _in_order(what: str, wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    problems = [] if len(found) == len(wanted) else [f"{len(found)} {what}s, not {len(wanted)}"]
    for number, (id, pattern) in enumerate(zip(found, wanted, strict=False), start=1):
        if not _fits(id, pattern):
            problems.append(f"{what} {number} is {id}, not {pattern}")
    return problems


def _fits(id: str, pattern: str) -> bool:
    return id == pattern or fnmatchcase(id.lower(), pattern.lower())


def _meets(wanted: Any, found: Any) -> bool:
    return bool(wanted.search(str(found))) if isinstance(wanted, re.Pattern) else bool(wanted == found)


def _why(attempt: Attempt) -> str:
    return f"{attempt.kind or ''} {attempt.reason or ''}"


def _short(found: Any) -> str:
    said = repr(found)
    return f"{said[:300]}…" if len(said) > 300 else said


def _fail(problems: Sequence[str], there: str) -> None:
    if problems:
        raise AssertionError("\n".join([*problems, "there was:", there]))

"""What simulated models answer in a test: in order, by turn, by model or by a function, and what was not foreseen."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol, TypeAlias

from bundle_loader.errors import FailureKind, NoAnswer, ProviderFailure
from bundle_loader.messages import Message, Text, ToolCall, ToolResult
from bundle_loader.providers.base import ChatRequest
from bundle_loader.providers.simulated import Reply

_QUOTED: Final = 200


class ScriptError(AssertionError):
    """A test did not go by its script: a request that it did not foresee, or an answer that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that a scripted provider got."""

    provider: str
    request: ChatRequest

    @property
    def model(self) -> str:
        """The concrete model."""
        return self.request.model

    @property
    def said(self) -> str:
        """The words of the last message, results of tools included."""
        return _words(self.request.messages[-1]) if self.request.messages else ""

    def __str__(self) -> str:
        line = " ".join(self.said.split())
        short = f"{line[:_QUOTED]}…" if len(line) > _QUOTED else line
        return f"{self.provider}/{self.model}, turn {turn_of(self.request)}: {short!r}"


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer that is only given to the request that it is meant for. See `expecting`."""

    what: str | Callable[[ChatRequest], object]
    answer: One


@dataclass(frozen=True, slots=True)
class ByTurn:
    """Answers by the number of the turn. See `by_turn`."""

    answers: tuple[One, ...]


Answers: TypeAlias = "str | Reply | Awaitable[str | Reply]"
One: TypeAlias = "str | Reply | Expected | Callable[[ChatRequest], Answers]"
Plan: TypeAlias = "One | ByTurn | Sequence[One] | Mapping[str, Plan]"
"""What a script may be. A list is used once, in order; everything else answers as often as it is asked."""


def expecting(what: str | Callable[[ChatRequest], object], answer: One) -> Expected:
    """`answer`, for a request whose last message holds the words `what`, or for which the function `what` is not False.

    Any other request breaks the script; so does an AssertionError of the function, with its words.
    """
    return Expected(what, answer)


def by_turn(*answers: One) -> ByTurn:
    """The first answer for the first turn of every conversation, the second for the second, and so on.

    A turn is counted from the user's last message. For conversations that run side by side, where one order for all of their
    requests would be a matter of chance.
    """
    return ByTurn(answers)


def turn_of(request: ChatRequest) -> int:
    """Which turn the request is for: 1 plus the model's messages after the user's last one."""
    turns = 0
    for message in reversed(request.messages):
        if message.role == "user":
            break
        turns += message.role == "assistant"
    return turns + 1


class Book:
    """The scripts of one test: every request in order, and everything that did not go by them."""

    def __init__(self, plans: Mapping[str, Plan], *, allow_unused: bool = False) -> None:
        self.asked: list[Asked] = []
        self.problems: list[str] = []
        self._allow_unused = allow_unused
        self._plans = {provider: _planned(plan) for provider, plan in plans.items()}

    def answer(self, provider: str) -> Callable[[ChatRequest], Awaitable[Reply]]:
        """What a simulated provider is given as its `answer`."""

        async def answered(request: ChatRequest) -> Reply:
            asked = Asked(provider, request)
            self.asked.append(asked)
            try:
                return await _given(self._plans[provider].next(request), request)
            except _OffScriptError as error:
                raise self._broken(provider, request, f"{error}; request {len(self.asked)} was {asked}") from None
            except ProviderFailure:
                raise
            except Exception as error:  # a test's own function may raise anything
                what = f"its function raised {type(error).__name__}: {error}; request {len(self.asked)} was {asked}"
                raise self._broken(provider, request, what) from error

        return answered

    def _broken(self, provider: str, request: ChatRequest, what: str) -> ProviderFailure:
        """A failure that no other candidate mends, so that a test ends where it left its script."""
        problem = f"the script of {provider}: {what}"
        self.problems.append(problem)
        return ProviderFailure(FailureKind.WRONG_REQUEST, provider, problem, model=request.model)

    def unused(self) -> list[str]:
        """What is left of the lists, in words."""
        return [
            f"the script of {provider}: {left} {'answer was' if left == 1 else 'answers were'} never asked for{where}"
            for provider, plan in self._plans.items()
            for where, left in plan.left()
        ]

    def close(self, error: BaseException | None) -> None:
        """The end of a test that ended in `error`. Raises ScriptError for what did not go by the scripts.

        A test's own error goes on as it is, with what went wrong before it as a note.
        """
        problems = self.problems if error is not None or self._allow_unused else [*self.problems, *self.unused()]
        if problems and (error is None or isinstance(error, NoAnswer)):
            raise ScriptError("\n".join(problems)) from error
        if problems and error is not None:
            error.add_note("\n".join(problems))


class _OffScriptError(Exception):
    """A request for which there is no answer."""


class _Planned(Protocol):
    def next(self, request: ChatRequest) -> One: ...

    def left(self) -> list[tuple[str, int]]:
        """Where answers of a list are left, and how many."""
        ...


class _Always:
    def __init__(self, answer: One) -> None:
        self._answer = answer

    def next(self, request: ChatRequest) -> One:
        return self._answer

    def left(self) -> list[tuple[str, int]]:
        return []


class _InOrder:
    def __init__(self, answers: Sequence[One]) -> None:
        self._left = deque(answers)
        self._had = len(answers)

    def next(self, request: ChatRequest) -> One:
        if self._left:
            return self._left.popleft()
        if not self._had:
            raise _OffScriptError("it was not to be asked at all")
        raise _OffScriptError(f"all of its {self._had} answers are given")

    def left(self) -> list[tuple[str, int]]:
        return [("", len(self._left))] if self._left else []


class _ByTurn:
    def __init__(self, answers: Sequence[One]) -> None:
        self._answers = answers

    def next(self, request: ChatRequest) -> One:
        turn = turn_of(request)
        if turn > len(self._answers):
            raise _OffScriptError(f"it has no answer for turn {turn}, only for {len(self._answers)}")
        return self._answers[turn - 1]

    def left(self) -> list[tuple[str, int]]:
        return []


class _ByModel:
    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._plans = {pattern: _planned(plan) for pattern, plan in plans.items()}

    def next(self, request: ChatRequest) -> One:
        for pattern, plan in self._plans.items():
            if fnmatchcase(request.model.lower(), pattern.lower()):
                return plan.next(request)
        raise _OffScriptError(f"it is for the models {', '.join(self._plans) or 'none'}, not for {request.model}")

    def left(self) -> list[tuple[str, int]]:
        found = [(pattern, where, left) for pattern, plan in self._plans.items() for where, left in plan.left()]
        return [(f" by {pattern}{where}", left) for pattern, where, left in found]


def _planned(plan: Any) -> _Planned:
    if isinstance(plan, ByTurn):
        return _ByTurn([_one(answer) for answer in plan.answers])
    if isinstance(plan, Mapping):
        return _ByModel(plan)
    if isinstance(plan, Sequence) and not isinstance(plan, str):
        return _InOrder([_one(answer) for answer in plan])
    return _Always(_one(plan))


def _one(answer: Any) -> One:
    if isinstance(answer, Expected):
        _one(answer.answer)
    elif not (isinstance(answer, (str, Reply)) or callable(answer)):
        raise TypeError(f"an answer is a text, a Reply, expecting(...) or a function of the request, not {answer!r}")
    found: One = answer
    return found


async def _given(answer: One, request: ChatRequest) -> Reply:
    while isinstance(answer, Expected):
        _meets(answer.what, request)
        answer = answer.answer
    given = answer if isinstance(answer, (str, Reply)) else answer(request)
    if inspect.isawaitable(given):
        given = await given
    if not isinstance(given, (str, Reply)):
        raise _OffScriptError(f"its function gave a {type(given).__name__}, not a text or a Reply")
    return Reply(given) if isinstance(given, str) else given


def _meets(what: str | Callable[[ChatRequest], object], request: ChatRequest) -> None:
    if isinstance(what, str):
        if what not in (_words(request.messages[-1]) if request.messages else ""):
            raise _OffScriptError(f"it expected to be asked {what!r}")
        return
    try:
        held = what(request)
    except AssertionError as error:
        raise _OffScriptError(f"it expected another request ({error or what.__name__})") from None
    if held is False:
        raise _OffScriptError(f"it expected another request ({getattr(what, '__name__', 'a function')} is False)")


def _words(message: Message) -> str:
    """What a message says: text, what tools gave back, and which tools it asks for."""
    said = []
    for part in message.parts:
        if isinstance(part, (Text, ToolResult)):
            said.append(part.text)
        elif isinstance(part, ToolCall):
            said.append(part.name)
    return "\n".join(said)

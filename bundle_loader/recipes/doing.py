"""What loops, groups and recipes ask of whoever does steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Protocol, TypeVar

from bundle_loader.declared.recipe import Recipe, Step
from bundle_loader.errors import StepFailed
from bundle_loader.recipes.context import Context
from bundle_loader.recipes.done import Ended
from bundle_loader.recipes.failures import EndsHere, Waits
from bundle_loader.recipes.scope import Frame, Scope

T = TypeVar("T")


class Doer(Protocol):
    """Does steps, one by one, each with all that is said of it."""

    ctx: Context

    async def do(self, step: Step, frame: Frame) -> Ended:
        """A step with its condition and loop; its variables are in the frame's scope afterwards."""
        ...

    async def element(self, step: Step, frame: Frame, id: str, *, alone: bool) -> Ended:
        """What a step does, once, with retries; `alone` where it is no round of a loop."""
        ...

    async def skip(self, step: Step, frame: Frame, id: str, why: str, *, blocked: bool = False) -> Ended:
        """Leave a step out; `blocked` where those that need it are left out too."""
        ...

    async def recipe(self, recipe: Recipe, frame: Frame) -> list[Ended]:
        """All stages of a recipe; what came of its steps."""
        ...


async def in_order(doer: Doer, steps: Sequence[Step], frame: Frame, goto: str | None = None) -> tuple[list[Ended], str | None]:
    """Steps one after the other; with `goto` only from that one on. What came of each, and a step that is led to after them."""
    done = []
    for step in steps:
        if goto is not None and step.id != goto:
            done.append(await doer.skip(step, frame, frame.position(step), f"left out on the way to '{goto}'", blocked=True))
            continue
        goto = None
        ended = await doer.do(step, frame)
        goto = ended.goto
        done.append(ended)
    return done, goto


async def together(work: Iterable[Callable[[], Awaitable[T]]], limit: int | None) -> list[T]:
    """All of it at the same time, at most so much at once; what it gives, in order.

    Once one fails nothing more is begun; what is under way is finished first, so that what it cost is not lost.
    """
    gate = asyncio.Semaphore(limit) if limit is not None else nullcontext()
    ended: list[BaseException] = []

    async def one(begin: Callable[[], Awaitable[T]]) -> T | None:
        async with gate:
            if ended:
                return None
            try:
                return await begin()
            except Waits:
                raise
            except BaseException as error:
                ended.append(error)
                raise

    tasks = [asyncio.ensure_future(one(begin)) for begin in work]
    try:
        found = await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    wrong = [error for error in found if isinstance(error, BaseException)]
    if wrong:
        raise min(wrong, key=_weight)
    return [part for part in found if not isinstance(part, BaseException) and part is not None]


def _weight(error: BaseException) -> int:
    """Which of several comes first: what concerns the whole run, then failures, an early end, and who waits."""
    for weight, kind in enumerate((StepFailed, EndsHere, Waits), start=1):
        if isinstance(error, kind):
            return weight
    return 0


def merged(frame: Frame, scopes: Iterable[Scope], without: str | None = None) -> None:
    """What parts have set each for themselves, into the frame's scope, in their order."""
    for scope in scopes:
        frame.scope.take({name: value for name, value in scope.names.items() if name != without}, scope.outcomes)

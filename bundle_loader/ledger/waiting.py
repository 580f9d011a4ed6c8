"""What is asked of a ledger, and who waits for it in which event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.operations import Answer, Operation


@dataclass(slots=True, eq=False)
class Item:
    """One operation, and who waits for it: a future of a loop, or nobody."""

    operation: Operation
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Answer] | None = None
    answer: Answer = None
    """What came of it, once it is committed."""
    left: bool = False
    """Whoever waited is gone."""


_T = TypeVar("_T")


def taken(queue: deque[_T]) -> list[_T]:
    """Everything in a queue to which others add meanwhile."""
    found: list[_T] = []
    with suppress(IndexError):
        while True:
            found.append(queue.popleft())
    return found


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def resolve(done: Iterable[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
    """Tell those who wait in this thread's loop."""
    for future, answer in done:
        if not future.done():
            if isinstance(answer, Exception):
                future.set_exception(answer if isinstance(answer, LedgerError) else LedgerError(str(answer)))
            else:
                future.set_result(answer)

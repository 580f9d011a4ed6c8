"""Work of somebody else's code, awaited so that whatever it does ends in a value or an exception, in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bundle_loader.providers.base import Provider
from bundle_loader.providers.faults import words_of

logger = logging.getLogger("bundle_loader")

_T = TypeVar("_T")
CLOSING: Final = 5.0
"""Seconds that what is under way may take to end when a host closes."""
_MOMENT: Final = 0.2
"""Seconds in which what is cancelled can give its connection back."""


class Ended(Exception):
    """It raised what is no error but would end more than itself: the message says what."""


class TooLong(Exception):
    """It did not come to an end in time."""


async def guarded(work: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    """What the work gives. Raises TooLong, Ended, or the exception that it raised.

    1. An exception of the work goes through.
    2. What else it raises (a cancellation of its own making, `SystemExit`, ...) is `Ended`.
    3. After `seconds` it is cancelled, and waited for no longer than a moment: it may swallow that.
    4. A cancellation of whoever asks goes through, and cancels the work in the same way.
    """
    task = asyncio.ensure_future(_caught(work))
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        ended = task.done()
        if not ended:
            task.cancel()
            await asyncio.wait([task], timeout=_MOMENT)
    if not ended:
        raise TooLong
    if task.cancelled():
        raise Ended("it was cancelled")
    value, raised = task.result()
    if raised is not None:
        raise raised
    return value  # type: ignore[return-value]


async def close(provider: Provider) -> None:
    """Close a provider; one that cannot be closed in time, or at all, is only logged, so that others are closed as well."""
    try:
        await guarded(lambda: provider.aclose(), CLOSING)
    except TooLong:
        logger.warning("a provider could not be closed within %g s", CLOSING)
    except Exception as error:  # noqa: BLE001 - a host's own provider may raise anything
        logger.warning("a provider could not be closed: %s", words_of(error))


async def _caught(work: Callable[[], Awaitable[_T]]) -> tuple[_T | None, Exception | None]:
    """In a task of its own: a loop ends where one of its tasks raises SystemExit."""
    try:
        return await work(), None
    except GeneratorExit:
        raise
    except Exception as error:  # noqa: BLE001 - it is handed on to whoever asked
        return None, error
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return None, Ended(f"it raised {type(error).__name__}")

"""Blocking tools run in threads of their own, which hold up neither the event loop nor the end of the process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


async def in_thread(function: Callable[..., Any], given: tuple[Any, ...], arguments: dict[str, Any]) -> Any:
    """What the function gives back or raises.

    A thread cannot be stopped: who is cancelled goes on at once, and the function runs to its end unheard. `asyncio.to_thread`
    is not used, since its threads are waited for when the loop ends, and a few that hang would keep all others from running.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            value, error = context.run(function, *given, **arguments), None
        except BaseException as raised:  # noqa: BLE001 - it belongs to who waits
            value, error = None, raised
        # the loop may be closed by now
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, waiter, value, error)

    threading.Thread(target=work, name=f"tool {getattr(function, '__name__', '')}", daemon=True).start()
    return await waiter


def _tell(waiter: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(value)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        waiter.set_exception(error)
    else:
        # neither may be raised from a future, or would end the loop
        waiter.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

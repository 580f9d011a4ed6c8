"""SDKs imported beside the event loop, which goes on meanwhile: one after another, each once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final, TypeAlias

_Modules: TypeAlias = tuple[str, ...]

_IMPORTING: Final = threading.Lock()
"""Two imports at once are no faster, as both need the interpreter; done in turn, the first SDK asks its server meanwhile."""
_GUARD: Final = threading.Lock()
_running: dict[_Modules, _Import] = {}
_done: set[_Modules] = set()


async def imported(sdk: str, later: Sequence[str] = ()) -> None:
    """Return once the SDK is imported, and of `later`, what it would itself import later, all that is installed.

    Whoever is cancelled takes nothing from the others. Raises what the SDK's import raises; the next call tries again.
    """
    modules = (sdk, *later)
    if modules not in _done:
        await _import(modules).wait()


def _import(modules: _Modules) -> _Import:
    """The import that is under way, begun where none is."""
    with _GUARD:
        found = _running.get(modules)
        if found is None:
            found = _running[modules] = _Import(modules)
            found.start()
        return found


class _Import(threading.Thread):
    """One import, and the loops that wait for it."""

    def __init__(self, modules: _Modules) -> None:
        super().__init__(name=f"import {modules[0]}")
        self._modules = modules
        self._error: BaseException | None = None
        self._over = False
        self._waiting: list[asyncio.Future[None]] = []

    def run(self) -> None:
        try:
            with _IMPORTING:
                import_module(self._modules[0])
                for name in self._modules[1:]:
                    with suppress(ModuleNotFoundError):
                        import_module(name)
        except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
            self._error = error
        with _GUARD:
            self._over = True
            del _running[self._modules]
            if self._error is None:
                _done.add(self._modules)
        for waiter in self._waiting:
            # the loop of one who has stopped waiting may be closed
            with suppress(RuntimeError):
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)

    async def wait(self) -> None:
        """Until it is over, in any loop. Raises what it raised."""
        with _GUARD:
            waiter = None if self._over else asyncio.get_running_loop().create_future()
            if waiter is not None:
                self._waiting.append(waiter)
        if waiter is not None:
            await waiter
        if self._error is not None:
            raise self._error


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

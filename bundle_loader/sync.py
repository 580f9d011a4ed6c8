"""The synchronous twin of `Host`: one background loop thread, the same methods without `await`."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import aclosing
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from bundle_loader.delegation.hosted_tool import HostedTool, SyncHostedTool
from bundle_loader.delegation.result import DelegationResult, StreamEvent
from bundle_loader.delegation.sessions import Sessions
from bundle_loader.errors import RequestError
from bundle_loader.host import Host
from bundle_loader.ledger.ledger import Ledger
from bundle_loader.recipes.past import PastRun
from bundle_loader.recipes.result import RunEvent, RunResult
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.offer import Offers

T = TypeVar("T")
E = TypeVar("E")


class SyncHost:
    """`with SyncHost(bundle) as host: host.delegate("git-ops", "...")`. Takes the arguments of `Host`; usable from any thread."""

    kind: ClassVar[type[Host]] = Host
    """The class of the host that does the work."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._host = self.kind(*args, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SyncHost:
        if self._thread is not None:
            raise RequestError("this host is already open")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="bundle-loader", daemon=True)
        self._thread.start()
        try:
            self._run(self._host.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what still runs (its callers get `concurrent.futures.CancelledError`), close connections, commit the ledger.

        Safe to call twice.
        """
        if self._thread is not None:
            try:
                self._run(self._finish())
            finally:
                self._stop()

    async def _finish(self) -> None:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._host.aclose()

    def _stop(self) -> None:
        thread, self._thread = self._thread, None
        loop, self._loop = self._loop, None
        assert thread is not None
        assert loop is not None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop's thread; interrupting the caller cancels the work."""
        if self._loop is None:
            work.close()
            raise RequestError("the host is not open; use 'with SyncHost(...) as host'")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def ledger(self) -> Ledger:
        """The ledger of this host; usable while it is open."""
        return self._host.ledger

    def route(self, agent: str, **choice: Any) -> Route:
        """See `Host.route`."""
        return self._run(self._host.route(agent, **choice))

    def delegate(self, agent: str, text: str, **given: Any) -> DelegationResult:
        """See `Host.delegate`."""
        return self._run(self._host.delegate(agent, text, **given))

    def delegate_tool(self, **given: Any) -> SyncHostedTool:
        """See `Host.delegate_tool`."""

        async def made() -> HostedTool:
            return self._host.delegate_tool(**given)

        return SyncHostedTool(self._run(made()), self._run)

    @property
    def sessions(self) -> Sessions | None:
        """See `Host.sessions`."""
        return self._host.sessions

    def offers(self, providers: list[str] | None = None) -> Offers:
        """See `Host.offers`."""
        return self._run(self._host.offers(providers))

    def refresh(self, providers: list[str] | None = None) -> Offers:
        """See `Host.refresh`."""
        return self._run(self._host.refresh(providers))

    def stream(self, agent: str, text: str, **given: Any) -> Iterator[StreamEvent]:
        """See `Host.stream`. Leaving the loop early cancels the delegation."""
        return self._iterate(lambda: self._host.stream(agent, text, **given))

    # --- recipes

    def run(self, recipe: Any, variables: Mapping[str, Any] | None = None, **options: Any) -> RunResult:
        """See `Host.run`."""
        return self._run(self._host.run(recipe, variables, **options))

    def stream_run(self, recipe: Any, variables: Mapping[str, Any] | None = None, **options: Any) -> Iterator[RunEvent]:
        """See `Host.stream_run`. Leaving the loop early cancels the run, which can be gone on with."""
        return self._iterate(lambda: self._host.stream_run(recipe, variables, **options))

    def resume_run(self, id: str, **options: Any) -> RunResult:
        """See `Host.resume_run`."""
        return self._run(self._host.resume_run(id, **options))

    def stream_resumed(self, id: str, **options: Any) -> Iterator[RunEvent]:
        """See `Host.stream_resumed`."""
        return self._iterate(lambda: self._host.stream_resumed(id, **options))

    def approve_run(self, id: str, yes: bool = True, note: str | None = None, *, step: str | None = None) -> str:
        """See `Host.approve_run`."""
        return self._run(self._host.approve_run(id, yes, note, step=step))

    def past_run(self, id: str) -> PastRun:
        """See `Host.past_run`."""
        return self._host.past_run(id)

    def _iterate(self, begin: Callable[[], AsyncGenerator[E, None]]) -> Iterator[E]:
        """The events of an asynchronous stream, which runs on the loop's thread as long as somebody takes them."""
        events: queue.SimpleQueue[E | BaseException | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with aclosing(begin()) as stream:
                    async for event in stream:
                        events.put(event)
                events.put(None)
            except asyncio.CancelledError:
                events.put(CancelledError())  # what a cancelled `delegate` raises in a thread
                raise
            except BaseException as error:
                events.put(error)
                raise

        if self._loop is None:
            raise RequestError("the host is not open; use 'with SyncHost(...) as host'")
        future = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            future.cancel()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, and end it here: the caller's thread may have a loop of its own."""
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()

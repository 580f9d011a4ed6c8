"""The ledger of one process: what is asked of it is queued, and carried out in batches by one writer thread."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.operations import (
    Answer,
    Append,
    Close,
    Correct,
    Granted,
    Operation,
    Refused,
    Reserve,
    Settle,
    Settled,
    Storage,
)
from bundle_loader.ledger.records import Record, from_pico
from bundle_loader.ledger.store import LEASE, SqliteStorage

_GATHER: Final = 0.02
"""Seconds for which the writer lets records gather when nobody waits for them; what a killed process can lose of those."""

_Waiter: TypeAlias = "tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]"
_Item: TypeAlias = "tuple[Operation, _Waiter | None] | threading.Event | None"


class Ledger:
    """Every call, attempt and delegation, and the accounts that budgets are kept by.

    `append` never waits for the disk; `reserve` and `settle` return once they are committed; reading and `close` see all that
    was asked before. `lease` is the number of seconds after which a process that died has lost what it held.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Callable[[], float] = time.time,
        lease: float = LEASE,
        storage: Storage | None = None,
    ) -> None:
        self.path = Path(path)
        self.clock = clock
        self._store = storage or SqliteStorage(self.path, lease=lease)
        self._renew_every = lease / 3
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._hurry = threading.Event()
        """Set when somebody waits for the batch."""
        self._failure: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="bundle-loader-ledger", daemon=True)
        self._thread.start()

    # --- writing

    def append(self, record: Record) -> None:
        """Queue one record."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        self._queue.put((Append(record), None))

    def enter(self, operation: Correct | Close) -> None:
        """Queue what a vendor said of its limits."""
        if not self._closed:
            self._queue.put((operation, None))

    def submit(self, operation: Operation) -> asyncio.Future[Answer]:
        """Queue an operation; the future is done once it is committed. Raises LedgerError through it."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.put((operation, (loop, future)))
        self._hurry.set()
        return future

    async def reserve(self, asked: Reserve) -> Granted | Refused:
        """Take the worst case of a call from its accounts. Leaving while waiting gives it back."""
        future = self.submit(asked)
        try:
            answer = await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: self._unwanted(asked, done))
            raise
        assert isinstance(answer, (Granted, Refused))
        return answer

    def _unwanted(self, asked: Reserve, done: asyncio.Future[Answer]) -> None:
        granted = None if done.cancelled() or done.exception() else done.result()
        if isinstance(granted, Granted) and not self._closed:
            self._queue.put((Settle(asked.id, asked.charges(granted.tokens)), None))

    async def settle(self, asked: Settle) -> Settled:
        """Enter what a call used. It is entered even when whoever waits leaves."""
        answer = await asyncio.shield(self.submit(asked))
        assert isinstance(answer, Settled)
        return answer

    def flush(self) -> None:
        """Return once all that was asked before is committed. Raises LedgerError when the file could not be written."""
        if not self._closed:
            done = threading.Event()
            self._queue.put(done)
            self._hurry.set()
            done.wait()
        if self._failure is not None:
            raise LedgerError(f"the ledger {self.path} could not be written: {self._failure}")

    def close(self) -> None:
        """Commit what is queued, give back what is held and close the file. Safe to call twice."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self._closed = True
            self._queue.put(None)
            self._hurry.set()
            self._thread.join()
            self._store.close()

    # --- reading

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one of the storage's questions, over all that was asked before."""
        self.flush()
        return self._store.query(name, parameters)

    def delegations(self, limit: int = 50, *, bundle: str | None = None, since: float | None = None) -> list[dict[str, Any]]:
        """The newest delegations (of one bundle, by its name) with their own tokens and cost, newest first."""
        return [costed(row) for row in self.query("delegations", limit=limit, bundle=bundle, since=since)]

    def attempts(self, delegation: str) -> list[dict[str, Any]]:
        """The attempts of one delegation, in order."""
        return self.query("attempts", delegation=delegation)

    def calls(self, delegation: str | None = None) -> list[dict[str, Any]]:
        """The calls of one delegation, or all, oldest first."""
        return [costed(row) for row in self.query("calls", delegation=delegation)]

    def totals(
        self, by: str = "agent", *, simulated: bool = False, bundle: str | None = None, since: float | None = None
    ) -> list[dict[str, Any]]:
        """Calls, tokens, cost and mean latency by `agent`, `model`, `provider`, `tier`, `family`, `profile` or `day`."""
        rows = self.query(f"totals by {by}", simulated=int(simulated), bundle=bundle, since=since)
        return [costed(row) for row in rows]

    # --- the writer

    def _write(self) -> None:
        stop = False
        renewed = 0.0
        while not stop:
            batch: list[tuple[Operation, _Waiter | None]] = []
            waiting: list[threading.Event] = []
            try:
                item = self._queue.get(timeout=self._renew_every)
                # asleep while the batch grows: waking for each record would take the interpreter away from the event loop
                self._hurry.wait(_GATHER)
                self._hurry.clear()
                while True:
                    if item is None:
                        stop = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        batch.append(item)
                    item = self._queue.get_nowait()
            except queue.Empty:
                pass
            self._commit(batch)
            now = self.clock()
            if now - renewed >= self._renew_every:
                self._store.renew(now)
                renewed = now
            for event in waiting:
                event.set()
        with suppress(LedgerError):
            self._store.release()

    def _commit(self, batch: list[tuple[Operation, _Waiter | None]]) -> None:
        if not batch:
            return
        failure: Exception | None = None
        answers: list[Answer] = []
        try:
            answers = self._store.run([operation for operation, _ in batch], self.clock())
        except Exception as error:  # noqa: BLE001 - the thread must live on; whoever waits, flush() and close() raise it
            failure = self._failure = error
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer]]] = {}
        for index, (_, waiter) in enumerate(batch):
            if waiter is not None:
                by_loop.setdefault(waiter[0], []).append((waiter[1], None if failure else answers[index]))
        for loop, done in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, done, failure)


def _resolve(done: Iterable[tuple[asyncio.Future[Answer], Answer]], failure: Exception | None) -> None:
    for future, answer in done:
        if not future.done():
            if failure is None:
                future.set_result(answer)
            else:
                future.set_exception(failure if isinstance(failure, LedgerError) else LedgerError(str(failure)))


def costed(row: dict[str, Any]) -> dict[str, Any]:
    """`cost_pico` as `cost` in dollars; None where any part of it is unknown."""
    cost = from_pico(row.pop("cost_pico"))
    row["cost"] = None if row.get("unknown") else cost
    row["known_cost"] = cost
    return row

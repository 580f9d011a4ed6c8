"""The ledger of one process: what is asked of it is queued, and carried out in batches by one writer thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.operations import (
    Answer,
    Append,
    AtOnce,
    Close,
    Correct,
    Damaged,
    Granted,
    Open,
    Operation,
    Prune,
    Pruned,
    Recover,
    Refused,
    Reserve,
    Settle,
    Settled,
    Storage,
    Unlease,
    Unwritable,
)
from bundle_loader.ledger.records import Record
from bundle_loader.ledger.reports import costed, totals
from bundle_loader.ledger.run_records import RunHeld, RunOperation
from bundle_loader.ledger.store import LEASE, SqliteStorage
from bundle_loader.ledger.waiting import Item, resolve, running_loop, taken

_GATHER: Final = 0.02
"""Seconds for which the writer lets records gather when nobody waits for them; what a killed process can lose of those."""
_MANY: Final = 1000
"""Operations after which the storage is looked after, however busy it is."""


_Queued: TypeAlias = Item | threading.Event


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
        self._lease = lease
        self._own = storage is None
        self._queue: deque[_Queued] = deque()
        self._records: deque[Append] = deque()
        """What nobody waits for: it gathers until the writer comes round, so that many go at once."""
        self._soon: set[asyncio.AbstractEventLoop] = set()
        """Loops that will carry out what is queued at their next turn."""
        self._owed: list[Operation] = []
        """What was asked and could not be written yet; it goes first as soon as it can."""
        self._gate = threading.Lock()
        """For what is asked: the queue does not change under whoever closes it."""
        self._turn = threading.Lock()
        """For carrying out: one thread at a time."""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        """Set when somebody waits for the batch."""
        self._failure: Exception | None = None
        self._damage: Damaged | None = None
        """Once it is set, nothing is reserved any more."""
        self._closed = False
        self._process = os.getpid()
        self._tended = 0.0
        self._since_tended = 0
        self._thread = threading.Thread(target=self._write, name="bundle-loader-ledger", daemon=True)
        self._thread.start()

    # --- writing

    def append(self, record: Record) -> None:
        """Queue one record."""
        self._put(Append(record))

    def enter(self, operation: Correct | Close | Open | Recover | Unlease) -> None:
        """Queue what a vendor said of its limits, or what has become known of its health."""
        with suppress(LedgerError):
            self._put(Item(operation))

    def submit(self, operation: Operation) -> asyncio.Future[Answer]:
        """Queue an operation; the future is done once it is committed. Raises LedgerError, also through it.

        What a call used is entered after the ledger was closed, too, and when no event loop runs any more.
        """
        try:
            item = self._ask(operation)
        except LedgerError:
            if not (isinstance(operation, Settle) and self._closed and self._own):
                raise
            return asyncio.ensure_future(asyncio.to_thread(self._late, operation))
        except RuntimeError:
            if isinstance(operation, Settle):
                self._put(Item(operation))
            raise
        assert item.future is not None
        return item.future

    def _ask(self, operation: Operation) -> Item:
        """Queue what somebody waits for. All that the tasks of a loop ask at one turn of it goes into one transaction."""
        loop = asyncio.get_running_loop()
        item = Item(operation, loop, loop.create_future())
        self._put(item)
        if loop not in self._soon:
            self._soon.add(loop)
            loop.call_soon(self._at_once, loop)
        return item

    def _put(self, item: _Queued | Append) -> None:
        if os.getpid() != self._process:
            raise LedgerError("this ledger was opened by the process that this one was forked from; open it anew here")
        with self._gate:
            if self._closed:
                raise LedgerError("the ledger is closed")
            if isinstance(item, Append):
                self._records.append(item)
            else:
                self._queue.append(item)
        if not self._wake.is_set():
            self._wake.set()

    @property
    def busy(self) -> bool:
        """Whether anything but records that gather is queued or being carried out at this moment."""
        return bool(self._queue) or self._turn.locked()  # in this order: what is taken from the queue is carried out in the turn

    def usable(self) -> None:
        """Raises LedgerError once the file is known to be damaged: no call may be made that could not be entered."""
        if self._damage is not None:
            raise Damaged(str(self._damage))

    async def reserve(self, asked: Reserve) -> Granted | Refused:
        """Take the worst case of a call from its accounts. Leaving while waiting gives it back."""
        self.usable()
        item = self._ask(asked)
        assert item.future is not None
        try:
            answer = await item.future
        except BaseException:
            with self._gate:
                item.left = True
                granted = item.answer
            if isinstance(granted, Granted):
                self._unwanted(asked, granted)
            raise
        assert isinstance(answer, (Granted, Refused))
        return answer

    def _unwanted(self, asked: Reserve, granted: Granted) -> None:
        with suppress(LedgerError):  # closing gives everything back
            self._put(Item(Settle(asked.id, asked.charges(granted.tokens))))

    async def change_run(self, asked: RunOperation) -> RunHeld:
        """Carry out what concerns a run of a recipe; it is committed when this returns. Raises LedgerError."""
        answer = await asyncio.shield(self.submit(asked))
        assert isinstance(answer, RunHeld)
        return answer

    async def settle(self, asked: Settle) -> Settled:
        """Enter what a call used, once. It is entered even when whoever waits leaves, and after the ledger was closed."""
        answer = await asyncio.shield(self.submit(asked))
        assert isinstance(answer, Settled)
        return answer

    def _late(self, asked: Settle) -> Answer:
        store = SqliteStorage(self.path, lease=self._lease)
        try:
            answers = store.run([asked], self.clock())
        finally:
            store.close()
        assert answers is not None
        return answers[0]

    def flush(self) -> None:
        """Return once all that was asked before is committed. Raises LedgerError when the file could not be written."""
        done = threading.Event()
        with suppress(LedgerError):
            self._put(done)
            self._hurry.set()
            done.wait()
        self._tell_failure()

    def _tell_failure(self) -> None:
        """Raise what kept the file from being written, if anything did."""
        if isinstance(self._failure, LedgerError):
            raise type(self._failure)(str(self._failure))
        if self._failure is not None:
            raise LedgerError(f"the ledger {self.path} could not be written: {self._failure}")

    def close(self) -> None:
        """Commit what is queued, give back what is held and close the file. Safe to call twice."""
        with self._gate:
            already, self._closed = self._closed, True
        if already:
            return
        self._wake.set()
        self._hurry.set()
        self._thread.join()
        self._store.close()
        self._tell_failure()

    # --- reading

    def query(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of one of the storage's questions, over all that was asked before."""
        self.flush()
        return self._store.query(name, parameters)

    def peek(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """As `query`, over what is committed already: it waits for no one."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        return self._store.query(name, parameters)

    async def prune(self, before: float, *, only_count: bool = False) -> Pruned:
        """Take out what was over before then (epoch seconds), in steps between which others write; say what went."""
        total = Pruned(before)
        await asyncio.to_thread(self.flush)
        while True:
            step = await asyncio.shield(self.submit(Prune(before, only_count=only_count)))
            assert isinstance(step, Pruned)
            total = total.and_then(step)
            if only_count or not step.rows:
                return total

    def compact(self) -> None:
        """Give the room of what was taken out back to the disk; the file is rewritten."""
        self.flush()
        self._store.compact()

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
        """Calls, tokens, cost and latency by one of `TOTALS_BY` (agent, model, provider, ...); see `reports.totals`."""
        return totals(self.query, by, simulated=simulated, bundle=bundle, since=since)

    # --- carrying out

    def _write(self) -> None:
        """The writer's thread: what no loop could carry out at once, and what nobody waits for."""
        while True:
            self._wake.wait(self._lease / 3)
            if not self._closed:
                # asleep while the batch grows, and while loops carry out what they ask themselves: a thread that waits for the
                # interpreter with the turn in its hand would make them hand over each of their operations
                self._hurry.wait(_GATHER)
            closing = self._closed
            self._wake.clear()
            self._hurry.clear()
            if not (closing or self._queue or self._records or self._owed or self._due()):
                continue
            with self._turn:
                self._carry_out(wait=True)
                self._tend()
                if closing and not self._queue:
                    with suppress(LedgerError):
                        self._store.release()
                    return

    def _at_once(self, loop: asyncio.AbstractEventLoop) -> None:
        """At a turn of a loop: carry out what is queued here and now where that takes no time, else leave it to the writer."""
        self._soon.discard(loop)
        if self._turn.acquire(blocking=False):
            try:
                done = self._carry_out(wait=False)
            finally:
                self._turn.release()
            if done:
                return
        self._hurry.set()
        self._wake.set()

    def _carry_out(self, *, wait: bool) -> bool:
        """Carry out what is queued, with all records where one may `wait`; False where something is left to one who may."""
        queued: list[_Queued] = taken(self._queue)  # before the records: whoever flushes finds all that were there
        items = [item for item in queued if isinstance(item, Item)]
        if wait and self._records:
            items = [*map(Item, taken(self._records)), *items]
        owed, now = self._owed, self.clock()
        if items or owed:
            operations = [*owed, *(item.operation for item in items)]
            try:
                answers = self._store.run(operations, now, wait=wait)
            except Exception as error:  # noqa: BLE001 - the thread must live on; whoever waits, flush() and close() raise it
                self._failed(items, error)
            else:
                if answers is None:
                    self._queue.extendleft(reversed(queued))
                    return False
                if owed:
                    self._owed, self._failure = [], None
                self._since_tended += len(operations)
                self._answer(items, answers[len(owed) :])
        if self._since_tended >= _MANY:
            self._wake.set()
        flushes = [event for event in queued if isinstance(event, threading.Event)]
        if flushes and not wait:  # whoever flushes waits for the records, too
            self._queue.extendleft(reversed(flushes))
            return False
        for event in flushes:
            event.set()
        return True

    def _due(self) -> bool:
        return abs(self.clock() - self._tended) >= self._lease / 3 or self._since_tended >= _MANY

    def _tend(self) -> None:
        if self._due():
            now = self.clock()
            with suppress(LedgerError):  # the next time comes long before the lease ends
                self._store.tend(now)
            self._tended, self._since_tended = now, 0

    def _failed(self, items: list[Item], error: Exception) -> None:
        """A batch was not written. What may go later is kept until it does; else each is tried for itself."""
        if isinstance(error, Damaged):
            self._damage = error
        if isinstance(error, Unwritable):
            self._failure = error
            self._owed += [item.operation for item in items if not isinstance(item.operation, AtOnce)]
            self._answer(items, error)
        elif len(items) + len(self._owed) > 1:
            owed, self._owed = self._owed, []
            for item in [*map(Item, owed), *items]:
                self._alone(item)
        else:
            self._failure = error
            for operation in [*self._owed, *(item.operation for item in items)]:
                if isinstance(operation, Settle) and operation.record is not None:
                    self._alone(Item(replace(operation, record=None)))
            self._owed = []
            self._answer(items, error)

    def _alone(self, item: Item) -> None:
        try:
            answers = self._store.run([item.operation], self.clock())
        except Exception as error:  # noqa: BLE001 - as above
            self._failed([item], error)
        else:
            assert answers is not None
            self._answer([item], answers)

    def _answer(self, items: list[Item], answers: Sequence[Answer] | Exception) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer | Exception]]] = {}
        for index, item in enumerate(items):
            answer = answers if isinstance(answers, Exception) else answers[index]
            if item.loop is None or item.future is None:
                continue
            if isinstance(answer, Granted):
                with self._gate:
                    item.answer = answer
                    left = item.left
                if (left or item.loop.is_closed()) and isinstance(item.operation, Reserve):
                    self._unwanted(item.operation, answer)
            by_loop.setdefault(item.loop, []).append((item.future, answer))
        for loop, done in by_loop.items():
            if loop is running_loop():
                resolve(done)
            else:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(resolve, done)

"""The ledger of one process: records are queued and committed in batches by one writer thread."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.records import Record, from_pico
from bundle_loader.ledger.store import Store

_GATHER: Final = 0.02
"""Seconds for which the writer lets a batch grow; what a killed process can lose."""

_SUMS = """
SELECT {column} AS name, COUNT(*) AS calls, COALESCE(SUM(input_tokens), 0) AS input_tokens,
       COALESCE(SUM(output_tokens), 0) AS output_tokens, SUM(cost_pico) AS cost_pico,
       SUM(CASE WHEN cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown, AVG(latency) AS latency
FROM calls WHERE simulated = ?1 AND (?2 IS NULL OR delegation IN (SELECT id FROM delegations WHERE bundle = ?2))
GROUP BY {column} ORDER BY cost_pico DESC, name
"""
_BY: Final = {"agent": "agent", "model": "asked", "provider": "provider", "tier": "tier"}


class Ledger:
    """Every call, attempt and delegation. `append` never waits for the disk; reading and `close` see all that was appended."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._store = Store(self.path)
        self._queue: queue.SimpleQueue[Record | threading.Event | None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        """Set when somebody waits for the batch."""
        self._failure: Exception | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="bundle-loader-ledger", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> None:
        """Queue one record."""
        if self._closed:
            raise LedgerError("the ledger is closed")
        self._queue.put(record)

    def flush(self) -> None:
        """Return once all that was appended is committed. Raises LedgerError when the file could not be written."""
        if not self._closed:
            done = threading.Event()
            self._queue.put(done)
            self._hurry.set()
            done.wait()
        if self._failure is not None:
            raise LedgerError(f"the ledger {self.path} could not be written: {self._failure}")

    def close(self) -> None:
        """Commit what is queued and close the file. Safe to call twice."""
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

    def delegations(self, limit: int = 50, *, bundle: str | None = None) -> list[dict[str, Any]]:
        """The newest delegations (of one bundle, by its name) with their own tokens and cost, newest first."""
        query = """
            SELECT d.*, COUNT(c.id) AS calls, SUM(c.input_tokens) AS input_tokens, SUM(c.output_tokens) AS output_tokens,
                   SUM(c.cost_pico) AS cost_pico,
                   SUM(CASE WHEN c.id IS NOT NULL AND c.cost_pico IS NULL THEN 1 ELSE 0 END) AS unknown
            FROM delegations d LEFT JOIN calls c ON c.delegation = d.id
            WHERE ?1 IS NULL OR d.bundle = ?1 GROUP BY d.id ORDER BY d.started DESC, d.id LIMIT ?2
        """
        return [_costed(row) for row in self._read(query, (bundle, limit))]

    def attempts(self, delegation: str) -> list[dict[str, Any]]:
        """The attempts of one delegation, in order."""
        return self._read("SELECT * FROM attempts WHERE delegation = ? ORDER BY number", (delegation,))

    def calls(self, delegation: str | None = None) -> list[dict[str, Any]]:
        """The calls of one delegation, or all, oldest first."""
        where, parameters = ("WHERE delegation = ?", (delegation,)) if delegation else ("", ())
        return [_costed(row) for row in self._read(f"SELECT * FROM calls {where} ORDER BY started, id", parameters)]

    def totals(self, by: str = "agent", *, simulated: bool = False, bundle: str | None = None) -> list[dict[str, Any]]:
        """Calls, tokens, cost and mean latency by `agent`, `model`, `provider` or `tier`, dearest first."""
        return [_costed(row) for row in self._read(_SUMS.format(column=_BY[by]), (int(simulated), bundle))]

    def _read(self, query: str, parameters: tuple[Any, ...]) -> list[dict[str, Any]]:
        self.flush()
        with self._lock:
            return self._store.rows(query, parameters)

    def _write(self) -> None:
        stop = False
        while not stop:
            batch: list[Record] = []
            waiting: list[threading.Event] = []
            item = self._queue.get()
            # asleep while the batch grows: waking for each record would take the interpreter away from the event loop
            self._hurry.wait(_GATHER)
            self._hurry.clear()
            with suppress(queue.Empty):
                while True:
                    if item is None:
                        stop = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        batch.append(item)
                    item = self._queue.get_nowait()
            self._commit(batch)
            for event in waiting:
                event.set()

    def _commit(self, batch: list[Record]) -> None:
        if not batch:
            return
        try:
            with self._lock:
                self._store.append(batch)
        except Exception as error:  # noqa: BLE001 - the thread must live on; flush() and close() raise it
            self._failure = error


def _costed(row: dict[str, Any]) -> dict[str, Any]:
    """`cost_pico` as `cost` in dollars; None where any part of it is unknown."""
    cost = from_pico(row.pop("cost_pico"))
    row["cost"] = None if row.get("unknown") else cost
    row["known_cost"] = cost
    return row

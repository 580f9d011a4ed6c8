"""From the ledger's rows to what routing may know of them: a standing, brought up to date with what is new."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from bundle_loader.declared.budget import Budget
from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import MINUTE, window_of
from bundle_loader.ledger.reports import Ask
from bundle_loader.routing.charged import unit_limit
from bundle_loader.routing.standing import (
    FRESH,
    NOTHING,
    RECENT,
    AccountStanding,
    Closed,
    Key,
    Latency,
    Score,
    Spend,
    Spent,
    Standing,
    Success,
)

logger = logging.getLogger("bundle_loader")

PAGE: Final = 4096
"""Calls that are read at a time."""
_DAY: Final = 86_400
_SPENT_BY: Final = {"agent": "agent", "model": "asked", "provider": "provider", "tier": "tier"}


@dataclass(slots=True)
class _Sum:
    """Calls, picodollars and calls of unknown cost."""

    calls: int = 0
    pico: int = 0
    unknown: int = 0

    def add(self, pico: int | None) -> None:
        self.calls += 1
        if pico is None:
            self.unknown += 1
        else:
            self.pico += pico

    @property
    def spend(self) -> Spend:
        return Spend(self.calls, self.pico, self.unknown)


@dataclass(slots=True)
class _Sums:
    total: _Sum = field(default_factory=_Sum)
    months: dict[int, _Sum] = field(default_factory=dict)
    days: dict[int, _Sum] = field(default_factory=dict)


class CallFold:
    """Calls taken in one after another, in the order in which they were committed."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[tuple[str, str], _Sums] = {}
        self._latency: dict[Key, deque[float]] = {}
        self._ended: dict[Key, deque[bool]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one call."""
        self.count += 1
        day = int(row["started"] // _DAY)
        for by, column in _SPENT_BY.items():
            if row[column] is not None:
                sums = self._sums.setdefault((by, row[column]), _Sums())
                for place in (
                    sums.total,
                    sums.months.setdefault(_month(day), _Sum()),
                    sums.days.setdefault(day, _Sum()),
                ):
                    place.add(row["cost_pico"])
        if row["outcome"] not in ("answered", "failed"):
            return
        answered = row["outcome"] == "answered"
        model = (row["provider"], row["asked"])
        for key in (model, (*model, row["agent"])):
            self._ended.setdefault(key, deque(maxlen=RECENT)).append(answered)
            if answered:
                self._latency.setdefault(key, deque(maxlen=RECENT)).append(row["latency"])

    def spend(self, now: float) -> dict[tuple[str, str], Spent]:
        """By what and its name -> what was spent today, this month and in all."""
        day = int(now // _DAY)
        month = _month(day)
        none = _Sum()
        return {
            key: Spent(sums.days.get(day, none).spend, sums.months.get(month, none).spend, sums.total.spend)
            for key, sums in self._sums.items()
        }

    def latency(self) -> dict[Key, Latency]:
        """Exact percentiles over the latest answered calls of each key."""
        return {key: percentiles(latest) for key, latest in self._latency.items()}

    def success(self) -> dict[Key, Success]:
        """How the latest calls of each key ended."""
        return {key: Success(sum(latest), len(latest) - sum(latest)) for key, latest in self._ended.items()}


def percentiles(seconds: Sequence[float] | deque[float]) -> Latency:
    """By nearest rank, of at least one latency."""
    ordered = sorted(seconds)
    p50, p95, p99 = (ordered[math.ceil(part * len(ordered) / 100) - 1] for part in (50, 95, 99))
    return Latency(len(ordered), p50, p95, p99)


@lru_cache(maxsize=4096)
def _month(day: int) -> int:
    """Months since the year 0 of a day since the epoch, in UTC."""
    moment = datetime.fromtimestamp(day * _DAY, UTC)
    return moment.year * 12 + moment.month


class Fold:
    """The standing of one ledger, at most a second old for whoever asks; nothing is read while nobody does.

    `budgets` gives those whose accounts are followed, `as_stated` what one is for an account where a vendor's word has changed
    a rate limit. With `simulated` it follows simulated calls instead of real ones.
    `read` may be called from any thread, `standing` from one event loop.
    """

    def __init__(
        self,
        ask: Ask,
        budgets: Callable[[], Sequence[Budget]],
        *,
        simulated: bool = False,
        as_stated: Callable[[Budget, str], Budget] = lambda budget, account: budget,
        page: int = PAGE,
    ) -> None:
        self._ask = ask
        self._budgets = budgets
        self._as_stated = as_stated
        self._simulated = int(simulated)
        self._page = page
        self._lock = threading.Lock()
        self._calls = CallFold()
        self._seen: tuple[int, str | None] = 0, None
        """The place of the last call that was taken in, and its id."""
        self._pruned = 0
        """The last pruning that is known of."""
        self._kept: dict[bool, Standing] = {}
        self._flights: dict[bool, asyncio.Task[Standing]] = {}
        self.breakers: list[dict[str, Any]] = []
        """What every process that shares the ledger knows to be down, as it was read last."""

    async def standing(self, now: float, *, whole: bool = False) -> Standing:
        """What is known, a second old at most; many askers share one reading.

        Accounts and what is closed are always up to date, the rest only with `whole`. A ledger that cannot be read gives
        what was known before: gates only advise.
        """
        found = self._fresh(now, whole)
        if found is not None:
            return found
        flight = self._flights.get(whole)
        if flight is None:
            flight = self._flights[whole] = asyncio.create_task(self._read_beside(now, whole))
            flight.add_done_callback(lambda _: self._flights.pop(whole, None))
        return await asyncio.shield(flight)

    def _fresh(self, now: float, whole: bool) -> Standing | None:
        for kind in (True,) if whole else (False, True):
            kept = self._kept.get(kind)
            if kept is not None and 0 <= now - kept.taken < FRESH:
                return kept
        return None

    async def _read_beside(self, now: float, whole: bool) -> Standing:
        try:
            return await asyncio.to_thread(self.read, now, whole=whole)
        except LedgerError as error:
            logger.warning("the ledger's standing is not known: %s", error)
            return self._kept.get(whole) or self._kept.get(not whole, NOTHING)

    def read(self, now: float, *, whole: bool = True) -> Standing:
        """Read what is new, and give the standing. Raises LedgerError."""
        with self._lock:
            accounts, closed = self._accounts(now, whole), self._closed(now)
            self.breakers = self._ask("breakers")
            if not whole:
                known = replace(self._kept.get(True, NOTHING), taken=now, accounts=accounts, closed=closed)
            else:
                self._take_in()
                calls = self._calls
                known = Standing(
                    now, accounts, closed, calls.spend(now), calls.latency(), calls.success(), self._scores(), calls.count
                )
            self._kept[whole] = known
            return known

    def limits(self, now: float) -> Standing:
        """Accounts, those of single runs too, and what is closed; no calls are read. Raises LedgerError."""
        return Standing(now, self._accounts(now, whole=True), self._closed(now))

    def _closed(self, now: float) -> dict[str, Closed]:
        return {row["key"]: Closed(row["key"], row["until"], row["reason"]) for row in self._ask("closed", now=now)}

    # --- calls

    def _take_in(self) -> None:
        """The calls after the last one; all of them again where that is gone, or others before it are."""
        place, id = self._seen
        (pruned,) = self._ask("last pruning")
        there = self._ask("call at", place=place) if place else []
        if pruned["place"] != self._pruned or (place and [row["id"] for row in there] != [id]):
            self._calls, self._seen, self._pruned = CallFold(), (0, None), pruned["place"]
        while True:
            rows = self._ask("calls to fold", after=self._seen[0], limit=self._page)
            for row in rows:
                if row["simulated"] == self._simulated:
                    self._calls.add(row)
            if rows:
                self._seen = rows[-1]["place"], rows[-1]["id"]
            if len(rows) < self._page:
                return

    def _scores(self) -> dict[Key, Score]:
        scores: dict[Key, Score] = {}
        for row in self._ask("scores", simulated=self._simulated):
            task = () if row["agent"] is None else (row["agent"],)
            scores[(row["provider"], row["model"], *task)] = Score(row["count"], row["mean"])
        return scores

    # --- accounts

    def _accounts(self, now: float, whole: bool) -> dict[str, AccountStanding]:
        found: dict[str, AccountStanding] = {}
        for budget in self._budgets():
            if budget.per == "run" and not whole:
                continue  # each run begins with an account of its own
            window = window_of(budget, now)
            sums: dict[str, list[int]] = {}
            for row in self._ask("buckets of a budget", budget=budget.id, since=window.since, running=int(budget.per == "run")):
                first = sums.setdefault(row["account"], [row["bucket"], 0, 0])
                first[1] += row["settled"]
                first[2] += row["reserved"]
            for account, (oldest, settled, reserved) in sums.items():
                renews = oldest + MINUTE + 1.0 if budget.per == "minute" else window.renews
                now_is = self._as_stated(budget, account)
                found[account] = AccountStanding(account, now_is, unit_limit(now_is), settled, reserved, renews)
        return found

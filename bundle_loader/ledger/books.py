"""The accounts of a ledger file within one transaction: read once, added to, written back at its end."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bundle_loader.ledger import leases
from bundle_loader.ledger.accounts import MINUTE, Hold
from bundle_loader.ledger.operations import Alert, Charge, Close, Correct, Granted, Refused, Reserve, Settle, Settled

MOST: Final = 2**63 - 1
"""The most units that a ledger file can hold of one account: over nine million dollars."""
POLL: Final = 0.25
"""Seconds after which it is worth asking again for what other calls hold."""

_MOST_KNOWN: Final = 4096
"""Accounts that are remembered: each run may have some of its own."""

_LOAD: Final = "SELECT bucket, settled, reserved FROM accounts WHERE account = ? AND bucket >= ?"
_ADD: Final = """
INSERT INTO accounts VALUES (?1, ?2, ?3, ?4) ON CONFLICT (account, bucket)
DO UPDATE SET settled = settled + excluded.settled, reserved = reserved + excluded.reserved
"""
_HOLD: Final = "INSERT INTO reservations VALUES (?, ?, ?, ?, ?)"
_FREE: Final = "DELETE FROM reservations WHERE id = ?"
_FORGET: Final = "DELETE FROM accounts WHERE account = ? AND bucket < ? AND reserved = 0"
_CLOSE: Final = """
INSERT INTO closed VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET until = MAX(until, excluded.until), reason = excluded.reason
"""


class _Account:
    """The buckets of one account from `first` on, and their sum over the window that was last asked for."""

    __slots__ = ("_reserved", "_settled", "_window", "buckets", "first")

    def __init__(self, first: int, buckets: dict[int, list[int]]) -> None:
        self.first = first
        self.buckets = buckets
        """Bucket -> what is settled and what is reserved in it."""
        self._window: tuple[int, float | None] | None = None
        self._settled = self._reserved = 0

    def sums(self, since: int, end: float | None) -> tuple[int, int]:
        """What is settled and reserved in a window that does not begin before `first`."""
        if self._window != (since, end):
            found = [sums for bucket, sums in self.buckets.items() if bucket >= since and (end is None or bucket < end)]
            self._settled, self._reserved = sum(done for done, _ in found), sum(held for _, held in found)
            self._window = since, end
        return self._settled, self._reserved

    def add(self, bucket: int, settled: int, reserved: int) -> None:
        """Enter an amount in a bucket."""
        if bucket < self.first:
            return
        place = self.buckets.setdefault(bucket, [0, 0])
        place[0] += settled
        place[1] += reserved
        if self._window is not None:
            since, end = self._window
            if bucket >= since and (end is None or bucket < end):
                self._settled += settled
                self._reserved += reserved

    def forget(self, before: int) -> None:
        """Let go of what no window counts any more."""
        if before > self.first:
            self.first = before
            self.buckets = {bucket: sums for bucket, sums in self.buckets.items() if bucket >= before}


class Known:
    """What this connection knows of the accounts and of what is closed, as long as nobody else has written to the file."""

    def __init__(self) -> None:
        self.accounts: dict[str, _Account] = {}
        self.closed: dict[str, tuple[float, str]] | None = None
        """Keys -> until when, and why; None before they are read."""
        self._version: int | None = None

    def check(self, db: sqlite3.Connection) -> None:
        """At the start of a transaction that writes: forget everything when somebody else has written since the last one."""
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version != self._version or len(self.accounts) > _MOST_KNOWN:
            self.clear()
            self._version = version

    def clear(self) -> None:
        """Forget everything: it is read again when it is needed."""
        self.accounts, self.closed, self._version = {}, None, None


class Books:
    """One transaction over the accounts. Make one, call it any number of times, then `write`; undone, `known` is cleared."""

    def __init__(self, db: sqlite3.Connection, holder: Callable[[], int], now: float, known: Known) -> None:
        self._db = db
        self._holder = holder
        self._now = now
        self._known = known
        self._added: dict[tuple[str, int], list[int]] = {}
        self._held: dict[str, tuple[str, int, float, str, str]] = {}
        self._stale: dict[str, int] = {}
        """Accounts of sliding windows -> the bucket before which nothing counts any more."""

    # --- what is asked of it

    def reserve(self, asked: Reserve) -> Granted | Refused:
        """Take the worst case of a call from all of its accounts, or from none."""
        closed = self._closed(asked)
        if closed is not None:
            return closed
        tokens, lowered_by = asked.tokens, None
        least = min(asked.least, asked.tokens)
        refusals: list[Refused] = []
        for hold in asked.holds:
            settled, reserved = self._sums(hold)
            left = min(hold.limit, MOST) - settled - reserved
            needed = hold.fixed + least * hold.per_token
            if _throttled(hold, settled, reserved):
                refusals.append(Refused(hold, max(left, 0), POLL, "one call at a time near its limit", needed, held=True))
            elif left < needed:
                held = settled + needed <= hold.limit and hold.budget.unit != "requests"
                after = POLL if held else self._retry(hold, needed)
                renews = hold.window.renews
                if hold.budget.per == "minute" and after is not None and not held:
                    renews = self._now + after
                refusals.append(Refused(hold, max(left, 0), after, "too little is left", needed, held, renews))
            elif hold.per_token and left < hold.fixed + tokens * hold.per_token:
                tokens, lowered_by = (left - hold.fixed) // hold.per_token, hold.budget.id
        if refusals:
            return _longest(refusals)
        if asked.probes:
            down = leases.against(self._db, asked, self._now)
            if down is not None:
                return down
            leases.take(self._db, asked, self._now)
        entries = []
        for hold in asked.holds:
            amount = hold.fixed + tokens * hold.per_token
            self._add(hold.account, hold.window.bucket, 0, amount)
            entries.append((hold.account, hold.window.bucket, amount))
            if hold.budget.per == "minute":
                self._stale[hold.account] = hold.window.since - MINUTE  # a vendor's word may be a minute old
        self._held[asked.id] = (asked.id, self._holder(), self._now, json.dumps(entries), asked.what)
        return Granted(asked.id, tokens, lowered_by)

    def free(self, id: str) -> bool:
        """Take a reservation off the books, its amounts still to be given back; False when it is not there any more."""
        return self._held.pop(id, None) is not None or self._db.execute(_FREE, (id,)).rowcount == 1

    def settle(self, asked: Settle, kept: bool) -> Settled:
        """Enter what was used, in the place of what was reserved where that was `kept`.

        What was used is the truth, and is entered in full, also where it is more than was reserved or than is left.
        """
        alerts: list[Alert] = []
        for charge in asked.charges:
            if charge.hold.budget.alert_at:
                alerts += self._passed(charge)
            reserved = charge.reserved if kept else 0
            if charge.amount or reserved:
                self._add(charge.hold.account, charge.hold.window.bucket, charge.amount, -reserved)
        return Settled(tuple(alerts), kept)

    def give_back(self, entries: str) -> None:
        """Free what a reservation held."""
        for account, bucket, amount in json.loads(entries):
            self._add(account, bucket, 0, -amount)

    def correct(self, asked: Correct) -> None:
        """Enter what a vendor counted and nobody here did, so that no more is left than it says."""
        settled, reserved = self._sums(asked.hold)
        unseen = asked.hold.limit - settled - reserved - asked.left
        if unseen > 0:
            self._add(asked.hold.account, asked.hold.window.bucket, unseen, 0)

    def close(self, asked: Close) -> None:
        """Let nothing pass under a key for a while."""
        self._db.execute(_CLOSE, (asked.key, asked.until, asked.reason))
        self._known.closed = None

    def write(self, *, tidy: bool = True) -> None:
        """Write everything back; where `tidy`, forget what no sliding window counts any more."""
        self._flush()
        if self._held:
            self._db.executemany(_HOLD, self._held.values())
        for account, since in self._stale.items() if tidy else ():
            self._db.execute(_FORGET, (account, since))
            if account in self._known.accounts:
                self._known.accounts[account].forget(since)

    # --- sums

    def _sums(self, hold: Hold) -> tuple[int, int]:
        """What is settled and what is reserved in the hold's window: not in the day after, when a call is settled late."""
        return self._account(hold).sums(hold.window.since, hold.window.renews)

    def _account(self, hold: Hold) -> _Account:
        """The hold's account, read from the start of its window on."""
        since, found = hold.window.since, self._known.accounts.get(hold.account)
        if found is None or since < found.first:
            self._flush()
            rows = self._db.execute(_LOAD, (hold.account, since))
            found = _Account(since, {bucket: [settled, reserved] for bucket, settled, reserved in rows})
            self._known.accounts[hold.account] = found
        return found

    def _add(self, account: str, bucket: int, settled: int, reserved: int) -> None:
        place = self._added.setdefault((account, bucket), [0, 0])
        place[0] += settled
        place[1] += reserved
        known = self._known.accounts.get(account)
        if known is not None:
            known.add(bucket, settled, reserved)

    def _flush(self) -> None:
        rows = [(account, bucket, *sums) for (account, bucket), sums in self._added.items() if any(sums)]
        self._db.executemany(_ADD, rows)
        self._added.clear()

    # --- refusals and alerts

    def _closed(self, asked: Reserve) -> Refused | None:
        closed = self._known.closed
        if closed is None:
            rows = self._db.execute("SELECT key, until, reason FROM closed")
            closed = self._known.closed = {key: (until, reason) for key, until, reason in rows}
        for key in asked.marks if closed else ():
            until, reason = closed.get(key, (0.0, ""))
            if until > self._now:
                return Refused(None, 0, until - self._now, reason, renews=until)
        return None

    def _retry(self, hold: Hold, needed: int) -> float | None:
        """Seconds until the account's window lets go of enough."""
        if needed > hold.limit:
            return None
        if hold.budget.per == "minute":
            return self._slides(hold, needed)
        return None if hold.window.renews is None else max(hold.window.renews - self._now, 0.001)

    def _slides(self, hold: Hold, needed: int) -> float:
        """Seconds until enough of a sliding window is past."""
        buckets = sorted((bucket, sums) for bucket, sums in self._account(hold).buckets.items() if bucket >= hold.window.since)
        used = sum(sum(sums) for _, sums in buckets)
        for bucket, sums in buckets:
            used -= sum(sums)
            if used + needed <= hold.limit:
                return max(bucket + MINUTE + 1 - self._now, 0.001)
        return float(MINUTE)

    def _passed(self, charge: Charge) -> list[Alert]:
        """The thresholds that this charge takes its account over."""
        hold, budget = charge.hold, charge.hold.budget
        if not charge.amount or budget.per == "minute":
            return []
        before, _ = self._sums(hold)
        after = before + charge.amount
        return [
            Alert(hold.account, budget.id, float(fraction), max(hold.limit - after, 0))
            for fraction in budget.alert_at
            if before < fraction * hold.limit <= after
        ]


def _longest(refusals: list[Refused]) -> Refused:
    """Of all that refuse a call, the one that lets go last; the first of several. The others are kept beside it."""

    def lets_go(refused: Refused) -> float:
        return math.inf if refused.retry_after is None else refused.retry_after

    last = max(refusals, key=lambda refused: (not refused.held, lets_go(refused)))
    others = (refused.hold for refused in refusals if refused is not last and not refused.held and refused.hold is not None)
    return replace(last, others=tuple(others))


def _throttled(hold: Hold, settled: int, reserved: int) -> bool:
    """Near the limit one call at a time runs: worst cases side by side would use up what each of them alone has not."""
    threshold = hold.budget.throttle_at
    return threshold is not None and reserved > 0 and settled >= threshold * hold.limit

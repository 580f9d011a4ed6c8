"""The accounts of a ledger file within one transaction: read once, added to, written back at its end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Final

from bundle_loader.ledger.accounts import MINUTE, Hold
from bundle_loader.ledger.operations import Alert, Charge, Close, Correct, Granted, Refused, Reserve, Settle, Settled

POLL: Final = 0.25
"""Seconds after which it is worth asking again for what other calls hold."""

_LOAD: Final = "SELECT bucket, settled, reserved FROM accounts WHERE account = ? AND bucket >= ?"
_ADD: Final = """
INSERT INTO accounts VALUES (?1, ?2, ?3, ?4) ON CONFLICT (account, bucket)
DO UPDATE SET settled = settled + excluded.settled, reserved = reserved + excluded.reserved
"""
_HOLD: Final = "INSERT INTO reservations VALUES (?, ?, ?, ?, ?)"
_FREE: Final = "DELETE FROM reservations WHERE id = ?"
_CLOSE: Final = """
INSERT INTO closed VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET until = MAX(until, excluded.until), reason = excluded.reason
"""


class Books:
    """One transaction over the accounts. Make one, call it any number of times, then `write`."""

    def __init__(self, db: sqlite3.Connection, holder: Callable[[], int], now: float) -> None:
        self._db = db
        self._holder = holder
        self._now = now
        self._loaded: dict[str, tuple[int, dict[int, list[int]]]] = {}
        """Account -> the first bucket that was read, and what is settled and reserved in each from there on."""
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
        for hold in asked.holds:
            settled, reserved = self._sums(hold)
            left = hold.limit - settled - reserved
            needed = hold.fixed + least * hold.per_token
            if _throttled(hold, settled, reserved):
                return Refused(hold, max(left, 0), POLL, "one call at a time near its limit", needed, held=True)
            if left < needed:
                held = settled + needed <= hold.limit and hold.budget.unit != "requests"
                after = POLL if held else self._retry(hold, needed)
                return Refused(hold, max(left, 0), after, "too little is left", needed, held)
            if hold.per_token and left < hold.fixed + tokens * hold.per_token:
                tokens, lowered_by = (left - hold.fixed) // hold.per_token, hold.budget.id
        entries = []
        for hold in asked.holds:
            amount = hold.fixed + tokens * hold.per_token
            self._add(hold.account, hold.window.bucket, 0, amount)
            entries.append((hold.account, hold.window.bucket, amount))
            if hold.budget.per == "minute":
                self._stale[hold.account] = hold.window.since
        self._held[asked.id] = (asked.id, self._holder(), self._now, json.dumps(entries), asked.what)
        return Granted(asked.id, tokens, lowered_by)

    def settle(self, asked: Settle) -> Settled:
        """Put what was used in the place of what was reserved."""
        kept = self._held.pop(asked.id, None) is not None or self._db.execute(_FREE, (asked.id,)).rowcount == 1
        alerts: list[Alert] = []
        for charge in asked.charges:
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

    def write(self) -> None:
        """Write everything back."""
        self._flush()
        self._db.executemany(_HOLD, self._held.values())
        for account, since in self._stale.items():
            self._db.execute("DELETE FROM accounts WHERE account = ? AND bucket < ? AND reserved = 0", (account, since))

    # --- sums

    def _sums(self, hold: Hold) -> tuple[int, int]:
        """What is settled and what is reserved in the hold's window."""
        buckets = self._buckets(hold.account, hold.window.since)
        settled = reserved = 0
        for bucket, (done, held) in buckets.items():
            if bucket >= hold.window.since:
                settled += done
                reserved += held
        return settled, reserved

    def _buckets(self, account: str, since: int) -> dict[int, list[int]]:
        first, buckets = self._loaded.get(account, (None, {}))
        if first is None or since < first:
            self._flush()
            buckets = {bucket: [settled, reserved] for bucket, settled, reserved in self._db.execute(_LOAD, (account, since))}
            self._loaded[account] = since, buckets
        return buckets

    def _add(self, account: str, bucket: int, settled: int, reserved: int) -> None:
        places = [self._added.setdefault((account, bucket), [0, 0])]
        first, buckets = self._loaded.get(account, (None, {}))
        if first is not None and bucket >= first:
            places.append(buckets.setdefault(bucket, [0, 0]))
        for place in places:
            place[0] += settled
            place[1] += reserved

    def _flush(self) -> None:
        rows = [(account, bucket, *sums) for (account, bucket), sums in self._added.items() if any(sums)]
        self._db.executemany(_ADD, rows)
        self._added.clear()

    # --- refusals and alerts

    def _closed(self, asked: Reserve) -> Refused | None:
        for key in asked.marks:
            row = self._db.execute("SELECT until, reason FROM closed WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] > self._now:
                return Refused(None, 0, row[0] - self._now, row[1])
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
        buckets = self._buckets(hold.account, hold.window.since)
        used = sum(map(sum, (pair for bucket, pair in buckets.items() if bucket >= hold.window.since)))
        for bucket in sorted(bucket for bucket in buckets if bucket >= hold.window.since):
            used -= sum(buckets[bucket])
            if used + needed <= hold.limit:
                return max(bucket + MINUTE + 1 - self._now, 0.001)
        return float(MINUTE)

    def _passed(self, charge: Charge) -> list[Alert]:
        """The thresholds that this charge takes its account over."""
        hold, budget = charge.hold, charge.hold.budget
        if not budget.alert_at or not charge.amount or budget.per == "minute":
            return []
        before, _ = self._sums(hold)
        after = before + charge.amount
        return [
            Alert(hold.account, budget.id, float(fraction), max(hold.limit - after, 0))
            for fraction in budget.alert_at
            if before < fraction * hold.limit <= after
        ]


def _throttled(hold: Hold, settled: int, reserved: int) -> bool:
    """Near the limit one call at a time runs: worst cases side by side would use up what each of them alone has not."""
    threshold = hold.budget.throttle_at
    return threshold is not None and reserved > 0 and settled >= threshold * hold.limit

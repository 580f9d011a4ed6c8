"""Health: a breaker for each provider and for each of its models, known at once here and soon to all who share the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bundle_loader.errors import FailureKind, NotSent, ProviderFailure
from bundle_loader.ledger.leases import LEASE, LONGEST, leased, rests
from bundle_loader.ledger.operations import Open, Recover, Unlease
from bundle_loader.routing.standing import Down, Pair

WINDOW: Final = 60.0
"""Seconds for which an outcome counts."""
RECENT: Final = 10
"""How many outcomes count at most, the latest."""
LEAST: Final = 5
"""Outcomes that there must be before anything is taken for down."""
SHARE: Final = 0.5
"""The part of them that must have failed."""
LONGEST_REST: Final = 60.0
"""Seconds for which what does not work is left alone at most: outages pass, and one call finds out."""
FIRST: Final = 5.0
"""Seconds for which a breaker is open the first time; twice as long after each probe that fails."""
_SETTLING: Final = 2.0
"""Seconds within which what was read of the ledger may be older than what is known here."""

Change: TypeAlias = Open | Recover | Unlease


@dataclass(slots=True)
class _Opened:
    """One breaker that is open."""

    until: float
    reason: str
    times: int
    """How often in a row."""
    since: float
    """When it was opened here, or heard of."""
    refused: bool = False
    """True where it works and only refuses."""
    probing: str | None = None
    """The call of this process that finds out whether it has recovered."""
    probe_until: float = 0.0
    """When that call is taken for lost."""
    kept: bool = False
    """True once the ledger was seen to hold it."""

    def shut(self, now: float) -> bool:
        """Whether it is not to be asked now."""
        return rests(self.until, now) or self.probed(now)

    def probed(self, now: float) -> bool:
        """Whether a call of this process finds out now."""
        return self.probing is not None and leased(self.probe_until, now)


class Breakers:
    """Which providers and models are down. Belongs to one event loop.

    1. BUSY and BROKEN failures count against the model, and against the provider where nothing of it could be reached or where
       several of its models fail. A failure that came of the caller's own deadline or short limits counts against nobody.
    2. Of the latest outcomes, once there are enough, half must have failed: then it is open for a while.
    3. After that one call, leased through the ledger, finds out: the first of its answer, or a word of the vendor on the
       request itself, closes the breaker; BUSY and BROKEN open it for twice as long. A provider whose probe failed in one model
       is tried next by another one, where there is any.
    4. What a vendor refuses (401, 402: the provider; 403, 404: the model) is open at once, for as long as it says, else for
       some minutes. Another key is another provider: `scopes` tells them apart. Where they are given, a provider without one is
       this host's only: nobody else is told of it.
    """

    def __init__(self, scopes: Mapping[str, str] | None = None, *, shared: bool = True) -> None:
        self.shared = shared
        """Whether the ledger is told, and those who share it."""
        self._scopes = None if scopes is None else dict(scopes)
        self._open: dict[Pair, _Opened] = {}
        self._recent: dict[Pair, deque[tuple[float, str | None]]] = {}
        """The latest outcomes: when, and the model that failed ('' for all of a provider, None for an answer)."""
        self._recovered: dict[Pair, float] = {}

    def key(self, pair: Pair) -> str:
        """What a provider, or one of its models, is called in the ledger."""
        provider, model = pair
        scope = self._scopes.get(provider) if self._scopes is not None else None
        return "|".join(part for part in (provider, scope and f"@{scope}", model) if part)

    def shares(self, provider: str) -> bool:
        """Whether what is known of a provider is everybody's who shares the ledger."""
        return self.shared and (self._scopes is None or provider in self._scopes)

    def down(self, now: float) -> dict[Pair, Down]:
        """What is not asked at this moment."""
        return {pair: _told(pair, open, now) for pair, open in self._open.items() if open.shut(now)}

    def against(self, provider: str, model: str, now: float) -> Down | None:
        """Why a model is not asked now; None where it may be, if only as a probe."""
        if not self._open:
            return None
        for pair in ((provider, None), (provider, model)):
            open = self._open.get(pair)
            if open is not None and open.shut(now):
                return _told(pair, open, now)
        return None

    def due(self, provider: str, model: str) -> tuple[Pair, ...]:
        """What a call that `against` lets pass has to lease first."""
        if not self._open:
            return ()
        return tuple(pair for pair in ((provider, None), (provider, model)) if pair in self._open)

    def probing(self, pairs: Iterable[Pair], call: str, now: float) -> None:
        """A call has the leases."""
        for pair in pairs:
            if pair in self._open:
                self._open[pair].probing, self._open[pair].probe_until = call, now + LEASE

    def heard(self, down: Down, now: float) -> None:
        """The ledger knows better: it is open until then."""
        pair = (down.provider, down.model)
        open = self._open.get(pair)
        self._open[pair] = _Opened(down.until, down.reason, open.times if open else 1, now, down.refused, kept=True)

    def merge(self, rows: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take over what the ledger knows."""
        if not self.shared:
            return
        told: set[Pair] = set()
        for row in rows:
            pair = (row["provider"], row["model"])
            if row["key"] != self.key(pair) or not self.shares(pair[0]) or _lately(self._recovered.get(pair), now):
                continue
            told.add(pair)
            open = self._open.get(pair)
            if open is None:
                refused = bool(row["refused"])
                self._open[pair] = _Opened(row["until"], row["reason"], row["times"], now - _SETTLING, refused, kept=True)
                continue
            open.kept = True
            if rests(row["until"], now) and (row["until"] > open.until or not rests(open.until, now)):
                open.until, open.reason, open.times = row["until"], row["reason"], row["times"]
                open.refused = bool(row["refused"])
        for pair in [pair for pair, open in self._open.items() if pair not in told]:
            open = self._open[pair]
            owed = not open.kept and rests(open.until, now)
            if self.shares(pair[0]) and not (owed or open.probed(now) or _lately(open.since, now)):
                del self._open[pair]

    def written(self, opened: Open, now: float) -> None:
        """The ledger has taken an opening in: from here on it is down for as long as the ledger says so."""
        open = self._open.get((opened.provider, opened.model))
        if open is not None and open.until == opened.until:
            open.kept, open.since = True, now

    # --- how calls end

    def begun(self, provider: str, model: str, call: str, now: float) -> list[Change]:
        """The first of an answer has come: whoever was to find out has found out."""
        return self._recover(provider, model, call, now)

    def answered(self, provider: str, model: str, call: str, now: float) -> list[Change]:
        """A call was answered."""
        for pair in ((provider, None), (provider, model)):
            if pair in self._recent:
                self._note(pair, now, None)
        return self._recover(provider, model, call, now)

    def failed(self, provider: str, model: str, failure: ProviderFailure, call: str, now: float) -> list[Change]:
        """A call failed."""
        if isinstance(failure, NotSent) or failure.hurried:
            return self.left(provider, model, call)
        whole: Pair = (provider, None)
        one: Pair = (provider, model)
        out = failure.scope == "provider"
        if failure.kind is FailureKind.REFUSED:
            until = now + min(LONGEST if failure.retry_after is None else failure.retry_after, LONGEST)
            rest = () if out else self.answered(provider, "", call, now)
            pair = whole if out else one
            before = self._open.get(pair)
            changes = [*rest, *self._opened(pair, until, failure, now, before.times if before is not None else 1, call)]
            return changes + self.left(provider, model, call)
        if not failure.counts_against_health:
            return self._recover(provider, model, call, now)  # whoever says so is there
        changes = []
        for pair in (whole,) if out else (one, whole):
            self._note(pair, now, "" if out else model)
            open = self._open.get(pair)
            probe = open is not None and open.probing == call
            if probe or (open is None and self._worn(pair, now)):
                times = open.times + 1 if open is not None else 1
                rest = min(FIRST * 2 ** (times - 1), LONGEST_REST)
                until = now + min(max(rest, failure.retry_after or 0.0), LONGEST)
                changes += self._opened(pair, until, failure, now, times, call)
                if probe and pair == whole and not out:
                    own = self._open.get(one)
                    changes += self._opened(one, until + FIRST, failure, now, own.times if own is not None else 1, call)
        return changes + self.left(provider, model, call)

    def left(self, provider: str, model: str, call: str) -> list[Change]:
        """A call ended without telling anything: its leases are given back."""
        changes: list[Change] = []
        for pair in ((provider, None), (provider, model)):
            open = self._open.get(pair)
            if open is not None and open.probing == call:
                open.probing = None
                changes.append(Unlease(self.key(pair), call))
        return self._told_of(provider, changes)

    def _recover(self, provider: str, model: str, call: str, now: float) -> list[Change]:
        changes: list[Change] = []
        for pair in ((provider, None), (provider, model)):
            open = self._open.get(pair)
            if open is not None and open.probing == call:
                changes += self._close(pair, now)
        return changes

    def _close(self, pair: Pair, now: float) -> list[Change]:
        del self._open[pair]
        self._recent.pop(pair, None)
        self._recovered[pair] = now
        return self._told_of(pair[0], [Recover(self.key(pair), *pair, now)])

    def _opened(self, pair: Pair, until: float, failure: ProviderFailure, now: float, times: int, call: str) -> list[Change]:
        refused, before = failure.kind is FailureKind.REFUSED, self._open.get(pair)
        open = self._open[pair] = _Opened(until, str(failure), times, now, refused)
        if before is not None and before.probing != call and before.probed(now):
            open.probing, open.probe_until = before.probing, before.probe_until
        self._recent.pop(pair, None)
        self._recovered.pop(pair, None)
        return self._told_of(pair[0], [Open(self.key(pair), *pair, until, times, str(failure), now, refused, open.probing)])

    def _told_of(self, provider: str, changes: list[Change]) -> list[Change]:
        """What the ledger is told."""
        return changes if self.shares(provider) else []

    def _note(self, pair: Pair, now: float, failed: str | None) -> None:
        self._recent.setdefault(pair, deque(maxlen=RECENT)).append((now, failed))

    def _worn(self, pair: Pair, now: float) -> bool:
        """Sentence 2."""
        latest = [failed for at, failed in self._recent[pair] if 0 <= now - at < WINDOW]
        failures = [failed for failed in latest if failed is not None]
        if len(latest) < LEAST or len(failures) < SHARE * len(latest):
            return False
        return pair[1] is not None or "" in failures or len(set(failures)) > 1


def _lately(at: float | None, now: float) -> bool:
    """Whether the ledger may not have it yet. What is in the future was before the clock was set back."""
    return at is not None and 0 <= now - at < _SETTLING


def _told(pair: Pair, open: _Opened, now: float) -> Down:
    provider, model = pair
    return Down(provider, model, max(open.until, now), open.reason, open.probed(now), open.refused)

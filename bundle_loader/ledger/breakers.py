"""Health: a breaker for each provider and for each of its models, known at once here and soon to all who share the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bundle_loader.errors import FailureKind, NotSent, ProviderFailure
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
FIRST: Final = 5.0
"""Seconds for which a breaker is open the first time; twice as long after each probe that fails."""
LONGEST: Final = 300.0
"""Seconds for which a breaker is open at most, and for which a refused key, account or model is not asked again."""
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


class Breakers:
    """Which providers and models are down. Belongs to one event loop.

    1. BUSY and BROKEN failures count against the model, and against the provider where nothing of it could be reached or where
       several of its models fail. A failure that came of the caller's own near deadline counts against nobody.
    2. Of the latest outcomes, once there are enough, half must have failed: then it is open for a while.
    3. After that one call, leased through the ledger, finds out: it closes the breaker, or opens it for twice as long.
    4. What a vendor refuses (401, 402: the provider; 403, 404: the model) is open at once, for as long as it says, else for
       some minutes. Another key is another provider: `scopes` tells them apart.
    """

    def __init__(self, scopes: Mapping[str, str] | None = None, *, shared: bool = True) -> None:
        self.shared = shared
        """Whether the ledger is told, and those who share it."""
        self._scopes = dict(scopes or {})
        self._open: dict[Pair, _Opened] = {}
        self._recent: dict[Pair, deque[tuple[float, str | None]]] = {}
        """The latest outcomes: when, and the model that failed ('' for all of a provider, None for an answer)."""
        self._recovered: dict[Pair, float] = {}

    def key(self, pair: Pair) -> str:
        """What a provider, or one of its models, is called in the ledger."""
        provider, model = pair
        scope = self._scopes.get(provider)
        return "|".join(part for part in (provider, scope and f"@{scope}", model) if part)

    def down(self, now: float) -> dict[Pair, Down]:
        """What is not asked at this moment."""
        return {pair: _told(pair, open, now) for pair, open in self._open.items() if open.until > now or open.probing is not None}

    def against(self, provider: str, model: str, now: float) -> Down | None:
        """Why a model is not asked now; None where it may be, if only as a probe."""
        if not self._open:
            return None
        for pair in ((provider, None), (provider, model)):
            open = self._open.get(pair)
            if open is not None and (open.until > now or open.probing is not None):
                return _told(pair, open, now)
        return None

    def due(self, provider: str, model: str) -> tuple[Pair, ...]:
        """What a call that `against` lets pass has to lease first."""
        if not self._open:
            return ()
        return tuple(pair for pair in ((provider, None), (provider, model)) if pair in self._open)

    def probing(self, pairs: Iterable[Pair], call: str) -> None:
        """A call has the leases."""
        for pair in pairs:
            if pair in self._open:
                self._open[pair].probing = call

    def heard(self, down: Down, now: float) -> None:
        """The ledger knows better: it is open until then."""
        pair = (down.provider, down.model)
        open = self._open.get(pair)
        self._open[pair] = _Opened(down.until, down.reason, open.times if open else 1, now, down.refused)

    def merge(self, rows: Iterable[Mapping[str, Any]], now: float) -> None:
        """Take over what the ledger knows."""
        if not self.shared:
            return
        told: set[Pair] = set()
        for row in rows:
            pair = (row["provider"], row["model"])
            if row["key"] != self.key(pair) or now - self._recovered.get(pair, -_SETTLING) < _SETTLING:
                continue
            told.add(pair)
            open = self._open.get(pair)
            if open is None:
                self._open[pair] = _Opened(row["until"], row["reason"], row["times"], now - _SETTLING, bool(row["refused"]))
            elif row["until"] > open.until:
                open.until, open.reason, open.times = row["until"], row["reason"], row["times"]
                open.refused = bool(row["refused"])
        for pair in [pair for pair, open in self._open.items() if pair not in told]:
            open = self._open[pair]
            if open.probing is None and now - open.since >= _SETTLING:
                del self._open[pair]

    # --- how calls end

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
            return [*rest, *self._opened(whole if out else one, until, failure, now)]
        if not failure.counts_against_health:
            return self._recover(provider, model, call, now)  # whoever says so is there
        changes: list[Change] = []
        for pair in (whole,) if out else (one, whole):
            self._note(pair, now, "" if out else model)
            open = self._open.get(pair)
            probe = open is not None and open.probing == call
            if probe and pair == whole and not out:
                changes += self._close(pair, now)  # it is there; its model is not
            elif probe or (open is None and self._worn(pair, now)):
                times = open.times + 1 if open is not None else 1
                rest = min(FIRST * 2 ** (times - 1), LONGEST)
                until = now + min(max(rest, failure.retry_after or 0.0), LONGEST)
                changes += self._opened(pair, until, failure, now, times)
        return changes + self.left(provider, model, call)

    def left(self, provider: str, model: str, call: str) -> list[Change]:
        """A call ended without telling anything: its leases are given back."""
        changes: list[Change] = []
        for pair in ((provider, None), (provider, model)):
            open = self._open.get(pair)
            if open is not None and open.probing == call:
                open.probing = None
                changes.append(Unlease(self.key(pair), call))
        return changes

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
        return [Recover(self.key(pair), *pair, now)]

    def _opened(self, pair: Pair, until: float, failure: ProviderFailure, now: float, times: int = 1) -> list[Change]:
        refused = failure.kind is FailureKind.REFUSED
        self._open[pair] = _Opened(until, str(failure), times, now, refused)
        self._recent.pop(pair, None)
        self._recovered.pop(pair, None)
        return [Open(self.key(pair), *pair, until, times, str(failure), now, refused)]

    def _note(self, pair: Pair, now: float, failed: str | None) -> None:
        self._recent.setdefault(pair, deque(maxlen=RECENT)).append((now, failed))

    def _worn(self, pair: Pair, now: float) -> bool:
        """Sentence 2."""
        latest = [failed for at, failed in self._recent[pair] if now - at < WINDOW]
        failures = [failed for failed in latest if failed is not None]
        if len(latest) < LEAST or len(failures) < SHARE * len(latest):
            return False
        return pair[1] is not None or "" in failures or len(set(failures)) > 1


def _told(pair: Pair, open: _Opened, now: float) -> Down:
    provider, model = pair
    return Down(provider, model, max(open.until, now), open.reason, open.probing is not None, open.refused)

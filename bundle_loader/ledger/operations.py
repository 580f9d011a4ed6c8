"""What is asked of a ledger's storage, and what comes back: plain values, carried out many at a time in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bundle_loader.errors import LedgerError
from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.records import CallRecord, Record
from bundle_loader.ledger.run_records import RunHeld, RunOperation


@dataclass(frozen=True, slots=True)
class Append:
    """Keep a record."""

    record: Record


@dataclass(frozen=True, slots=True)
class Charge:
    """What a finished call really took from one account."""

    hold: Hold
    reserved: int
    amount: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Take the worst case of a call from every account at once, or from none.

    `tokens` are the most that the answer may have; they are lowered to what the accounts have left, down to `least`.
    """

    id: str
    holds: tuple[Hold, ...]
    tokens: int
    least: int
    what: str = ""
    """Whose call it is, for the record of a call whose process died."""
    marks: tuple[str, ...] = ()
    """Keys that may be closed for a while (`Close`)."""
    probes: tuple[str, ...] = ()
    """Keys that are down (`Open`) and may be up again: exactly one call finds out, and has the lease of it."""

    def charges(self, tokens: int, used: Callable[[Hold], int] = lambda hold: 0) -> tuple[Charge, ...]:
        """What settling comes to on each account, when so many tokens were granted."""
        return tuple(Charge(hold, hold.fixed + tokens * hold.per_token, used(hold)) for hold in self.holds)


@dataclass(frozen=True, slots=True)
class Settle:
    """Replace a reservation by what was really used, and keep the call's record."""

    id: str
    charges: tuple[Charge, ...]
    record: CallRecord | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """No calls under `key` until then (epoch seconds): a vendor said so."""

    key: str
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Correct:
    """A vendor counted otherwise: on the hold's account no more than `left` remain. What is missing is entered in its bucket."""

    hold: Hold
    left: int


@dataclass(frozen=True, slots=True)
class Prune:
    """Take out what was over before then (epoch seconds), at most so many trees of delegations at once."""

    before: float
    most: int = 500
    only_count: bool = False
    """Say what would go, and take nothing out."""


@dataclass(frozen=True, slots=True)
class Open:
    """A provider, or one of its models, is down until then (epoch seconds)."""

    key: str
    provider: str
    model: str | None
    until: float
    times: int
    """How often in a row."""
    reason: str
    at: float
    refused: bool = False
    """True where it works and only refuses: waiting would not mend that."""
    leaves: str | None = None
    """The call whose lease stays: it is still finding out, and another one said this."""


@dataclass(frozen=True, slots=True)
class Recover:
    """It is up again."""

    key: str
    provider: str
    model: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Unlease:
    """The call that was to find out whether it is up again did not."""

    key: str
    call: str


Operation: TypeAlias = Append | Reserve | Settle | Close | Correct | Open | Recover | Unlease | Prune | RunOperation
AtOnce: TypeAlias = Reserve | Prune | RunOperation
"""What is carried out now or not at all: whoever asked is told, and may ask again."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A call took what is settled on an account over one of its thresholds."""

    account: str
    budget: str
    fraction: float
    """The threshold that was passed."""
    left: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may be made, with at most so many tokens of output."""

    id: str
    tokens: int
    lowered_by: str | None = None
    """The budget for which the tokens were lowered."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not be made now."""

    hold: Hold | None
    """The account that has too little; None when a key is closed."""
    left: int
    """Whole units that the account has left."""
    retry_after: float | None
    """Seconds after which it is worth asking again; None when that is not known."""
    reason: str
    needed: int = 0
    """Whole units that the call needs at least."""
    held: bool = False
    """True where others only hold it for now: it may come back at any moment."""
    renews: float | None = None
    """Epoch seconds at which it is free again; None where that is not known, and for what never renews."""
    others: tuple[Hold, ...] = ()
    """Accounts that have too little as well, and that let go of it sooner."""
    down: str | None = None
    """The key that is down, or that another call is finding out about."""
    refuses: bool = False
    """As `Open.refused`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What was used is entered; `alerts` are thresholds that it passed."""

    alerts: tuple[Alert, ...] = ()
    kept: bool = True
    """False when the reservation was given back before, because its lease had run out or the ledger was closed."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken out, or would be."""

    before: float
    """What was asked, or the beginning of the running month where that is earlier."""
    delegations: int = 0
    attempts: int = 0
    calls: int = 0
    pico: int = 0
    """What those calls cost as far as it is known, in picodollars."""
    unknown: int = 0
    """Calls whose cost is not known."""
    runs: int = 0
    """Runs of recipes."""

    @property
    def rows(self) -> int:
        """How many records."""
        return self.delegations + self.attempts + self.calls + self.runs

    def and_then(self, step: Pruned) -> Pruned:
        """With what a later step took out."""
        return Pruned(
            step.before,
            self.delegations + step.delegations,
            self.attempts + step.attempts,
            self.calls + step.calls,
            self.pico + step.pico,
            self.unknown + step.unknown,
            self.runs + step.runs,
        )


Answer: TypeAlias = Granted | Refused | Settled | Pruned | RunHeld | None


class Unwritable(LedgerError):
    """Nothing of it was carried out, and it may be later: the file is locked, full or away."""


class Damaged(LedgerError):
    """What is in the file contradicts itself: nothing that is asked of it can be relied on any more."""


class Storage(Protocol):
    """Where a ledger is kept. Used by one thread at a time; `query` may be used by another meanwhile."""

    def run(self, operations: Sequence[Operation], now: float, *, wait: bool = True) -> list[Answer] | None:
        """Carry out all operations in one transaction, in order.

        Without `wait` it takes no time to speak of: None, and nothing is done, where somebody else is writing or a storage
        is far away. A settling is carried out once, however often it is asked for. Raises LedgerError; Unwritable when the
        same may go later.
        """
        ...

    def tend(self, now: float) -> None:
        """Say that this process is alive, so that what it holds stays held, and keep the storage in shape."""
        ...

    def release(self) -> None:
        """Give back everything that this process still holds."""
        ...

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one of the named questions. Raises LedgerError."""
        ...

    def compact(self) -> None:
        """Give the room of what was taken out back to the disk. Raises LedgerError."""
        ...

    def close(self) -> None:
        """Give back the connection."""
        ...

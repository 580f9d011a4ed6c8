"""What is asked of a ledger's storage, and what comes back: plain values, carried out many at a time in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.records import Record


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

    def charges(self, tokens: int, used: Callable[[Hold], int] = lambda hold: 0) -> tuple[Charge, ...]:
        """What settling comes to on each account, when so many tokens were granted."""
        return tuple(Charge(hold, hold.fixed + tokens * hold.per_token, used(hold)) for hold in self.holds)


@dataclass(frozen=True, slots=True)
class Settle:
    """Replace a reservation by what was really used, and keep the call's record."""

    id: str
    charges: tuple[Charge, ...]
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """No calls under `key` until then (epoch seconds): a vendor said so."""

    key: str
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Correct:
    """A vendor counted otherwise: on the hold's account no more than `left` remain."""

    hold: Hold
    left: int


Operation: TypeAlias = Append | Reserve | Settle | Close | Correct


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


@dataclass(frozen=True, slots=True)
class Settled:
    """What was used is entered; `alerts` are thresholds that it passed."""

    alerts: tuple[Alert, ...] = ()
    kept: bool = True
    """False when the lease had run out before."""


Answer: TypeAlias = Granted | Refused | Settled | None


class Storage(Protocol):
    """Where a ledger is kept. Used from one thread at a time; `query` may be used from another."""

    def run(self, operations: Sequence[Operation], now: float) -> list[Answer]:
        """Carry out all operations in one transaction, in order. Raises LedgerError."""
        ...

    def renew(self, now: float) -> None:
        """Say that this process is alive, so that what it holds stays held."""
        ...

    def release(self) -> None:
        """Give back everything that this process still holds."""
        ...

    def query(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of one of the named questions."""
        ...

    def close(self) -> None:
        """Give back the connection."""
        ...

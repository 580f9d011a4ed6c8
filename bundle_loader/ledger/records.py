"""What the ledger keeps: one value per call, attempt and delegation."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from bundle_loader.messages import Usage

Outcome: TypeAlias = Literal["answered", "failed", "cancelled", "refused"]

PICO = Decimal(1_000_000_000_000)


def to_pico(cost: Decimal | None) -> int | None:
    """Dollars as whole millionths of a millionth, which SQLite adds exactly; unknown stays None."""
    return None if cost is None else int((cost * PICO).to_integral_value())


def from_pico(value: int | None) -> Decimal | None:
    """The dollars of `to_pico`."""
    return None if value is None else Decimal(value) / PICO


@dataclass(frozen=True, slots=True)
class DelegationRecord:
    """One delegation from start to end. Times are epoch seconds, `latency` seconds."""

    id: str
    parent: str | None
    root: str
    depth: int
    agent: str
    tier: str | None
    profile: str | None
    stage: str | None
    role: str | None
    decided_by: str
    bundle: str
    bundle_hash: str
    started: float
    latency: float
    outcome: Outcome
    provider: str | None
    model: str | None
    reason: str | None
    simulated: bool


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One candidate tried inside a delegation."""

    id: str
    delegation: str
    number: int
    provider: str
    model: str
    pattern: str
    started: float
    latency: float
    outcome: Outcome
    kind: str | None
    """The kind of failure."""
    reason: str | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One request to a provider. `usage` is None when nothing at all is known of it; `cost` None is unknown, never 0."""

    id: str
    attempt: str
    delegation: str
    root: str
    agent: str
    tier: str | None
    provider: str
    pattern: str
    """What the preference asked for."""
    asked: str
    """The concrete model that was asked."""
    answered: str | None
    """The model that the provider says it answered with."""
    started: float
    latency: float
    first_token: float | None
    """Seconds until the first token."""
    usage: Usage | None
    cost: Decimal | None
    outcome: Outcome
    reason: str | None
    simulated: bool


Record: TypeAlias = DelegationRecord | AttemptRecord | CallRecord

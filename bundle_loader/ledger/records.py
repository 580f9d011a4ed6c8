"""What the ledger keeps: one value per call, attempt and delegation."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from bundle_loader.messages import Usage
from bundle_loader.routing.charged import PICO

Outcome: TypeAlias = Literal["answered", "failed", "cancelled", "refused", "lost"]
"""`lost` is a call whose process died while it was under way: what it cost is not known."""
CostSource: TypeAlias = Literal["reported", "declared", "listed", "public", "free"]
"""Who says what it cost: the provider's answer, a declared price, the provider's list, the public prices; or nobody is paid."""


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
    rejected: tuple[tuple[str, str, str], ...] = ()
    """Provider, pattern and reason of each preference that gave no candidate."""


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
    family: str | None = None
    profile: str | None = None
    stage: str | None = None
    role: str | None = None
    tags: tuple[str, ...] = ()
    cost_source: CostSource | None = None


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """A change in whether a provider, or one of its models, may be asked."""

    at: float
    provider: str
    model: str | None
    """None for the whole provider."""
    state: Literal["open", "probing", "closed"]
    reason: str | None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class HopRecord:
    """A model gave way to another one inside a delegation, and why."""

    delegation: str
    at: float
    from_provider: str
    from_model: str
    to_provider: str
    to_model: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRecord:
    """A delegation carries on a session that another one began; the session has the id of that one."""

    delegation: str
    session: str
    at: float


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """What somebody thought of a delegation's answer."""

    at: float
    delegation: str
    score: float
    """0 (useless) to 1 (right)."""
    note: str | None = None
    source: str | None = None


Record: TypeAlias = DelegationRecord | AttemptRecord | CallRecord | HealthRecord | HopRecord | ResumeRecord | FeedbackRecord

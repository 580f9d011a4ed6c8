"""How a delegation ended: every attempt, and the answer with who gave it and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from bundle_loader.events import Event
from bundle_loader.ledger.records import Outcome
from bundle_loader.messages import Message, Usage
from bundle_loader.routing.candidate import Rejection, Route
from bundle_loader.routing.request import DecidedBy


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate tried."""

    number: int
    provider: str
    model: str
    outcome: Outcome
    """`answered`, `failed` or `cancelled`."""
    kind: str | None = None
    """The kind of failure, a word of the failure table."""
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    latency: float = 0.0
    """Seconds."""

    def __str__(self) -> str:
        said = f": {self.reason}" if self.reason else ""
        return f"{self.number}. {self.provider}/{self.model} {self.outcome}{said}"


@dataclass(frozen=True, slots=True)
class DelegationResult:
    """An answer."""

    text: str
    provider: str
    model: str
    """The concrete model that was asked."""
    answered_by: str
    """The model that the provider says it answered with."""
    decided_by: DecidedBy
    attempts: tuple[Attempt, ...]
    usage: Usage
    """Of all attempts, those that failed included."""
    cost: Decimal | None
    """US dollars for `usage`; None when any part of it has no known price."""
    route: Route
    id: str
    agent: str
    latency: float
    turns: int
    messages: tuple[Message, ...] = field(default=(), repr=False)
    """The whole conversation, this answer included."""
    data: Any = None
    """The validated value of an `output_schema`."""
    notes: tuple[str, ...] = ()
    """What was dropped or is not in force, in words."""
    simulated: bool = False
    finish: str = "stop"
    """`length` when the answer was cut at `max_tokens`."""

    refused: tuple[Rejection, ...] = ()
    """Candidates that a budget kept from being asked."""

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Preferences that gave no candidate, or one that a budget refused, with reasons."""
        return (*self.route.rejections, *self.refused)


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """The last event of a stream."""

    result: DelegationResult


StreamEvent: TypeAlias = Event | DoneEvent

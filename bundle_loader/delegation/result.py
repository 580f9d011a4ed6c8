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
class Child:
    """A delegation that this one has delegated on."""

    id: str
    agent: str
    outcome: Outcome
    """`answered`, `failed`, `refused` or `cancelled`."""
    cost: Decimal | None
    """US dollars, with all that it delegated on; None when any part of it has no known price."""
    session: str | None = None
    provider: str | None = None
    model: str | None = None
    reason: str | None = None
    """Why it gave no answer."""


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
    """US dollars for `usage`; None when any part of it has no known price. Its own cost: that of children is not in it."""
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
    session: str | None = None
    """The id by which the session is resumed; None where no transcript is kept."""
    children: tuple[Child, ...] = ()
    """What it delegated on, in the order in which that ended."""

    @property
    def cost_with_children(self) -> Decimal | None:
        """US dollars of this delegation and of all below it; None when any part of it has no known price."""
        total = self.cost
        for child in self.children:
            total = None if total is None or child.cost is None else total + child.cost
        return total

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Preferences that gave no candidate, or one that a budget refused, with reasons."""
        return (*self.route.rejections, *self.refused)


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """The last event of a stream."""

    result: DelegationResult


@dataclass(frozen=True, slots=True)
class ChildEvent:
    """Something that happens in a delegation below the one that is streamed, however deep."""

    delegation: str
    """Whose it is."""
    parent: str
    agent: str
    depth: int
    """1 for what the streamed delegation delegates, 2 for what that delegates; counted from the top of the tree."""
    event: Event | DoneEvent


StreamEvent: TypeAlias = Event | DoneEvent | ChildEvent

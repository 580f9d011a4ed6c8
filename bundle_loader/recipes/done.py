"""What an action gave, before it is the record of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bundle_loader.recipes.result import StepRecord


@dataclass(slots=True)
class Facts:
    """Who did a step and what it cost, gathered over its tries."""

    provider: str | None = None
    model: str | None = None
    profile: str | None = None
    purpose: str | None = None
    delegation: str | None = None
    cost: Decimal | None = Decimal(0)
    attempts: int = 0
    notes: list[str] = field(default_factory=list)
    """What is to be said of it though it did not fail."""

    def spend(self, cost: Decimal | None) -> None:
        """Add what a delegation cost; one unknown part makes the whole unknown."""
        self.cost = None if cost is None or self.cost is None else self.cost + cost


@dataclass(slots=True)
class Done:
    """What an action gave."""

    output: Any = None
    sets: dict[str, Any] = field(default_factory=dict)
    """Variables beside the step's `output`: an exit code, what the steps of a group have set."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """How the steps in it ended."""
    text: bool = False
    """True where the output is text in which JSON may be looked for."""
    data: bool = False
    """True where the output was held to the step's schema already."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of one step."""

    record: StepRecord
    sets: Mapping[str, Any] = field(default_factory=dict)
    goto: str | None = None
    """The step at which it goes on instead of the next."""

"""What a delegation has gathered so far: its history, its attempts, and what budgets had to say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from bundle_loader.delegation.result import Attempt, Child
from bundle_loader.errors import NotSent, OverBudget
from bundle_loader.events import BudgetEvent, OutcomeEvent, TurnEvent
from bundle_loader.messages import Message, Usage
from bundle_loader.routing.candidate import Candidate, Rejection, Route
from bundle_loader.routing.standing import Down


@dataclass(slots=True)
class Progress:
    """A run between its events."""

    history: list[Message]
    notes: list[str]
    attempts: list[Attempt] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = field(default_factory=Decimal)
    turns: int = 0
    rejected: int = 0
    """Answers that did not fit the agent's `output_schema`."""
    simulated: bool = False
    """Of the candidate that was tried last."""
    shown: str = ""
    """Text of the current turn that the caller has seen."""
    outcome: OutcomeEvent | None = None
    refused: dict[tuple[str, str], Rejection] = field(default_factory=dict)
    """Provider and model -> why it could not be asked; the latest reason."""
    kept: dict[tuple[str, str], NotSent] = field(default_factory=dict)
    """Provider and model -> what kept its latest call from being made, before or between its turns."""
    unsaid: list[BudgetEvent] = field(default_factory=list)
    """What budgets had to say since the last event."""

    children: list[Child] = field(default_factory=list)

    @property
    def whole_cost(self) -> Decimal | None:
        """Of this delegation so far and of its children; None where any part of it has no known price."""
        total = self.cost
        for child in self.children:
            total = None if total is None or child.cost is None else total + child.cost
        return total

    def trying(self, candidate: Candidate, route: Route) -> None:
        """A candidate is about to be asked: it is noted where the work leaves this machine."""
        leaving = route.leaving(candidate)
        if leaving is not None and leaving not in self.notes:
            self.notes.append(leaving)

    def hear(self, notes: Iterable[str]) -> None:
        """Take in what budgets said, once: an event of the stream, and a note of the result."""
        for note in notes:
            if note not in self.notes:
                self.notes.append(note)
                self.unsaid.append(BudgetEvent(note))

    def news(self) -> list[BudgetEvent]:
        """What is to be said now."""
        unsaid, self.unsaid = self.unsaid, []
        return unsaid

    def held_back(self, failure: NotSent) -> None:
        """A call waits for what others hold, or for a window to move on: visible, whatever comes of it."""
        whose = f"budget '{failure.budget}'" if isinstance(failure, OverBudget) and failure.budget else failure.provider
        self.hear([f"{whose} held a call back: {failure.why}"])

    def turned_down(self, route: Route) -> tuple[Rejection, ...]:
        """Everything that could not be asked, each once: of what was down and has been asked since, the latest word holds."""
        asked = {(one.provider, one.model) for one in self.attempts} | set(self.refused)
        since = [(one, down) for one, down in route.waiting if (one.provider, one.model) in asked]
        stays = [item for item in route.rejections if not any(_only(item, one, down) for one, down in since)]
        return (*stays, *self.refused.values())

    def emergency(self, candidates_of: Callable[[str], tuple[Candidate, ...]], tier: str) -> tuple[Candidate, ...]:
        """The candidates of a budget's emergency tier; that it takes over is said."""
        found = candidates_of(tier)
        if found:
            self.hear([f"a budget is used up; its emergency tier '{tier}' takes over"])
        return found

    def turn(self, event: TurnEvent, lowered: tuple[str, int] | None) -> None:
        """A turn is finished; `lowered` is the budget for which its answer was kept short, and the tokens that it left."""
        self.history += event.added
        self.turns += 1
        self.rejected += event.rejected
        self.shown = ""
        self.notes += [note for note in event.turn.notes if note not in self.notes]
        if event.turn.finish == "length" and lowered is not None:
            self.hear([f"the answer was cut at {lowered[1]} tokens: budget '{lowered[0]}' has no more left"])


def _only(item: Rejection, candidate: Candidate, down: Down) -> bool:
    """Whether a rejection is about this candidate's being down, and about nothing else."""
    if item.preference != candidate.preference or item.provider not in (candidate.provider, candidate.preference.provider):
        return False
    # without the words that say when, which depend on the moment
    says = down.told(down.until).rpartition("; ")[0]
    return item.reason.rpartition("; ")[0] == says

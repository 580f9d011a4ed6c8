"""What a delegation tells whoever streams it, and a host its listener: typed, frozen, printable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from bundle_loader.messages import Finish, Message, ToolCall, ToolResult, Turn


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """An answer asks for tools, which are about to be run: what a transcript keeps before anything takes effect.

    A spawner yields it before it runs the tools of a turn; whoever streams does not see it.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class ToolEvent:
    """A tool was run inside a turn; `result` is what the model is told."""

    call: ToolCall
    result: ToolResult


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """A turn is finished. `added` is what it adds to the history: the answer and the results of its tools."""

    turn: Turn
    added: tuple[Message, ...]
    rejected: bool = False
    """Its answer does not fit the agent's `output_schema`; the last of `added` tells the model why."""


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A candidate is about to be tried; `number` counts from 1."""

    provider: str
    model: str
    """The concrete model that is asked."""
    number: int
    agent: str
    tier: str | None
    preference: str
    """`provider/glob` as it was preferred."""
    before: tuple[str, ...]
    """Every preference that came to nothing so far, with the reason: rejected, held back by a budget, or tried and failed."""


@dataclass(frozen=True, slots=True)
class FallbackEvent:
    """A model gives way to another: it failed, or was passed over before it was tried. Exactly one for every hop."""

    from_provider: str
    from_model: str
    to_provider: str
    to_model: str
    reason: str


@dataclass(frozen=True, slots=True)
class BudgetEvent:
    """A budget has something to say: a threshold was passed, an answer was shortened, a call was held back."""

    note: str


@dataclass(frozen=True, slots=True)
class OutcomeEvent:
    """A spawner's last word: the answer of the final turn and the model that the provider says gave it."""

    text: str
    model: str
    finish: Finish
    data: Any = None
    """The value of an answer that an `output_schema` was asked for; it is checked again before it is handed on."""


Event: TypeAlias = TextEvent | AnswerEvent | ToolEvent | TurnEvent | StatusEvent | FallbackEvent | BudgetEvent | OutcomeEvent


@dataclass(frozen=True, slots=True)
class CatalogueChanged:
    """A renewed list offers other models than the one before."""

    provider: str
    added: tuple[str, ...]
    """Ids, in the order of the new list."""
    removed: tuple[str, ...]
    """Ids, in the order of the old list."""


@dataclass(frozen=True, slots=True)
class PatternMoved:
    """A renewed list gives another first model for a pattern (or id) that was resolved before."""

    provider: str
    pattern: str
    old: str | None
    """None where it matched nothing."""
    new: str | None


HostEvent: TypeAlias = CatalogueChanged | PatternMoved

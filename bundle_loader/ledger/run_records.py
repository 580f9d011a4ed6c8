"""Runs of recipes as a ledger keeps them: what is asked of its storage, each carried out in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class BeginRun:
    """A run begins, and is held by whoever began it. Texts of JSON: `asked` is what was asked for, `prints` tell the recipe."""

    id: str
    recipe: str
    bundle: str
    file: str
    started: float
    simulated: bool
    asked: str
    prints: str
    holder: str
    until: float
    """Epoch seconds until which nobody else may go on with it."""


@dataclass(frozen=True, slots=True)
class TakeRun:
    """Go on with a run: nobody may hold it, or its hold is over, or it is held by `dead`, whose process is gone."""

    id: str
    holder: str
    until: float
    dead: str | None = None


@dataclass(frozen=True, slots=True)
class HoldRun:
    """Hold a run for longer."""

    id: str
    holder: str
    until: float


@dataclass(frozen=True, slots=True)
class KeepStep:
    """What came of a step; it takes the place of what was kept of it before. Texts of JSON: `told`, `sets` and `output`."""

    run: str
    holder: str
    id: str
    step: str
    stage: str
    kind: str
    status: str
    final: bool
    """True where the step is not to be done again."""
    told: str
    sets: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class EndRun:
    """A run is over, or waits; nobody holds it any more."""

    id: str
    holder: str
    status: str
    reason: str | None
    told: str


@dataclass(frozen=True, slots=True)
class AnswerRun:
    """Somebody's yes or no to a step that waits for it. The first answer holds."""

    run: str
    id: str
    yes: bool
    note: str | None


RunOperation: TypeAlias = BeginRun | TakeRun | HoldRun | KeepStep | EndRun | AnswerRun


@dataclass(frozen=True, slots=True)
class RunHeld:
    """Whether it was carried out. It was not where there is no such run, or somebody else holds it, or has answered before."""

    held: bool
    holder: str | None = None
    """Who holds it instead."""
    until: float | None = None

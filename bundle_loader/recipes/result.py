"""How a run of a recipe goes and ends: its events, what came of each step, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from bundle_loader.delegation.result import StreamEvent

RunStatus: TypeAlias = Literal["done", "failed", "waiting", "stopped", "cancelled", "running"]
"""`waiting` for somebody's yes or no; `stopped` by a no; `cancelled` from outside, to be resumed; `running`, or cut off."""
StepStatus: TypeAlias = Literal["done", "skipped", "failed", "waiting", "running"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What came of one step, or of one element of a loop."""

    id: str
    """Which: `build`, `checks/lint` in a group, `fix[3]/test` in the fourth round of a loop, `release/notes` in a sub-recipe."""
    step: str
    """The id that the recipe gives it."""
    stage: str
    """The name of the recipe's stage that it stands in; empty where there are none."""
    kind: str
    """agent, shell, python, recipe, approval or group; `foreach` and `while` for a whole loop, `stage` for a stage's approval."""
    status: StepStatus
    attempts: int = 0
    seconds: float = 0.0
    output: Any = None
    """A plain JSON value; None for what was left out."""
    provider: str | None = None
    model: str | None = None
    """The concrete model that was asked."""
    profile: str | None = None
    purpose: str | None = None
    """What it is for: planning, implementation, verification, summary, ..."""
    cost: Decimal | None = None
    """US dollars of its delegations, failed tries and children included; None where it is not known."""
    delegation: str | None = None
    """The id of the delegation that answered."""
    reason: str | None = None
    """Why it failed, was left out or waits."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended, or how far it came."""

    id: str
    recipe: str
    status: RunStatus
    outputs: Mapping[str, Any] = field(default_factory=dict)
    """The variables that steps have set, as plain JSON values."""
    steps: tuple[StepRecord, ...] = ()
    """In the order in which they ended."""
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What steps are for -> the models that answered, each as `provider/model`."""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """`model_profile`, `implementation_profile` and `summary_profile` as they were in force; empty where none was."""
    cost: Decimal | None = None
    """US dollars; None when any part has no known price."""
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    """Why it failed, waits or was stopped."""
    waits_for: str | None = None
    """The step that an approval is waited for."""
    no_answer: bool = False
    """True where it failed because no model gave an answer."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins, or goes on."""

    id: str
    recipe: str
    resumed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step is about to be done; `attempt` counts its tries from 1."""

    id: str
    step: str
    stage: str
    kind: str
    attempt: int = 1
    description: str = ""


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Something that happens in the delegation of an agent step."""

    id: str
    event: StreamEvent


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A try failed, and another one follows after so many seconds."""

    id: str
    attempt: int
    """The one that failed."""
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step is over, and what came of it is kept. `kept` is True where that was so before the run was resumed."""

    record: StepRecord
    kept: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalWanted:
    """Somebody's yes is needed before it goes on."""

    id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class RunDone:
    """The last event of a run."""

    result: RunResult


RunEvent: TypeAlias = RunStarted | StepStarted | StepProgress | StepRetried | StepEnded | ApprovalWanted | RunDone

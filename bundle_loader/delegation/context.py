"""What a spawner is handed: plain data that can cross a process or a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Message, ToolSpec
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.request import DecidedBy

DEFAULT_MAX_TOKENS: Final = 4096


def output_bound(candidate: Candidate) -> int:
    """The most tokens of one answer: the config's `max_tokens`, else the model's listed output limit, else 4096."""
    written = candidate.config.get("max_tokens")
    if isinstance(written, int) and not isinstance(written, bool) and written > 0:
        return written
    info = candidate.info
    return info.output_limit if info is not None and info.output_limit else DEFAULT_MAX_TOKENS


@dataclass(frozen=True, slots=True)
class SpawnLimits:
    """Seconds and turns. `timeout` is what is left of the whole deadline, `first` bounds connecting and the first token."""

    timeout: float
    first: float
    idle: float
    max_turns: int


@dataclass(frozen=True, slots=True)
class DelegationContext:
    """One delegation, on one candidate."""

    id: str
    parent: str | None
    root: str
    depth: int
    agent: str
    instruction: str
    """The agent's text, rendered: the system text."""
    task: str
    messages: tuple[Message, ...]
    """Inherited messages, the task, and every turn that is already finished."""
    candidate: Candidate | None
    """Whom to ask; None only before a route has given one."""
    remaining: tuple[Candidate, ...]
    decided_by: DecidedBy
    limits: SpawnLimits
    config: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()
    bundle: str = ""
    bundle_hash: str = ""
    tier: str | None = None
    profile: str | None = None
    stage: str | None = None
    role: str | None = None
    local_only: bool = False
    turns_done: int = 0
    tags: tuple[str, ...] = ()
    """The caller's own words for the work, which budgets can be kept by."""
    caps: tuple[Cap, ...] = ()
    """The most that this delegation, and each above it, may cost with all below it."""

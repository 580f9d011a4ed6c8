"""What a spawner is handed: plain data that can cross a process or a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bundle_loader.declared.tables import Timeouts
from bundle_loader.delegation.plain import from_plain, to_plain
from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Message, ToolSpec
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.request import DecidedBy

DEFAULT_MAX_TOKENS: Final = 4096
LEAST_SHARE: Final = 15.0
"""Seconds that a candidate has at least for its first token."""
LONG_SILENCE: Final = 60.0
"""Seconds after which silence tells something of a candidate, whoever ends it."""
LOAD: Final = 120.0
"""Seconds for the first answer of a local model, where nothing else is said."""


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
    load: float = 0.0
    """What takes the place of `first` for the first call, where it is more: a local model may have to be loaded."""
    due: float = LEAST_SHARE
    """What a candidate must have had for its first token (`load` too, where that is waited for) before its silence says
    anything of it.
    """


def first_limits(timeout: float, idle: float, max_turns: int) -> SpawnLimits:
    """The limits of a whole delegation, before any candidate has its share."""
    return SpawnLimits(timeout=timeout, first=timeout, idle=idle, max_turns=max_turns)


def limits_of(whole: SpawnLimits, said: Timeouts, left: float, others: int, *, local: bool) -> SpawnLimits:
    """The limits of one candidate, with `left` seconds of the deadline and `others` behind it.

    1. Its share is what is left for each of those that remain, and at least 15 s; `first_token` shortens it.
    2. A local one may have to load its model first: its first answer has `load`, where that is more.
    3. Nothing outlasts the deadline; `timeout` of what is given bounds all of it.
    """
    share = max(LEAST_SHARE, left / (1 + others))
    first = share if said.first_token is None else min(share, said.first_token)
    load = (LOAD if said.load is None else said.load) if local else 0.0
    due = max(LEAST_SHARE, said.first_token or 0.0)
    idle = whole.idle if said.idle is None else said.idle
    return SpawnLimits(left, min(first, left), idle, whole.max_turns, load, due)


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
    output_schema: Mapping[str, Any] | None = None
    """JSON Schema of the answer; what does not fit it is no answer."""
    repaired: bool = False
    """True where an answer did not fit already, and the model was told why: there is no second time."""
    caps: tuple[Cap, ...] = ()
    """The most that this delegation, and each above it, may cost with all below it."""
    session: str | None = None
    """The session that it begins or carries on; None where no transcript is kept."""

    def to_json(self) -> str:
        """All of it as one line of JSON, for another process or machine. Raises TypeError for what no process could read."""
        return json.dumps(to_plain(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> DelegationContext:
        """The context of `to_json`, equal to it. Raises ValueError that names what is wrong."""
        found: DelegationContext = from_plain(cls, json.loads(text))
        return found

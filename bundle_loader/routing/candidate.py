"""What routing finds: candidates, rejections and the route that they make. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundle_loader.declared.preference import Preference
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.request import DecidedBy
from bundle_loader.routing.standing import Bar, Down


@dataclass(frozen=True, slots=True)
class Candidate:
    """A concrete model that may be tried."""

    provider: str
    model: str
    preference: Preference
    config: Mapping[str, Any] = field(default_factory=dict)
    """agent.config < preference.config < caller."""
    info: ModelInfo | None = field(default=None, compare=False, repr=False)
    spare: ModelInfo | None = field(default=None, compare=False, repr=False)
    """The next best match of the same glob, should this model be gone."""
    stands_for: str | None = None
    """The written id where an alias or a snapshot stands for it."""
    local: bool = False
    simulated: bool = False

    def __str__(self) -> str:
        written = f"{self.provider}/{self.model}"
        if self.stands_for:
            written += f" (for {self.stands_for})"
        return written + (" [simulated]" if self.simulated else "")


@dataclass(frozen=True, slots=True)
class Rejection:
    """A preference that gave no candidate, and the reason."""

    provider: str
    model: str
    """The glob or id as preferred."""
    reason: str
    preference: Preference = field(repr=False)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Passed:
    """A model that would have been the best of its preference, and the one that stands in for it."""

    provider: str
    model: str
    instead: str
    """The other model of the same provider."""
    reason: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} was passed over: {self.reason}"


@dataclass(frozen=True, slots=True)
class Route:
    """Candidates in order, every rejection with its reason, and who decided."""

    agent: str
    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...]
    decided_by: DecidedBy
    decision: str
    """Who decided, in words: `agent git-ops, tier budget`."""
    tier: str | None = None
    notes: tuple[str, ...] = ()
    barred: tuple[Bar, ...] = field(default=(), repr=False)
    """What budgets, and vendors that take no more for now, had against models that could serve."""
    waiting: tuple[tuple[Candidate, Down], ...] = field(default=(), repr=False)
    """Of each preference that gave no candidate because its models are down, the best: worth waiting for once all else failed."""
    passed: tuple[Passed, ...] = field(default=(), repr=False)
    """Models that are down, or that budgets hold back, for which a candidate stands in."""

    local_first: str = ""
    """The profile that warns when the work leaves this machine, where one gave the list."""

    def leaving(self, candidate: Candidate) -> str | None:
        """What is said when a candidate that is not on this machine is tried, where that is to be said."""
        if not self.local_first or candidate.local:
            return None
        return f"profile {self.local_first}: {candidate.provider}/{candidate.model} is not on this machine, so the work leaves it"

    @property
    def chosen(self) -> Candidate | None:
        """The first candidate; None when everything was rejected."""
        return self.candidates[0] if self.candidates else None

    @property
    def lines(self) -> list[str]:
        """What it says to a reader."""
        lines = [f"{self.agent}: decided by {self.decided_by} ({self.decided_by.number}): {self.decision}"]
        lines += [f"  {'->' if index == 0 else '  '} {candidate}" for index, candidate in enumerate(self.candidates)]
        lines += [f"   x {rejection}" for rejection in self.rejections]
        return lines + [f"   note: {note}" for note in self.notes]

    def __str__(self) -> str:
        return "\n".join(self.lines)

"""Who delegates, and where in the tree of delegations that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundle_loader.delegation.result import Child, ChildEvent
from bundle_loader.delegation.tools import Tool
from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Message
from bundle_loader.routing.request import Pair, Request
from bundle_loader.routing.step import StepChoice


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a delegation stands in its tree, and what holds for all below it."""

    parent: str
    root: str
    depth: int
    caps: tuple[Cap, ...] = ()
    tags: tuple[str, ...] = ()
    local_only: bool = False
    held: Mapping[str, Any] = field(default_factory=dict)
    """What a run of a recipe holds all that its steps delegate to: see `held`."""

    def choice(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Who does a child's work, where the call of the tool says `said`.

        1. What whoever started the run insists on: its list takes the place of what is said, its provider filters it.
        2. What is said.
        3. The profile in force, for the stage of the step.
        """
        if "preferences" in self.held:
            return dict(self.held)
        asked = dict(said)
        if "provider" in self.held and "model" in asked:
            model, provider = asked.pop("model"), asked.pop("provider", None)
            asked["preferences"] = [model if provider is None else f"{provider}/{model}"]
        return {**asked, **self.held}


def held(request: Request) -> dict[str, Any]:
    """What holds for all to whom the agent of a recipe's step delegates on; nothing where no step asks.

    The profile with the stage, and the list or the provider that whoever started the run insists on.
    """
    if request.step is None:
        return {}
    profile, stage = request.in_force
    kept: dict[str, Any] = {"step": StepChoice(profile=profile, stage=stage, name=request.step.name)}
    if request.preferences is not None:
        kept["preferences"] = request.preferences
    if request.provider is not None:
        kept["provider"] = request.provider
    return kept


@dataclass(slots=True)
class Caller:
    """Whoever delegates: a delegation under way, or a host's own loop. Nothing of it is changed but `children` and `begun`."""

    agent: str | None
    lineage: Lineage
    """That of its children."""
    pairs: Callable[[], Sequence[Pair]]
    """What it runs on now, then the rest of its route."""
    history: Callable[[], Sequence[Message]]
    vars: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Callable[..., Any] | Tool, ...] = ()
    end: float | None = None
    """Its deadline, in the event loop's time."""
    hear: Callable[[ChildEvent], None] | None = None
    """Told what its children do."""
    watched: Callable[[], bool] = lambda: True
    """Whether anybody listens."""
    children: list[Child] = field(default_factory=list)
    begun: int = 0

"""Who delegates, and where in the tree of delegations that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundle_loader.delegation.result import Child, ChildEvent
from bundle_loader.delegation.tools import Tool
from bundle_loader.ledger.budgets import Cap
from bundle_loader.messages import Message
from bundle_loader.routing.request import Pair


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a delegation stands in its tree, and what holds for all below it."""

    parent: str
    root: str
    depth: int
    caps: tuple[Cap, ...] = ()
    tags: tuple[str, ...] = ()
    local_only: bool = False


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

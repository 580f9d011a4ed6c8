"""What a composition holds while its layers are laid: agents between folding and finishing, names that are gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, reduce

from bundle_loader.declared.bundle import Contribution
from bundle_loader.declared.fold import fold_agent
from bundle_loader.declared.layer import AgentFile
from bundle_loader.declared.mended import Path
from bundle_loader.declared.tree import Mapping, Scalar, Sequence
from bundle_loader.errors import Fault, Hints


@dataclass(slots=True)
class Folded:
    """One agent between folding and finishing."""

    name: str
    bundle: str
    source: AgentFile | None
    patches: tuple[Mapping, ...] = ()
    """What is laid over the file, least derived first; without a file the first is the agent itself."""
    contributions: list[Contribution] = field(default_factory=list)
    hidden: bool = False
    """True once a more derived file has replaced it."""
    flawed: bool = False
    """True once a patch with faults was laid over it."""

    @property
    def label(self) -> str:
        """What it is reached by."""
        return f"{self.bundle}:{self.name}" if self.hidden else self.name

    @property
    def as_written(self) -> bool:
        """True where it is exactly what its file says."""
        return self.source is not None and not self.patches

    def folded(self, follows_tier: Callable[[Mapping], bool]) -> Mapping:
        """Everything that was written about the agent, folded anew at each call: thousands of trees would be kept for nothing."""
        below = [] if self.source is None else [self.source.tree]
        return reduce(partial(fold_agent, follows_tier=follows_tier), [*below, *self.patches])


@dataclass(slots=True)
class Composition:
    """Everything folded so far."""

    header: Mapping | None = None
    agents: dict[str, Folded] = field(default_factory=dict)
    hidden: dict[str, Folded] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    rank: dict[str, int] = field(default_factory=dict)
    """File -> the place of its layer. One slot: an agent file ranks as the bundle that includes it."""
    tier_rank: dict[str, int] = field(default_factory=dict)
    removed: dict[tuple[str, str], str] = field(default_factory=dict)
    """Table and name -> where a layer removed it."""
    lost: set[Path] = field(default_factory=set)
    """What faults took away that are told already: a whole table, or one name of it."""
    hints: Hints = field(default_factory=Hints)
    _aliases: dict[str, str] | None = None
    """Alias -> agent, for the agents that are there now; None where they changed since it was asked for."""

    def alias_of(self, name: str) -> str | None:
        """The agent that has this alias, as things stand now."""
        if self._aliases is None:
            self._aliases = {}
            for agent, folded in sorted(self.agents.items()):
                node = folded.folded(lambda _: False).entries.get("aliases")
                items = node.items if isinstance(node, Sequence) else [node]
                for alias in (item.text for item in items if isinstance(item, Scalar) and not item.is_null):
                    self._aliases.setdefault(alias, agent)
        return self._aliases.get(name)

    def is_lost(self, table: str, name: str) -> bool:
        """Whether a fault took a name away that is told already."""
        return bool(self.lost) and ((table,) in self.lost or (table, name) in self.lost)

    def names_lost(self, table: str) -> list[str]:
        """The names of a table that were taken away."""
        return [str(path[1]) for path in self.lost if path[:1] == (table,) and len(path) > 1]

    def gone(self, table: str, name: str) -> str:
        """`; it is removed at FILE:LINE`, or nothing."""
        place = self.removed.get((table, name))
        return f"; it is removed at {place}" if place else ""

    def changed(self) -> None:
        """To be told when agents have come, gone or been patched."""
        self._aliases = None

    def find(self, name: str) -> Folded | None:
        """The agent of a name, or of `bundle:agent`, be it hidden or not."""
        bundle, colon, short = name.rpartition(":")
        if name in self.hidden:
            return self.hidden[name]
        found = self.agents.get(short) or self.agents.get(self.alias_of(short) or "")
        if found is None or not colon or any(written.bundle == bundle for written in found.contributions):
            return found
        return None

    def hide(self, name: str) -> str:
        """Take an agent out of the way of a file of the same name; gives the name that still reaches it."""
        below = self.agents.pop(name)
        below.hidden = True
        self.hidden[below.label] = below
        return below.label

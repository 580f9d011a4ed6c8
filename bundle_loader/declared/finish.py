"""Folded trees to final values: tiers spliced, `extends` resolved, the one slot decided."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from bundle_loader.declared.agent import (
    IDENTITY_KEYS,
    Agent,
    ContextPolicy,
    Limits,
    WrittenAgent,
    WrittenContext,
    WrittenLimits,
)
from bundle_loader.declared.final_tables import MAX_CHAIN, FinalTables, Names, Preferences
from bundle_loader.declared.fold import fold_agent, pruned, settled, slot_file, tier_is_redefined
from bundle_loader.declared.mended import mended
from bundle_loader.declared.tables import WrittenBundle
from bundle_loader.declared.tree import Mapping, Node, Scalar
from bundle_loader.declared.written import check
from bundle_loader.errors import Fault

if TYPE_CHECKING:
    from bundle_loader.declared.layer import AgentFile


_EVERYBODY: Final[MappingOf[tuple[str, ...], tuple[str, ...]]] = {("all",): ("*",), ("none",): ()}
"""Words in place of a list of agents."""


class FoldedAgent(Protocol):
    """What finishing needs of a folded agent."""

    name: str
    bundle: str
    source: AgentFile | None
    flawed: bool

    @property
    def label(self) -> str:
        """What it is reached by."""
        ...

    @property
    def as_written(self) -> bool:
        """True where it is exactly what `source` says."""
        ...

    def folded(self, follows_tier: Callable[[Mapping], bool]) -> Mapping:
        """Everything that was written about the agent, folded anew at each call; `follows_tier` as in `fold_agent`."""
        ...


class Composed(Names, Protocol):
    """What finishing needs of a composition."""

    @property
    def agents(self) -> MappingOf[str, FoldedAgent]:
        """The agents that are reached by their bare name."""
        ...

    @property
    def rank(self) -> MappingOf[str, int]:
        """File -> the place of its layer."""
        ...

    @property
    def tier_rank(self) -> MappingOf[str, int]:
        """Tier -> the place of the last layer that writes it."""
        ...

    def find(self, name: str) -> FoldedAgent | None:
        """The agent of a name, or of `bundle:agent`, be it hidden or not."""
        ...


Slot: TypeAlias = Literal["role", "list", "tier"] | None


class Finisher(FinalTables):
    """Makes the final values of one composition, its agents too; what is wrong across files is collected in `faults`."""

    def __init__(self, header: Mapping, composed: Composed, written: WrittenBundle | None = None) -> None:
        """`written` is what `header` says, where that is known already: where it was laid over nothing."""
        super().__init__(header, composed, written)
        self.broken: dict[str, list[Fault]] = {}
        self.flawed: dict[str, Agent] = {}
        """Agents with faults as far as they go: there is more to be found in them."""
        self.composed = composed
        self._cut: set[str] = set()
        """Agents that extend one that a fault took away."""
        self._made: dict[str, Agent | None] = {}
        self._bases: dict[str, Mapping] = {}

    def agent(self, folded: FoldedAgent, above: tuple[str, ...] = ()) -> Agent | None:
        """The finished agent, or None when it has faults (kept in `broken`)."""
        if folded.label not in self._made:
            self._made[folded.label] = self._agent(folded, above)
        return self._made[folded.label]

    def _agent(self, folded: FoldedAgent, above: tuple[str, ...]) -> Agent | None:
        faults: list[Fault] = []
        source, parent = folded.source, None
        own = () if source is None or source.good else source.errors
        tree: Mapping | None = None
        cut = folded.flawed or bool(own)
        if folded.as_written and source is not None and source.written is not None and source.written.extends is None:
            written = source.written
        else:
            tree, parent = self._extended(folded, faults, above)
            cut = cut or bool(faults) or folded.label in self._cut
            tree = pruned(tree)
            checked, found = check(WrittenAgent, tree)
            faults += found
            written = checked or mended(WrittenAgent, tree).written
        if source is not None:
            # ten thousand of them, kept, are what the garbage collector spends its time on
            source.written = None

        def locate() -> Mapping:
            return self._folded(folded) if tree is None else tree

        lists = [
            self.listed(getattr(written, key) or [], partial(_entry, locate, key), key, faults, cut=cut)
            for key in ("provider_preferences", "content_fallback")
        ]
        rank = self.composed.rank.get(source.file if tree is None and source is not None else slot_file(locate()), -1)
        slot = self._slot(written, rank, locate, faults)
        made = self._built(folded, written, lists, slot, parent)
        if not faults and not cut:
            return made
        self.faults += faults
        self.broken[folded.label] = [*own, *faults]
        self.flawed[folded.label] = made
        return None

    def _folded(self, folded: FoldedAgent) -> Mapping:
        return folded.folded(self._follows_tier)

    def _follows_tier(self, tree: Mapping) -> bool:
        return tier_is_redefined(tree, self.tiers, self.composed.rank, self.composed.tier_rank)

    def _built(
        self, folded: FoldedAgent, written: WrittenAgent, lists: list[Preferences], slot: Slot, parent: Agent | None
    ) -> Agent:
        source = folded.source
        fields: dict[str, Any] = {
            "name": folded.name,
            "bundle": folded.bundle,
            "preferences": lists[0],
            "content_fallback": lists[1],
            "slot": slot,
            "tier": written.tier,
            "description": written.description or "",
            "inherit_context": _context(written.inherit_context),
            "limits": _limits(written.limits),
            "config": settled(written.config or {}),
            "output_schema": settled(written.output_schema),
            "on_broken_stream": written.on_broken_stream or "fail",
        }
        for key in ("aliases", "model_role", "deny_tools"):
            fields[key] = tuple(getattr(written, key) or ())
        if written.tools is not None:
            fields["tools"] = tuple(written.tools)
        if written.agents is not None:
            fields["agents"] = _EVERYBODY.get(tuple(written.agents), tuple(written.agents))
        body = source.document.body if source else ""
        if parent is not None and not body:
            for key in ("instruction", "template", "files", "parent_instruction", "file", "body_line"):
                fields[key] = getattr(parent, key)
        else:
            fields["instruction"] = body
            fields["parent_instruction"] = parent
            if source is not None:
                fields["template"], fields["files"] = source.form == "own", source.files
                fields["file"], fields["body_line"] = source.file, source.document.body_line
        if source is not None:
            fields["form"], fields["extra"] = source.form, source.extra
        return Agent(**fields)

    def _extended(self, folded: FoldedAgent, faults: list[Fault], above: tuple[str, ...]) -> tuple[Mapping, Agent | None]:
        """The agent's tree laid over the tree of the agent that it extends, and that agent finished.

        3. `extends` is resolved after composition, and within it `base` is the extended agent's (composition).
        """
        own = self._bases.get(folded.label) or self._folded(folded)
        if above:
            self._bases[folded.label] = own
        node = own.entries.get("extends")
        if not isinstance(node, Scalar) or node.is_null:
            return own, None
        chain = (*above, folded.label)
        base = self.composed.find(node.text)
        if base is not None and base.label in chain:
            loop = " -> ".join([*chain[chain.index(base.label) :], base.label])
            self._fault(node, "extends", f"agents extend each other in a loop: {loop}", faults)
            return own, None
        if base is not None and not above and self._is_deep(base):
            self._fault(node, "extends", f"leads on more than {MAX_CHAIN} agents deep; extend one of the last", faults)
            return own, None
        parent = self.agent(base, chain) if base is not None else None
        if base is None:
            short = node.text.rpartition(":")[2]
            self._cut.add(folded.label)
            if not self.names.is_lost("agents", short):
                why = self.names.gone("agents", short) or self._hints.near(short, list(self.composed.agents))
                self._fault(node, "extends", f"no agent '{node.text}'{why}", faults)
            return own, None
        if parent is None:
            self._fault(node, "extends", f"agent '{node.text}' has faults of its own", faults)
            return own, self.flawed.get(base.label)
        below, _ = self._extended(base, faults, chain)
        entries = {key: value for key, value in below.entries.items() if key not in IDENTITY_KEYS}
        inherited = Mapping(entries, below.keys, below.file, below.line, below.column)
        return fold_agent(inherited, own, self._follows_tier), parent

    def _is_deep(self, folded: FoldedAgent) -> bool:
        """Whether what an agent extends leads on for too long; a loop ends it."""
        seen: set[str] = set()
        while folded.label not in seen and len(seen) < MAX_CHAIN:
            seen.add(folded.label)
            if folded.label not in self._bases:
                self._bases[folded.label] = self._folded(folded)
            node = self._bases[folded.label].entries.get("extends")
            base = self.composed.find(node.text) if isinstance(node, Scalar) and not node.is_null else None
            if base is None:
                return False
            folded = base
        return folded.label not in seen

    def _slot(self, written: WrittenAgent, rank: int, locate: Callable[[], Mapping], faults: list[Fault]) -> Slot:
        """One slot. Within one layer: the role if the bundle has a table with it, else the list, else the tier.

        A tier redefined by a strictly more derived bundle than the agent file's also replaces that file's list when the file
        names the tier.
        """
        if written.model_role and any(role in self.roles for role in written.model_role):
            return "role"
        has_list = written.provider_preferences is not None
        if written.tier is not None:
            if written.tier in self.tiers:
                if not has_list or self.composed.tier_rank.get(written.tier, -1) > rank:
                    return "tier"
            elif not has_list:
                others = f"; the bundle has {', '.join(list(self.tiers)[:8])}" if self.tiers else "; the bundle has no tiers"
                self._missing_tier(locate().entries["tier"], "tier", written.tier, faults, others)
                return "tier"
        return "list" if has_list else None


def _entry(locate: Callable[[], Mapping], key: str) -> Node:
    return locate().entries[key]


_NO_CONTEXT, _NO_LIMITS = ContextPolicy(), Limits()


def _context(written: WrittenContext | None) -> ContextPolicy:
    return ContextPolicy(**written.model_dump(exclude_none=True)) if written else _NO_CONTEXT


def _limits(written: WrittenLimits | None) -> Limits:
    return Limits(**written.model_dump(exclude_none=True)) if written else _NO_LIMITS

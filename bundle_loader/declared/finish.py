"""Folded trees to final values: tiers spliced, `extends` resolved, the one slot decided."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from bundle_loader.declared.agent import (
    IDENTITY_KEYS,
    SLOT_KEYS,
    Agent,
    ContextPolicy,
    Limits,
    WrittenAgent,
    WrittenContext,
    WrittenLimits,
)
from bundle_loader.declared.final_tables import MAX_CHAIN, NO_TIER, FinalTables, Preferences
from bundle_loader.declared.fold import fold_agent, pruned, settled
from bundle_loader.declared.tables import WrittenBundle
from bundle_loader.declared.tree import Mapping, Node, Scalar
from bundle_loader.declared.written import check
from bundle_loader.errors import Fault

if TYPE_CHECKING:
    from bundle_loader.declared.layer import AgentFile


class FoldedAgent(Protocol):
    """What finishing needs of a folded agent."""

    name: str
    bundle: str
    source: AgentFile | None

    @property
    def label(self) -> str:
        """What it is reached by."""
        ...

    @property
    def as_written(self) -> bool:
        """True where it is exactly what `source` says."""
        ...

    @property
    def tree(self) -> Mapping:
        """Everything that was written about the agent, folded anew at each call."""
        ...


class Composed(Protocol):
    """What finishing needs of a composition."""

    @property
    def agents(self) -> MappingOf[str, FoldedAgent]:
        """The agents that are reached by their bare name."""
        ...

    @property
    def broken(self) -> MappingOf[str, object]:
        """Agents whose own file has faults, by name."""
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
        super().__init__(header, written)
        self.broken: dict[str, list[Fault]] = {}
        self.composed = composed
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
        tree: Mapping | None = None
        cut = False
        if folded.as_written and source is not None and source.written is not None and source.written.extends is None:
            written: WrittenAgent | None = source.written
        else:
            tree, parent = self._extended(folded, faults, above)
            cut = bool(faults)
            tree = pruned(tree)
            written, found = check(WrittenAgent, tree)
            faults += found
        if source is not None:
            # ten thousand of them, kept, are what the garbage collector spends its time on
            source.written = None
        if written is None:
            return self._give_up(folded, faults)

        def locate() -> Mapping:
            return folded.tree if tree is None else tree

        lists = [
            self.listed(getattr(written, key) or [], partial(_entry, locate, key), key, faults, cut=cut)
            for key in ("provider_preferences", "content_fallback")
        ]
        rank = self.composed.rank.get(source.file if tree is None and source is not None else _slot_file(locate()), -1)
        slot = self._slot(written, rank, locate, faults)
        if faults:
            return self._give_up(folded, faults)
        return self._built(folded, written, lists, slot, parent)

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
        for key in ("aliases", "model_role"):
            fields[key] = tuple(getattr(written, key) or ())
        if written.tools is not None:
            fields["tools"] = tuple(written.tools)
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

    def _give_up(self, folded: FoldedAgent, faults: list[Fault]) -> Agent | None:
        self.faults += faults
        self.broken[folded.label] = faults
        return None

    def _extended(self, folded: FoldedAgent, faults: list[Fault], above: tuple[str, ...]) -> tuple[Mapping, Agent | None]:
        """The agent's tree laid over the tree of the agent that it extends, and that agent finished.

        3. `extends` is resolved after composition, and within it `base` is the extended agent's (composition).
        """
        own = self._bases.get(folded.label) or folded.tree
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
        if base is None or parent is None:
            has_faults = base is not None or node.text.rpartition(":")[2] in self.composed.broken
            near = self._hints.near(node.text.rpartition(":")[2], list(self.composed.agents))
            message = f"agent '{node.text}' has faults of its own" if has_faults else f"no agent '{node.text}'{near}"
            self._fault(node, "extends", message, faults)
            return own, None
        below, _ = self._extended(base, faults, chain)
        entries = {key: value for key, value in below.entries.items() if key not in IDENTITY_KEYS}
        inherited = Mapping(entries, below.keys, below.file, below.line, below.column)
        return fold_agent(inherited, own), parent

    def _is_deep(self, folded: FoldedAgent) -> bool:
        """Whether what an agent extends leads on for too long; a loop ends it."""
        seen: set[str] = set()
        while folded.label not in seen and len(seen) < MAX_CHAIN:
            seen.add(folded.label)
            if folded.label not in self._bases:
                self._bases[folded.label] = folded.tree
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
                near = self._hints.near(written.tier, list(self.tiers)) or others
                self._fault(locate().entries["tier"], "tier", f"no tier '{written.tier}'{near}", faults, NO_TIER)
        return "list" if has_list else None


def _slot_file(tree: Mapping) -> str:
    return next((tree.entries[key].file for key in SLOT_KEYS if key in tree.entries), tree.file)


def _entry(locate: Callable[[], Mapping], key: str) -> Node:
    return locate().entries[key]


_NO_CONTEXT, _NO_LIMITS = ContextPolicy(), Limits()


def _context(written: WrittenContext | None) -> ContextPolicy:
    return ContextPolicy(**written.model_dump(exclude_none=True)) if written else _NO_CONTEXT


def _limits(written: WrittenLimits | None) -> Limits:
    return Limits(**written.model_dump(exclude_none=True)) if written else _NO_LIMITS

"""Folded trees to final values: tiers spliced, `extends` resolved, the one slot decided."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

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
from bundle_loader.declared.fold import fold_agent, removed
from bundle_loader.declared.preference import Preference, WrittenPreference
from bundle_loader.declared.tables import ProviderSettings, WrittenBundle
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, enclosing, is_null, without_nulls
from bundle_loader.declared.written import check
from bundle_loader.errors import Fault, Hints

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


Preferences: TypeAlias = tuple[Preference, ...]
NO_TIER: Final = "unknown-tier"
Slot: TypeAlias = Literal["role", "list", "tier"] | None


class Finisher:
    """Makes the final values of one composition; what is wrong across files is collected in `faults`."""

    def __init__(self, header: Mapping, composed: Composed, written: WrittenBundle | None = None) -> None:
        """`written` is what `header` says, where that is known already: where it was laid over nothing."""
        self.faults: list[Fault] = []
        self.broken: dict[str, list[Fault]] = {}
        self.header = _pruned(header)
        self.composed = composed
        self.written = written or check(WrittenBundle, self.header)[0] or WrittenBundle()
        self.tiers: dict[str, Preferences] = {}
        self._pairs: dict[tuple[str, str, bool], Preference] = {}
        self._made: dict[str, Agent | None] = {}
        self._bases: dict[str, Mapping] = {}
        self._hints = Hints()
        self._open: list[str] = []
        self._tiers = {name: cell for name, cell in (self.written.tiers or {}).items() if cell is not None}
        for name in self._tiers:
            self._tier(name)
        self.roles = {
            name: self.listed(cell, self._place("roles", name), f"roles.{name}")
            for name, cell in (self.written.roles or {}).items()
            if cell is not None
        }

    # --- tables

    def _place(self, *path: str) -> Callable[[], Node]:
        """Where the value at `path` of the header stands; looked up only when a fault needs it."""
        return partial(enclosing, self.header, path)

    def _tier(self, name: str) -> Preferences:
        if name in self.tiers:
            return self.tiers[name]
        place = self._place("tiers", name)
        if name in self._open:
            loop = " -> ".join([*self._open[self._open.index(name) :], name])
            self._fault(place(), f"tiers.{name}", f"tiers lead back to themselves: {loop}")
            return ()
        self._open.append(name)
        found = self.listed(self._tiers[name], place, f"tiers.{name}")
        self._open.pop()
        self.tiers[name] = found
        return found

    def listed(
        self, written: list[WrittenPreference], locate: Callable[[], Node], key: str, faults: list[Fault] | None = None
    ) -> Preferences:
        """A written list as final preferences: pairs as they are, tiers spliced, a left-over `base` refused."""
        found: list[Preference] = []
        for index, element in enumerate(written):
            if element.base:
                message = "'base' stands for the inherited list, and nothing is inherited here; remove it"
                self._fault(_item(locate(), index), f"{key}[{index}]", message, faults)
            elif element.tier is not None:
                if element.tier in self._tiers:
                    found.extend(self._tier(element.tier))
                else:
                    near = self._hints.near(element.tier, list(self._tiers))
                    self._fault(
                        _item(locate(), index), f"{key}[{index}].tier", f"no tier '{element.tier}'{near}", faults, NO_TIER
                    )
            else:
                found.append(self._preference(element))
        return tuple(found)

    def _preference(self, written: WrittenPreference) -> Preference:
        """The final pair; those without a config are made once, since thousands of agents repeat them."""
        assert written.provider is not None
        assert written.model is not None
        optional = bool(written.optional)
        if written.config:
            return Preference(provider=written.provider, model=written.model, config=written.config, optional=optional)
        key = (written.provider, written.model, optional)
        made = self._pairs.get(key)
        if made is None:
            made = self._pairs[key] = Preference(provider=key[0], model=key[1], optional=optional)
        return made

    def tier_order(self) -> tuple[str, ...]:
        """The tiers, cheapest first: as written, then those that nobody ordered."""
        node = self.header.entries.get("tier_order")
        ordered = list(self.written.tier_order or ())
        for name in ordered:
            if name not in self.tiers and node is not None:
                self._fault(node, "tier_order", f"no tier '{name}'{self._hints.near(name, list(self.tiers))}", None, NO_TIER)
        return tuple(ordered + [name for name in self.tiers if name not in ordered])

    def default(self) -> str | None:
        """The bundle's default tier."""
        name = self.written.default
        if name is not None and name not in self.tiers:
            near = self._hints.near(name, list(self.tiers))
            self._fault(self.header.entries["default"], "default", f"no tier '{name}'{near}", None, NO_TIER)
            return None
        return name

    def profiles(self) -> dict[str, dict[str, Preferences]]:
        """Profile -> stage -> list."""
        return {
            name: {
                stage: self.listed(cell, self._place("profiles", name, stage), f"profiles.{name}.{stage}")
                for stage, cell in stages.items()
                if cell is not None
            }
            for name, stages in (self.written.profiles or {}).items()
            if stages is not None
        }

    def providers(self) -> dict[str, ProviderSettings]:
        """Provider id -> where it listens."""
        return {
            name: ProviderSettings(**value.model_dump())
            for name, value in (self.written.providers or {}).items()
            if value is not None
        }

    def vars(self) -> dict[str, Any]:
        """Defaults of template variables."""
        return dict(self.written.vars or {})

    # --- agents

    def agent(self, folded: FoldedAgent, above: tuple[str, ...] = ()) -> Agent | None:
        """The finished agent, or None when it has faults (kept in `broken`)."""
        if folded.label not in self._made:
            self._made[folded.label] = self._agent(folded, above)
        return self._made[folded.label]

    def _agent(self, folded: FoldedAgent, above: tuple[str, ...]) -> Agent | None:
        faults: list[Fault] = []
        source, parent = folded.source, None
        tree: Mapping | None = None
        if folded.as_written and source is not None and source.written is not None and source.written.extends is None:
            written: WrittenAgent | None = source.written
        else:
            tree, parent = self._extended(folded, faults, above)
            tree = _pruned(tree)
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
            self.listed(getattr(written, key) or [], partial(_entry, locate, key), key, faults)
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
            "config": without_nulls(written.config or {}),
            "output_schema": without_nulls(written.output_schema),
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
        """The agent's tree laid over the tree of the agent that it extends, and that agent finished."""
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

    def _slot(self, written: WrittenAgent, rank: int, locate: Callable[[], Mapping], faults: list[Fault]) -> Slot:
        """Within one layer: the role if the bundle has a table with it, else the list, else the tier.

        A tier that a strictly more derived bundle redefines also replaces the list of whoever names the tier.
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

    def _fault(self, node: Node, key: str, message: str, faults: list[Fault] | None = None, rule: str = "declaration") -> None:
        fault = Fault(node.file, node.line, node.column, key, message, rule=rule)
        (self.faults if faults is None else faults).append(fault)


def _slot_file(tree: Mapping) -> str:
    return next((tree.entries[key].file for key in SLOT_KEYS if key in tree.entries), tree.file)


def _entry(locate: Callable[[], Mapping], key: str) -> Node:
    return locate().entries[key]


def _item(node: Node, index: int) -> Node:
    """The element of a list, or the list itself where it was not written as one."""
    return node.items[index] if isinstance(node, Sequence) and index < len(node.items) else node


_NO_CONTEXT, _NO_LIMITS = ContextPolicy(), Limits()


def _context(written: WrittenContext | None) -> ContextPolicy:
    return ContextPolicy(**written.model_dump(exclude_none=True)) if written else _NO_CONTEXT


def _limits(written: WrittenLimits | None) -> Limits:
    return Limits(**written.model_dump(exclude_none=True)) if written else _NO_LIMITS


def _pruned(tree: Mapping) -> Mapping:
    """The tree without tombstones and removed elements: composition is over."""
    entries: dict[str, Node] = {}
    for key, value in tree.entries.items():
        if not is_null(value):
            entries[key] = _pruned_node(value)
    return Mapping(entries, tree.keys, tree.file, tree.line, tree.column)


def _pruned_node(node: Node) -> Node:
    if isinstance(node, Mapping):
        return _pruned(node)
    if isinstance(node, Sequence):
        items = [_pruned_node(item) for item in node.items if not removed(item)]
        return Sequence(items, node.file, node.line, node.column)
    return node

"""The preferences lists of a bundle as they were written, each element with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bundle_loader.declared.agent import SLOT_KEYS
from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.fold import is_base
from bundle_loader.declared.preference import WrittenPreference
from bundle_loader.declared.tables import PROFILE_KEYS
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, is_null, plain

AGENT_LISTS = ("provider_preferences", "content_fallback")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a list, as written."""

    key: str
    written: WrittenPreference
    node: Node

    @property
    def place(self) -> tuple[str, int, int]:
        """File, line and column."""
        return self.node.file, self.node.line, self.node.column


def tables(bundle: Bundle) -> Iterator[tuple[str, Node]]:
    """The lists of tiers, roles and profiles, by key, as composition left them."""
    for table in ("tiers", "roles"):
        for name, node in _entries(_child(bundle.header, table)):
            yield f"{table}.{name}", node
    for name, cells in _entries(_child(bundle.header, "profiles")):
        for stage, node in _entries(cells):
            if stage not in PROFILE_KEYS:
                yield f"profiles.{name}.{stage}", node


def agent_lists(bundle: Bundle, agent: str) -> Iterator[tuple[str, Node]]:
    """The lists of an agent that are in force, by key: the last that was written, and what its `base` stands for.

    Where that is a tier, it is given by the key of the tier.
    """
    for key in AGENT_LISTS:
        for contribution in reversed(bundle.contributions(agent)):
            tree = contribution.tree
            node = tree.entries.get(key)
            if key in SLOT_KEYS and (node is None or bundle.follows_tier(tree)):
                node = tree.entries.get("tier")
                if node is not None:
                    yield ("tier" if contribution.whole else f"agents.{agent}.tier"), node
                    break
                if any(name in tree.entries for name in SLOT_KEYS):
                    break
            elif node is not None:
                yield (key if contribution.whole else f"agents.{agent}.{key}"), node
                if is_null(node) or not (isinstance(node, Sequence) and any(is_base(item) for item in node.items)):
                    break
            if contribution.whole:
                break


def elements(key: str, node: Node) -> Iterator[Element]:
    """The elements of a list; the name of a tier, alone, is a list of one."""
    if isinstance(node, Scalar) and not node.is_null:
        yield Element(key, WrittenPreference(tier=node.text), node)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield Element(f"{key}[{node.number(index)}]", WrittenPreference.model_validate(plain(item)), item)


def _child(node: Node | None, key: str) -> Node | None:
    return node.entries.get(key) if isinstance(node, Mapping) else None


def _entries(node: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(node, Mapping):
        yield from node.entries.items()

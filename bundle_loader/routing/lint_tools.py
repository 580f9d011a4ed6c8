"""Tool lists that a derived layer made longer."""

from __future__ import annotations

from dataclasses import dataclass

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.bundle import Bundle, Contribution
from bundle_loader.declared.tree import Mapping, Scalar, Sequence, is_null
from bundle_loader.errors import DeclarationError, Fault, RequestError


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What an agent may use after one layer, and who said so last."""

    tools: frozenset[str] | None
    """None: every tool of the host."""
    bundle: str
    place: str


def widened_tools(bundle: Bundle, agent: Agent) -> list[Fault]:
    """A warning for each derived layer that lets an agent use what its inherited list does not allow.

    One slot. Extended agent < agent file < patch of a base bundle < patch of a derived bundle: what an agent extends is a layer
    too, where it is of another bundle. A layer that drops the list lets nothing through where a later one writes it again.
    """
    written = bundle.contributions(agent.name)
    if len({contribution.bundle for contribution in written}) < 2 and all(_extends(one.tree) is None for one in written):
        return []
    steps = [(contribution, contribution.tree) for contribution in written]
    found: list[Fault] = []
    below: _Allowed | None = None
    for index, (contribution, tree) in enumerate(steps):
        here = _allowed(bundle, contribution, tree, below)
        if here.tools is None and any("tools" in later.entries and _lists(later) for _, later in steps[index + 1 :]):
            below = here if below is None else below
            continue
        message = None
        if below is not None and below.bundle != contribution.bundle and here is not below:
            message = _message(below, here, "tools" in tree.entries)
        extended = _extended_layer(bundle, contribution, tree) if "tools" in tree.entries else None
        if message is None and extended is not None:
            message = _message(extended, here, True)
        if message is not None:
            found.append(_fault(agent.name, contribution, tree, message))
        below = here
    return found


def _lists(tree: Mapping) -> bool:
    return _names(tree.entries["tools"]) is not None


def _extended_layer(bundle: Bundle, contribution: Contribution, tree: Mapping) -> _Allowed | None:
    """What the agent that this layer extends may use, where that is an agent of another bundle."""
    name = _extends(tree)
    try:
        base = bundle.agent(name) if name is not None else None
    except (RequestError, DeclarationError):
        return None
    if name is None or base is None or base.bundle == contribution.bundle:
        return None
    layers = [one.tree for one in bundle.contributions(name) or bundle.contributions(base.name)]
    tree = next((layer for layer in reversed(layers) if "tools" in layer.entries), layers[-1] if layers else tree)
    line, column = tree.keys.get("tools", (tree.line, tree.column))
    tools = None if base.tools is None else frozenset(base.tools)
    return _Allowed(tools, base.bundle, f"{tree.file}:{line}:{column}")


def _allowed(bundle: Bundle, contribution: Contribution, tree: Mapping, below: _Allowed | None) -> _Allowed:
    node = tree.entries.get("tools")
    if node is not None:
        line, column = tree.keys["tools"]
        return _Allowed(_names(node), contribution.bundle, f"{tree.file}:{line}:{column}")
    if not contribution.whole and below is not None:
        return below
    place = f"{tree.file}:{tree.line}:{tree.column}"
    return _Allowed(_extended(bundle, tree), contribution.bundle, place)


def _names(node: object) -> frozenset[str] | None:
    items = node.items if isinstance(node, Sequence) else [node]
    if isinstance(node, Scalar) and is_null(node):
        return None
    return frozenset(item.text for item in items if isinstance(item, Scalar))


def _extends(tree: Mapping) -> str | None:
    node = tree.entries.get("extends")
    return node.text if isinstance(node, Scalar) and not node.is_null else None


def _extended(bundle: Bundle, tree: Mapping) -> frozenset[str] | None:
    """The tools of the agent that this one extends; every tool where it extends none."""
    name = _extends(tree)
    if name is None:
        return None
    try:
        tools = bundle.agent(name).tools
    except (RequestError, DeclarationError):
        return None
    return None if tools is None else frozenset(tools)


def _message(below: _Allowed, here: _Allowed, written: bool) -> str | None:
    """What the layer allows that the one below did not; None where it allows no more."""
    if below.tools is None:
        return None
    had = ", ".join(sorted(below.tools)) or "no tool"
    if here.tools is None:
        how = "removes the list" if written else "has no list"
        return f"{how}, so every tool of the host may be used; {below.place} allows {had}"
    more = sorted(here.tools - below.tools)
    return f"allows {', '.join(more)}, which {below.place} does not; it allows {had}" if more else None


def _fault(agent: str, contribution: Contribution, tree: Mapping, message: str) -> Fault:
    line, column = tree.keys.get("tools", (tree.line, tree.column))
    key = "tools" if contribution.whole else f"agents.{agent}.tools"
    return Fault(tree.file, line, column, key, message, "warning", "widened-tools")

"""Tiers that nobody names, and lists and tables that are empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bundle_loader.declared.bundle import Bundle
from bundle_loader.declared.fold import is_base
from bundle_loader.declared.tree import Mapping, Sequence, enclosing, position
from bundle_loader.errors import MISSPELT, Fault, did_you_mean
from bundle_loader.routing.lint_places import agent_lists, elements, tables


def unused_tiers(bundle: Bundle) -> list[Fault]:
    """Tiers that the root bundle's own file writes and that no agent, profile, role, default, test or other tier names.

    A tier that was inherited is its author's affair, one of settings is for any bundle, and a bundle without agents is made to
    be included.
    """
    header = bundle.header
    file = next((layer.file for layer in reversed(bundle.laid) if not layer.settings), None)
    # what has faults may name any of them
    if header is None or not bundle.agents or file is None or any(problem.level == "error" for problem in bundle.problems):
        return []
    places = {name: position(header, ("tiers", name), key=True) for name in bundle.tiers}
    idle = {name for name in bundle.tiers if position(header, ("tiers", name))[0] == file}
    idle -= {bundle.default} | set(_in_tables(bundle)) | set(_words(bundle.extra))
    idle -= {agent.tier for agent in (*bundle.agents.values(), *bundle.hidden.values())}
    idle -= {test.tier for test in bundle.tests} | {budget.emergency for budget in bundle.budgets.values()}
    idle -= {pin.tier for pin in bundle.pins.values()} | {bundle.settings_default}
    if idle:
        idle -= set(_in_agents(bundle))
    message = "no agent, profile, role, default or other tier names this tier; remove it, or name it in a test if callers do"
    return [Fault(file, *places[name][1:], f"tiers.{name}", message, "warning", "unused-tier") for name in sorted(idle)]


def empty_lists(bundle: Bundle) -> list[Fault]:
    """Tiers, roles and cells of profiles that name nothing, profiles without a cell, tiers ordered twice."""
    header = bundle.header
    if header is None:
        return []
    found: list[tuple[tuple[str, ...], str]] = []
    found += [(("tiers", name), "the tier") for name, cell in bundle.tiers.items() if not cell]
    found += [(("roles", name), "the role") for name, cell in bundle.roles.items() if not cell]
    for name, cells in bundle.profiles.items():
        found += [(("profiles", name, stage), "the cell") for stage, cell in cells.items() if not cell]
        found += [(("profiles", name), "the profile")] if not cells else []
    faults = [
        Fault(
            *position(header, path, key=True),
            ".".join(path),
            f"{noun} is empty, so nothing could answer; name models or remove it",
            "warning",
            "names-nothing",
        )
        for path, noun in found
        if not _is_cut(bundle, path)
    ]
    twice = [name for index, name in enumerate(bundle.tier_order) if name in bundle.tier_order[:index]]
    for name in dict.fromkeys(twice):
        message = f"tier '{name}' is ordered twice; the first place counts"
        faults.append(Fault(*position(header, ("tier_order",)), "tier_order", message, "warning", "names-nothing"))
    return faults


def misspelt_tiers(bundle: Bundle) -> list[Fault]:
    """Tiers beside a list or a role that the bundle does not have, but nearly.

    There a tier is a label that may mean something to another bundle; what is like no tier here is left alone.
    """
    found = []
    for agent in bundle.agents.values():
        if agent.tier is None or agent.tier in bundle.tiers or agent.slot == "tier":
            continue
        near = did_you_mean(agent.tier, list(bundle.tiers), MISSPELT)
        written = next((one for one in reversed(bundle.contributions(agent.name)) if "tier" in one.tree.entries), None)
        if near and written is not None:
            key = "tier" if written.whole else f"agents.{agent.name}.tier"
            message = f"no tier '{agent.tier}'{near}"
            found.append(Fault(*position(written.tree, ("tier",)), key, message, "warning", "misspelt-tier"))
    return found


def _is_cut(bundle: Bundle, path: tuple[str, ...]) -> bool:
    """Whether what stands at `path` is empty for a fault that is told: in it, or in a tier that it names."""
    left, seen = [path], {path}
    while left:
        path = left.pop()
        if any(lost[: len(path)] == path[: len(lost)] for lost in bundle.lost):
            return True
        node = enclosing(bundle.header, path) if bundle.header is not None else None
        if isinstance(node, Sequence) and any(map(is_base, node.items)):
            return True
        # a whole profile names nothing itself
        written = elements("", node) if node is not None and not isinstance(node, Mapping) else ()
        for tier in (element.written.tier for element in written):
            if tier is not None and tier not in bundle.tiers:
                return True
            if tier is not None and not bundle.tiers[tier] and ("tiers", tier) not in seen:
                seen.add(("tiers", tier))
                left.append(("tiers", tier))
    return False


def _in_tables(bundle: Bundle) -> Iterator[str]:
    for key, node in tables(bundle):
        yield from (element.written.tier for element in elements(key, node) if element.written.tier)


def _in_agents(bundle: Bundle) -> Iterator[str]:
    for name in bundle.agents:
        for key, node in agent_lists(bundle, name):
            yield from (element.written.tier for element in elements(key, node) if element.written.tier)


def _words(value: Any) -> Iterator[str]:
    """Every text in what is kept but not acted on: a task or a policy may name a tier."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)

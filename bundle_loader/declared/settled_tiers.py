"""Tiers that settings name, held against the bundle that they are laid over: what does not fit it is left out."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Final

from bundle_loader.declared.fold import is_base
from bundle_loader.declared.layer import Layer
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tables import PROFILE_KEYS
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, is_null, path_text
from bundle_loader.errors import Fault, did_you_mean

RULE: Final = "settings"
KEYS: Final = ("tiers", "tier_order", "profiles")
"""Keys of settings under which tiers are named and laid over a bundle's."""
LEFT_OUT: Final = "; it is left out"


@dataclass(slots=True)
class Gone:
    """Tiers of settings that come to nothing, by file and name, and what was said of it.

    A tier that names one comes to less itself: whoever lays settings does it anew while there are `more`.
    """

    tiers: set[tuple[str, str]] = field(default_factory=set)
    faults: dict[Fault, None] = field(default_factory=dict)
    more: bool = False


def fitting_layer(layer: Layer, below: Mapping | None, settings: SequenceOf[SettingsFile], gone: Gone) -> Layer:
    """The layer of a settings file without what the header of all that lies `below` it cannot follow.

    `gone` is given a warning for each thing that is left out.

    `settings` are that file and those that are laid over it. Settings apply to whatever bundle is loaded, so what was written
    for another one stops nobody:
    1. A tier that does not exist, or that would lead back to itself, is left out of the list that names it.
    2. So is `base` where nothing is inherited.
    3. A list of which nothing is left is as if it were not written, a tier, a cell or a profile too.
    """
    header = layer.header
    if not any(key in header.entries for key in KEYS):
        return layer
    fit = _Fit(below, settings, gone)
    entries = dict(header.entries)
    for key, kept in (
        ("tiers", fit.tiers(entries.get("tiers"))),
        ("tier_order", fit.order(entries.get("tier_order"))),
        ("profiles", fit.profiles(entries.get("profiles"))),
    ):
        if kept is not None:
            entries[key] = kept
        else:
            entries.pop(key, None)
    return Layer(layer.name, layer.file, Mapping(entries, header.keys, header.file, header.line, header.column), "")


class _Fit:
    """What one settings file may name; what is left out is collected in `gone`."""

    def __init__(self, below: Mapping | None, settings: SequenceOf[SettingsFile], gone: Gone) -> None:
        self.file = settings[0]
        self.gone = gone
        self.silent: set[str] = set()
        """Tiers of which it is said already that they are left out."""
        self.below = below
        lower = _entries(below, "tiers")
        self.leads = {name: _named(node) for name, node in lower.items()}
        """Tier -> the tiers that its list names."""
        self.known = {name for name, node in lower.items() if not is_null(node)}
        for file in settings:
            written = file.tree.entries.get("tiers")
            self.known = set() if is_null(written) else self.known
            for name, node in _entries(file.tree, "tiers").items():
                if (file.file, name) in gone.tiers:
                    self.silent.add(name)
                    continue
                self.known = self.known - {name} if is_null(node) else self.known | {name}

    def tiers(self, node: Node | None) -> Node | None:
        if not isinstance(node, Mapping):
            return node
        lower = _entries(self.below, "tiers")
        entries: dict[str, Node] = {}
        for name, value in node.entries.items():
            inherits = name in lower and not is_null(lower[name])
            if isinstance(value, Sequence) and not (inherits and any(map(is_base, value.items))):
                self.leads[name] = set()
            kept = self._listed(value, inherits, ("tiers", name))
            if kept is not None and (self.file.file, name) not in self.gone.tiers:
                entries[name] = kept
            elif not inherits and (self.file.file, name) not in self.gone.tiers:
                self.gone.tiers.add((self.file.file, name))
                self.gone.more = True
        return _mapping(node, entries)

    def order(self, node: Node | None) -> Node | None:
        items = node.items if isinstance(node, Sequence) else [node] if isinstance(node, Scalar) and not node.is_null else []
        kept = [item for item in items if self._there(item, ("tier_order",))]
        if len(kept) == len(items):
            return node
        return _with(node, kept) if kept else None

    def profiles(self, node: Node | None) -> Node | None:
        if not isinstance(node, Mapping):
            return node
        lower = _entries(self.below, "profiles")
        entries: dict[str, Node] = {}
        for profile, stages in node.entries.items():
            if not isinstance(stages, Mapping):
                entries[profile] = stages
                continue
            inherited = _entries(lower.get(profile))
            cells: dict[str, Node] = {}
            for stage, cell in stages.entries.items():
                if stage in PROFILE_KEYS:
                    cells[stage] = cell
                    continue
                inherits = stage in inherited and not is_null(inherited[stage])
                kept = self._listed(cell, inherits, ("profiles", profile, stage))
                if kept is not None:
                    cells[stage] = kept
            left_out = cells.keys() <= PROFILE_KEYS and not stages.entries.keys() <= PROFILE_KEYS
            if not left_out or (cells and inherited):
                entries[profile] = _mapping(stages, cells)
        return _mapping(node, entries)

    def _listed(self, node: Node, inherits: bool, path: tuple[str, ...]) -> Node | None:
        """A list, or the name of a tier in its place, without what does not fit; None where nothing is left."""
        if isinstance(node, Scalar):
            return node if node.is_null or self._there(node, path) else None
        if not isinstance(node, Sequence):
            return node
        if not node.items and not self._is_mended(path):
            self._warn(node, path, "an empty list names nothing")
            return None
        kept = [item for index, item in enumerate(node.items) if self._fits(item, inherits, (*path, index))]
        if len(kept) == len(node.items):
            return node
        return _with(node, kept) if kept else None

    def _fits(self, item: Node, inherits: bool, path: tuple[str | int, ...]) -> bool:
        if isinstance(item, Scalar) and item.text == "base" and (item.quoted or not inherits):
            said = "stands for it unquoted only" if inherits else "stands for the inherited list, and nothing is inherited here"
            self._warn(item, path, f"'base' {said}")
            return False
        tier = item.entries.get("tier") if isinstance(item, Mapping) else None
        if not isinstance(tier, Scalar) or tier.is_null:
            return True
        if not self._there(tier, (*path, "tier")):
            return False
        if path[0] == "tiers" and isinstance(path[1], str):
            if path[1] in self._reached(tier.text):
                self._warn(tier, (*path, "tier"), f"tier '{tier.text}' leads back to '{path[1]}' in this bundle")
                return False
            self.leads.setdefault(path[1], set()).add(tier.text)
        return True

    def _reached(self, tier: str) -> set[str]:
        """The tier and all that its list leads to."""
        seen: set[str] = set()
        waiting = [tier]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += self.leads.get(name, ())
        return seen

    def _is_mended(self, path: tuple[str | int, ...]) -> bool:
        """Whether a fault, which is told, took something out of what stands there."""
        return any(lost[: len(path)] == path for lost in self.file.lost)

    def _there(self, node: Node, path: tuple[str | int, ...]) -> bool:
        if not isinstance(node, Scalar) or node.text in self.known:
            return True
        if node.text in self.silent:
            return False
        self._warn(node, path, f"no tier '{node.text}' in this bundle{did_you_mean(node.text, sorted(self.known))}")
        return False

    def _warn(self, node: Node, path: tuple[str | int, ...], message: str) -> None:
        fault = Fault(node.file, node.line, node.column, path_text(path), f"{message}{LEFT_OUT}", "warning", RULE)
        self.gone.faults[fault] = None


def _entries(node: Node | None, *path: str) -> dict[str, Node]:
    for step in path:
        node = node.entries.get(step) if isinstance(node, Mapping) else None
    return node.entries if isinstance(node, Mapping) else {}


def _named(node: Node) -> set[str]:
    elements = node.items if isinstance(node, Sequence) else []
    tiers = (item.entries.get("tier") for item in elements if isinstance(item, Mapping))
    return {tier.text for tier in tiers if isinstance(tier, Scalar)}


def _mapping(node: Mapping, entries: dict[str, Node]) -> Mapping:
    return Mapping(entries, node.keys, node.file, node.line, node.column, node.sealed)


def _with(node: Node | None, items: list[Node]) -> Sequence:
    assert node is not None
    return Sequence(items, node.file, node.line, node.column)

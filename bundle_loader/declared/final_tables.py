"""The tables of a composed header as final values: tiers spliced, roles, profiles, providers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from bundle_loader.declared.fold import pruned
from bundle_loader.declared.mcp_server import McpServer, WrittenMcpServer, misfits
from bundle_loader.declared.mended import mended
from bundle_loader.declared.preference import Preference, WrittenPreference
from bundle_loader.declared.tables import ProviderSettings, WrittenBundle
from bundle_loader.declared.tree import Mapping, Node, Scalar, Sequence, enclosing
from bundle_loader.declared.written import check
from bundle_loader.errors import Fault, Hints

Preferences: TypeAlias = tuple[Preference, ...]
NO_TIER: Final = "unknown-tier"
MAX_CHAIN: Final = 100
"""Tiers that lead to tiers, and agents that extend agents, from the first to the last."""
MAX_PREFERENCES: Final = 1000
"""Preferences of one finished list."""


class Names(Protocol):
    """What is known of a name that is not there."""

    def is_lost(self, table: str, name: str) -> bool:
        """Whether a fault took it away that is told already, so that whoever names it is not at fault."""
        ...

    def gone(self, table: str, name: str) -> str:
        """`; it is removed at FILE:LINE`, or nothing."""
        ...


class Profiles(NamedTuple):
    """What a bundle has of profiles, under the names of its fields."""

    profiles: dict[str, dict[str, Preferences]]
    profile_tiers: dict[str, dict[str, str]]
    stage_profiles: dict[str, dict[str, str]]
    local_first: list[str]
    default_profile: str | None


class FinalTables:
    """The final tables of one composition; what is wrong across files is collected in `faults`."""

    def __init__(self, header: Mapping, names: Names, written: WrittenBundle | None = None) -> None:
        """`written` is what `header` says, where that is known already: it was laid over nothing and removes nothing."""
        self.faults: list[Fault] = []
        self.names = names
        self.header = pruned(header) if written is None else header
        self.written = written or self._checked()
        self.tiers: dict[str, Preferences] = {}
        self._pairs: dict[tuple[str, str, bool], Preference] = {}
        self._hints = Hints()
        self._open: list[str] = []
        self._depths: dict[str, int] = {}
        self._tiers = {name: cell for name, cell in (self.written.tiers or {}).items() if cell is not None}
        for name in self._tiers:
            self._tier(name)
        self.roles = {
            name: self.listed(cell, self._place("roles", name), f"roles.{name}", cut=names.is_lost("roles", name))
            for name, cell in (self.written.roles or {}).items()
            if cell is not None
        }

    def _checked(self) -> WrittenBundle:
        written, self.faults = check(WrittenBundle, self.header)
        return written or mended(WrittenBundle, self.header).written

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
        found: Preferences = ()
        if len(self._open) <= 2 * MAX_CHAIN:
            found = self.listed(self._tiers[name], place, f"tiers.{name}", cut=self.names.is_lost("tiers", name))
        self._open.pop()
        self.tiers[name] = found
        named = [element.tier for element in self._tiers[name] if element.tier is not None]
        self._depths[name] = 1 + max((self._depths.get(tier, 0) for tier in named), default=0)
        if self._depths[name] == MAX_CHAIN + 1:
            self._fault(place(), f"tiers.{name}", f"tiers lead on more than {MAX_CHAIN} deep; name the last of them")
        return found

    def listed(
        self,
        written: list[WrittenPreference],
        locate: Callable[[], Node],
        key: str,
        faults: list[Fault] | None = None,
        *,
        cut: bool = False,
        inherited: Preferences = (),
    ) -> Preferences:
        """A written list as final preferences: pairs as they are, tiers spliced.

        3. `base` in a preferences list splices the inherited list in; with nothing inherited it is an error (composition).
        `cut` says that what would be inherited is missing, which is a fault already; `inherited` is what is not in the tree.
        """
        found: list[Preference] = []
        for index, element in enumerate(written):
            if element.base:
                found.extend(inherited)
                if not inherited and not cut:
                    message = "'base' stands for the inherited list, and nothing is inherited here; remove it"
                    item, at = _item(locate(), index)
                    self._fault(item, f"{key}{at}", message, faults)
            elif element.tier is not None:
                if element.tier in self._tiers:
                    found.extend(self._tier(element.tier))
                else:
                    node = locate()
                    item, at = _item(node, index)
                    alone = isinstance(node, Scalar)
                    self._missing_tier(item, key if alone else f"{key}{at}.tier", element.tier, faults)
            else:
                found.append(self._preference(element))
            if len(found) > MAX_PREFERENCES:
                message = f"comes to more than {MAX_PREFERENCES} preferences; nobody tries so many"
                self._fault(_item(locate(), index)[0], key, message, faults)
                return ()
        return tuple(found)

    def _missing_tier(self, node: Node, key: str, name: str, faults: list[Fault] | None = None, others: str = "") -> None:
        """A tier that is not there, unless a fault that is told already took it away."""
        if not self.names.is_lost("tiers", name):
            why = self.names.gone("tiers", name) or self._hints.near(name, list(self._tiers)) or others
            self._fault(node, key, f"no tier '{name}'{why}", faults, NO_TIER)

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
        for index, name in enumerate(ordered):
            if name not in self.tiers and node is not None:
                self._missing_tier(_item(node, index)[0], "tier_order", name)
        return tuple(ordered + [name for name in self.tiers if name not in ordered])

    def default(self) -> str | None:
        """The bundle's default tier."""
        name = self.written.default
        if name is not None and name not in self.tiers:
            self._missing_tier(self.header.entries["default"], "default", name)
            return None
        return name

    def profiles(self) -> Profiles:
        """The profiles with what is said of their stages."""
        found = Profiles({}, {}, {}, [], self.written.default_profile)
        for name, profile in (self.written.profiles or {}).items():
            if profile is None:
                continue
            cells = {stage: cell for stage, cell in (profile.model_extra or {}).items() if cell is not None}
            cut = self.names.is_lost("profiles", name)
            found.profiles[name] = {
                stage: self.listed(cell, self._place("profiles", name, stage), f"profiles.{name}.{stage}", cut=cut)
                for stage, cell in cells.items()
            }
            tiers = {stage: cell[0].tier for stage, cell in cells.items() if len(cell) == 1 and cell[0].tier in self.tiers}
            if tiers:
                found.profile_tiers[name] = {stage: tier for stage, tier in tiers.items() if tier is not None}
            others = {stage: other for stage, other in (profile.stage_profiles or {}).items() if other is not None}
            if others:
                found.stage_profiles[name] = others
            if profile.local_first:
                found.local_first.append(name)
        return found

    def providers(self) -> dict[str, ProviderSettings]:
        """Provider id -> where it listens."""
        found = {}
        for name, value in (self.written.providers or {}).items():
            if value is None:
                continue
            said = value.model_dump(exclude_none=True)
            if value.ca_file is not None and not value.ca_file.startswith("~"):
                # 5. Relative paths are relative to the file that holds them (composition).
                said["ca_file"] = str(PurePath(self._place("providers", name, "ca_file")().file).parent / value.ca_file)
            found[name] = ProviderSettings(**said)
        return found

    def mcp_servers(self) -> dict[str, McpServer]:
        """Name -> a server that is whole; those with faults are left out."""
        found = {}
        for name, value in (self.written.mcp_servers or {}).items():
            if value is None:
                continue
            wrong = misfits(name, value)
            for path, message in wrong:
                node = self._place("mcp_servers", name, *path)()
                self._fault(node, ".".join(("mcp_servers", name, *path)), message)
            if not wrong:
                found[name] = McpServer(name=name, **self._server(name, value))
        return found

    def _server(self, name: str, value: WrittenMcpServer) -> dict[str, Any]:
        said = value.model_dump(exclude_none=True)
        for key in ("env", "headers"):
            said[key] = {one: text for one, text in said.get(key, {}).items() if text is not None}
        for key in ("command", "cwd"):
            text = said.get(key)
            # 5. Relative paths are relative to the file that holds them (composition); a bare program is looked up as always.
            if text is not None and (key == "cwd" or "/" in text) and not text.startswith("~"):
                said[key] = str(PurePath(self._place("mcp_servers", name, key)().file).parent / text)
        return said

    def vars(self) -> dict[str, Any]:
        """Defaults of template variables."""
        return dict(self.written.vars or {})

    def _fault(self, node: Node, key: str, message: str, faults: list[Fault] | None = None, rule: str = "declaration") -> None:
        fault = Fault(node.file, node.line, node.column, key, message, rule=rule)
        (self.faults if faults is None else faults).append(fault)


def _item(node: Node, index: int) -> tuple[Node, str]:
    """The element of a list and `[n]`, its place where it is written; or the list itself where it was not written as one."""
    if isinstance(node, Sequence) and index < len(node.items):
        return node.items[index], f"[{node.number(index)}]"
    return node, f"[{index}]"

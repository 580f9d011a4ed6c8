"""A bundle: agents, tiers, profiles and the rest that travel together, composed and finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

from pydantic import Field, PrivateAttr

from bundle_loader.declared.agent import Agent
from bundle_loader.declared.budget import Budget
from bundle_loader.declared.context import ContextPart
from bundle_loader.declared.fold import tier_is_redefined
from bundle_loader.declared.laid import Laid
from bundle_loader.declared.mcp_server import McpServer
from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.declared.pin import Pin
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.prices import DeclaredPrice
from bundle_loader.declared.recipe import Recipe
from bundle_loader.declared.settings import SettingsFile
from bundle_loader.declared.tables import ProviderSettings, RouteTest
from bundle_loader.declared.tree import Mapping as Tree
from bundle_loader.declared.written import Final
from bundle_loader.errors import DeclarationError, Fault, RequestError, did_you_mean

Preferences = tuple[Preference, ...]

SELF = "self"


class Located(Protocol):
    """What can say what was written."""

    @property
    def tree(self) -> Tree:
        """The located tree, built when asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one layer wrote about one noun, in the order in which layers are laid."""

    bundle: str
    file: str
    whole: bool
    """True for an agent file, which replaces what lies below it; false for a patch."""
    written: Tree | Located

    @property
    def tree(self) -> Tree:
        """What was written, with its places; built when asked for."""
        return self.written if isinstance(self.written, Tree) else self.written.tree


class Bundle(Final):
    """Everything that a host needs to route. Made by `load_bundle`; equality and dumps hold content only."""

    name: str
    version: str = ""
    description: str = ""
    agents: dict[str, Agent] = Field(default_factory=dict)
    hidden: dict[str, Agent] = Field(default_factory=dict)
    """Agents that a more derived file replaced, by `bundle:agent`."""
    tiers: dict[str, Preferences] = Field(default_factory=dict)
    tier_order: tuple[str, ...] = ()
    default: str | None = None
    model_order: OrderPolicy = DEFAULT
    """What comes first among the models that a glob matches."""
    budgets: dict[str, Budget] = Field(default_factory=dict)
    prices: tuple[DeclaredPrice, ...] = ()
    """What models cost, the most specific pattern first."""
    profiles: dict[str, dict[str, Preferences]] = Field(default_factory=dict)
    """Profile -> stage -> list; `default` is the cell of all other stages."""
    profile_tiers: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Profile -> stage -> the tier that its cell stands for; cells with a list of their own have none."""
    stage_profiles: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Profile -> stage -> the profile that a recipe run under it uses for that stage."""
    local_first: tuple[str, ...] = ()
    """Profiles whose order no setting changes, and which warn when the work leaves this machine."""
    default_profile: str | None = None
    """The profile of a recipe that takes one and is given none."""
    roles: dict[str, Preferences] = Field(default_factory=dict)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict)
    """Whose tools agents may name."""
    vars: dict[str, Any] = Field(default_factory=dict)
    context: str = ""
    """Text for the front of the host's own system prompt: each bundle's included files and text, mentions expanded."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys that are read and kept but not acted on."""
    pins: dict[str, Pin] = Field(default_factory=dict)
    """Agent -> the list that settings pin it to."""
    mandates: dict[str, Pin] = Field(default_factory=dict)
    """Agent -> the list outside of which the organisation lets nobody choose for it."""
    provider_order: tuple[str, ...] = ()
    """The providers that settings want first, in order."""
    settings_default: str | None = None
    """The tier that settings give to whoever inherits from nobody."""
    tests: tuple[RouteTest, ...] = ()
    """What its routes must come to; the n-th stands at `tests[n]` of `header`."""
    recipes: dict[str, Recipe] = Field(default_factory=dict)
    """By name; those with faults are not among them."""
    layers: tuple[str, ...] = ()
    """Names of the bundles it is made of, in the order in which they were laid."""

    _problems: tuple[Fault, ...] = PrivateAttr(default=())
    _broken: dict[str, tuple[Fault, ...]] = PrivateAttr(default_factory=dict)
    _flawed: dict[str, Agent] = PrivateAttr(default_factory=dict)
    _broken_recipes: dict[str, tuple[Fault, ...]] = PrivateAttr(default_factory=dict)
    _contributions: dict[str, list[Contribution]] = PrivateAttr(default_factory=dict)
    _context_parts: tuple[ContextPart, ...] = PrivateAttr(default=())
    _header: Tree | None = PrivateAttr(default=None)
    _laid: tuple[Laid, ...] = PrivateAttr(default=())
    _settings: tuple[SettingsFile, ...] = PrivateAttr(default=())
    _trusted: bool = PrivateAttr(default=True)
    _aliases: dict[str, str] | None = PrivateAttr(default=None)
    _lost: frozenset[tuple[str | int, ...]] = PrivateAttr(default=frozenset())
    _ranks: tuple[Mapping[str, int], Mapping[str, int]] = PrivateAttr(default=({}, {}))
    """The places of the layers of files, and of the last layers that write each tier."""
    _hash: str | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Bundle) else NotImplemented

    @property
    def problems(self) -> tuple[Fault, ...]:
        """Faults and warnings of the files that it was made of; agents with faults are not in `agents`."""
        return self._problems

    @property
    def broken(self) -> Mapping[str, tuple[Fault, ...]]:
        """Agents that could not be loaded, by name, and why."""
        return self._broken

    @property
    def flawed(self) -> Mapping[str, Agent]:
        """Agents with faults as far as they could be made: never to be run, only to find more faults in."""
        return self._flawed

    @property
    def header(self) -> Tree | None:
        """The composed headers of its bundle files, with the place of every value."""
        return self._header

    @property
    def lost(self) -> frozenset[tuple[str | int, ...]]:
        """Keys that were taken out of its files for a fault, which is told in `problems`."""
        return self._lost

    @property
    def context_parts(self) -> tuple[ContextPart, ...]:
        """What `context` is made of, and which file each part came from."""
        return self._context_parts

    @property
    def laid(self) -> tuple[Laid, ...]:
        """What each of its layers wrote, in the order in which they were laid."""
        return self._laid

    @property
    def settings(self) -> tuple[SettingsFile, ...]:
        """The settings files that were laid over it, least derived first, with the place of every value."""
        return self._settings

    @property
    def trusted(self) -> bool:
        """False where nobody but a project that the user's settings do not trust chose it."""
        return self._trusted

    def contributions(self, agent: str) -> tuple[Contribution, ...]:
        """Who wrote what about an agent, or about a hidden one (`bundle:agent`), least derived first."""
        return tuple(self._contributions.get(agent, ()))

    def follows_tier(self, tree: Tree) -> bool:
        """Whether the tier in what was written of an agent stands for the list beside it: a more derived layer redefines it."""
        return tier_is_redefined(tree, self.tiers, *self._ranks)

    def agent(self, name: str) -> Agent:
        """The agent of that name, alias or `bundle:agent`. Raises RequestError with the nearest names."""
        found = self.agents.get(name)
        if found is not None:
            return found
        if self._aliases is None:
            self._aliases = {}
            for _, agent in sorted(self.agents.items()):
                for alias in agent.aliases:
                    self._aliases.setdefault(alias, agent.name)
        if name in self._aliases:
            return self.agents[self._aliases[name]]
        if name in self.hidden:
            return self.hidden[name]
        bundle, colon, short = name.partition(":")
        if colon and bundle in self.layers and short in self.agents and self._wrote(bundle, short):
            return self.agents[short]
        if name in self._broken:
            raise DeclarationError(self._broken[name])
        if name == SELF:
            return Agent(name=SELF, bundle=self.name)
        known = [*self.agents, *self._aliases, *self.hidden]
        near = did_you_mean(short, known) or did_you_mean(name, known)
        some = "" if near or not known else f"; it has {', '.join(sorted(self.agents)[:8])}"
        raise RequestError(f"no agent '{name}' in bundle '{self.name}'{near}{some}")

    def usable_by(self, agent: str | None) -> tuple[str, ...]:
        """The agents that this one may delegate to, by name; `self` is a copy of it. None is a host's own loop.

        1. Nobody delegates to itself by its own name.
        2. Its `agents` says whom it may use; without that, all of the bundle, and `self`.
        """
        every = {*self.agents, SELF} - ({agent} if agent not in (None, SELF) else set())
        listed = self.agent(agent).agents if agent is not None else None
        return tuple(sorted(every if listed is None else every & {name for entry in listed for name in self.meant(entry)}))

    def meant(self, entry: str) -> frozenset[str]:
        """The agents that an entry of `agents` means: one by its name, alias or `bundle:name`, or all that fit `*` and `?`."""
        if "*" in entry or "?" in entry:
            return frozenset(name for name in (*self.agents, SELF) if fnmatchcase(name, entry.replace("[", "[[]")))
        try:
            return frozenset((self.agent(entry).name,))
        except (RequestError, DeclarationError):
            return frozenset()

    def _wrote(self, bundle: str, agent: str) -> bool:
        return any(contribution.bundle == bundle for contribution in self._contributions.get(agent, ()))

    def tier(self, name: str) -> Preferences:
        """The list of a tier. Raises RequestError with the nearest name."""
        return _found(self.tiers, name, "tier", self.name)

    def role(self, name: str) -> Preferences:
        """The list of a role. Raises RequestError with the nearest name."""
        return _found(self.roles, name, "role", self.name)

    def recipe(self, name: str) -> Recipe:
        """The recipe of a name, or of `bundle:name`. Raises DeclarationError where it has faults, else RequestError."""
        bundle, colon, short = name.rpartition(":")
        found = self.recipes.get(short)
        if found is not None and bundle in ("", found.bundle):
            return found
        if not colon and short in self._broken_recipes:
            raise DeclarationError(self._broken_recipes[short])
        return _found(self.recipes if not colon else {}, name, "recipe", self.name)

    def profile(self, name: str, stage: str | None = None) -> Preferences:
        """The list of a profile's cell for a stage, else of its `default`. Raises RequestError."""
        cell = self.cell(name, stage)
        return self.profiles[name][cell]

    def cell(self, profile: str, stage: str | None = None) -> str:
        """The stage whose cell a profile uses for a stage: that one or `default`. Raises RequestError."""
        cells = _found(self.profiles, profile, "profile", self.name)
        if stage is not None and stage in cells:
            return stage
        if "default" in cells:
            return "default"
        known = ", ".join(sorted(cells)) or "none"
        asked = f"stage '{stage}'" if stage else "a call without a stage"
        raise RequestError(f"profile '{profile}' has no cell for {asked} and no 'default'; it has {known}")

    @property
    def hash(self) -> str:
        """A short hash of the content, the same for the same content whatever file it came from."""
        if self._hash is None:
            dumped = self.model_dump(mode="json")
            for agent in (*dumped["agents"].values(), *dumped["hidden"].values()):
                while agent is not None:
                    del agent["file"]
                    agent = agent["parent_instruction"]
            for recipe in dumped["recipes"].values():
                del recipe["file"]
            text = json.dumps(dumped, sort_keys=True, default=str)
            self._hash = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._hash

    def raise_problems(self) -> None:
        """Raise DeclarationError when any file had a fault (warnings and notes do not count)."""
        faults = [problem for problem in self._problems if problem.level == "error"]
        if faults:
            raise DeclarationError(faults)


T = TypeVar("T")


def _found(table: Mapping[str, T], name: str, noun: str, bundle: str) -> T:
    found = table.get(name)
    if found is None:
        known = f"; it has {', '.join(sorted(table))}" if table else f"; it has no {noun}s"
        raise RequestError(f"no {noun} '{name}' in bundle '{bundle}'{did_you_mean(name, list(table)) or known}")
    return found

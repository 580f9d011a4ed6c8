"""Settings as written and as they act: tiers laid over a bundle's, pins of agents, the order of providers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from bundle_loader.declared.budget import WrittenBudget
from bundle_loader.declared.finish_budgets import misfitting
from bundle_loader.declared.frontmatter import Document
from bundle_loader.declared.layer import Layer
from bundle_loader.declared.mcp_server import WrittenMcpServer
from bundle_loader.declared.mended import Path, mended
from bundle_loader.declared.model_order import WrittenModelOrder
from bundle_loader.declared.preference import WrittenPreferences
from bundle_loader.declared.prices import WrittenPrice
from bundle_loader.declared.tables import TRUSTED_ONLY, WrittenProfile, WrittenProvider
from bundle_loader.declared.tree import Mapping, position
from bundle_loader.declared.written import CoreMap, Format, Named, Texts, Words, Written, check, one_or_many
from bundle_loader.errors import Fault

Origin: TypeAlias = Literal["organisation", "project", "user"]
"""Least derived first: what stands later overrides."""

LAID: Final = (
    "tiers", "tier_order", "profiles", "default_profile", "vars", "providers", "budgets", "prices", "model_order", "mcp_servers",
)  # fmt: skip
"""Keys that are laid over the bundle's own, as one more layer."""

_WHOLE = WithJsonSchema({"type": "string", "pattern": r"^(/|~|.:[\\/])"})


class WrittenPin(Written):
    """Which list an agent follows, whatever its file says."""

    tier: str | None = None
    provider_preferences: WrittenPreferences | None = None
    model_role: Words | None = None
    mandatory: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> WrittenPin:
        said = [key for key in ("tier", "provider_preferences", "model_role") if getattr(self, key)]
        if len(said) != 1:
            raise ValueError("a pin has one of tier, provider_preferences and model_role")
        return self


class WrittenTrust(Written):
    """What a user trusts beyond his own settings."""

    folders: Annotated[list[Annotated[str, _WHOLE]], BeforeValidator(one_or_many)] | None = None

    @model_validator(mode="after")
    def _whole_paths(self) -> WrittenTrust:
        if any(not folder.startswith(("/", "~")) and folder[1:3] not in (":\\", ":/") for folder in self.folders or ()):
            raise ValueError("write whole paths, such as /srv/project or ~/project: another would be trusted anywhere")
        return self


class WrittenSettings(Written):
    """Every key that a settings file may have."""

    format: Format | None = None
    bundle: Named | None = None
    default: Named | None = None
    tiers: dict[str, WrittenPreferences | None] | None = None
    tier_order: Texts | None = None
    profiles: dict[str, WrittenProfile | None] | None = None
    default_profile: Named | None = None
    provider_order: Words | None = None
    model_order: WrittenModelOrder | None = None
    agents: dict[str, WrittenPin | None] | None = None
    providers: dict[str, WrittenProvider | None] | None = None
    budgets: dict[str, WrittenBudget | None] | None = None
    prices: dict[str, WrittenPrice | None] | None = None
    mcp_servers: dict[str, WrittenMcpServer | None] | None = None
    vars: CoreMap | None = None
    trust: WrittenTrust | None = None
    sessions: Literal["on", "off"] | None = None
    """`off`: no transcripts are kept."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One settings file that was read."""

    origin: Origin
    file: str
    tree: Mapping
    written: WrittenSettings
    faults: tuple[Fault, ...]
    folder: str = ""
    """Where the file lies; relative paths of it begin there."""
    trusted: bool = True
    """False for a project that the user's settings do not name."""
    lost: frozenset[Path] = frozenset()
    """Keys that were taken out for a fault."""

    @property
    def layer(self) -> Layer:
        """What is laid over the bundle's own keys."""
        entries = {key: node for key, node in self.tree.entries.items() if key in LAID}
        header = Mapping(entries, self.tree.keys, self.tree.file, self.tree.line, self.tree.column)
        return Layer(f"{self.origin} settings", self.file, header, "")

    def place(self, *path: str) -> str:
        """`agents.git-ops in the organisation's settings (FILE:LINE)`."""
        _, line, _ = position(self.tree, path, key=True)
        return f"{'.'.join(path)} in the {self.origin}'s settings ({self.file}:{line})"


def trusting(settings: Sequence[SettingsFile]) -> str:
    """What is said of a key that a bundle may not have because only a project that is not trusted chose it."""
    folder = next((file.folder for file in reversed(settings) if file.origin == "project" and not file.trusted), "")
    only = "is not taken from a bundle that only a project's settings chose"
    return f"{only}; {_remedy(folder)}, or name the bundle yourself; it is left out"


def _remedy(folder: str) -> str:
    return f"if you trust it, write 'trust: {{folders: [{PurePath(folder).parent}]}}' in your own settings"


def read_settings(document: Document, origin: Origin, *, trusted: bool = True, folder: str = "") -> SettingsFile:
    """A settings file checked, with every fault at its place. What it may not say is left out, with a warning.

    `trusted` is false for a project that the user's settings do not name: it may not say where providers listen, since a
    cloned repository could have a key sent to a server of its own. Nor what models cost: a price of 0 would undo a budget. Nor
    which MCP servers there are: one is a program that would be started.
    """
    tree = document.header
    faults = list(document.faults)
    refused = []
    remedy = _remedy(folder)
    for key, said in TRUSTED_ONLY.items():
        if origin == "project" and not trusted and key in tree.entries:
            refused.append((key, f"a project's settings may not say {said}; {remedy}"))
    if origin != "user" and "trust" in tree.entries:
        refused.append(("trust", "trust is the user's own to give"))
    for key, message in refused:
        faults.append(Fault(document.file, *tree.keys[key], key, f"{message}; it is left out", "warning", "not-from-here"))
    if refused:
        gone = {key for key, _ in refused}
        entries = {key: node for key, node in tree.entries.items() if key not in gone}
        tree = Mapping(entries, tree.keys, tree.file, tree.line, tree.column)
    written, found = check(WrittenSettings, tree)
    lost: frozenset[Path] = frozenset()
    if written is None:
        rest = mended(WrittenSettings, tree)
        written, tree, lost = rest.written, rest.tree, rest.lost
        found += rest.faults
    found += misfitting(written.budgets, tree)
    return SettingsFile(origin, document.file, tree, written, (*faults, *found), folder, trusted, lost)

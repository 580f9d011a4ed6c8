"""What the mounted providers can give at one moment: their catalogues, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundle_loader.routing.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Offer:
    """One provider: either a catalogue or the reason why it cannot serve now."""

    provider: str
    catalogue: Catalogue | None = None
    reason: str | None = None
    local: bool = False
    note: str | None = None
    """For instance that the list is an old one, because the newest try failed."""
    stale: str | None = None
    """Why a list that is due to be renewed serves on."""
    names: tuple[str, ...] = ()
    """Other names that preferences use for it."""


@dataclass(frozen=True, slots=True)
class Offers:
    """All that is mounted, and the other names under which providers are known."""

    by_id: Mapping[str, Offer] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, provider: str) -> Offer | None:
        """The offer of a provider by its id, else by an alias."""
        offer = self.by_id.get(provider)
        if offer is None and provider in self.aliases:
            offer = self.by_id.get(self.aliases[provider])
        return offer

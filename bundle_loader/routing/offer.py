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
    """Other names that preferences use for it: its aliases, and its kind where that is not its id."""
    kind: str | None = None
    """What it is an instance of: a provider of the table, or a third party's; None where that is not known."""
    configured: bool = True
    """False where it has no key or address, so that nobody can be asked."""


@dataclass(frozen=True, slots=True)
class Offers:
    """All that is mounted, and the other names under which providers are known."""

    by_id: Mapping[str, Offer] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, str]:
        """Id -> what it is an instance of, where that is known."""
        return {id: offer.kind for id, offer in self.by_id.items() if offer.kind is not None}

    def find(self, provider: str) -> Offer | None:
        """The offer of a provider by its id, else by an alias."""
        offer = self.by_id.get(provider)
        if offer is None and provider in self.aliases:
            offer = self.by_id.get(self.aliases[provider])
        return offer

    def meant(self, provider: str) -> tuple[Offer, ...]:
        """Whom a preference's provider means: that id (or alias) where it is configured, else every instance of that kind."""
        own = self.find(provider)
        if own is not None and own.configured:
            return (own,)
        kind = self.aliases.get(provider, provider)
        instances = tuple(offer for offer in self.by_id.values() if offer.kind == kind and offer.configured and offer is not own)
        return instances or ((own,) if own is not None else ())

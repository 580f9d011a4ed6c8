"""The lists of models that `check` holds a bundle against: the shipped, dated ones, or what the providers say now."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bundle_loader.cli.hosting import with_host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.host import Host
from bundle_loader.providers import table
from bundle_loader.providers.live import aliases
from bundle_loader.providers.snapshot import snapshot_date, snapshot_models, snapshot_providers
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.offer import Offer, Offers


@dataclass(frozen=True, slots=True)
class Listing:
    """Where one provider's list comes from."""

    provider: str
    as_of: str | None
    """The day of the shipped list; None where the provider was asked, or where there is no list at all."""
    asked: bool = False
    reason: str | None = None
    """Why it could not be asked."""

    def __str__(self) -> str:
        instead = f"its shipped list of {self.as_of} is used" if self.as_of else "nothing is matched against it"
        return f"{self.provider}: could not be asked ({self.reason}); {instead}"


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists by provider id, and where each comes from."""

    catalogues: Mapping[str, Catalogue]
    listings: tuple[Listing, ...]

    @property
    def unasked(self) -> tuple[Listing, ...]:
        """Those that were to be asked and could not be."""
        return tuple(listing for listing in self.listings if listing.reason is not None)

    def offers(self) -> Offers:
        """As routing wants them."""
        found = {}
        for name in dict.fromkeys((*table.rows(), *self.catalogues, *(listing.provider for listing in self.listings))):
            catalogue, row = self.catalogues.get(name), table.row(name)
            reason = None if catalogue is not None else "there is no list of its models; --refresh asks for it"
            found[name] = Offer(name, catalogue, reason, local=row is not None and row.local)
        return Offers(found, aliases())

    def told(self, today: date) -> str:
        """How old the lists are, in words; empty where there is none."""
        days = sorted(listing.as_of for listing in self.listings if listing.as_of)
        asked = [listing.provider for listing in self.listings if listing.asked]
        said = [f"lists of {', '.join(asked)} asked for now"] if asked else []
        if days:
            age = (today - date.fromisoformat(days[0])).days
            span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
            said.append(f"shipped lists of {span}, the oldest {max(age, 0)} days old")
        return f"globs matched against {' and '.join(said)}" if said else ""


def shipped_catalogues() -> dict[str, Catalogue]:
    """The shipped lists, by provider."""
    return {id: Catalogue(id, snapshot_models(id), simulated=True) for id in snapshot_providers()}


def shipped_lists(bundle: Bundle) -> Lists:
    """The shipped lists, those of the providers that the bundle names told of."""
    return Lists(shipped_catalogues(), tuple(Listing(id, snapshot_date(id)) for id in named_providers(bundle)))


def live_lists(bundle: Bundle) -> Lists:
    """What the providers that the bundle names list now; of one that cannot be asked the shipped list stays."""
    wanted = named_providers(bundle)
    with tempfile.TemporaryDirectory() as folder:

        async def ask(host: Host) -> Offers:
            return await host.offers(wanted)

        offers = with_host(Host(bundle, ledger=Path(folder) / "ledger.db"), ask)
    catalogues = shipped_catalogues()
    listings = []
    for id in wanted:
        offer = offers.find(id)
        if offer is not None and offer.catalogue is not None:
            catalogues[id] = offer.catalogue
            listings.append(Listing(id, None, asked=True))
        else:
            listings.append(Listing(id, snapshot_date(id), reason=offer.reason if offer else "no such provider"))
    return Lists(catalogues, tuple(listings))


def named_providers(bundle: Bundle) -> list[str]:
    """The ids of the providers that any of a bundle's lists names."""
    lists = [*bundle.tiers.values(), *bundle.roles.values()]
    lists += [cell for cells in bundle.profiles.values() for cell in cells.values()]
    for agent in bundle.agents.values():
        lists += [agent.preferences, agent.content_fallback]
    said = {item.provider for one in lists for item in one}
    named = {name if name in bundle.providers else table.canonical(name) for name in said}
    return sorted(named & {*table.rows(), *bundle.providers})

"""The lists of models that `check` holds a bundle against: those saved here, the shipped ones, or what providers say now."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bundle_loader.cli.hosting import with_host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.host import Host
from bundle_loader.providers import table
from bundle_loader.providers.endpoint import Endpoint
from bundle_loader.providers.entry_points import installed
from bundle_loader.providers.env_files import with_env_files
from bundle_loader.providers.live import aliases, live_endpoints
from bundle_loader.providers.saved import Kept, SavedCatalogues
from bundle_loader.providers.snapshot import snapshot_date, snapshot_models, snapshot_providers
from bundle_loader.routing.age import ago
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.sources.home import catalogues_folder


@dataclass(frozen=True, slots=True)
class Listing:
    """Where one provider's list comes from."""

    provider: str
    source: Literal["live", "saved", "snapshot"] | None
    """Asked just now, read from this machine's disk, or shipped; None where there is no list."""
    as_of: str | None
    """The day of a shipped list, `YYYY-MM-DD`; the moment of a saved one, ISO 8601; None where the provider was asked."""
    age_seconds: int | None = None
    """How long ago it was learnt; of a shipped list from the beginning of its day."""
    asked: bool = False
    reason: str | None = None
    """Why it could not be asked."""
    note: str | None = None
    """Why a saved list is not used."""

    @property
    def told(self) -> str:
        """Source and age in words."""
        if self.source == "saved":
            return f"saved {ago(self.age_seconds or 0)} ago"
        return f"snapshot of {self.as_of}" if self.source == "snapshot" else "asked now" if self.asked else "no list"

    def __str__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        if self.reason is None:
            return f"{self.provider}: {self.told}{note}"
        instead = "nothing is matched against it"
        if self.source is not None:
            instead = f"its {'shipped list of ' + str(self.as_of) if self.source == 'snapshot' else 'list ' + self.told} is used"
        return f"{self.provider}: could not be asked ({self.reason}); {instead}{note}"


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists by provider id, and where each comes from."""

    catalogues: Mapping[str, Catalogue]
    listings: tuple[Listing, ...]

    def offers(self) -> Offers:
        """As routing wants them."""
        found = {}
        for name in dict.fromkeys((*table.rows(), *self.catalogues, *(listing.provider for listing in self.listings))):
            catalogue, row = self.catalogues.get(name), table.row(name)
            reason = None if catalogue is not None else "there is no list of its models; --refresh asks for it"
            found[name] = Offer(name, catalogue, reason, local=row is not None and row.local)
        return Offers(found, aliases())

    def summary(self, now: float) -> str:
        """How old the lists are, in words; empty where there is none."""
        days = sorted(listing.as_of for listing in self.listings if listing.source == "snapshot" and listing.as_of)
        asked = [listing.provider for listing in self.listings if listing.asked]
        saved = [listing for listing in self.listings if listing.source == "saved"]
        said = [f"lists of {', '.join(asked)} asked for now"] if asked else []
        if saved:
            oldest = ago(max(listing.age_seconds or 0 for listing in saved))
            said.append(f"lists of {', '.join(listing.provider for listing in saved)} saved up to {oldest} ago")
        if days:
            age = int(now - _start(days[0])) // 86400
            span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
            said.append(f"shipped lists of {span}, the oldest {max(age, 0)} days old")
        return f"globs matched against {' and '.join(said)}" if said else ""


def shipped_catalogues() -> dict[str, Catalogue]:
    """The shipped lists, by provider."""
    return {id: Catalogue(id, snapshot_models(id), simulated=True, source="snapshot") for id in snapshot_providers()}


def shipped_lists(bundle: Bundle, now: float) -> Lists:
    """The shipped lists, those of the providers that the bundle names told of: the same on every machine."""
    return Lists(shipped_catalogues(), tuple(_shipped(id, now) for id in named_providers(bundle)))


def saved_lists(bundle: Bundle, environment: Mapping[str, str], now: float) -> Lists:
    """Of each provider that the bundle names the list that this machine has saved, else the shipped one. Nobody is asked.

    Saved lists count however old they are; those of another address do not, nor where there is a key those of another key.
    """
    saved = SavedCatalogues(catalogues_folder(environment))
    endpoints = live_endpoints(with_env_files(environment), bundle.providers)
    catalogues = shipped_catalogues()
    listings = []
    for id in named_providers(bundle):
        kept = _kept(saved, id, endpoints[id], now) if id in endpoints else Kept()
        if kept.catalogue is None:
            listings.append(replace(_shipped(id, now), note=kept.note))
        else:
            catalogues[id] = kept.catalogue
            listings.append(_saved(kept.catalogue, now))
    return Lists(catalogues, tuple(listings))


def _kept(saved: SavedCatalogues, id: str, at: Endpoint, now: float) -> Kept:
    """The list that was fetched with this key; without one the newest, whatever its key was."""
    return saved.read(id, at, now) if at.credential else saved.newest(id, at, now)


def live_lists(bundle: Bundle, environment: Mapping[str, str], now: float) -> Lists:
    """What the providers that the bundle names list now, saved; of one that cannot be asked the list of `saved_lists` stays."""
    wanted = named_providers(bundle)
    with tempfile.TemporaryDirectory() as folder:

        async def ask(host: Host) -> Offers:
            return await host.refresh(wanted)

        offers = with_host(Host(bundle, ledger=Path(folder) / "ledger.db", environment=environment), ask)
    before = saved_lists(bundle, environment, now)
    catalogues = dict(before.catalogues)
    listings = []
    for listing in before.listings:
        offer = offers.find(listing.provider)
        if offer is not None and offer.catalogue is not None and offer.stale is None:
            catalogues[listing.provider] = offer.catalogue
            listings.append(Listing(listing.provider, "live", None, 0, asked=True))
        else:
            reason = "no such provider" if offer is None else offer.stale or offer.reason
            listings.append(replace(listing, reason=reason))
    return Lists(catalogues, tuple(listings))


def _shipped(id: str, now: float) -> Listing:
    day = snapshot_date(id)
    return Listing(id, "snapshot", day, max(0, int(now - _start(day)))) if day is not None else Listing(id, None, None)


def _saved(catalogue: Catalogue, now: float) -> Listing:
    learnt = datetime.fromtimestamp(catalogue.learnt, UTC).isoformat()
    return Listing(catalogue.provider, "saved", learnt, max(0, int(now - catalogue.learnt)))


def _start(day: str) -> float:
    """The beginning of a day (UTC), in seconds since the epoch."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def named_providers(bundle: Bundle) -> list[str]:
    """The ids of the providers that any of a bundle's lists names."""
    lists = [*bundle.tiers.values(), *bundle.roles.values()]
    lists += [cell for cells in bundle.profiles.values() for cell in cells.values()]
    for agent in bundle.agents.values():
        lists += [agent.preferences, agent.content_fallback]
    said = {item.provider for one in lists for item in one}
    named = {name if name in bundle.providers else table.canonical(name) for name in said}
    return sorted(named & {*table.rows(), *installed().kinds, *bundle.providers})

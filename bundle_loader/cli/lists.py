"""The lists of models that `check` holds a bundle against: those saved here, the shipped ones, or what providers say now."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bundle_loader.cli.hosting import with_host
from bundle_loader.declared.bundle import Bundle
from bundle_loader.host import Host
from bundle_loader.providers import table
from bundle_loader.providers.endpoint import Endpoint
from bundle_loader.providers.entry_points import Packages, installed
from bundle_loader.providers.env_files import with_env_files
from bundle_loader.providers.instances import Settings, declared_of, instances, row_of, runs_here, shipped_of
from bundle_loader.providers.live import Missing, aliases, live_endpoints, live_kinds, live_providers
from bundle_loader.providers.saved import Kept, SavedCatalogues
from bundle_loader.providers.snapshot import snapshot_date, snapshot_models, snapshot_providers
from bundle_loader.routing.age import ago
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.named import named_preferences
from bundle_loader.routing.offer import Offer, Offers
from bundle_loader.sources.home import catalogues_folder


@dataclass(frozen=True, slots=True)
class Listing:
    """Where one provider's list comes from."""

    provider: str
    source: Literal["live", "saved", "snapshot", "declared"] | None
    """Asked just now, read from this machine's disk, shipped, or declared by settings; None where there is no list."""
    as_of: str | None
    """The day of a shipped list, `YYYY-MM-DD`; the moment of a saved one, ISO 8601; None for what has no date."""
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
        if self.source == "declared":
            return "declared by its settings"
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
    settings: Settings = field(default_factory=dict)
    """The bundle's and the settings' `providers:`."""
    configured: frozenset[str] | None = None
    """The providers of the table that can be asked here; None for all that could be anywhere."""

    def offers(self) -> Offers:
        """As routing wants them: a kind that cannot be asked itself means its instances."""
        found = {}
        kinds = live_kinds(self.settings)
        of_own = {kind for id, kind in kinds.items() if id != kind}
        for name in dict.fromkeys((*table.rows(), *self.catalogues, *kinds)):
            catalogue, kind = self.catalogues.get(name), kinds.get(name)
            reason = None if catalogue is not None else "there is no list of its models; --refresh asks for it"
            known = tuple(dict.fromkeys(one for one in (*self._aliases_of(name, kind), kind) if one not in (None, name)))
            found[name] = Offer(
                name,
                catalogue,
                reason,
                local=runs_here(name, self.settings),
                names=known,
                kind=kind,
                configured=kind != name or name not in of_own or self._can_be_asked(name),
            )
        return Offers(found, aliases())

    def matched(self) -> dict[str, Catalogue]:
        """The list that each name of a provider is held against: of a kind that means instances all that these list."""
        found = dict(self.catalogues)
        offers = self.offers()
        for name in offers.by_id:
            meant = [offer.catalogue for offer in offers.meant(name) if offer.catalogue is not None and offer.provider != name]
            if meant:
                models = {model.id: model for one in meant for model in one.models}
                found[name] = replace(meant[0], provider=name, models=tuple(models.values()))
        return found

    def _aliases_of(self, name: str, kind: str | None) -> list[str]:
        return [alias for alias, id in aliases().items() if id in (name, kind)]

    def _can_be_asked(self, name: str) -> bool:
        row = table.row(name)
        if row is None or self.configured is None:
            return row is None or not row.instances_only
        return name in self.configured

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
    """The shipped and the declared lists, those of the providers that the bundle names told of: the same on every machine."""
    catalogues = shipped_catalogues() | _stated_catalogues(bundle)
    return Lists(catalogues, tuple(_stated(id, bundle, now) for id in named_providers(bundle)), bundle.providers)


def saved_lists(bundle: Bundle, environment: Mapping[str, str], now: float) -> Lists:
    """Of each provider that the bundle names the list that its settings declare, else the one that this machine has saved,
    else the shipped one. Nobody is asked.

    Saved lists count however old they are; those of another address do not, nor where there is a key those of another key.
    """
    saved = SavedCatalogues(catalogues_folder(environment))
    variables = with_env_files(environment)
    endpoints = live_endpoints(variables, bundle.providers)
    catalogues = shipped_catalogues() | _stated_catalogues(bundle)
    listings = []
    for id in named_providers(bundle):
        kept = _kept(saved, id, endpoints[id], now) if id in endpoints else Kept()
        if kept.catalogue is None:
            listings.append(replace(_stated(id, bundle, now), note=kept.note))
        else:
            catalogues[id] = kept.catalogue
            listings.append(_saved(kept.catalogue, now))
    # other packages are not imported for a check
    mounted = live_providers(variables, bundle.providers, Packages(()))
    here = frozenset(id for id, provider in mounted.items() if not isinstance(provider, Missing))
    return Lists(catalogues, tuple(listings), bundle.providers, here)


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
        if listing.source == "declared":
            listings.append(listing)
        elif offer is not None and offer.catalogue is not None and offer.stale is None:
            catalogues[listing.provider] = offer.catalogue
            listings.append(Listing(listing.provider, "live", None, 0, asked=True))
        else:
            reason = "no such provider" if offer is None else offer.stale or offer.reason
            listings.append(replace(listing, reason=reason))
    return replace(before, catalogues=catalogues, listings=tuple(listings))


def _stated(id: str, bundle: Bundle, now: float) -> Listing:
    """Where a list comes from that nobody is asked for."""
    if declared_of(id, bundle.providers):
        return Listing(id, "declared", None)
    row = row_of(id, bundle.providers)
    day = snapshot_date(row.id) if row is not None else None
    return Listing(id, "snapshot", day, max(0, int(now - _start(day)))) if day is not None else Listing(id, None, None)


def _stated_catalogues(bundle: Bundle) -> dict[str, Catalogue]:
    """What settings declare, and for instances of a kind what is shipped for it."""
    found = {}
    for id in {*table.rows(), *instances(bundle.providers)}:
        declared = declared_of(id, bundle.providers)
        if declared:
            found[id] = Catalogue(id, tuple(declared))
        elif shipped := shipped_of(id, bundle.providers):
            found[id] = Catalogue(id, tuple(shipped), simulated=True, source="snapshot")
    return found


def _saved(catalogue: Catalogue, now: float) -> Listing:
    learnt = datetime.fromtimestamp(catalogue.learnt, UTC).isoformat()
    return Listing(catalogue.provider, "saved", learnt, max(0, int(now - catalogue.learnt)))


def _start(day: str) -> float:
    """The beginning of a day (UTC), in seconds since the epoch."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def named_providers(bundle: Bundle) -> list[str]:
    """The ids of the providers that any of a bundle's lists names, and of the instances of a kind that one names."""
    said = {item.provider for item in named_preferences(bundle)}
    named = {name if name in bundle.providers else table.canonical(name) for name in said}
    named |= {id for id, kind in live_kinds(bundle.providers).items() if kind in named}
    return sorted(named & {*table.rows(), *installed().kinds, *bundle.providers})

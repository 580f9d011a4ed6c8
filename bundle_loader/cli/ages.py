"""Where the lists of models that a command used come from, and how old they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from bundle_loader.host import Host
from bundle_loader.providers.snapshot import snapshot_date
from bundle_loader.routing.age import told
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.offer import Offer


def listed(offer: Offer, now: float) -> dict[str, Any]:
    """One list for JSON: `source` is live, saved or simulated, None where there is no list."""
    catalogue = offer.catalogue
    found: dict[str, Any] = {"provider": offer.provider, "source": None, "learnt": None, "age_seconds": None}
    if catalogue is not None and catalogue.simulated:
        found |= {"source": "simulated", "learnt": _shipped_day(offer)}
    elif catalogue is not None:
        learnt = datetime.fromtimestamp(catalogue.learnt, UTC).isoformat()
        found |= {"source": catalogue.source, "learnt": learnt, "age_seconds": max(0, int(now - catalogue.learnt))}
    return {**found, "stale": offer.stale, "note": offer.note, "told": _told(offer, now)}


def providers_of(route: Route) -> list[str]:
    """The providers that a route names."""
    return [*(one.provider for one in route.candidates), *(one.provider for one in route.rejections)]


async def lists_behind(host: Host, providers: Iterable[str]) -> list[dict[str, Any]]:
    """The lists of these providers, by id; nobody is asked again."""
    wanted = list(dict.fromkeys(providers))
    offers = await host.offers(wanted)
    found = {offer.provider: offer for name in wanted if (offer := offers.find(name)) is not None}
    return [listed(found[id], host.clock()) for id in sorted(found)]


def lines(lists: Sequence[dict[str, Any]]) -> list[str]:
    """`lists of models:`, and a line for each that there is."""
    there = [f"  {entry['provider']}: {entry['told']}" for entry in lists if entry["source"] is not None]
    return ["lists of models:", *there] if there else []


def _told(offer: Offer, now: float) -> str:
    if offer.catalogue is None or not offer.catalogue.simulated:
        return told(offer, now)
    day = _shipped_day(offer)
    return f"simulated, shipped list of {day}" if day else "simulated, declared by its settings"


def _shipped_day(offer: Offer) -> str | None:
    """The day of the list that a simulated provider, or one of its kind, plays; None for a declared one."""
    if offer.catalogue is None or any(model.declared for model in offer.catalogue.models):
        return None
    return snapshot_date(offer.kind or offer.provider)

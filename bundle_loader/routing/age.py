"""How old a list of models is and where it comes from, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from bundle_loader.routing.offer import Offer


def ago(seconds: float) -> str:
    """`0 s`, `59 s`, `5 min`, `3 h`, `12 days`: the largest unit of which there is at least one (days from two on)."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 48 * 3600 else f"{whole // 86400} days"


def told(offer: Offer, now: float) -> str:
    """Where an offer's list comes from and how old it is; `now` is seconds since the epoch. Its reason where it has none."""
    catalogue = offer.catalogue
    if catalogue is None:
        return offer.reason or "its list of models is not known"
    if catalogue.simulated:
        return "simulated"
    age = ago(now - catalogue.learnt)
    said = {"live": f"live, asked {age} ago", "saved": f"saved {age} ago", "snapshot": f"snapshot of {_day(catalogue.learnt)}"}
    if offer.stale is None:
        return said[catalogue.source]
    return f"stale, {said[catalogue.source]}: {offer.stale}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()

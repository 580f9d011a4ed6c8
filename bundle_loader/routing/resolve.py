"""From a preference to concrete models: one order per catalogue version and pattern, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bundle_loader.declared.preference import Preference
from bundle_loader.errors import nearest
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.model_names import is_pattern, nearest_ids, newest_models, snapshots_of
from bundle_loader.routing.offer import Offer, Offers

_MOST_ORDERS = 4096


@dataclass(frozen=True, slots=True)
class Resolved:
    """The models that a preference can mean, best first; `reason` says why there is none."""

    models: tuple[ModelInfo, ...] = ()
    reason: str | None = None
    stands_for: str | None = None


def not_mounted(provider: str, mounted: Iterable[str], aliases: Mapping[str, str]) -> str:
    """Why nobody answers under that name, with the nearest name that somebody does answer to."""
    ids = sorted(mounted)
    close = nearest(provider, [*ids, *(alias for alias, id in aliases.items() if id in ids)], 1)
    hint = f"did you mean '{close[0]}'?" if close else f"mounted are {', '.join(ids) or 'none'}"
    return f"no provider '{provider}' is mounted; {hint}"


class Resolver:
    """Resolves preferences over offers. Keeps orders; holds nothing else."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, int, str], Resolved] = {}

    def resolve(self, preference: Preference, offers: Offers) -> list[tuple[Offer | None, Resolved]]:
        """Whom the preference means (an offer of None where nobody is mounted under that name) with the models, best first."""
        meant = offers.meant(preference.provider)
        if not meant:
            return [(None, Resolved(reason=not_mounted(preference.provider, offers.by_id, offers.aliases)))]
        return [(offer, self._of(offer, preference.model)) for offer in meant]

    def _of(self, offer: Offer, pattern: str) -> Resolved:
        if offer.catalogue is None:
            return Resolved(reason=offer.reason or "its list of models is not known")
        return self._order(offer.catalogue, pattern)

    def moved(self, old: Catalogue, new: Catalogue) -> Iterator[tuple[str, str | None, str | None]]:
        """The patterns resolved over `old` whose first model is another one in `new`: pattern, old id, new id."""
        asked = [key for key in self._orders if key[:2] == (old.provider, old.version)]
        for key in asked:
            was, now = _first(self._orders.pop(key)), _first(self._order(new, key[2]))
            if was != now:
                yield key[2], was, now

    def _order(self, catalogue: Catalogue, pattern: str) -> Resolved:
        key = (catalogue.provider, catalogue.version, pattern)
        found = self._orders.get(key)
        if found is None:
            if len(self._orders) >= _MOST_ORDERS:
                self._orders.clear()
            found = self._orders[key] = order(catalogue, pattern)
        return found


def _first(resolved: Resolved) -> str | None:
    return resolved.models[0].id if resolved.models else None


def order(catalogue: Catalogue, pattern: str) -> Resolved:
    """A glob's matches, or the one model that an exact id means. A glob is never handed on."""
    if is_pattern(pattern):
        matches = tuple(newest_models(pattern, catalogue.models, provider=catalogue.provider))
        if matches:
            return Resolved(matches)
        return Resolved(reason=f"'{pattern}' matches none of {len(catalogue.models)} models")
    return _exact(catalogue, pattern)


def _exact(catalogue: Catalogue, written: str) -> Resolved:
    """An exact id as listed, as a declared alias, or as the name of its listed snapshots."""
    folded = written.casefold()
    by_id = {model.id.casefold(): model for model in catalogue.models}
    if folded in by_id:
        return Resolved((by_id[folded],))
    bearing = [model for model in catalogue.models if any(alias.casefold() == folded for alias in model.aliases)]
    if bearing:
        return Resolved(tuple(newest_models("*", bearing, provider=catalogue.provider)), stands_for=written)
    snapshots = snapshots_of(written, [model.id for model in catalogue.models])
    if snapshots:
        return Resolved(tuple(by_id[name.casefold()] for name in snapshots), stands_for=written)
    close = nearest_ids(written, [model.id for model in catalogue.models])
    near = f"; nearest are {', '.join(close)}" if close else ""
    return Resolved(reason=f"'{written}' is not among its {len(catalogue.models)} models{near}")

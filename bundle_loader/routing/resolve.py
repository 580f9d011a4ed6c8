"""From a preference to concrete models: one order per catalogue version and pattern, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bundle_loader.declared.model_order import DEFAULT, OrderPolicy
from bundle_loader.declared.models_lock import ModelsLock, Pin
from bundle_loader.declared.preference import Preference
from bundle_loader.errors import nearest
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.model_names import ModelList, is_pattern, nearest_ids, snapshots_of
from bundle_loader.routing.offer import Offer, Offers

UNLOCKED: Final = ModelsLock()
"""It holds nothing."""
_MOST_ORDERS = 4096
_MOST_LISTS = 64


@dataclass(frozen=True, slots=True)
class Resolved:
    """The models that a preference can mean, best first; `reason` says why there is none."""

    models: tuple[ModelInfo, ...] = ()
    reason: str | None = None
    stands_for: str | None = None
    note: str | None = None
    """That a lock holds the pattern to a model although a newer one is listed."""


def not_mounted(provider: str, mounted: Iterable[str], aliases: Mapping[str, str]) -> str:
    """Why nobody answers under that name, with the nearest name that somebody does answer to."""
    ids = sorted(mounted)
    close = nearest(provider, [*ids, *(alias for alias, id in aliases.items() if id in ids)], 1)
    hint = f"did you mean '{close[0]}'?" if close else f"mounted are {', '.join(ids) or 'none'}"
    return f"no provider '{provider}' is mounted; {hint}"


class Resolver:
    """Resolves preferences over offers. Keeps orders; holds nothing else.

    What a lock says of a pattern:
    1. The pattern means the model that it is held to, and no other: what a gate has against that one is against the pattern.
    2. Where the pattern does not mean that model any more, it means none, and the reason says what moves the lock.
    3. A lock of live answers says nothing of simulated ones, nor the other way round.
    """

    def __init__(self, lock: ModelsLock = UNLOCKED, policy: OrderPolicy = DEFAULT) -> None:
        """`policy` is what comes first where the newest release alone does not decide: a bundle's `model_order`."""
        self.lock = lock
        self.policy = policy
        self._orders: dict[tuple[str, int, str], Resolved] = {}
        self._lists: dict[tuple[str, int], ModelList] = {}

    def resolve(self, preference: Preference, offers: Offers) -> list[tuple[Offer | None, Resolved]]:
        """Whom the preference means (an offer of None where nobody is mounted under that name) with the models, best first."""
        meant = offers.meant(preference.provider)
        if not meant:
            return [(None, Resolved(reason=not_mounted(preference.provider, offers.by_id, offers.aliases)))]
        return [(offer, self._of(offer, preference.model)) for offer in meant]

    def _of(self, offer: Offer, pattern: str) -> Resolved:
        if offer.catalogue is None:
            return Resolved(reason=offer.reason or "its list of models is not known")
        return self.over(offer.catalogue, pattern)

    def moved(self, old: Catalogue, new: Catalogue, also: Iterable[str] = ()) -> Iterator[tuple[str, str | None, str | None]]:
        """The patterns whose first model is another one in `new`: pattern, old id, new id.

        They are those that were resolved over `old`, and those that are given.
        """
        asked = [pattern for id, version, pattern in self._orders if (id, version) == (old.provider, old.version)]
        for pattern in dict.fromkeys((*asked, *also)):
            was, now = _first(self.over(old, pattern)), _first(self.over(new, pattern))
            self._orders.pop((old.provider, old.version, pattern), None)
            if was != now:
                yield pattern, was, now

    def over(self, catalogue: Catalogue, pattern: str) -> Resolved:
        """What a pattern means in one list."""
        key = (catalogue.provider, catalogue.version, pattern)
        found = self._orders.get(key)
        if found is None:
            if len(self._orders) >= _MOST_ORDERS:
                self._orders.clear()
            found = order(catalogue, pattern, self.policy, self._list(catalogue))
            pin = self.lock.pin(catalogue.provider, pattern) if self.lock.simulated == catalogue.simulated else None
            found = self._orders[key] = found if pin is None else _held(found, pin, catalogue, pattern)
        return found

    def _list(self, catalogue: Catalogue) -> ModelList:
        key = (catalogue.provider, catalogue.version)
        found = self._lists.get(key)
        if found is None:
            if len(self._lists) >= _MOST_LISTS:
                self._lists.clear()
            found = self._lists[key] = ModelList(catalogue.models)
        return found


def _first(resolved: Resolved) -> str | None:
    return resolved.models[0].id if resolved.models else None


def _held(found: Resolved, pin: Pin, catalogue: Catalogue, pattern: str) -> Resolved:
    """Sentences 1 and 2 of `Resolver`."""
    folded = pin.model.casefold()
    names = [{model.id.casefold(), *(alias.casefold() for alias in model.aliases)} for model in found.models]
    first = next((model for model, known in zip(found.models, names, strict=True) if folded in known), None)
    written = f"{catalogue.provider}/{pattern}"
    if first is None:
        listed = any(model.id.casefold() == folded for model in catalogue.models)
        why = "which it does not match" if listed else "which is not listed any more"
        moves = f"'bundle-loader lock --update {written}' moves it"
        return Resolved(reason=f"'{pattern}' is held to {pin.model} by {pin.place}, {why}; {moves}")
    newest = found.models[0]
    note = f"{written} is held to {first.id} by {pin.place}"
    if first is not newest:
        note += f"; the newest would be {newest.id}"
    ends = first.retires is not None or first.stage in ("deprecated", "retired")
    return replace(found, models=(first,), note=note if ends or first is not newest else None)


def order(catalogue: Catalogue, pattern: str, policy: OrderPolicy = DEFAULT, listed: ModelList | None = None) -> Resolved:
    """A glob's matches, or the one model that an exact id means. A glob is never handed on.

    `listed` is the catalogue's list where it is at hand, made ready to be asked.
    """
    if is_pattern(pattern) and not _listed(catalogue, pattern):
        matches = tuple((listed or ModelList(catalogue.models)).newest(pattern, policy))
        if matches:
            return Resolved(matches)
        return Resolved(reason=f"'{pattern}' matches none of {len(catalogue.models)} models")
    return _exact(catalogue, pattern, policy)


def _listed(catalogue: Catalogue, text: str) -> bool:
    """Whether what looks like a pattern is an id: some have a `[` in them."""
    return "[" in text and any(model.id == text for model in catalogue.models)


def _exact(catalogue: Catalogue, written: str, policy: OrderPolicy) -> Resolved:
    """An exact id as listed, as a declared alias, or as the name of its listed snapshots.

    A `models/` in front says nothing (Gemini), nor does a `:latest` behind (Ollama). Of ids that differ in case only, the
    one that is written so is meant.
    """
    by_id = {model.id.casefold(): model for model in catalogue.models}
    same = {model.id: model for model in catalogue.models}
    for name in (written, written.removeprefix("models/"), f"{written}:latest"):
        found = same.get(name) or by_id.get(name.casefold())
        if found is not None:
            return Resolved((found,), stands_for=None if found.id.casefold() == written.casefold() else written)
    folded = written.casefold()
    bearing = [model for model in catalogue.models if any(alias.casefold() == folded for alias in model.aliases)]
    if bearing:
        return Resolved(tuple(ModelList(bearing).newest("*", policy)), stands_for=written)
    snapshots = snapshots_of(written, [model.id for model in catalogue.models])
    if snapshots:
        return Resolved(tuple(by_id[name.casefold()] for name in snapshots), stands_for=written)
    close = nearest_ids(written, [model.id for model in catalogue.models])
    near = f"; nearest are {', '.join(close)}" if close else ""
    return Resolved(reason=f"'{written}' is not among its {len(catalogue.models)} models{near}")

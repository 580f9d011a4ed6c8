"""Asking providers for their models: all at once, each list fetched once for many callers, kept for a time and on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers.base import Provider
from bundle_loader.providers.endpoint import Endpoint
from bundle_loader.providers.faults import broken, foreign, too_slow, words_of
from bundle_loader.providers.guarded import CLOSING, TooLong, guarded
from bundle_loader.providers.live import Missing, Mounted
from bundle_loader.providers.saved import SavedCatalogues
from bundle_loader.providers.taken_in import taken_in
from bundle_loader.routing.age import ago
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.offer import Offer, Offers

logger = logging.getLogger("bundle_loader")

KEEP: Final = 15 * 60.0
"""Seconds for which a list is taken as current."""
KEEP_LOCAL: Final = 10.0
"""The same for a local provider: its list changes whenever a model is pulled, and asking costs little."""
STALE: Final = 24 * 3600.0
"""Seconds up to which an older list serves while it is renewed, without waiting."""
KEEP_FAILURE: Final = 30.0
"""Seconds before a provider that failed to list is asked again."""
KEEP_RENEWED: Final = 60.0
"""Seconds between two renewals of one list because a model that it names is gone."""
BRIEFLY: Final = 1.0
"""Seconds that a renewal is waited for where the old list is likely to be wrong, before it serves after all."""
PATIENCE: Final = 15.0
"""Seconds that one list may take."""

Changed: TypeAlias = Callable[[Catalogue, Catalogue], None]
"""Told of the old and the new list of a provider when a renewal gives other models."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What there is of a provider, and from when until when it is current."""

    since: float
    until: float
    offer: Offer


class Catalogues:
    """The lists of the mounted providers. Belongs to one event loop.

    How old a list may be:
    1. Younger than `keep`: it serves, and nobody is asked, also where it was saved by another process.
    2. Younger than `stale`: it serves, and one renewal runs beside it. That of a local provider is waited for briefly, as is
       one that began because a model was gone.
    3. Older, or none: the renewal is waited for, and the old list serves where it fails. So is one from the future, where the
       clock was set back.
    A refresh always waits. A renewal fails also where it brings no model at all, from a provider that is not local and had some.
    """

    def __init__(
        self,
        mounted: Mounted,
        *,
        clock: Callable[[], float],
        aliases: Mapping[str, str] | None = None,
        kinds: Mapping[str, str] | None = None,
        keep: float = KEEP,
        stale: float = STALE,
        patience: float = PATIENCE,
        saved: SavedCatalogues | None = None,
        endpoints: Mapping[str, Endpoint] | None = None,
        changed: Changed | None = None,
    ) -> None:
        """`clock` gives seconds since the epoch; `kinds` maps ids to what they are instances of.

        Only providers with an endpoint are read from `saved` and written to it.
        """
        self._mounted = mounted
        self._clock = clock
        self.aliases: Mapping[str, str] = dict(aliases or {})
        self.kinds: Mapping[str, str] = dict(kinds or {})
        self._keep = keep
        self._bound = stale
        self._patience = patience
        self._saved = saved
        self._endpoints = {id: at for id, at in (endpoints or {}).items() if saved and _may_be_saved(mounted.get(id))}
        self._changed = changed
        self._unread = set(self._endpoints)
        self._unused: dict[str, str] = {}
        """Why a saved list is not used, until another takes its place."""
        self._offers: dict[str, _Known] = {}
        self._local = {id: _is_local(provider) for id, provider in mounted.items()}
        """Asked once: what a provider says later is not checked."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}
        self._doubted: set[str] = set()
        """Whose renewal began because a model was gone."""
        self._renewed: dict[str, float] = {}
        """When that was last."""
        self._versions = 0
        self._all: Offers | None = None

    def canonical(self, name: str) -> str:
        """The mounted id that a preference's provider means."""
        return name if name in self._mounted else self.aliases.get(name, name)

    @property
    def ids(self) -> list[str]:
        """The mounted providers."""
        return list(self._mounted)

    def mounts(self, name: str) -> bool:
        """True when a provider is mounted under that id or alias."""
        return bool(self.meant(name))

    def meant(self, name: str) -> list[str]:
        """The ids that a preference's provider means, as `Offers.meant` has it."""
        id = self.canonical(name)
        own = self._mounted.get(id)
        if own is not None and not isinstance(own, Missing):
            return [id]
        of_kind = [one for one, provider in self._mounted.items() if self.kinds.get(one) == id and one != id]
        instances = [one for one in of_kind if not isinstance(self._mounted[one], Missing)]
        return instances or ([id] if own is not None else [])

    async def offers(self, wanted: Iterable[str] | None = None, *, refresh: bool = False) -> Offers:
        """What the wanted providers (all of them, where None) can give now. Never raises for a provider's failure.

        With `refresh` each of them is asked and waited for, however young its list is.
        """
        ids = list(self._mounted) if wanted is None else self._ids(wanted)
        unread = [id for id in ids if id in self._unread]
        if unread:
            await _all_of([_once(self._reading, id, self._read, "read-models") for id in unread])
        now = self._clock()
        waited, briefly = [], []
        for id in ids:
            if not refresh and not self._expired(id, now) and id not in self._doubted:
                continue
            asked = _once(self._asking, id, self._fetch, "list-models")
            if refresh or not self._serves_meanwhile(id, now):
                waited.append(asked)
            elif self._hurries(id):
                briefly.append(asked)
            else:
                self._mark_renewed(id, now)
        if briefly:
            # both kinds are under way: the longer wait takes in the shorter
            await asyncio.wait(briefly, timeout=BRIEFLY)
        if waited:
            await _all_of(waited)
        for id in ids if briefly else ():
            if id in self._asking:
                self._mark_renewed(id, now)
        if self._all is None:
            known = {id: one.offer for id, one in self._offers.items()}
            unasked = {id: self._unasked(id) for id in self._mounted if id not in known}
            self._all = Offers({**known, **unasked}, self.aliases)
        return self._all

    def current(self, wanted: Iterable[str]) -> Offers | None:
        """What `offers` would give, None where that would mean asking. The same object until something has changed."""
        now = self._clock()
        for id in self._ids(wanted):
            if id in self._doubted:
                return None
            if self._expired(id, now) and not (id in self._asking and self._serves_meanwhile(id, now) and not self._hurries(id)):
                return None
        return self._all

    def known(self, name: str) -> Offer | None:
        """The last offer of a provider, however old it is; None where there was none yet. Nobody is asked."""
        last = self._offers.get(self.canonical(name))
        return None if last is None else last.offer

    def renew(self, name: str) -> None:
        """A model that this provider lists is gone: its list is asked for now, beside other work.

        Whoever wants the list next waits for that, briefly. One that answers so each time is asked once in `KEEP_RENEWED`.
        """
        now = self._clock()
        for id in self.meant(name):
            known = self._offers.get(id)
            due = self._renewed.get(id)
            if known is None or known.offer.catalogue is None or (due is not None and due <= now < due + KEEP_RENEWED):
                continue
            self._renewed[id] = now
            self._doubted.add(id)
            _once(self._asking, id, self._fetch, "list-models")

    def _ids(self, wanted: Iterable[str]) -> list[str]:
        """The mounted ones, each once."""
        return list(dict.fromkeys(id for name in wanted for id in self.meant(name)))

    def _expired(self, id: str, now: float) -> bool:
        known = self._offers.get(id)
        return known is None or not known.since <= now < known.until

    def _serves_meanwhile(self, id: str, now: float) -> bool:
        """Sentence 2: there is a list, and it is not too old to serve without waiting."""
        known = self._offers.get(id)
        return known is not None and known.offer.catalogue is not None and 0 <= now - known.offer.catalogue.learnt < self._bound

    def _hurries(self, id: str) -> bool:
        """Whether its renewal is waited for briefly although the old list could serve."""
        return id in self._doubted or self._local[id]

    def _kept_for(self, id: str, seconds: float) -> float:
        return min(seconds, KEEP_LOCAL) if self._local[id] else seconds

    def _mark_renewed(self, id: str, now: float) -> None:
        """The list says that it is being renewed, unless it already says that a renewal failed."""
        known = self._offers[id]
        offer = known.offer
        if offer.stale is None and offer.catalogue is not None:
            note = f"{id}: its list of models is {ago(now - offer.catalogue.learnt)} old and is being renewed"
            self._set(id, replace(known, offer=replace(offer, note=note, stale="it is being renewed")))

    def _set(self, id: str, known: _Known) -> None:
        self._offers[id] = known
        self._all = None

    def _keep_it(self, id: str, offer: Offer, seconds: float) -> None:
        now = self._clock()
        self._set(id, _Known(now, now + self._kept_for(id, seconds), offer))

    async def _read(self, id: str) -> None:
        """What another process, or an earlier one, has saved."""
        assert self._saved is not None
        kept = await asyncio.to_thread(self._saved.read, id, self._endpoints[id], self._clock())
        self._unread.discard(id)
        provider = self._mounted[id]
        if kept.note is not None:
            logger.info("%s: %s", id, kept.note)
            self._unused[id] = f"{id}: {kept.note}"
        if kept.catalogue is not None and not isinstance(provider, Missing):
            self._versions += 1
            catalogue = replace(kept.catalogue, version=self._versions)
            until = catalogue.learnt + self._kept_for(id, self._keep)
            self._set(id, _Known(catalogue.learnt, until, self._offer(id, catalogue)))

    async def _fetch(self, id: str) -> None:
        provider = self._mounted[id]
        if isinstance(provider, Missing):
            self._keep_it(id, self._unasked(id), self._keep)
            return
        offer, keep = await self._list(id, provider)
        old = self._offers.get(id)
        # here, since whoever asked may have stopped waiting
        self._doubted.discard(id)
        self._keep_it(id, offer, keep)
        if offer.stale is None and offer.catalogue is not None:
            if old is not None and old.offer.catalogue is not None:
                self._tell(old.offer.catalogue, offer.catalogue)
            if id in self._endpoints:
                before = self._saving.get(id)
                self._saving[id] = asyncio.create_task(self._save(offer.catalogue, before), name=f"save-models {id}")

    def _tell(self, old: Catalogue, new: Catalogue) -> None:
        if self._changed is None or old.version == new.version:
            return
        try:
            self._changed(old, new)
        except Exception:
            # a host's own listener may raise anything
            logger.exception("%s: a listener failed when it was told of the new list of models", new.provider)

    async def _save(self, catalogue: Catalogue, before: asyncio.Task[None] | None) -> None:
        assert self._saved is not None
        if before is not None:
            await asyncio.wait([before])
        reason = await asyncio.to_thread(self._saved.write, catalogue, self._endpoints[catalogue.provider])
        if reason is not None:
            logger.info("%s: its list of models: %s", catalogue.provider, reason)

    async def _list(self, id: str, provider: Provider) -> tuple[Offer, float]:
        try:
            taken = taken_in(id, await guarded(lambda: provider.list_models(), self._patience))
            simulated = bool(getattr(provider, "simulated", False))
        except TooLong:
            return self._failed(id, too_slow(id, None, self._patience)), KEEP_FAILURE
        except ProviderFailure as failure:
            return self._failed(id, failure if words_of(failure) else foreign(failure, id, None)), KEEP_FAILURE
        except Exception as error:  # noqa: BLE001 - a host's own provider may raise anything
            return self._failed(id, foreign(error, id, None)), KEEP_FAILURE
        models = taken.models
        old = self._offers.get(id)
        known = old.offer.catalogue if old is not None else None
        if not models and known is not None and known.models and not self._local[id]:
            return self._failed(id, broken(id, None, "it listed no model at all")), KEEP_FAILURE
        if known is None or known.models != models:
            self._versions += 1
        version = known.version if known is not None and known.models == models else self._versions
        catalogue = Catalogue(id, models, self._clock(), version, simulated)
        unused = self._unused.pop(id, None)
        note = f"{id}: {taken.note}" if taken.note is not None else unused
        return replace(self._offer(id, catalogue), note=note), self._keep

    def _offer(self, id: str, catalogue: Catalogue) -> Offer:
        return replace(self._unasked(id), catalogue=catalogue, reason=None)

    def _unasked(self, id: str) -> Offer:
        provider, kind = self._mounted[id], self.kinds.get(id)
        names = tuple(alias for alias, target in self.aliases.items() if target in (id, kind))
        names = (*names, kind) if kind not in (None, id) else names
        if isinstance(provider, Missing):
            return Offer(id, reason=provider.reason, names=names, kind=kind, configured=False)
        return Offer(id, reason="its list of models was not asked for", local=self._local[id], names=names, kind=kind)

    def _failed(self, id: str, failure: ProviderFailure) -> Offer:
        """An older list serves on, and says so; without one the provider is out, with the reason."""
        old = self._offers.get(id)
        if old is not None and old.offer.catalogue is not None:
            note = f"{id}: its list of models is an old one, since the newest try failed ({failure})"
            return replace(self._offer(id, old.offer.catalogue), note=note, stale=f"the newest try failed ({failure})")
        told = failure.kind is FailureKind.REFUSED and failure.status is None
        reason = failure.message if told else f"its list of models could not be fetched ({failure})"
        return replace(self._unasked(id), reason=reason, note=self._unused.get(id))

    async def aclose(self) -> None:
        """Stop whatever is still being fetched; what was fetched is saved first."""
        tasks = [*self._reading.values(), *self._asking.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING)
        if self._saving:
            await asyncio.wait(self._saving.values(), timeout=CLOSING)


_Work: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]


def _once(running: dict[str, asyncio.Task[None]], id: str, work: _Work, what: str) -> asyncio.Task[None]:
    """Single flight: whoever comes while the work is under way has that one."""
    task = running.get(id)
    if task is None:
        task = running[id] = asyncio.create_task(work(id), name=f"{what} {id}")
        task.add_done_callback(lambda _: running.pop(id, None))
    return task


async def _all_of(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the work of others; whoever stops waiting does not end it."""
    done, _ = await asyncio.wait(tasks)
    for task in done:
        task.result()


def _is_local(provider: Provider | Missing) -> bool:
    """What a host's own provider says, if it says it plainly."""
    try:
        return not isinstance(provider, Missing) and provider.local is True
    except Exception:  # noqa: BLE001 - a host's own provider may raise anything
        return False


def _may_be_saved(provider: Provider | Missing | None) -> bool:
    """What is simulated is never saved, and never read as if it were live; a provider without a key serves nothing."""
    return provider is not None and not isinstance(provider, Missing) and not getattr(provider, "simulated", False)

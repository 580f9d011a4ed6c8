"""Asking providers for their models: all at once, each list fetched once for many callers and kept for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.providers.base import Provider
from bundle_loader.providers.faults import foreign, too_slow
from bundle_loader.providers.live import Missing, Mounted
from bundle_loader.routing.catalogue import Catalogue
from bundle_loader.routing.model_names import model_info
from bundle_loader.routing.offer import Offer, Offers

KEEP: Final = 15 * 60.0
"""Seconds for which a list is taken as current."""
KEEP_FAILURE: Final = 30.0
"""Seconds before a provider that failed to list is asked again."""
PATIENCE: Final = 15.0
"""Seconds that one list may take."""


class Catalogues:
    """The lists of the mounted providers. Belongs to one event loop."""

    def __init__(
        self,
        mounted: Mounted,
        *,
        clock: Callable[[], float],
        aliases: Mapping[str, str] | None = None,
        keep: float = KEEP,
        patience: float = PATIENCE,
    ) -> None:
        self._mounted = mounted
        self._clock = clock
        self.aliases: Mapping[str, str] = dict(aliases or {})
        self._keep = keep
        self._patience = patience
        self._offers: dict[str, tuple[float, Offer]] = {}
        self._asking: dict[str, asyncio.Task[Offer]] = {}
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
        return self.canonical(name) in self._mounted

    async def offers(self, wanted: Iterable[str] | None = None) -> Offers:
        """What the wanted providers (all of them, where None) can give now. Never raises for a provider's failure."""
        stale = self._stale(self._mounted if wanted is None else wanted)
        if stale:
            await asyncio.gather(*(self._ask(id) for id in stale))
        if self._all is None:
            known = {id: offer for id, (_, offer) in self._offers.items()}
            unasked = {id: _unasked(provider, id) for id, provider in self._mounted.items() if id not in known}
            self._all = Offers({**known, **unasked}, self.aliases)
        return self._all

    def current(self, wanted: Iterable[str]) -> Offers | None:
        """What `offers` would give, None where that would mean asking. The same object until something has changed."""
        return None if self._stale(wanted) else self._all

    def _stale(self, wanted: Iterable[str]) -> list[str]:
        """The mounted ones that have to be asked, each once."""
        now = self._clock()
        ids = dict.fromkeys(map(self.canonical, wanted))
        return [id for id in ids if id in self._mounted and self._expired(id, now)]

    def _expired(self, id: str, now: float) -> bool:
        until = self._offers.get(id)
        return until is None or now >= until[0]

    async def _ask(self, id: str) -> Offer:
        """Single flight: whoever comes while a list is being fetched waits for that one."""
        task = self._asking.get(id)
        if task is None:
            task = self._asking[id] = asyncio.create_task(self._fetch(id), name=f"list-models {id}")
            task.add_done_callback(lambda _: self._asking.pop(id, None))
        return await asyncio.shield(task)

    async def _fetch(self, id: str) -> Offer:
        provider = self._mounted[id]
        if isinstance(provider, Missing):
            offer, keep = Offer(id, reason=provider.reason), self._keep
        else:
            offer, keep = await self._list(id, provider)
        self._offers[id] = (self._clock() + keep, offer)
        # here, since whoever asked may have stopped waiting
        self._all = None
        return offer

    async def _list(self, id: str, provider: Provider) -> tuple[Offer, float]:
        try:
            async with asyncio.timeout(self._patience):
                models = tuple(model_info(entry) for entry in await provider.list_models())
        except TimeoutError:
            return self._failed(id, provider, too_slow(id, None, self._patience)), KEEP_FAILURE
        except ProviderFailure as failure:
            return self._failed(id, provider, failure), KEEP_FAILURE
        except Exception as error:  # noqa: BLE001 - a host's own provider may raise anything
            return self._failed(id, provider, foreign(error, id, None)), KEEP_FAILURE
        self._versions += 1
        simulated = bool(getattr(provider, "simulated", False))
        catalogue = Catalogue(id, models, self._clock(), self._versions, simulated)
        return Offer(id, catalogue, local=provider.local, names=self._names(id)), self._keep

    def _names(self, id: str) -> tuple[str, ...]:
        return tuple(alias for alias, target in self.aliases.items() if target == id)

    def _failed(self, id: str, provider: Provider, failure: ProviderFailure) -> Offer:
        """An older list serves on, and says so; without one the provider is out, with the reason."""
        old = self._offers.get(id)
        if old is not None and old[1].catalogue is not None:
            note = f"{id}: its list of models is an old one, since the newest try failed ({failure})"
            return Offer(id, old[1].catalogue, local=provider.local, names=self._names(id), note=note)
        if failure.kind is FailureKind.REFUSED and failure.status is None:
            return Offer(id, reason=failure.message, local=provider.local)
        return Offer(id, reason=f"its list of models could not be fetched ({failure})", local=provider.local)

    async def aclose(self) -> None:
        """Stop whatever is still being fetched."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unasked(provider: Provider | Missing, id: str) -> Offer:
    if isinstance(provider, Missing):
        return Offer(id, reason=provider.reason)
    return Offer(id, reason="its list of models was not asked for", local=provider.local)

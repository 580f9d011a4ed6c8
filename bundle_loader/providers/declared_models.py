"""A provider whose models its settings declare, because it has no list, or not one of what may be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from bundle_loader.messages import StreamPart
from bundle_loader.providers.base import ChatRequest, Provider
from bundle_loader.providers.ollama_models import named_elsewhere
from bundle_loader.providers.table import ProviderRow
from bundle_loader.providers.unlisted import filled
from bundle_loader.routing.catalogue import ModelInfo


def declared_models(ids: Sequence[str], row: ProviderRow | None = None) -> Sequence[ModelInfo]:
    """What settings declare, each id once, with what the table knows of such ids."""
    away = [id for id in ids if row is not None and row.adapter == "ollama" and named_elsewhere(id)]
    told = [ModelInfo(id, declared=True, local=False if id in away else None) for id in dict.fromkeys(ids)]
    return filled(told, row)


class DeclaredModels:
    """Another provider with `models` as its list; nobody is asked for it."""

    def __init__(self, provider: Provider, models: Sequence[str], row: ProviderRow | None = None) -> None:
        self._provider = provider
        self._models = declared_models(models, row)

    @property
    def id(self) -> str:
        """The name that preferences use."""
        return self._provider.id

    @property
    def local(self) -> bool:
        """As the provider's."""
        return self._provider.local

    @property
    def asks(self) -> Provider:
        """Whom it asks for answers."""
        return self._provider

    @property
    def base_url(self) -> Any:
        """Where it listens; None where the provider does not say."""
        return getattr(self._provider, "base_url", None)

    def __repr__(self) -> str:
        return f"DeclaredModels({self._provider!r}, {[model.id for model in self._models]!r})"

    async def list_models(self) -> Sequence[ModelInfo]:
        """What the settings declare."""
        return self._models

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """Any number of `Delta`s, then one `Turn`."""
        return self._provider.stream(request)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._provider.aclose()

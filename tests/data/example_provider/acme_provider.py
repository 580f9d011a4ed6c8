"""Acme's models for bundle_loader: a provider that echoes, as a pattern for real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import FailureKind, ProviderFailure
from bundle_loader.messages import Delta, Message, StreamPart, Text, Turn, Usage
from bundle_loader.providers.base import ChatRequest
from bundle_loader.routing.catalogue import ModelInfo


class AcmeProvider:
    """One account at Acme."""

    variables = ("ACME_API_KEY", "ACME_URL")
    local = False

    def __init__(self, id: str, environment: Mapping[str, str], settings: ProviderSettings) -> None:
        self.id = id
        self.base_url = settings.base_url or environment.get("ACME_URL", "https://acme.example")
        self._key = environment.get(settings.key_variable or "ACME_API_KEY")
        if not self._key:
            raise ProviderFailure(FailureKind.REFUSED, id, f"no key: set {settings.key_variable or 'ACME_API_KEY'}")

    async def list_models(self) -> Sequence[ModelInfo]:
        return [
            ModelInfo("acme-echo-1", window=8_000, kind="chat"),
            ModelInfo("acme-echo-2", window=32_000, kind="chat"),
            ModelInfo("acme-embed-9", kind="embedding"),
        ]

    async def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        said = f"{self.id} says: {request.messages[-1].text}"
        yield Delta(said)
        yield Turn(Message("assistant", (Text(said),)), Usage(10, 5), request.model, "stop")

    async def aclose(self) -> None:
        pass

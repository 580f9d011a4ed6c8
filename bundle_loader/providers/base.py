"""What the rest of the program knows of a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from bundle_loader.messages import Message, StreamPart, ToolSpec
from bundle_loader.routing.catalogue import ModelInfo


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request for one turn of a conversation."""

    model: str
    """A concrete id, never a pattern."""
    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()
    max_tokens: int = 4096
    config: Mapping[str, Any] = field(default_factory=dict)
    """Neutral keys (temperature, top_p, top_k, stop, seed, reasoning_effort) are translated; others go on as they are."""
    timeout: float = 300.0
    """Seconds for the whole request."""
    output_schema: Mapping[str, Any] | None = None
    """JSON Schema of the answer, sent in the vendor's own way, else as words of the system text. Nothing is checked here."""


@runtime_checkable
class Provider(Protocol):
    """A place that serves models. Failures leave it as `ProviderFailure`, never as an SDK's exception."""

    @property
    def id(self) -> str:
        """The name that preferences use."""
        ...

    @property
    def local(self) -> bool:
        """True when nothing sent to it leaves this machine or its private network."""
        ...

    async def list_models(self) -> Sequence[ModelInfo]:
        """Every page of what the provider offers now."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[StreamPart]:
        """Any number of `Delta`s, then exactly one `Turn`. Ending without a `Turn` is a broken answer."""
        ...

    async def aclose(self) -> None:
        """Give back connections. Safe to call twice."""
        ...

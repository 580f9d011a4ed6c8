"""The models that one provider offers, and when that was learnt: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

Source: TypeAlias = Literal["live", "saved", "snapshot"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model as its provider lists it. What the list does not say is None, and None never rejects."""

    id: str
    created: datetime | None = None
    """When the provider says it was created (aware); often not the release."""
    window: int | None = None
    """The most tokens a prompt may have."""
    output_limit: int | None = None
    """The most tokens an answer may have."""
    capabilities: frozenset[str] | None = None
    """Of `tools`, `vision`, `structured`, `reasoning`, `streaming`."""
    assumed: frozenset[str] = frozenset()
    """Of `capabilities`, what the list leaves open: taken to be there, because what is not known never rejects."""
    kind: str | None = None
    """`chat`, `embedding`, `image`, `audio`, `moderation`, ... where told."""
    stage: str | None = None
    """`stable`, `preview`, `deprecated` or `retired` where told."""
    barred: str | None = None
    """Why this account may not use it, in words, where the list says so."""
    retires: datetime | None = None
    """When the provider ends it (aware); from then on it is as good as retired."""
    aliases: tuple[str, ...] = ()
    prices: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Kind of token (`input`, `output`, `cache_read`, ...) -> US dollars for one, as decimal text, where the list tells it."""
    local: bool | None = None
    """False where it runs elsewhere although its provider is local (Ollama's cloud models); None: where its provider does."""
    declared: bool = False
    """Nobody listed it: the settings of its provider name it."""
    from_table: frozenset[str] = frozenset()
    """Names of the fields that the list leaves out and the table of providers fills."""
    digest: str | None = None
    """Two ids with one digest are one model (Ollama)."""
    extra: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A provider's whole list at one moment."""

    provider: str
    models: tuple[ModelInfo, ...]
    learnt: float = 0.0
    """Seconds since the epoch."""
    version: int = 0
    """Grows when the list is fetched again; orders are computed once per version and pattern."""
    simulated: bool = False
    source: Source = "live"
    """Asked by this process, read from this machine's disk, or shipped with the package."""

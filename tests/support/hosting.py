"""What tests of delegation need around a host: bundles from a few lines, and the loopback vendors mounted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from bundle_loader.declared.bundle import Bundle
from bundle_loader.providers.base import Provider
from bundle_loader.providers.live import Missing, live_providers
from bundle_loader.sources.load import load_bundle
from tests.support.vendors import World

MODELS = {
    "anthropic": ("claude-haiku-4-5-20251001", "claude-sonnet-4-6"),
    "openai": ("gpt-4o-mini", "gpt-4o"),
    "google": ("gemini-2.5-flash", "gemini-2.5-pro"),
    "ollama": ("qwen3:8b", "llama3.2:3b"),
}
"""Two models that each loopback vendor lists."""


def worker(folder: Path, *preferences: object, body: str = "Do the work.", **keys: object) -> Bundle:
    """A bundle with the one agent `worker`. `preferences` are its list, `keys` the rest of its header."""
    header = {"format": 1, "name": "worker", **({"provider_preferences": list(preferences)} if preferences else {}), **keys}
    path = folder / "worker.md"
    path.write_text(f"---\n{yaml.safe_dump(header)}---\n{body}\n", encoding="utf-8")
    return load_bundle(path, strict=True)


def mounted(world: World, base: str, others: Mapping[str, Provider] | None = None) -> dict[str, Provider]:
    """The real providers of the vendors that are on, and `others` beside them or in their place."""
    live = live_providers(world.environment(base))
    return {**{id: provider for id, provider in live.items() if not isinstance(provider, Missing)}, **(others or {})}


def both(vendor: str) -> tuple[str, str]:
    """The preferences for the two models of a vendor."""
    first, second = MODELS[vendor]
    return f"{vendor}/{first}", f"{vendor}/{second}"

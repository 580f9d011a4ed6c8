"""The real providers of this environment, each ready to use or with the reason why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import did_you_mean
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.credentials import address_of, key_of, missing_key
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.saved import Endpoint, endpoint
from bundle_loader.providers.table import ProviderRow


@dataclass(frozen=True, slots=True)
class Missing:
    """A provider that is known but cannot serve here."""

    id: str
    reason: str


Mounted: TypeAlias = Mapping[str, Provider | Missing]

_Make: TypeAlias = Callable[[ProviderRow, str, str | None, str | None], Provider]

_ADAPTERS: Mapping[str, _Make] = {
    "anthropic": lambda row, id, key, url: AnthropicProvider(id=id, api_key=key, base_url=url),
    "openai": lambda row, id, key, url: OpenAIProvider(id=id, api_key=key, base_url=url),
    "google": lambda row, id, key, url: GoogleProvider(id=id, api_key=key, base_url=url),
    "ollama": lambda row, id, key, url: OllamaProvider(id=id, api_key=key, base_url=url),
    "compatible": lambda row, id, key, url: CompatibleProvider(row, id=id, api_key=key, base_url=url),
}


def live_providers(
    environment: Mapping[str, str], settings: Mapping[str, ProviderSettings] | None = None
) -> dict[str, Provider | Missing]:
    """Every provider of the table, plus the instances that a bundle's `providers:` adds under ids of their own.

    Nothing is opened and no SDK is loaded.
    """
    mounted: dict[str, Provider | Missing] = {}
    for id, row, own in _instances(settings or {}):
        if row is None:
            mounted[id] = Missing(id, unknown_kind(own.kind if own else None))
        else:
            mounted[id] = _mount(row, id, environment, own)
    return mounted


def live_endpoints(environment: Mapping[str, str], settings: Mapping[str, ProviderSettings] | None = None) -> dict[str, Endpoint]:
    """Where each provider of `live_providers` listens, with or without a key; those of an unknown kind are left out."""
    found = _instances(settings or {})
    return {id: endpoint(row.id, address_of(row, environment, own)) for id, row, own in found if row is not None}


def live_kinds(settings: Mapping[str, ProviderSettings] | None = None) -> dict[str, str]:
    """Each id of `live_providers` -> the provider of the table that it is an instance of; an unknown kind is left out."""
    return {id: row.id for id, row, _ in _instances(settings or {}) if row is not None}


def _instances(said: Mapping[str, ProviderSettings]) -> Iterator[tuple[str, ProviderRow | None, ProviderSettings | None]]:
    """Each id with its row (None for an unknown kind) and what the bundle says of it."""
    for row in table.rows().values():
        yield row.id, row, _settings_of(row, said)
    for name, own in said.items():
        if table.row(name) is None:
            yield name, table.row(own.kind) if own.kind else None, own


def unknown_kind(kind: str | None) -> str:
    """Why a provider of a bundle's own cannot be made: its kind is missing or not known."""
    known = list(table.rows())
    said = f"its kind '{kind}' is not known{did_you_mean(kind, known)}" if kind else "it has no 'kind'"
    return f"{said}; write one of {', '.join(known)}"


def _settings_of(row: ProviderRow, said: Mapping[str, ProviderSettings]) -> ProviderSettings | None:
    return next((said[name] for name in (row.id, *row.aliases) if name in said), None)


def _mount(row: ProviderRow, id: str, environment: Mapping[str, str], settings: ProviderSettings | None) -> Provider | Missing:
    make = _ADAPTERS.get(row.adapter)
    if make is None:
        return Missing(id, row.why_none or "no adapter yet")
    key = key_of(row, environment, settings)
    if key is None and row.key_required:
        return Missing(id, missing_key(row, settings))
    url = address_of(row, environment, settings)
    return make(row, id, key, url)


def aliases() -> dict[str, str]:
    """Other names of providers -> their ids."""
    return {alias: row.id for row in table.rows().values() for alias in row.aliases}

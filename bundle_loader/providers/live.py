"""The real providers of this environment, each ready to use or with the reason why it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from bundle_loader.declared.tables import ProviderSettings, Timeouts
from bundle_loader.errors import did_you_mean
from bundle_loader.providers import table
from bundle_loader.providers.anthropic import AnthropicProvider
from bundle_loader.providers.base import Provider
from bundle_loader.providers.clouds import NotSupported, Place, cloud
from bundle_loader.providers.compatible import CompatibleProvider
from bundle_loader.providers.copilot import CopilotProvider
from bundle_loader.providers.copilot_cli import cli_missing, sdk_missing
from bundle_loader.providers.credentials import address_of, found_key, key_of, missing_key, unsendable
from bundle_loader.providers.declared_models import DeclaredModels
from bundle_loader.providers.endpoint import Endpoint, endpoint
from bundle_loader.providers.entry_points import Cannot, Packages, installed
from bundle_loader.providers.google import GoogleProvider
from bundle_loader.providers.link import Way, found_file, unreadable
from bundle_loader.providers.ollama import OllamaProvider
from bundle_loader.providers.openai import OpenAIProvider
from bundle_loader.providers.table import ProviderRow

logger = logging.getLogger("bundle_loader")


@dataclass(frozen=True, slots=True)
class Missing:
    """A provider that is known but cannot serve here."""

    id: str
    reason: str
    kind: str | None = None
    """What it would be an instance of; None where its kind is not known."""


Mounted: TypeAlias = Mapping[str, Provider | Missing]

_Make: TypeAlias = Callable[[ProviderRow, str, str | None, str | None, Way], Provider]

_ADAPTERS: Mapping[str, _Make] = {
    "anthropic": lambda row, id, key, url, way: AnthropicProvider(id=id, api_key=key, base_url=url, **way),
    "openai": lambda row, id, key, url, way: OpenAIProvider(id=id, api_key=key, base_url=url, **way),
    "google": lambda row, id, key, url, way: GoogleProvider(id=id, api_key=key, base_url=url, **way),
    "ollama": lambda row, id, key, url, way: OllamaProvider(id=id, api_key=key, base_url=url, **way),
    "compatible": lambda row, id, key, url, way: CompatibleProvider(row, id=id, api_key=key, base_url=url, **way),
}
_CLOUDS: Final = frozenset({"azure-openai", "bedrock", "vertex"})
"""Adapters of instances that need more than a key and an address."""


@dataclass(frozen=True, slots=True)
class _Instance:
    """An id, what it is an instance of, and what the bundle says of it."""

    id: str
    row: ProviderRow | None = None
    settings: ProviderSettings | None = None
    package: str | None = None
    """The kind, where another package gives it."""

    @property
    def kind(self) -> str | None:
        """None where it is not known."""
        return self.row.id if self.row is not None else self.package


def live_providers(
    environment: Mapping[str, str],
    settings: Mapping[str, ProviderSettings] | None = None,
    packages: Packages | None = None,
    timeouts: Timeouts | None = None,
) -> dict[str, Provider | Missing]:
    """Every provider of the table and of other packages, plus the instances that a bundle's `providers:` adds under their ids.

    `timeouts` hold where a provider's own settings say none. Nothing is opened and no SDK is loaded; other packages are.
    """
    packages = packages or installed()
    for fault in packages.faults:
        logger.warning("%s", fault)
    return {one.id: _made(one, environment, packages, timeouts or Timeouts()) for one in _instances(settings or {}, packages)}


def live_endpoints(
    environment: Mapping[str, str], settings: Mapping[str, ProviderSettings] | None = None, packages: Packages | None = None
) -> dict[str, Endpoint]:
    """Where each provider of `live_providers` listens, with or without a key.

    Left out are those of an unknown kind, those of other packages, which know it themselves, and declared lists.
    """
    return {
        one.id: endpoint(one.row.id, address_of(one.row, environment, one.settings), key_of(one.row, environment, one.settings))
        for one in _instances(settings or {}, packages or installed())
        if one.row is not None and not (one.settings and one.settings.models)
    }


def live_kinds(settings: Mapping[str, ProviderSettings] | None = None, packages: Packages | None = None) -> dict[str, str]:
    """Each id of `live_providers` -> the provider of the table, or another package's, that it is an instance of.

    An unknown kind is left out.
    """
    return {one.id: one.kind for one in _instances(settings or {}, packages or installed()) if one.kind is not None}


def live_keys(environment: Mapping[str, str], settings: Mapping[str, ProviderSettings] | None = None) -> dict[str, str]:
    """Each id that has a key -> the variable that holds it and where that was read, never the key."""
    found = {
        one.id: found_key(one.row, environment, one.settings)
        for one in _instances(settings or {}, installed())
        if one.row is not None
    }
    return {id: str(key) for id, key in found.items() if key is not None}


def _instances(said: Mapping[str, ProviderSettings], packages: Packages) -> Iterator[_Instance]:
    """The table's, then other packages', then the bundle's own, each in the order declared."""
    for row in table.rows().values():
        yield _Instance(row.id, row, next((said[name] for name in (row.id, *row.aliases) if name in said), None))
    for kind in packages.kinds:
        yield _Instance(kind, None, said.get(kind), kind)
    for name, own in said.items():
        if table.row(name) is None and name not in packages.kinds:
            known = own.kind if own.kind in packages.kinds else None
            yield _Instance(name, table.row(own.kind) if own.kind else None, own, known)


def unknown_kind(kind: str | None, packages: Packages | None = None) -> str:
    """Why a provider of a bundle's own cannot be made: its kind is missing or not known."""
    known = [*table.rows(), *(packages or installed()).kinds]
    said = f"its kind '{kind}' is not known{did_you_mean(kind, known)}" if kind else "it has no 'kind'"
    return f"{said}; write one of {', '.join(known)}"


def _made(one: _Instance, environment: Mapping[str, str], packages: Packages, timeouts: Timeouts) -> Provider | Missing:
    settings = one.settings
    try:
        if one.package is not None:
            provider = packages.make(one.package, one.id, environment, settings)
        elif one.row is not None:
            provider = _mount(one.row, one.id, environment, settings, timeouts)
        else:
            raise Cannot(unknown_kind(settings.kind if settings else None, packages))
    except (Cannot, NotSupported, ValueError) as reason:
        return Missing(one.id, str(reason), one.kind)
    return DeclaredModels(provider, settings.models, one.row) if settings and settings.models else provider


def _mount(
    row: ProviderRow, id: str, environment: Mapping[str, str], settings: ProviderSettings | None, timeouts: Timeouts
) -> Provider:
    """The provider. Raises Cannot or ValueError, with the reason and what to do."""
    if row.adapter == "none":
        raise Cannot(row.why_none or "no adapter yet")
    if row.adapter == "copilot" and (missing := sdk_missing()) is not None:
        raise Cannot(missing)
    if row.instances_only and settings is None:
        raise Cannot(f"used only as an instance; write 'ID: {{kind: {row.id}, {_asked_of(row)}}}' under 'providers'")
    lacking = [_written(name, row) for name in row.needs if not _has(name, row, environment, settings)]
    if lacking:
        raise Cannot(f"it lacks {' and '.join(lacking)}; write 'providers: {{{id}: {{kind: {row.id}, {_asked_of(row)}}}}}'")
    key, url = key_of(row, environment, settings), address_of(row, environment, settings)
    if key is None and row.key_required:
        raise Cannot(missing_key(row, settings, environment))
    if (wrong := unsendable(row, environment, settings)) is not None:
        raise Cannot(wrong)
    way = _way(settings or ProviderSettings(), timeouts)
    if row.adapter == "copilot":
        if "proxy" in way or "ca_file" in way:
            raise Cannot("its program makes its own connections; remove 'proxy' and 'ca_file', and set what it reads itself")
        return _copilot(id, key, environment)
    if row.adapter in _CLOUDS:
        return cloud(Place(row, id, url or "", key or "", settings or ProviderSettings(), way))
    return _ADAPTERS[row.adapter](row, id, key, url, way)


def _way(settings: ProviderSettings, timeouts: Timeouts) -> Way:
    """How the provider is reached. Raises Cannot for a file of certificates that cannot be used."""
    way: Way = {}
    connect = settings.timeouts.over(timeouts).connect
    if connect is not None:
        way["connect_timeout"] = connect
    if settings.proxy is not None:
        way["proxy"] = settings.proxy
    if settings.ca_file is not None:
        way["ca_file"] = file = found_file(settings.ca_file)
        if (wrong := unreadable(file)) is not None:
            raise Cannot(wrong)
    return way


def _copilot(id: str, key: str | None, environment: Mapping[str, str]) -> Provider:
    """It needs a program beside its key. Raises Cannot."""
    missing = cli_missing(environment)
    if missing is not None:
        raise Cannot(missing)
    return CopilotProvider(id=id, api_key=key, environment=environment)


def _has(name: str, row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None) -> bool:
    return bool(address_of(row, environment, settings) if name == "base_url" else getattr(settings, name, None))


def _asked_of(row: ProviderRow) -> str:
    """The settings that an instance needs, as they are written."""
    names = [_written(name, row) for name in row.needs]
    return ", ".join(f"{name}: [...]" if name == "models" else f"{name}: ..." for name in names)


def _written(name: str, row: ProviderRow) -> str:
    """The setting that gives a need: a region gives the address."""
    return "region" if name == "base_url" and row.base_url is not None and "{region}" in row.base_url else name


def aliases() -> dict[str, str]:
    """Other names of providers -> their ids."""
    return {alias: row.id for row in table.rows().values() for alias in row.aliases}

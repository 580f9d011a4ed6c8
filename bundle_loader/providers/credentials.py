"""Keys and addresses from the environment; a bundle may move an address, never give a key."""

from __future__ import annotations

from collections.abc import Mapping

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers.table import ProviderRow


def key_of(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> str | None:
    """The first of the provider's key variables that is set."""
    variables = (settings.key_variable,) if settings and settings.key_variable else row.key_variables
    return next((environment[name] for name in variables if environment.get(name)), None)


def address_of(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> str | None:
    """Where the provider listens: the bundle's `base_url`, else its variable, else the vendor's own."""
    if settings is not None and settings.base_url:
        return settings.base_url
    if row.base_url_variable and environment.get(row.base_url_variable):
        return environment[row.base_url_variable]
    return row.base_url


def missing_key(row: ProviderRow, settings: ProviderSettings | None = None) -> str:
    """Why a provider without a key cannot serve, and what to set."""
    variables = (settings.key_variable,) if settings and settings.key_variable else row.key_variables
    return f"no key: set {' or '.join(variables)}"

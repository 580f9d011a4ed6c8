"""Keys and addresses from the environment and `.env` files; a bundle may move an address, never give a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers.table import ProviderRow

ENVIRONMENT: Final = "the environment"


@dataclass(frozen=True, slots=True)
class Layer:
    """Variables of one place; no value is in its repr."""

    where: str
    values: Mapping[str, str] = field(repr=False)


class Variables(Mapping[str, str]):
    """Variables of several places, the first that has one wins. No value is in its repr.

    Where a key comes from:
    1. the process's own environment, where an empty one says that there is none,
    2. the project's `.env`,
    3. `.env` in the home folder. A blank line of a file says nothing.
    """

    def __init__(self, layers: Sequence[Layer], notes: Sequence[str] = ()) -> None:
        self.layers = tuple(layers)
        self.notes = tuple(notes)
        """What could not be read of which file, and what of it is left out."""
        self._whole = {name: value for layer in reversed(self.layers) for name, value in layer.values.items()}

    def __getitem__(self, name: str) -> str:
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole)

    def __len__(self) -> int:
        return len(self._whole)

    def __repr__(self) -> str:
        return f"Variables(layers={self.layers!r}, notes={self.notes!r})"

    def first(self, names: Sequence[str]) -> Found | None:
        """The first of the names that is set, in the first place that has any of them."""
        for layer in self.layers:
            for name in names:
                if layer.values.get(name, "").strip() and self._whole[name] == layer.values[name]:
                    return Found(name, layer.where, self._whole[name])
        return None


@dataclass(frozen=True, slots=True)
class Found:
    """A variable, where it was read, and its value, which is not in its repr."""

    variable: str
    where: str
    value: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.variable} in {self.where}"


def found_key(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> Found | None:
    """The first of the provider's key variables that is set, and where."""
    known = environment if isinstance(environment, Variables) else Variables([Layer(ENVIRONMENT, environment)])
    return known.first(key_variables(row, settings))


def key_of(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> str | None:
    """The first of the provider's key variables that is set, without the white space around it."""
    found = found_key(row, environment, settings)
    return found.value.strip() or None if found is not None else None


def unsendable(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> str | None:
    """Why a key that is there cannot be sent, without the key; None where it can, and for the name of a file."""
    found = found_key(row, environment, settings)
    key = found.value.strip() if found is not None else ""
    if found is None or all("!" <= character <= "~" for character in key) or (row.key_files and names_a_file(key)):
        return None
    return f"the key in {found.variable} has a character that no header may have; it was read from {found.where}"


def names_a_file(key: str) -> bool:
    """Whether what stands in place of a key is the name of a file with it."""
    return key.strip().casefold().endswith(".json")


def address_of(row: ProviderRow, environment: Mapping[str, str], settings: ProviderSettings | None = None) -> str | None:
    """Where the provider listens: the bundle's `base_url`, else its variable, else the vendor's own in the region."""
    if settings is not None and settings.base_url:
        return settings.base_url
    if row.base_url_variable and environment.get(row.base_url_variable):
        return environment[row.base_url_variable]
    if row.base_url is not None and "{region}" in row.base_url:
        return row.base_url.format(region=settings.region) if settings is not None and settings.region else None
    return row.base_url


def key_variables(row: ProviderRow, settings: ProviderSettings | None = None) -> tuple[str, ...]:
    """Where a provider's key is looked for, in this order."""
    return (settings.key_variable,) if settings and settings.key_variable else row.key_variables


def missing_key(row: ProviderRow, settings: ProviderSettings | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Why a provider without a key cannot serve, and what to set."""
    said = f"no key: set {' or '.join(key_variables(row, settings))}"
    if any((environment or {}).get(name) for name in row.not_keys):
        said += f"; not supported: {' or '.join(row.not_keys)}"
    notes = environment.notes if isinstance(environment, Variables) else ()
    return f"{said} ({'; '.join(notes)})" if notes else said

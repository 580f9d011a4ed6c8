"""Providers of other packages, found by their entry points. A package is imported only when a host mounts it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, Protocol

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.errors import ProviderFailure
from bundle_loader.masking import masked
from bundle_loader.providers import table
from bundle_loader.providers.base import Provider
from bundle_loader.providers.faults import words_of

GROUP: Final = "bundle_loader.providers"
"""The group of entry points; the name of one is the kind of provider that it gives."""
_MEMBERS: Final = ("id", "local", "list_models", "stream", "aclose")
_LONGEST_REASON: Final = 300
_MOST_VARIABLES: Final = 1000


class ProviderFactory(Protocol):
    """What an entry point loads: a function or a class that makes one provider, with the attribute `variables`.

    It is called once for each id under which the kind is mounted, opens nothing, and raises what it likes where the provider
    cannot serve: the message is then the reason that users see. `ProviderFailure` is shown without its class.
    """

    variables: Sequence[str]
    """The environment variables that it may see: keys, addresses."""

    def __call__(self, id: str, environment: Mapping[str, str], settings: ProviderSettings) -> Provider:
        """A provider whose `id` is `id`.

        `environment` holds those of `variables` that are set, in the process or in a `.env` file; under `settings.key_variable`
        also that one. `settings` is what `providers:` says of this id, all None where it says nothing.
        """
        ...


class Cannot(Exception):
    """A third party's provider cannot be made; the message is the reason."""


class Packages:
    """The entry points of one environment, by kind."""

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint]) -> None:
        self._by_kind: dict[str, list[importlib.metadata.EntryPoint]] = {}
        self._replacing: list[importlib.metadata.EntryPoint] = []
        for found in entry_points:
            if table.row(found.name) is not None:
                self._replacing.append(found)
            else:
                known = self._by_kind.setdefault(found.name, [])
                if all((one.value, _package(one)) != (found.value, _package(found)) for one in known):
                    known.append(found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that other packages give, sorted. Nothing is imported."""
        return tuple(sorted(self._by_kind))

    @property
    def faults(self) -> tuple[str, ...]:
        """Entry points that are left out: those with the name of a built-in provider, or of each other's."""
        said = [
            f"{_package(one)} may not replace the built-in provider '{one.name}'; its entry point is left out"
            for one in self._replacing
        ]
        return (*said, *(_twice(kind, found) for kind, found in self._by_kind.items() if len(found) > 1))

    def make(self, kind: str, id: str, environment: Mapping[str, str], settings: ProviderSettings | None) -> Provider:
        """The provider of a kind under an id. Raises Cannot with the reason, whatever the package does."""
        found = self._by_kind[kind]
        if len(found) > 1:
            raise Cannot(_twice(kind, found))
        said = settings or ProviderSettings()
        factory = _guarded(found[0], {}, found[0].load)
        variables = _guarded(found[0], {}, lambda: _variables(factory))
        if variables is None or not callable(factory):
            raise Cannot(f"{_package(found[0])}: its entry point must load a function or class with the list 'variables'")
        names = (*variables, *((said.key_variable,) if said.key_variable else ()))
        own = {name: environment[name] for name in names if name in environment}
        provider = _guarded(found[0], own, lambda: factory(id, own, said))
        return _checked(found[0], own, id, provider)


@cache
def installed() -> Packages:
    """What is installed beside this package; looked up once, nothing is imported."""
    return Packages(importlib.metadata.entry_points(group=GROUP))


def _guarded(found: importlib.metadata.EntryPoint, own: Mapping[str, str], work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - another package's code may raise anything
        words = words_of(error)
        named = f"{type(error).__name__}: {words}" if words else type(error).__name__
        said = error.message if type(error) is ProviderFailure else named
    except KeyboardInterrupt:
        raise
    except SystemExit:
        said = "it ended the program"
    except BaseException as error:  # noqa: BLE001 - a cancellation of its own making would end whoever opens the host
        said = f"it raised {type(error).__name__}"
    # raised out here so that it has no context, which could hold a key
    raise Cannot(f"{_package(found)}: {_without(said, own)}")


def _variables(factory: Any) -> tuple[str, ...] | None:
    """The names that it declares; None where it declares none, or something else."""
    declared = getattr(factory, "variables", None)
    if isinstance(declared, str) or not isinstance(declared, Sequence):
        return None
    return tuple(name for name in islice(declared, _MOST_VARIABLES) if isinstance(name, str))


def _checked(found: importlib.metadata.EntryPoint, own: Mapping[str, str], id: str, provider: Any) -> Provider:
    """What a factory gave, if it is a provider of that id that listens where it says."""
    missing = [name for name in _MEMBERS if not _guarded(found, own, lambda name=name: hasattr(provider, name))]  # type: ignore[misc]
    if missing:
        raise Cannot(f"{_package(found)}: what its factory gives is no provider: it has no {', '.join(missing)}")
    if not _guarded(found, own, lambda: isinstance(provider.id, str) and provider.id == id):
        raise Cannot(f"{_package(found)}: its factory was asked for '{id}' and gave a provider of another id")
    url = _guarded(found, own, lambda: getattr(provider, "base_url", None))
    if isinstance(url, str) and _guarded(found, own, lambda: bool(provider.local)) and not table.is_private(url):
        raise Cannot(f"{_package(found)}: it calls itself local, but {table.shown(url)} is no private address")
    made: Provider = provider
    return made


def _without(said: str, own: Mapping[str, str]) -> str:
    """A reason on one line, of a bearable length, without the values of the variables."""
    for value in sorted(own.values(), key=len, reverse=True):
        said = said.replace(value, "***") if value else said
    line = " ".join(masked(said).split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _twice(kind: str, found: Sequence[importlib.metadata.EntryPoint]) -> str:
    return f"several packages give a provider '{kind}': {', '.join(sorted(map(_package, found)))}; remove all but one"


def _package(found: importlib.metadata.EntryPoint) -> str:
    """The package of an entry point, as people know it."""
    return f"{found.dist.name} {found.dist.version}" if found.dist is not None else f"the package of {found.value}"

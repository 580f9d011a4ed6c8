"""What is known of a provider, or of a bundle's own instance of one, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers import table
from bundle_loader.providers.declared_models import declared_models
from bundle_loader.providers.snapshot import snapshot_models
from bundle_loader.providers.table import ProviderRow
from bundle_loader.routing.catalogue import ModelInfo

Settings = Mapping[str, ProviderSettings]
"""A bundle's and the settings' `providers:`."""


def provider_id(name: str, own: Iterable[str] = ()) -> str | None:
    """The id that a name means, or None where nobody answers to it. `own` are the ids beside those of the table.

    1. An own id that is written just so. 2. The table's id or alias, in any case. 3. An own id, in any case.
    """
    own = list(own)
    if name in own:
        return name
    row = table.row(name)
    if row is not None:
        return row.id
    folded = name.strip().casefold()
    return next((id for id in own if id.casefold() == folded), None)


def instances(settings: Settings) -> list[str]:
    """The ids that are not the table's own names, as declared."""
    return [name for name in settings if table.row(name) is None]


def row_of(id: str, settings: Settings) -> ProviderRow | None:
    """The row of the id, or of the kind that it is an instance of."""
    own = table.row(id)
    said = settings.get(id)
    return own or (table.row(said.kind) if said is not None and said.kind is not None else None)


def declared_of(id: str, settings: Settings) -> Sequence[ModelInfo]:
    """What the settings declare as its list; empty where they declare none."""
    row = row_of(id, settings)
    names = (id, row.id, *row.aliases) if row is not None and table.row(id) is row else (id,)
    said = next((settings[name] for name in names if name in settings), None)
    return declared_models(said.models, row) if said is not None and said.models else ()


def shipped_of(id: str, settings: Settings) -> Sequence[ModelInfo]:
    """The shipped list of its kind; empty where there is none."""
    row = row_of(id, settings)
    return snapshot_models(row.id if row is not None else id)


def runs_here(id: str, settings: Settings) -> bool:
    """Whether its kind is local, and the address, where one is said, this machine's or a private network's."""
    row, said = row_of(id, settings), settings.get(id)
    at = said.base_url if said is not None else None
    return row is not None and row.local and (at is None or table.is_private(at))

"""What is sold when a candidate answers: as the book of prices wants to know it."""

from __future__ import annotations

from collections.abc import Mapping

from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.ledger.prices import Sale, sale_way
from bundle_loader.providers import table
from bundle_loader.routing.candidate import Candidate


def sale_of(candidate: Candidate, answered: str | None, said: Mapping[str, ProviderSettings]) -> Sale:
    """The sale of what answered, else of what was asked; `said` is what the bundle says of providers."""
    id, info = candidate.provider, candidate.info
    settings = said.get(id)
    row, names = table.sold_as(id, settings.kind if settings else None)
    listed = info.prices if info is not None and not candidate.local else {}
    return Sale(
        provider=id,
        model=candidate.model,
        answered=answered,
        names=names,
        public=row.prices if row is not None else None,
        local=candidate.local,
        listed=tuple(listed.items()),
        way=sale_way(candidate.config),
    )

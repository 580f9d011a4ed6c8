"""Rate limits that are known before asking: those of the provider table, as budgets a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bundle_loader.declared.budget import Budget, rate_limit
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers import table


def rate_limits(mounted: Iterable[str], settings: Mapping[str, ProviderSettings]) -> tuple[Budget, ...]:
    """The requests and tokens a minute of each mounted provider, for each of its model families.

    What a bundle's or the settings' `providers:` say wins over the table; the table's number holds for the models that it
    calls free.
    """
    found: list[Budget] = []
    for id in mounted:
        own = settings.get(id)
        row = table.row(id) or (table.row(own.kind) if own is not None and own.kind else None)
        if own is not None and own.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", own.requests_per_minute))
        elif row is not None and row.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", row.requests_per_minute, row.free_models if row.cost == "free" else ()))
        if own is not None and own.tokens_per_minute is not None:
            found.append(rate_limit(id, "tokens", own.tokens_per_minute))
    return tuple(found)

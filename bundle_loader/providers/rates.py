"""Rate limits that are known before asking: those of the provider table, as budgets a minute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bundle_loader.declared.budget import Budget, rate_limit
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers import table


def rate_limits(mounted: Iterable[str], settings: Mapping[str, ProviderSettings]) -> tuple[Budget, ...]:
    """The requests and tokens a minute of each mounted provider, for each of its model families.

    1. What a bundle's or the settings' `providers:` say, under the provider's id or an alias, for all of its models.
    2. The table's number, of a provider with a free tier for the models that are free; an instance has that of its kind.
    """
    found: list[Budget] = []
    for id in mounted:
        row = table.row(id)
        own = next((settings[name] for name in (id, *(row.aliases if row else ())) if name in settings), None)
        row = row or (table.row(own.kind) if own is not None and own.kind else None)
        if own is not None and own.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", own.requests_per_minute, firm=True))
        elif row is not None and row.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", row.requests_per_minute, row.free_models if row.cost == "free" else ()))
        if own is not None and own.tokens_per_minute is not None:
            found.append(rate_limit(id, "tokens", own.tokens_per_minute, firm=True))
    return tuple(found)

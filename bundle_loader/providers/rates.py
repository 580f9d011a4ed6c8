"""What is known of a provider's limits before asking: rates, as budgets a minute, and how many calls at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bundle_loader.declared.budget import Budget, rate_limit
from bundle_loader.declared.tables import ProviderSettings
from bundle_loader.providers import table


def settings_of(id: str, settings: Mapping[str, ProviderSettings]) -> ProviderSettings | None:
    """What a bundle or the settings say of a provider, under its id or an alias."""
    row = table.row(id)
    return next((settings[name] for name in (id, *(row.aliases if row else ())) if name in settings), None)


def most_calls(mounted: Iterable[str], settings: Mapping[str, ProviderSettings]) -> dict[str, int]:
    """Each mounted provider of which `max_calls` says how many calls may be under way at a time."""
    own = {id: said.max_calls for id in mounted if (said := settings_of(id, settings)) is not None}
    return {id: most for id, most in own.items() if most is not None}


def rate_limits(mounted: Iterable[str], settings: Mapping[str, ProviderSettings]) -> tuple[Budget, ...]:
    """The requests and tokens a minute of each mounted provider, for each of its model families.

    1. What a bundle's or the settings' `providers:` say, under the provider's id or an alias, for all of its models.
    2. The table's number, of a provider with a free tier for the models that are free; an instance has that of its kind.
    """
    found: list[Budget] = []
    for id in mounted:
        row = table.row(id)
        own = settings_of(id, settings)
        row = row or (table.row(own.kind) if own is not None and own.kind else None)
        if own is not None and own.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", own.requests_per_minute, firm=True))
        elif row is not None and row.requests_per_minute is not None:
            found.append(rate_limit(id, "requests", row.requests_per_minute, row.free_models if row.cost == "free" else ()))
        if own is not None and own.tokens_per_minute is not None:
            found.append(rate_limit(id, "tokens", own.tokens_per_minute, firm=True))
    return tuple(found)

"""What a provider says, beside its answer, that the answer cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bundle_loader.providers.table import ProviderRow

MOST: Final = Decimal(1000)
"""US dollars; that one request cost more is not believed."""


def reported_cost(row: ProviderRow | None, usage: Mapping[str, Any] | None) -> tuple[Decimal | None, str | None]:
    """US dollars, None where the provider says nothing; and in words why a figure is not believed.

    A relay that used the account's own key at a vendor says apart what that vendor charges: it is added.
    """
    if row is None or row.cost_field is None or not usage or usage.get(row.cost_field) is None:
        return None, None
    said = usage[row.cost_field]
    amount = _amount(said, row.cost_unit)
    if amount is None:
        return None, f"{row.id} says that it charges {_shown(said)}, which is not believed; the cost is counted from its tokens"
    details = usage.get("cost_details")
    behind = _amount(details.get("upstream_inference_cost"), row.cost_unit) if isinstance(details, Mapping) else None
    own_key = usage.get("is_byok")
    if behind is not None and (own_key is True or (own_key is None and behind > amount)):
        amount += behind
    return amount, None


def _amount(said: Any, unit: Decimal) -> Decimal | None:
    """A figure as US dollars; None for what is no amount."""
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return None
    try:
        amount = Decimal(str(said)) * unit
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= MOST else None


def _shown(said: Any) -> str:
    text = str(said)
    return repr(text if len(text) <= 40 else f"{text[:40]}...")

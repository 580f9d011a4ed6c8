"""Prices from the genai-prices package, offline, as plain values; unknown stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bundle_loader.routing.price import FREE, Price, Rate, flat

_HOUR = 3600


class PriceBook:
    """Looks prices up once per model and hour (some vendors charge by the hour of the day)."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Price | None] = {}

    def price(self, provider: str, model: str, now: float, *, local: bool = False) -> Price | None:
        """The price of a model at `now` (epoch seconds), or None where nobody knows it.

        `provider` is the name that genai-prices uses. Local models cost nothing that is paid to others.
        """
        if local:
            return FREE
        key = (provider, model, int(now // _HOUR))
        if key not in self._known:
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[key] = _look_up(provider, model, now)
        return self._known[key]


def _look_up(provider: str, model: str, now: float) -> Price | None:
    from genai_prices import Usage, calc_price

    try:
        found: Any = calc_price(Usage(), model, provider_id=provider, genai_request_timestamp=datetime.fromtimestamp(now, UTC))
    except LookupError:
        return None
    written = found.model_price
    rates = {name: _rate(getattr(written, f"{name}_mtok", None)) for name in ("input", "output", "cache_read", "cache_write")}
    price_in, price_out = rates["input"], rates["output"]
    if price_in is None or price_out is None:
        return None
    thousand_requests = getattr(written, "requests_kcount", None)
    return Price(
        price_in,
        price_out,
        rates["cache_read"],
        rates["cache_write"],
        thousand_requests / 1000 if isinstance(thousand_requests, Decimal) else Decimal(0),
    )


def _rate(value: Any) -> Rate | None:
    if value is None:
        return None
    if isinstance(value, Decimal):
        return flat(value)
    return ((0, value.base), *((tier.start, tier.price) for tier in value.tiers))

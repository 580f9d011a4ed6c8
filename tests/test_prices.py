"""Prices and costs, against the figures of the package that they come from."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from bundle_loader.ledger.prices import PriceBook
from bundle_loader.messages import Usage
from bundle_loader.providers.table import rows
from bundle_loader.routing.price import FREE, Price, dearest, flat

NOW = 1_790_000_000.0
MOMENT = datetime.fromtimestamp(NOW, UTC)

USAGES = (
    Usage(1_000, 500),
    Usage(100_000, 4_000, cache_read_tokens=60_000),
    Usage(100_000, 4_000, cache_read_tokens=20_000, cache_write_tokens=30_000, reasoning_tokens=1_000),
    Usage(128_000, 10),
    Usage(128_001, 10),
    Usage(200_000, 10),
    Usage(200_001, 10),
    Usage(272_001, 5_000, cache_read_tokens=272_001),
    Usage(1_000_000, 64_000, cache_read_tokens=300_000, cache_write_tokens=300_000),
)


def theirs(provider: str, model: str, usage: Usage) -> Any:
    return calc_price(
        TheirUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=MOMENT,
    )


def known() -> list[tuple[str, str]]:
    """Every model of the providers that we can mount."""
    ours = {row.prices for row in rows().values() if row.prices}
    return [(provider.id, model.id) for provider in providers for model in provider.models if provider.id in ours]


def test_costs_agree_for_every_model_that_is_sold_by_the_token() -> None:
    book = PriceBook()
    compared = tiered = cached = 0
    for provider, model in known():
        price = book.price(provider, model, NOW)
        if price is None:
            continue
        for usage in USAGES:
            expected = theirs(provider, model, usage)
            assert price.cost(usage) - price.request == expected.total_price, (provider, model, usage)
            compared += 1
        tiered += len(price.input) > 1
        cached += price.cache_read is not None
    assert compared > 200 * len(USAGES)
    assert tiered > 5
    assert cached > 20


def test_a_model_without_a_price_per_token_has_none() -> None:
    missing = 0
    for provider, model in known():
        try:
            written = theirs(provider, model, Usage()).model_price
        except LookupError:
            assert PriceBook().price(provider, model, NOW) is None
            continue
        told = [getattr(written, name, None) is not None for name in ("input_mtok", "output_mtok")]
        assert (PriceBook().price(provider, model, NOW) is not None) == all(told), (provider, model)
        missing += not all(told)
    assert missing > 5


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "zz-nobody-sells-this"), ("nobody", "gpt-4o"), ("anthropic", ""), ("openai", "*")]
)
def test_unknown_is_none_and_never_nothing(provider: str, model: str) -> None:
    book = PriceBook()
    assert book.price(provider, model, NOW) is None
    assert book.price(provider, model, NOW) is None


def test_what_runs_here_costs_nothing() -> None:
    assert PriceBook().price("openai", "zz-nobody-sells-this", NOW, local=True) is FREE
    assert FREE.cost(Usage(10**9, 10**9)) == 0


def test_prices_are_looked_up_once_an_hour() -> None:
    book = PriceBook()
    first = book.price("openai", "gpt-4o", NOW)
    assert book.price("openai", "gpt-4o", NOW + 1) is first
    later = book.price("openai", "gpt-4o", NOW + 3600)
    assert later == first
    assert later is not first


def test_an_hour_of_the_day_can_have_a_price_of_its_own() -> None:
    """DeepSeek sold its nights for less; the price is that of the moment, not of the first look."""
    book = PriceBook()
    night = datetime(2025, 8, 1, 18, 0, tzinfo=UTC).timestamp()
    noon = datetime(2025, 8, 1, 12, 0, tzinfo=UTC).timestamp()
    found = [book.price("deepseek", "deepseek-chat", moment) for moment in (noon, night, noon)]
    assert found[0] == found[2]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].cost(Usage(1000, 1000)) < found[0].cost(Usage(1000, 1000))


def test_an_unknown_cache_rate_is_charged_as_input() -> None:
    price = Price(flat(Decimal(2)), flat(Decimal(10)))
    assert price.cost(Usage(1_000_000, 0, cache_read_tokens=400_000, cache_write_tokens=100_000)) == 2


rates = st.decimals(0, 100, places=3).map(flat) | st.tuples(st.decimals(0, 50, places=3), st.decimals(0, 100, places=3)).map(
    lambda pair: ((0, pair[0]), (200_000, pair[1]))
)


@given(
    st.builds(Price, rates, rates, st.none() | rates, st.none() | rates),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**5),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(
    price: Price, read: int, written: int, output: int, share: float, spare: float
) -> None:
    size = read + written
    usage = Usage(size, output, cache_read_tokens=int(read * share), cache_write_tokens=int(written * spare))
    dear = price.cache_read is not None and dearest(price.cache_read) > dearest(price.input)
    if not dear:  # a cache that costs more to read than no cache is not sold by anybody
        assert price.cost(usage) <= price.worst(size, output)

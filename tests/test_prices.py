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

from bundle_loader.ledger.accounts import worst
from bundle_loader.ledger.prices import PriceBook, Sale
from bundle_loader.messages import Usage
from bundle_loader.providers.table import rows
from bundle_loader.routing.price import FREE, Price, dearer, flat

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
    Usage(60_000, 900, cache_write_tokens=30_000, cache_write_1h_tokens=20_000, searches=3),
    Usage(50_000, 9_000, media=(("input_audio", 7_000), ("output_image", 6_000))),
)


def theirs(provider: str, model: str, usage: Usage) -> Any:
    return calc_price(
        TheirUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            web_searches=usage.searches,
            **{f"{kind}_tokens": tokens for kind, tokens in usage.media},
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
        price = book.public(provider, model, NOW)
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
            assert PriceBook().public(provider, model, NOW) is None
            continue
        told = [getattr(written, name, None) is not None for name in ("input_mtok", "output_mtok")]
        assert (PriceBook().public(provider, model, NOW) is not None) == all(told), (provider, model)
        missing += not all(told)
    assert missing > 5


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "zz-nobody-sells-this"), ("nobody", "gpt-4o"), ("anthropic", ""), ("openai", "*")]
)
def test_unknown_is_none_and_never_nothing(provider: str, model: str) -> None:
    book = PriceBook()
    assert book.public(provider, model, NOW) is None
    assert book.public(provider, model, NOW) is None


def test_what_runs_here_costs_nothing() -> None:
    found = PriceBook().priced(Sale("ollama", "zz-nobody-sells-this", local=True), NOW)
    assert (found.price, found.source) == (FREE, "free")
    assert FREE.cost(Usage(10**9, 10**9)) == 0


def test_prices_are_looked_up_once_an_hour() -> None:
    book = PriceBook()
    first = book.public("openai", "gpt-4o", NOW)
    assert book.public("openai", "gpt-4o", NOW + 1) is first
    later = book.public("openai", "gpt-4o", NOW + 3600)
    assert later == first
    assert later is not first


def test_an_hour_of_the_day_can_have_a_price_of_its_own() -> None:
    """DeepSeek sold its nights for less; the price is that of the moment, not of the first look."""
    book = PriceBook()
    night = datetime(2025, 8, 1, 18, 0, tzinfo=UTC).timestamp()
    noon = datetime(2025, 8, 1, 12, 0, tzinfo=UTC).timestamp()
    found = [book.public("deepseek", "deepseek-chat", moment) for moment in (noon, night, noon)]
    assert found[0] == found[2]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1].cost(Usage(1000, 1000)) < found[0].cost(Usage(1000, 1000))


def test_an_unknown_cache_rate_is_charged_as_input() -> None:
    price = Price(flat(Decimal(2)), flat(Decimal(10)))
    assert price.cost(Usage(1_000_000, 0, cache_read_tokens=400_000, cache_write_tokens=100_000)) == 2


amounts = st.decimals(0, 100, places=3)
rates = amounts.map(flat) | st.tuples(amounts, amounts, amounts).map(
    lambda steps: ((0, steps[0]), (1_000, steps[1]), (200_000, steps[2]))
)
prices = st.builds(
    Price,
    rates,
    rates,
    st.none() | rates,
    st.none() | rates,
    request=amounts,
    cache_write_1h=st.none() | rates,
    reasoning=st.none() | rates,
    media=st.just(()) | st.tuples(st.tuples(st.just("output_audio"), rates)),
)
counts = st.integers(0, 10**6)
usages = st.builds(
    Usage,
    counts,
    counts,
    counts,
    counts,
    counts,
    cache_write_1h_tokens=counts,
    media=st.just(()) | st.tuples(st.tuples(st.just("output_audio"), counts)),
)


@given(prices, usages, counts, counts)
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(price: Price, usage: Usage, more: int, longer: int) -> None:
    """However its parts are told, and whether or not they add up."""
    assert 0 <= price.cost(usage) <= price.worst(usage.input_tokens + more, usage.output_tokens + longer)


@given(usages)
def test_each_token_is_charged_once(usage: Usage) -> None:
    """At one price for everything, the parts make no difference."""
    read, said = flat(Decimal(3)), flat(Decimal(7))
    one = Price(read, said, read, read, cache_write_1h=read, reasoning=said, media=(("output_audio", said),))
    assert one.cost(usage) == (usage.input_tokens * 3 + usage.output_tokens * 7) / Decimal(10**6)


@given(prices, prices, usages)
def test_the_dearer_of_two_covers_both(first: Price, second: Price, usage: Usage) -> None:
    bound = dearer(first, second).worst(usage.input_tokens, usage.output_tokens)
    assert max(first.cost(usage), second.cost(usage)) <= bound


@given(prices, st.integers(0, 10**6), st.integers(0, 10**5))
def test_what_is_reserved_is_the_worst_case(price: Price, size: int, output: int) -> None:
    """The meter counts in whole picodollars, rounded up."""
    fixed, per_token = worst(price, size)
    assert 0 <= Decimal(fixed + output * per_token) / 10**12 - price.worst(size, output) <= Decimal(output + 1) / 10**12


WHOLLY = {
    "input": Usage(1_000),
    "output": Usage(101, 1_000),
    "cache_read": Usage(1_000, cache_read_tokens=1_000),
    "cache_write": Usage(1_000, cache_write_tokens=1_000),
    "cache_write_1h": Usage(1_000, cache_write_tokens=1_000, cache_write_1h_tokens=1_000),
    "reasoning": Usage(101, 1_000, reasoning_tokens=1_000),
}


@pytest.mark.parametrize("kind", WHOLLY)
def test_the_worst_case_is_that_all_of_it_is_of_the_dearest_kind(kind: str) -> None:
    cheap = {name: flat(Decimal(1)) for name in WHOLLY}
    steps = ((0, Decimal(1)), (100, Decimal(50)))
    price = Price(**{**cheap, kind: steps})  # type: ignore[arg-type]
    usage = WHOLLY[kind]
    assert price.cost(usage) == price.worst(usage.input_tokens, usage.output_tokens) >= Decimal("0.05")
    spoken = Price(flat(Decimal(1)), flat(Decimal(1)), media=(("output_audio", steps), ("input_audio", flat(Decimal(99)))))
    said = Usage(101, 1_000, media=(("output_audio", 1_000),))
    assert spoken.cost(said) <= spoken.worst(101, 1_000) < Decimal("0.051")

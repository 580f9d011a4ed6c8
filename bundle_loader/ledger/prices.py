"""Who says what a call costs: declared prices, the provider's own list, the public prices of genai-prices; or nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from itertools import chain
from typing import Any, Final

from bundle_loader.declared.prices import MOST, DeclaredPrice, Rates, is_glob
from bundle_loader.ledger.records import CostSource
from bundle_loader.messages import Usage
from bundle_loader.routing.model_ids import matches, same_model
from bundle_loader.routing.price import (
    FREE,
    MEDIA,
    MILLION,
    NOTHING,
    STANDARD,
    Price,
    Rate,
    dearer,
    flat,
    out_of_bounds,
    way_of,
)

_HOUR: Final = 3600
_MOST_KEPT: Final = 10_000
MOST_TOKENS: Final = 1_000_000_000
"""Tokens of one request that nobody believes any more."""
_RATES: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
_THEIR_NAMES: Final[Mapping[str, str]] = {"reasoning": "output_reasoning"}
_CONDITIONS: Final = ("service_tier", "processing", "speed")
"""Under which of these names genai-prices keeps a way of serving."""


@dataclass(frozen=True, slots=True)
class Sale:
    """What a provider is asked for, as far as it decides the price."""

    provider: str
    """The id it is mounted under: what declared prices name."""
    model: str
    answered: str | None = None
    """The model that the provider says it answered with."""
    names: tuple[str, ...] = ()
    """Other names of the provider that a declared price may use."""
    public: str | None = None
    """Its name in genai-prices; None is the id."""
    local: bool = False
    """It runs on this machine or its private network."""
    listed: tuple[tuple[str, str], ...] = ()
    """What its own list says of the model: a kind of token -> US dollars for one, as decimal text."""
    way: str = STANDARD
    """The way of serving that is asked for: `flex`, `priority`, `batch`, ..."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A price and who says so. A price of None is unknown."""

    price: Price | None
    source: CostSource | None = None
    way: str = STANDARD
    """The way of serving that the price is for."""
    ways: Mapping[str, Price] = field(default_factory=dict)
    """What is known of all ways."""
    bound: Price | None = None
    """What to reserve, where that is not the price."""
    note: str | None = None
    """What is odd about the price."""

    @property
    def reserved(self) -> Price | None:
        """The price to reserve a call at: never below what it can come to cost. None where that is unknown."""
        return self.bound or self.price

    def cost(self, usage: Usage) -> Decimal | None:
        """What that usage costs; None where the price for the way in which it was served is not known."""
        if usage.served is None or usage.served == self.way or self.source == "free":
            price = self.price
        else:
            price = self.ways.get(usage.served)
        return price.cost(usage) if price is not None else None

    def doubt(self, usage: Usage) -> str | None:
        """Why the cost of that usage is not known although the model has a price, in words."""
        if not self.ways or self.cost(usage) is not None:
            return None
        return f"the price of what is served as '{usage.served or self.way}' is not known, so its cost is not"


UNPRICED: Final = Priced(None)


def believable(reported: object) -> bool:
    """Whether what a provider says that a request cost can be an amount of US dollars: a finite Decimal, 0 or more."""
    return isinstance(reported, Decimal) and reported.is_finite() and 0 <= reported <= MOST


def believable_usage(told: Usage) -> bool:
    """Whether what a provider says that a request used can be: every count a whole number from 0 up to what no request has."""
    counts = (
        told.input_tokens,
        told.output_tokens,
        told.cache_read_tokens,
        told.cache_write_tokens,
        told.cache_write_1h_tokens,
        told.reasoning_tokens,
        told.searches,
    )
    return all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts)


class PriceBook:
    """All that is known of prices. A model is looked up once an hour: some vendors charge by the hour of the day."""

    def __init__(self, declared: Sequence[DeclaredPrice] = ()) -> None:
        """`declared` begins with the most specific pattern."""
        self._declared = tuple((one, _ways_of(one)) for one in declared)
        self._public: dict[tuple[str, str, int], Mapping[str, Price]] = {}
        self._priced: dict[tuple[Sale, int], Priced] = {}

    def edition(self, now: float) -> str:
        """Which public prices are in use: their version, and the day on which the newest of them began to hold."""
        return f"genai-prices {version('genai-prices')}, newest price of {_newest(datetime.fromtimestamp(now, UTC).date())}"

    def priced(self, sale: Sale, now: float) -> Priced:
        """What a sale costs at `now` (epoch seconds).

        Who says so, the first that speaks (what the provider's answer reports comes before all of them):
        1. the declared price
        2. the provider's own list of models
        3. the public prices
        4. for what runs here, and has no declared price: nobody is paid
        Where a model answered that is not the asked one, 1 and 3 are asked for it first; nobody lists it. If neither knows it, it
        costs what the asked one would: that is what the provider was asked to sell.
        """
        key = (sale, int(now // _HOUR))
        found = self._priced.get(key)
        if found is None:
            if len(self._priced) >= _MOST_KEPT:
                self._priced.clear()
            found = self._priced[key] = self._decide(sale, now)
        return found

    def _decide(self, sale: Sale, now: float) -> Priced:
        answered = sale.answered
        if answered is not None and answered != sale.model and not same_model(answered, sale.model):
            other = self._of(replace(sale, model=answered, answered=None, listed=()), now, (answered,))
            if other.source not in (None, "free"):
                return other
        return self._of(sale, now, tuple(dict.fromkeys((answered or sale.model, sale.model))))

    def _of(self, sale: Sale, now: float, names: tuple[str, ...]) -> Priced:
        """The price of one model, by all of its names."""
        declared = self._find(sale, names)
        if sale.local and declared is None:
            return Priced(FREE, "free", sale.way)
        known = (self.public_ways(sale.public or sale.provider, name, now) for name in names)
        public = next((ways for ways in known if ways), {}) if not sale.local else {}
        if declared is not None:
            return _chosen(declared, "declared", sale, public, f"the declared price of {sale.provider}/{sale.model} is")
        listed = listed_price(sale.listed, public.get(STANDARD))
        if listed is not None:
            said = f"the price that {sale.provider} lists for {sale.model} is"
            return _chosen({STANDARD: listed}, "listed", sale, public, said)
        return _chosen(public, "public", sale, public, "") if public else UNPRICED

    def _find(self, sale: Sale, models: Iterable[str]) -> Mapping[str, Price] | None:
        """The declared price of a model under any of its names; exact ids also stand for their dated snapshots."""
        providers = (sale.provider, *sale.names)
        for one, ways in self._declared:
            if any(matches(one.provider, name) for name in providers) and any(_fits(one.model, model) for model in models):
                return ways
        return None

    def public(self, provider: str, model: str, now: float) -> Price | None:
        """The public price of a model at `now`, or None. `provider` is the name that genai-prices uses."""
        return self.public_ways(provider, model, now).get(STANDARD)

    def public_ways(self, provider: str, model: str, now: float) -> Mapping[str, Price]:
        """The public prices of a model for every way of serving; empty where the model has none."""
        key = (provider, model, int(now // _HOUR))
        if key not in self._public:
            if len(self._public) >= _MOST_KEPT:
                self._public.clear()
            self._public[key] = _look_up(provider, model, now)
        return self._public[key]


def _fits(pattern: str, model: str) -> bool:
    return matches(pattern, model) or (not is_glob(pattern) and same_model(pattern, model))


def _chosen(ways: Mapping[str, Price], source: CostSource, sale: Sale, public: Mapping[str, Price], said: str) -> Priced:
    """The price for the way that is asked for. What is asked for may also be served, and charged, in the standard way."""
    price, usual, known = ways.get(sale.way), ways.get(STANDARD), public.get(STANDARD)
    bound = dearer(price, usual) if price and usual and sale.way != STANDARD else None
    odd = out_of_bounds(usual, known) if usual and known and source != "public" else None
    note = f"{said} {odd}" if odd else None
    if odd and known and price and source == "listed":
        bound = dearer(bound or price, known)
        note = f"{note}; the dearer of the two is reserved"
    return Priced(price, source, sale.way, ways, bound, note)


def sale_way(config: Mapping[str, Any]) -> str:
    """The way of serving that a config asks for."""
    said = (way_of(value) for key, value in config.items() if key.replace("_", "").lower() in ("servicetier", "speed"))
    return next((way for way in said if way not in (None, STANDARD)), None) or STANDARD


# --- declared


def _ways_of(declared: DeclaredPrice) -> Mapping[str, Price]:
    levels = ((0, declared.rates), *declared.above)
    base = Price(
        _stepped(levels, "input") or flat(NOTHING),
        _stepped(levels, "output") or flat(NOTHING),
        _stepped(levels, "cache_read"),
        _stepped(levels, "cache_write"),
        declared.request,
        _stepped(levels, "cache_write_1h"),
    )
    return {STANDARD: base, **{way_of(word) or word: base.times(factor) for word, factor in declared.service_tiers.items()}}


def _stepped(levels: Sequence[tuple[int, Rates]], name: str) -> Rate | None:
    """One rate over all sizes of a prompt: a step that does not say it keeps the one below, or the input's."""
    if all(getattr(rates, name) is None for _, rates in levels):
        return None
    found: list[tuple[int, Decimal]] = []
    own: Decimal | None = None
    plain = NOTHING
    for size, rates in levels:
        plain = plain if rates.input is None else rates.input
        own = own if getattr(rates, name) is None else getattr(rates, name)
        found.append((size, plain if own is None else own))
    return tuple(found)


# --- listed


def listed_price(listed: Iterable[tuple[str, str]], public: Price | None) -> Price | None:
    """The price that a provider's list gives; None where it does not say what input and output cost.

    A list has one price for prompts of every size, and often none for caches. Where the public price knows more, its further
    steps and rates are taken in the same proportion.
    """
    said = {name: amount for name, text in listed if (amount := _listed_amount(name, text)) is not None}
    if "input" not in said or "output" not in said:
        return None
    base = public.input[0][1] if public else NOTHING
    share = said["input"] / base if base else Decimal(1)
    known = public or Price(flat(said["input"]), flat(said["output"]))
    return Price(
        _proportional(said["input"], known.input, share) or known.input,
        _proportional(said["output"], known.output, share) or known.output,
        _proportional(said.get("cache_read"), known.cache_read, share),
        _proportional(said.get("cache_write"), known.cache_write, share),
        said.get("request", known.request),
        _proportional(said.get("cache_write_1h"), known.cache_write_1h, share),
        _proportional(said.get("reasoning"), known.reasoning, share),
        known.media,
        said.get("search", known.search),
    )


def _proportional(said: Decimal | None, known: Rate | None, share: Decimal) -> Rate | None:
    if known is None:
        return None if said is None else flat(said)
    if said is not None:
        share = said / known[0][1] if known[0][1] else share
    steps = tuple((start, amount * share) for start, amount in known)
    return steps if said is None else ((0, said), *steps[1:])


def _listed_amount(name: str, text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    amount *= 1 if name in ("request", "search") else MILLION
    return amount if amount.is_finite() and 0 <= amount <= MOST else None


# --- public


def _look_up(provider: str, model: str, now: float) -> Mapping[str, Price]:
    from genai_prices import Usage as TheirUsage
    from genai_prices import calc_price

    moment = datetime.fromtimestamp(now, UTC)
    try:
        found: Any = calc_price(TheirUsage(), model, provider_id=provider, genai_request_timestamp=moment)
    except LookupError:
        return {}
    standard = _price(found.model_price)
    if standard is None:
        return {}
    ways = {STANDARD: standard}
    if any(found.model is one for one in found.provider.models):
        for variant in found.model.price_variants or ():
            [(condition, word), *more] = variant.when.items()
            active = variant.constraint is None or variant.constraint.active(moment)
            if more or condition not in _CONDITIONS or not active or word in ways:
                continue
            price = _price(found.model.get_prices(moment, {condition: word}))
            way = way_of(word)
            if price is not None and way not in (None, STANDARD):
                ways[str(way)] = price
    return ways


def _price(written: Any) -> Price | None:
    rates = {name: _rate(getattr(written, f"{_THEIR_NAMES.get(name, name)}_mtok", None)) for name in _RATES}
    plain, answer = rates.pop("input"), rates.pop("output")
    if plain is None or answer is None:
        return None
    media = tuple((kind, rate) for kind in MEDIA if (rate := _rate(getattr(written, f"{kind}_mtok", None))) is not None)
    request, search = (_each(getattr(written, name, None)) for name in ("requests_kcount", "web_searches_kcount"))
    return Price(plain, answer, media=media, request=request, search=search, **rates)


def _rate(value: Any) -> Rate | None:
    if value is None:
        return None
    if isinstance(value, Decimal):
        return flat(value)
    return ((0, value.base), *((tier.start, tier.price) for tier in value.tiers))


def _each(thousand: Any) -> Decimal:
    """The price of one, of a price for a thousand."""
    return thousand / 1000 if isinstance(thousand, Decimal) else NOTHING


def _newest(today: date) -> date:
    """The last day, up to today, on which a public price began to hold."""
    from genai_prices.data_snapshot import get_snapshot

    models = chain.from_iterable(provider.models for provider in get_snapshot().providers)
    lists = (model.prices for model in models if isinstance(model.prices, list))
    starts = (getattr(one.constraint, "start_date", None) for one in chain.from_iterable(lists))
    return max((start for start in starts if start is not None and start <= today), default=date.min)

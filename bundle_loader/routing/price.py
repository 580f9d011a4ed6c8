"""What tokens of a model cost: plain values that routing can compare. Money is Decimal, in US dollars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeAlias, get_args

from bundle_loader.messages import Media, Usage

MILLION: Final = Decimal(1_000_000)
NOTHING: Final = Decimal(0)
MEDIA: Final[tuple[Media, ...]] = get_args(Media)

STANDARD: Final = "standard"
"""The way in which a provider serves whoever asks for nothing else."""
_STANDARD_WORDS: Final = frozenset({"", "standard", "default", "auto", "standard_only", "on_demand", "none"})


def way_of(word: object) -> str | None:
    """A vendor's word for a way of serving (`service_tier`, `speed`) as ours; None for what is no word."""
    if not isinstance(word, str):
        return None
    said = word.strip().lower()
    return STANDARD if said in _STANDARD_WORDS else said


Rate: TypeAlias = tuple[tuple[int, Decimal], ...]
"""Dollars per million tokens by prompt size: `((0, base), (200_000, higher))`; the step reached holds for all tokens."""


def flat(amount: Decimal) -> Rate:
    """A rate that does not depend on the size of the prompt."""
    return ((0, amount),)


def at(rate: Rate, input_tokens: int) -> Decimal:
    """The price per million for a prompt of that size."""
    found = rate[0][1]
    for start, amount in rate[1:]:
        if input_tokens > start:
            found = amount
    return found


def dearest(rate: Rate) -> Decimal:
    """The highest step."""
    return max(amount for _, amount in rate)


@dataclass(frozen=True, slots=True)
class Price:
    """A model's rates. A part of the tokens that has no rate of its own is charged as the rest of them."""

    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    request: Decimal = NOTHING
    """Dollars for each request, whatever its size."""
    cache_write_1h: Rate | None = None
    """For what a cache is to keep for an hour; None is charged as any other cache write."""
    reasoning: Rate | None = None
    """For the part of the output that is reasoning."""
    media: tuple[tuple[Media, Rate], ...] = ()
    """For tokens that are not text."""
    search: Decimal = NOTHING
    """Dollars for each search of the web that the provider makes."""

    def cost(self, usage: Usage) -> Decimal:
        """What that usage costs; see `Usage` for what each count includes. The whole request is charged at one step."""
        size = usage.input_tokens
        parts = list(self._input(usage)) + list(self._output(usage))
        total = sum((tokens * at(rate, size) for tokens, rate in parts), NOTHING)
        return total / MILLION + self.request + usage.searches * self.search

    def _input(self, usage: Usage) -> Iterator[tuple[int, Rate]]:
        """The prompt in parts, none of which counts a token twice, however the parts that were told overlap."""
        left = usage.input_tokens
        long = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
        write = self.cache_write or self.input
        parts = [
            (usage.cache_read_tokens, self.cache_read or self.input),
            (long, self.cache_write_1h or write),
            (usage.cache_write_tokens - long, write),
            *self._media(usage, "input"),
        ]
        yield from _taken(parts, left, self.input)

    def _output(self, usage: Usage) -> Iterator[tuple[int, Rate]]:
        parts = list(self._media(usage, "output"))
        if self.reasoning is not None:
            parts.append((usage.reasoning_tokens, self.reasoning))
        yield from _taken(parts, usage.output_tokens, self.output)

    def _media(self, usage: Usage, way: str) -> Iterator[tuple[int, Rate]]:
        rates = dict(self.media)
        yield from ((tokens, rates[kind]) for kind, tokens in usage.media if kind in rates and kind.startswith(way))

    @property
    def worst_input(self) -> Decimal:
        """Dollars per million tokens of a prompt of text, at most: any part of it may be written to a cache."""
        return max(dearest(rate) for rate in (self.input, self.cache_read, self.cache_write, self.cache_write_1h) if rate)

    @property
    def worst_output(self) -> Decimal:
        """Dollars per million tokens of an answer, at most."""
        media = (rate for kind, rate in self.media if kind.startswith("output"))
        return max(dearest(rate) for rate in (self.output, self.reasoning, *media) if rate)

    def worst(self, input_bound: int, output_bound: int) -> Decimal:
        """The most that a request of text can cost. Searches of the provider's own are beyond it: nobody knows how many."""
        return (input_bound * self.worst_input + output_bound * self.worst_output) / MILLION + self.request

    def times(self, factor: Decimal) -> Price:
        """The same price with every rate of tokens multiplied; fees stay."""

        def changed(rate: Rate) -> Rate:
            return tuple((start, amount * factor) for start, amount in rate)

        return replace(
            self,
            input=changed(self.input),
            output=changed(self.output),
            cache_read=self.cache_read and changed(self.cache_read),
            cache_write=self.cache_write and changed(self.cache_write),
            cache_write_1h=self.cache_write_1h and changed(self.cache_write_1h),
            reasoning=self.reasoning and changed(self.reasoning),
            media=tuple((kind, changed(rate)) for kind, rate in self.media),
        )


def _taken(parts: Iterable[tuple[int, Rate]], whole: int, rest: Rate) -> Iterator[tuple[int, Rate]]:
    """Each part as far as the whole goes, then what is left of it."""
    for tokens, rate in parts:
        taken = max(0, min(tokens, whole))
        whole -= taken
        yield taken, rate
    yield whole, rest


def dearer(first: Price, second: Price) -> Price:
    """A price that is at least as high as both, for whatever usage."""
    search = max(first.search, second.search)
    fee = max(first.request, second.request)
    return Price(
        flat(max(first.worst_input, second.worst_input)),
        flat(max(first.worst_output, second.worst_output)),
        request=fee,
        search=search,
    )


FREE: Final = Price(flat(NOTHING), flat(NOTHING))
"""A model on this machine: what is counted is money paid to others."""

BOUND: Final = 10
"""How many times above or below the public price another price is taken without a word."""


def out_of_bounds(price: Price, public: Price) -> str | None:
    """What of a price is more than `BOUND` times above or below the public one, in words; None where nothing is."""
    for name in ("input", "output"):
        said, known = getattr(price, name)[0][1], getattr(public, name)[0][1]
        if said > BOUND * known or said * BOUND < known:
            way = "above" if said > known else "below"
            amounts = f"${_plain(said)} against ${_plain(known)} per million tokens of {name}"
            return f"more than {BOUND} times {way} the public price ({amounts})"
    return None


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"

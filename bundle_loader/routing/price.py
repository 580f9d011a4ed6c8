"""What tokens of a model cost: plain values that routing can compare. Money is Decimal, in US dollars."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from bundle_loader.messages import Usage

MILLION: Final = Decimal(1_000_000)

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
    """A model's rates. A cache rate that is not known is charged as plain input."""

    input: Rate
    output: Rate
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    request: Decimal = Decimal(0)
    """Dollars for each request, whatever its size."""

    def cost(self, usage: Usage) -> Decimal:
        """What that usage costs; see `Usage` for what each count includes."""
        size = usage.input_tokens
        plain = max(0, size - usage.cache_read_tokens - usage.cache_write_tokens)
        total = plain * at(self.input, size) + usage.output_tokens * at(self.output, size)
        total += usage.cache_read_tokens * at(self.cache_read or self.input, size)
        total += usage.cache_write_tokens * at(self.cache_write or self.input, size)
        return total / MILLION + self.request

    def worst(self, input_bound: int, output_bound: int) -> Decimal:
        """The most that a request can cost: nothing cached (or all of it written to a cache, where that is dearer)."""
        reading = max(dearest(self.input), dearest(self.cache_write) if self.cache_write else Decimal(0))
        return (input_bound * reading + output_bound * dearest(self.output)) / MILLION + self.request


FREE: Final = Price(flat(Decimal(0)), flat(Decimal(0)))
"""A model on this machine: what is counted is money paid to others."""

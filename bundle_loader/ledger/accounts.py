"""How much a call may take of the accounts that it is charged to, and over which window. No clock, no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from bundle_loader.declared.budget import Budget
from bundle_loader.routing.charged import PICO, CallFacts, account_of, unit_limit
from bundle_loader.routing.price import MILLION, Price

MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time over which an account is summed. Epoch seconds."""

    bucket: int
    """Where a call of this moment is entered."""
    since: int
    """The first bucket that counts."""
    renews: float | None
    """When the window ends; None for one that slides or never ends."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What one call needs of one account, in whole units: picodollars, tokens or requests."""

    account: str
    budget: Budget
    window: Window
    fixed: int
    """For the request and its input, at worst."""
    per_token: int
    """For each token of output, at worst."""
    limit: int


def window_of(budget: Budget, now: float) -> Window:
    """The window of a budget at `now`.

    A minute is sixty one-second buckets before the running one, the oldest counted whole. A day and a month are civil ones
    of the budget's zone, however many hours they have there.
    """
    if budget.per == "minute":
        return Window(int(now), int(now) - MINUTE, None)
    if budget.per == "run":
        return Window(0, 0, None)
    return _civil(budget.per, budget.zone, int(now // 900) * 900)


@lru_cache(maxsize=1024)
def _civil(per: str, zone: str, moment: int) -> Window:
    # a quarter of an hour never holds the turn of a civil day within it: zones lie whole quarters apart
    local = datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(zone))
    start = datetime(local.year, local.month, local.day if per == "day" else 1, tzinfo=local.tzinfo)
    if per == "day":
        after = start.replace(tzinfo=None) + timedelta(days=1)
    else:
        after = datetime(local.year + local.month // 12, local.month % 12 + 1, 1)
    began = int(start.timestamp())
    return Window(began, began, after.replace(tzinfo=local.tzinfo).timestamp())


def hold_of(budget: Budget, facts: CallFacts, now: float, input_bound: int, price: Price | None) -> Hold:
    """The worst case of a call for one budget. A price of None stands for one that the budget itself states."""
    fixed, per_token = 1, 0
    if budget.unit == "tokens":
        fixed, per_token = input_bound, 1
    elif budget.unit == "money":
        fixed, per_token = worst(price, input_bound) if price else (int((budget.unknown_price or Decimal(0)) * PICO), 0)
    return Hold(account_of(budget, facts), budget, window_of(budget, now), fixed, per_token, unit_limit(budget))


def worst(price: Price, input_bound: int) -> tuple[int, int]:
    """Picodollars for the input of a request, and for each token of its output, at most."""
    fixed = (input_bound * price.worst_input / MILLION + price.request) * PICO
    return _up(fixed), _up(price.worst_output / MILLION * PICO)


def _up(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))

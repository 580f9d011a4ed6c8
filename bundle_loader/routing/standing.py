"""What the ledger knows at one moment: spend, limits, latency, success, scores. Plain values that routing reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from math import inf
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from bundle_loader.declared.budget import RATE, Budget
from bundle_loader.routing.charged import PICO, CallFacts, account_of, amount, apart, applies, in_seconds, mark_of, vendors_limit
from bundle_loader.routing.price import MILLION, Price, dearest

FRESH: Final = 1.0
"""Seconds that a standing is old at most."""
RECENT: Final = 256
"""The latest calls of each key that latency and success are taken from."""

Key: TypeAlias = tuple[str, ...]
"""Provider and model, or provider, model and task. The task is the agent's name."""


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """One account of a budget, in whole units: picodollars, tokens or requests."""

    account: str
    """The budget's id and what it is kept apart by: `per-agent|agent=git-ops`."""
    budget: Budget
    limit: int
    settled: int
    reserved: int
    """Held by calls that are under way."""
    renews: float | None
    """Epoch seconds: when the window ends, or a sliding one lets go of its oldest; None for one that never does."""

    @property
    def left(self) -> int:
        """What may be reserved now."""
        return max(self.limit - self.settled - self.reserved, 0)

    @property
    def unspent(self) -> int:
        """What is left of the ceiling once nothing is held any more."""
        return max(self.limit - self.settled, 0)

    @property
    def apart(self) -> str:
        """What tells this account from the budget's others: `agent=git-ops`."""
        return self.account.removeprefix(self.budget.id).lstrip("|")


@dataclass(frozen=True, slots=True)
class Closed:
    """No calls to a model family until then (epoch seconds): a vendor said so."""

    key: str
    until: float
    reason: str


Pair: TypeAlias = tuple[str, str | None]
"""A provider and one of its models; None for all of it."""


@dataclass(frozen=True, slots=True)
class Down:
    """A provider, or one of its models, is not asked until then (epoch seconds)."""

    provider: str
    model: str | None
    until: float
    reason: str
    probing: bool = False
    """A call is finding out whether it is up again."""
    refused: bool = False
    """True where it works and only refuses: waiting would not mend that."""

    def told(self, now: float) -> str:
        """In words."""
        name = self.provider if self.model is None else f"{self.provider}/{self.model}"
        when = "it is being tried" if self.probing else in_seconds(self.until - now)
        return f"{name} is down ({self.reason}); {when}"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of the latest answered calls, by nearest rank: each is the latency of a real call."""

    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Success:
    """How the latest calls ended. What was cancelled, refused by a budget or lost with its process says nothing of a model."""

    answered: int
    failed: int

    @property
    def rate(self) -> float | None:
        """From 0 to 1; None without calls."""
        count = self.answered + self.failed
        return self.answered / count if count else None


@dataclass(frozen=True, slots=True)
class Spend:
    """Calls and what they cost."""

    calls: int = 0
    pico: int = 0
    """Picodollars, as far as they are known."""
    unknown: int = 0
    """Calls whose cost is not known."""

    @property
    def known(self) -> Decimal:
        """Dollars, as far as they are known."""
        return Decimal(self.pico) / PICO

    @property
    def cost(self) -> Decimal | None:
        """Dollars; None where any part is unknown."""
        return None if self.unknown else self.known


@dataclass(frozen=True, slots=True)
class Spent:
    """Spend of the running day and month (UTC) and of all that the ledger holds."""

    today: Spend = Spend()
    month: Spend = Spend()
    total: Spend = Spend()


@dataclass(frozen=True, slots=True)
class Score:
    """Feedback on answers: how many, and the mean from 0 (useless) to 1 (right)."""

    count: int
    mean: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What the ledger knew at `taken` (epoch seconds). Unknown is absent, and never rejects."""

    taken: float = 0.0
    accounts: Mapping[str, AccountStanding] = field(default_factory=dict)
    closed: Mapping[str, Closed] = field(default_factory=dict)
    spend: Mapping[tuple[str, str], Spent] = field(default_factory=dict)
    """By what (`agent`, `model`, `provider`, `tier`) and its name -> spend."""
    latency: Mapping[Key, Latency] = field(default_factory=dict)
    success: Mapping[Key, Success] = field(default_factory=dict)
    scores: Mapping[Key, Score] = field(default_factory=dict)
    calls: int = 0
    """How many calls were folded into it."""
    down: Mapping[Pair, Down] = field(default_factory=dict)


NOTHING: Final = Standing()
"""Nothing is known."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Why a budget, or a vendor's word, lets no call pass before the deadline."""

    reason: str
    budget: str | None = None
    """The budget's id; None where a vendor closed a model family."""
    left: str | None = None
    renews: float | None = None
    """Epoch seconds; None for what never renews."""
    needed: str | None = None
    """The least that a call needs of it; None where that is not known."""
    zone: str = "UTC"
    """In which the budget's days and months begin."""
    emergency: str | None = None
    """The tier that takes over."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The least that a call could ask of its budgets."""

    facts: CallFacts
    price: Price | None
    """None where it is not known."""
    input_floor: int
    """Tokens that the prompt has at least."""
    most_tokens: int | None
    """The most that the answer may have; None where nothing says."""
    deadline: float
    """Seconds."""


def bar_against(standing: Standing, wish: Wish) -> Bar | None:
    """What stands against a call, by what is settled; None when it may be tried.

    What others only hold for now, and what may renew before the deadline, is left to the meter.
    """
    end = standing.taken + FRESH + wish.deadline
    closed = standing.closed.get(mark_of(wish.facts.provider, wish.facts.family))
    if closed is not None and closed.until > end:
        said = vendors_limit(wish.facts.provider, wish.facts.family, closed.reason)
        when = f"{in_seconds(closed.until - standing.taken)}, at {_moment(closed.until, 'UTC')}"
        return Bar(f"{said}; {when}", renews=closed.until)
    over: list[AccountStanding] = []
    for account in standing.accounts.values():
        if not account.settled or (account.renews is not None and account.renews <= end):
            continue
        budget = account.budget
        if account.settled + _least(budget, wish) <= account.limit:
            continue
        if applies(budget, wish.facts) and any(
            account_of(budget, facts) == account.account for facts in apart(budget, wish.facts)
        ):
            over.append(account)
    return _bar(over, wish, standing.taken) if over else None


def _least(budget: Budget, wish: Wish) -> int:
    """Whole units that a call takes at least."""
    tokens = budget.least_tokens if wish.most_tokens is None else min(budget.least_tokens, wish.most_tokens)
    if budget.unit == "requests":
        return 1
    if budget.unit == "tokens":
        return max(wish.input_floor, 1) + (0 if budget.id.startswith(RATE) else tokens)
    if wish.price is None:
        return 1
    output = dearest(wish.price.output) * tokens / MILLION
    return int(((wish.price.request + output) * PICO).to_integral_value(ROUND_CEILING))


def _bar(over: list[AccountStanding], wish: Wish, now: float) -> Bar:
    """Of all accounts that are used up, the one that renews last; the others are mentioned."""
    account = max(over, key=lambda one: inf if one.renews is None else one.renews)
    budget = account.budget
    left = amount(budget.unit, account.unspent)
    whose = f", {account.apart}" if account.apart else ""
    if account.renews is None:
        when = "it does not renew"
    elif budget.per == "minute":
        when = in_seconds(account.renews - now)
    else:
        when = f"it renews at {_moment(account.renews, budget.zone)}"
    needed = None
    if budget.unit != "money" or wish.price is not None:
        needed = amount(budget.unit, _least(budget, wish), up=True)
    reason = f"budget '{budget.id}' ({budget}{whose}) is used up: {left} left, {when}"
    for other in over:
        reason += f"; budget '{other.budget.id}' ({other.budget}) is used up too" if other is not account else ""
    emergency = next((one.budget.emergency for one in (account, *over) if one.budget.emergency is not None), None)
    return Bar(reason, budget.id, left, account.renews, needed, budget.zone, emergency)


def _moment(at: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone) if zone != 'UTC' else UTC):%Y-%m-%d %H:%M} {zone}"

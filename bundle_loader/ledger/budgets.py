"""The budgets that hold for a host's calls: declared ones, rate limits, and the caps of single delegations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from bundle_loader.declared.budget import RATE, Budget, rate_limit
from bundle_loader.ledger.accounts import Hold, Window, hold_of
from bundle_loader.ledger.operations import Refused
from bundle_loader.routing.charged import CallFacts, account_of, apart, applying
from bundle_loader.routing.price import Price

CAP: Final = "cap|"
"""How the accounts of caps begin; the delegation's id follows."""
_MOST_KEPT: Final = 4096


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that one delegation and all below it may cost."""

    delegation: str
    agent: str
    limit: Decimal

    @property
    def budget(self) -> Budget:
        """The cap as a budget."""
        return Budget(id=f"max_cost of {self.agent}", unit="money", limit=self.limit, per="run")


class Budgets:
    """Which budgets a call is under. Learns the limits that vendors state. Belongs to one event loop."""

    def __init__(self, declared: Sequence[Budget] = (), rates: Sequence[Budget] = ()) -> None:
        self.declared = tuple(declared)
        self.rates = tuple(rates)
        self._applying: dict[tuple[object, ...], tuple[Budget, ...]] = {}
        self._learnt: dict[tuple[str, str, str], int] = {}
        """Provider, family and unit -> the limit a minute that the vendor states."""
        self._closed: dict[str, float] = {}
        """Keys of model families that a vendor has closed -> until when."""

    def in_force(self, now: float) -> bool:
        """Whether anything can hold a call back."""
        if self.declared or self.rates or self._learnt:
            return True
        self._closed = {key: until for key, until in self._closed.items() if until > now}
        return bool(self._closed)

    @property
    def all(self) -> tuple[Budget, ...]:
        """Every budget but the caps."""
        return (*self.declared, *self.rates)

    def find(self, id: str) -> Budget | None:
        """The budget of an id."""
        return next((budget for budget in self.all if budget.id == id), None)

    def learn(self, provider: str, family: str, unit: str, limit: int) -> None:
        """Take a vendor's word for how much it allows a minute; it wins over what the table says. Nonsense is left out."""
        if limit < 1:
            return
        if self._learnt.get((provider, family, unit)) != limit:
            self._learnt[(provider, family, unit)] = limit
            self._applying.clear()

    def as_stated(self, budget: Budget, account: str) -> Budget:
        """A budget as the vendor's word has changed it for one of its accounts."""
        if budget.id.startswith(RATE):
            for (provider, family, unit), limit in list(self._learnt.items()):  # asked from another thread
                whose = f"provider={provider}|family={family}".lower()
                if unit == budget.unit and account == f"{budget.id}|{whose}":
                    return _lowered_or_raised(budget, limit)
        return budget

    def close(self, key: str, until: float) -> None:
        """Remember that a model family is closed for a while."""
        self._closed[key] = max(until, self._closed.get(key, 0.0))

    def is_closed(self, key: str, now: float) -> bool:
        """Whether a model family is known to be closed."""
        return self._closed.get(key, 0.0) > now

    def rate_holds(self, facts: CallFacts, now: float, unit: str) -> list[Hold]:
        """The accounts that count a vendor's own limit of requests or of tokens."""
        limits = [budget for budget in self._of(facts) if budget.id.startswith(RATE) and budget.unit == unit]
        return [hold_of(budget, facts, now, 0, None) for budget in limits]

    def holds(
        self, facts: CallFacts, now: float, input_bound: int, price: Price | None, caps: Sequence[Cap] = (), likely: int = 0
    ) -> tuple[Hold, ...] | Refused:
        """What a call needs of each account that it is charged to; a refusal where its price is not known and must be.

        A hold that needs nothing (a price of zero) holds no call back.

        Of a limit of tokens that nobody but the vendor stated, `likely` tokens are taken, a tenth of it at most, and the answer
        is not cut down for it: the worst case of one call is often more than a minute's limit, and what a vendor's cache
        serves it hardly counts.
        """
        found: list[Hold] = []
        for budget in self._of(facts):
            hold = hold_of(budget, facts, now, input_bound, price)
            if budget.unit == "money" and price is None and budget.unknown_price is None:
                return _unpriced(hold, facts, "declare it under prices, or say unknown_price")
            if only_stated(budget):
                hold = replace(hold, fixed=min(likely, max(hold.limit // 10, 1)), per_token=0)
            found += (replace(hold, account=account_of(budget, one)) for one in apart(budget, facts))
        for cap in caps:
            hold = hold_of(cap.budget, facts, now, input_bound, price)
            hold = Hold(f"{CAP}{cap.delegation}", hold.budget, Window(0, 0, None), hold.fixed, hold.per_token, hold.limit)
            if price is None:
                return _unpriced(hold, facts, "declare it under prices, or leave out max_cost")
            found.append(hold)
        return tuple(found)

    def _of(self, facts: CallFacts) -> tuple[Budget, ...]:
        key = (
            facts.provider, facts.model, facts.family, facts.agent, facts.profile, facts.stage, facts.role, facts.tier, facts.tag,
        )  # fmt: skip
        found = self._applying.get(key)
        if found is None:
            if len(self._applying) >= _MOST_KEPT:
                self._applying.clear()
            rates = [self._corrected(budget, facts) for budget in applying(self.rates, facts)]
            known = {budget.unit for budget in rates}
            stated = (budget for budget in self._stated(facts) if budget.unit not in known)
            found = self._applying[key] = (*applying(self.declared, facts), *rates, *stated)
        return found

    def _corrected(self, budget: Budget, facts: CallFacts) -> Budget:
        limit = self._learnt.get((facts.provider, facts.family, budget.unit))
        return budget if limit is None else _lowered_or_raised(budget, limit)

    def _stated(self, facts: CallFacts) -> list[Budget]:
        """Limits that the vendor states and that nobody declared."""
        return [
            rate_limit(provider, unit, limit)
            for (provider, family, unit), limit in self._learnt.items()
            if (provider, family) == (facts.provider, facts.family)
        ]


def _unpriced(hold: Hold, facts: CallFacts, remedy: str) -> Refused:
    return Refused(hold, 0, None, f"the price of {facts.provider}/{facts.model} is not known; {remedy}")


def _lowered_or_raised(budget: Budget, limit: int) -> Budget:
    """A rate limit by the vendor's word; what the user wrote is only lowered."""
    return budget if budget.firm and limit >= budget.limit else budget.model_copy(update={"limit": Decimal(limit)})


def only_stated(budget: Budget) -> bool:
    """Whether it is a limit of tokens that nobody but a vendor stated."""
    return budget.unit == "tokens" and budget.id.startswith(RATE) and not budget.firm

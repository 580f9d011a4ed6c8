"""Budgets that are probably not meant: of nothing, without prices, or that another one outdoes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from typing import TypeAlias

from bundle_loader.declared.budget import Budget
from bundle_loader.declared.bundle import SELF, Bundle
from bundle_loader.declared.preference import Preference
from bundle_loader.declared.settled_budgets import MANDATORY
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean
from bundle_loader.routing.catalogue import Catalogue, ModelInfo
from bundle_loader.routing.model_names import family
from bundle_loader.routing.resolve import order

IsPriced: TypeAlias = Callable[[str, ModelInfo], bool]
"""Provider and listed model -> whether its price is known."""
_NAMED = 3


def lint_budgets(
    bundle: Bundle, catalogues: Mapping[str, Catalogue], known: Mapping[str, str], priced: IsPriced | None = None
) -> list[Fault]:
    """Warnings and notes about a bundle's budgets. `known` maps every name of a provider to its id."""
    linter = _Linter(bundle, catalogues, known)
    found: list[Fault] = []
    for budget in bundle.budgets.values():
        found += linter.scope(budget)
        found += linter.thresholds(budget)
        found += linter.unfit(budget)
        found += linter.outdone(budget)
        if priced is not None and budget.unit == "money":
            found += linter.prices(budget, priced)
    return found


class _Linter:
    def __init__(self, bundle: Bundle, catalogues: Mapping[str, Catalogue], known: Mapping[str, str]) -> None:
        self._bundle = bundle
        self._catalogues = catalogues
        self._known = known
        listed = {model.id for catalogue in catalogues.values() for model in catalogue.models}
        aliases = {alias for agent in bundle.agents.values() for alias in agent.aliases}
        self._aliases = aliases
        self._names: dict[str, set[str]] = {
            "agent": {*bundle.agents, *(agent.name for agent in bundle.hidden.values()), *bundle.broken, SELF},
            "tier": set(bundle.tiers),
            "profile": set(bundle.profiles),
            "role": set(bundle.roles),
            "provider": set(known.values()) | set(bundle.providers),
            "model": listed,
            "family": {family(model) for model in listed},
        }

    def _fault(self, budget: Budget, path: tuple[str, ...], message: str, rule: str, level: str = "warning") -> Fault:
        id = budget.id.removeprefix(MANDATORY)
        place = position(self._bundle.header, ("budgets", id, *path), key=True) if self._bundle.header else ("", 0, 0)
        return Fault(*place, ".".join(("budgets", id, *path)), message, level, rule)

    def scope(self, budget: Budget) -> Iterator[Fault]:
        """Patterns of a scope that no agent, tier, profile, role, provider or listed model fits."""
        for aspect, patterns in budget.scope.items():
            names = self._names.get(aspect)
            if names is None or (aspect in ("model", "family") and not names):
                continue
            for pattern in patterns:
                if any(fnmatchcase(name.lower(), pattern.lower()) for name in names):
                    continue
                message = f"no {aspect} '{pattern}'{did_you_mean(pattern, names)}; no call counts under it"
                if aspect == "agent" and pattern in self._aliases:
                    message = f"'{pattern}' is an alias; write '{self._bundle.agent(pattern).name}', as the ledger does"
                if aspect == "provider" and pattern in self._known:
                    message = f"'{pattern}' is another name; write '{self._known[pattern]}', as the ledger does"
                yield self._fault(budget, ("scope", aspect), message, "budget-of-nothing")

    def thresholds(self, budget: Budget) -> Iterator[Fault]:
        """A budget that throttles before it has said anything."""
        if budget.throttle_at is not None and budget.alert_at and budget.throttle_at < budget.alert_at[0]:
            said, slow = (f"{(part * 100).normalize():f}%" for part in (budget.alert_at[0], budget.throttle_at))
            message = f"calls are throttled from {slow} on, before the first alert at {said}; nobody will know why"
            yield self._fault(budget, ("throttle_at",), message, "throttle-before-alert")

    def unfit(self, budget: Budget) -> Iterator[Fault]:
        """What can have no effect: alerts of a minute, a ceiling below every call, an emergency tier for its own calls."""
        if budget.per == "minute" and budget.alert_at:
            message = "no alert is given for a minute, which slides; leave it out, or write per: day"
            yield self._fault(budget, ("alert_at",), message, "alert-of-a-minute")
        if budget.unit == "tokens" and 0 < budget.limit < budget.least_tokens:
            message = f"{budget.limit:f} tokens are fewer than least_tokens ({budget.least_tokens}): hardly any call fits"
            yield self._fault(budget, (), message, "budget-below-a-call", "note")
        tier = budget.emergency
        if tier is not None and {name.lower() for name in budget.scope.get("tier", ())} == {tier.lower()}:
            message = f"tier '{tier}' is the only one whose calls count here: where it is refused, it takes over from itself"
            yield self._fault(budget, ("emergency",), message, "emergency-of-itself")

    def outdone(self, budget: Budget) -> Iterator[Fault]:
        """14. What a day may spend is the smaller of the day's cap and the month's remainder."""
        if budget.per != "day":
            return
        for month in self._bundle.budgets.values():
            same = (month.unit, month.scope, month.each) == (budget.unit, budget.scope, budget.each)
            if month.per == "month" and same and budget.limit > month.limit:
                message = f"{budget} is more than '{month.id}' has for the whole month ({month}), which holds too"
                yield self._fault(budget, (), message, "day-over-month", "note")

    def prices(self, budget: Budget, priced: IsPriced) -> Iterator[Fault]:
        """Models without a known price under a budget of money that refuses them."""
        if budget.unknown_price is not None:
            return
        if budget.emergency is not None:
            nameless = self._unpriced(budget, self._bundle.tiers.get(budget.emergency, ()), priced)
            if nameless:
                message = f"tier '{budget.emergency}' has models whose price is not known, which this budget refuses: {nameless}"
                yield self._fault(budget, ("emergency",), message, "emergency-without-prices")
        lists = (agent.preferences for name, agent in self._bundle.agents.items() if _fits(budget, "agent", name))
        tiers = (found for name, found in self._bundle.tiers.items() if _fits(budget, "tier", name))
        nameless = self._unpriced(budget, chain(chain.from_iterable(lists), chain.from_iterable(tiers)), priced)
        if nameless:
            remedy = "declare them under prices, or say unknown_price"
            yield self._fault(budget, (), f"refuses models whose price is not known: {nameless}; {remedy}", "unknown-price")

    def _unpriced(self, budget: Budget, preferences: chain[Preference] | tuple[Preference, ...], priced: IsPriced) -> str:
        """The models that the preferences come to now and whose price nobody knows, named."""
        found: dict[str, None] = {}
        for preference in preferences:
            id = self._known.get(preference.provider, preference.provider)
            catalogue = self._catalogues.get(id)
            policy = self._bundle.model_order
            best = next(iter(order(catalogue, preference.model, policy).models), None) if catalogue is not None else None
            if best is None or not (_fits(budget, "provider", id) and _fits(budget, "model", best.id)):
                continue
            if _fits(budget, "family", family(best.id)) and not priced(id, best):
                found[f"{id}/{best.id}"] = None
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return ", ".join(list(found)[:_NAMED]) + more


def _fits(budget: Budget, aspect: str, value: str) -> bool:
    patterns = budget.scope.get(aspect)
    return patterns is None or any(fnmatchcase(value.lower(), pattern.lower()) for pattern in patterns)

"""Which budgets a call is charged to, and under which account of each: scopes and keys. No window, no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from fnmatch import fnmatchcase
from math import ceil
from typing import Final

from bundle_loader.declared.budget import Budget, counted

PICO: Final = Decimal(1_000_000_000_000)
"""Millionths of a millionth in a dollar: what money is counted in."""


_SMALL: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Everything that a scope can tell calls apart by."""

    provider: str
    model: str
    family: str
    agent: str
    tree: str
    """The id of the delegation that everything began with."""
    profile: str | None = None
    stage: str | None = None
    role: str | None = None
    tier: str | None = None
    tag: tuple[str, ...] = ()

    def values(self, aspect: str) -> tuple[str, ...]:
        """What the call is under one aspect; only tags can be several."""
        value = getattr(self, aspect)
        return value if isinstance(value, tuple) else () if value is None else (value,)


def applies(budget: Budget, facts: CallFacts) -> bool:
    """Whether a call is in the budget's scope."""
    for aspect, patterns in budget.scope.items():
        values = facts.values(aspect)
        if not any(fnmatchcase(value.lower(), pattern.lower()) for value in values for pattern in patterns):
            return False
    return True


def applying(budgets: Sequence[Budget], facts: CallFacts) -> tuple[Budget, ...]:
    """The budgets in whose scope a call is."""
    return tuple(budget for budget in budgets if applies(budget, facts))


def apart(budget: Budget, facts: CallFacts) -> tuple[CallFacts, ...]:
    """The call as each of the budget's accounts has it: kept apart by tag, it counts for every tag of it that is in scope."""
    if "tag" not in budget.each or len(facts.tag) < 2:
        return (facts,)
    single = (replace(facts, tag=(tag,)) for tag in dict.fromkeys(tag.lower() for tag in facts.tag))
    return tuple(one for one in single if applies(budget, one))


def account_of(budget: Budget, facts: CallFacts) -> str:
    """The account's key: the budget's id, and the values of each aspect that it is kept apart by.

    Case does not tell accounts apart, as it does not tell scopes apart: words of a caller's own could be many that way.
    """
    parts = [budget.id]
    parts += [f"{aspect}={','.join(facts.values(aspect)).lower() or '-'}" for aspect in budget.each]
    if budget.per == "run" and "tree" not in budget.each:
        parts.append(f"tree={facts.tree}")
    return "|".join(parts)


def unit_limit(budget: Budget) -> int:
    """The ceiling in whole units."""
    return int(budget.limit * PICO) if budget.unit == "money" else int(budget.limit)


def mark_of(provider: str, family: str) -> str:
    """The key under which a vendor's "too many requests" closes a model family."""
    return f"{provider}|{family}"


def vendors_limit(provider: str, family: str, reason: str) -> str:
    """A vendor's word that closes a model family, in words."""
    return f"{provider} has limited its {family} for now ({reason.removeprefix('limited: ')})"


def in_seconds(seconds: float) -> str:
    """When something is free again: whole seconds, rounded up."""
    return f"free again in {max(ceil(seconds), 1)} s"


def amount(unit: str, units: int, *, up: bool = False) -> str:
    """Whole units of an account, in words. Money is rounded down, or `up`: to four places, what is small to two digits."""
    if unit != "money":
        return counted(Decimal(units), unit)
    dollars = Decimal(units) / PICO
    places = 4 if not dollars or dollars >= _SMALL else 1 - dollars.adjusted()
    return f"${dollars.quantize(Decimal(1).scaleb(-places), ROUND_UP if up else ROUND_DOWN):f}"

"""What may still be spent of an account: its own remainder, or that of a wider budget that the same calls count under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bundle_loader.declared.budget import Budget
from bundle_loader.routing.charged import unit_limit
from bundle_loader.routing.standing import AccountStanding, Standing


@dataclass(frozen=True, slots=True)
class Remaining:
    """Whole units that may still be spent, and the wider budget that says so; None where it is the account's own."""

    units: int
    bound_by: str | None = None


def accounts_of(budget: Budget, standing: Standing) -> tuple[AccountStanding, ...]:
    """The accounts of a budget; one that nothing was entered in stands for a budget that is not kept apart."""
    found = tuple(account for account in standing.accounts.values() if account.budget.id == budget.id)
    if found or budget.each or budget.per == "run":
        return found
    return (AccountStanding(budget.id, budget, unit_limit(budget), 0, 0, None),)


def remaining(account: AccountStanding, budgets: Sequence[Budget], standing: Standing) -> Remaining:
    """14. What a day may spend is the smaller of the day's cap and the month's remainder.

    So for every window and scope: a wider budget is one of the same unit under which all calls of the account count too.
    """
    found = Remaining(account.left)
    for wider in budgets:
        if wider.id == account.budget.id or wider.unit != account.budget.unit:
            continue
        key = _account_above(account, wider)
        if key is None:
            continue
        above = standing.accounts.get(key)
        left = unit_limit(wider) if above is None else above.left
        if left < found.units:
            found = Remaining(left, wider.id)
    return found


def _account_above(account: AccountStanding, wider: Budget) -> str | None:
    """The one account of `wider` that every call of `account` is charged to; None where there is no such."""
    known = {aspect: (value,) for aspect, _, value in (part.partition("=") for part in account.apart.split("|") if part)}
    limits = {**account.budget.scope, **known}
    for aspect, patterns in wider.scope.items():
        own = limits.get(aspect, ())
        if not own or not all(any(_within(narrow, wide) for wide in patterns) for narrow in own):
            return None
    parts = [wider.id]
    for aspect in (*wider.each, *(("tree",) if wider.per == "run" and "tree" not in wider.each else ())):
        own = limits.get(aspect, ())
        if len(own) != 1 or _is_pattern(own[0]):
            return None
        parts.append(f"{aspect}={own[0].lower()}")
    return "|".join(parts)


def _is_pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _within(narrow: str, wide: str) -> bool:
    """Whether all that one pattern fits, the other fits as well; no where that is not plain to see."""
    narrow, wide = narrow.lower(), wide.lower()
    if narrow == wide:
        return True
    plain = not _is_pattern(narrow) or not any(sign in narrow + wide for sign in "?[")
    return plain and fnmatchcase(narrow, wide)

"""What budgets say, in words: refusals, and thresholds that were passed."""

from __future__ import annotations

from bundle_loader.declared.budget import Budget
from bundle_loader.errors import OverBudget
from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.budgets import CAP
from bundle_loader.ledger.operations import Alert, Refused
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.charged import amount


def over_budget(refused: Refused, candidate: Candidate) -> OverBudget:
    """The failure for a call that a budget refuses: which, how much is left of it, and how much the call needed."""
    hold = refused.hold
    if hold is None:
        return OverBudget(
            candidate.provider, refused.reason, model=candidate.model, retry_after=refused.retry_after, why=refused.reason
        )
    budget = hold.budget
    left = needed = None
    words = refused.reason
    if refused.needed:
        left, needed = amount(budget.unit, refused.left), amount(budget.unit, refused.needed, up=True)
        words = f"{words}; {left} left, a call needs at least {needed}"
        if refused.held:
            words += ", and calls under way hold the rest"
    return OverBudget(
        candidate.provider,
        f"{_named(hold)}: {words}",
        model=candidate.model,
        retry_after=refused.retry_after,
        budget=budget.id,
        left=left,
        needed=needed,
        renews=hold.window.renews,
        zone=budget.zone,
        emergency=None if refused.held else budget.emergency,
        own_limit=hold.account.startswith(CAP),
        held=refused.held,
        why=refused.reason,
    )


def passed(alert: Alert, holds: tuple[Hold, ...]) -> str:
    """A threshold of a budget that a call took it over."""
    budget = next(hold.budget for hold in holds if hold.account == alert.account)
    whose = alert.account.removeprefix(alert.budget).strip("|").replace("|", ", ")
    left = amount(budget.unit, alert.left)
    account = f"budget '{alert.budget}'{f' of {whose}' if whose else ''}"
    return f"{account} has passed {alert.fraction:.0%}: {left} left of {_ceiling(budget)}"


def _named(hold: Hold) -> str:
    budget = hold.budget
    if hold.account.startswith(CAP):
        return f"{budget.id} ({_ceiling(budget)} with all that it delegates)"
    return f"budget '{budget.id}' ({budget})"


def _ceiling(budget: Budget) -> str:
    return f"${budget.limit.normalize():f}" if budget.unit == "money" else f"{budget.limit:f} {budget.unit}"

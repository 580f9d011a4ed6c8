"""What budgets say, in words: refusals, and thresholds that were passed."""

from __future__ import annotations

from bundle_loader.declared.budget import Budget, counted
from bundle_loader.errors import OverBudget, Unhealthy
from bundle_loader.ledger.accounts import Hold
from bundle_loader.ledger.budgets import CAP
from bundle_loader.ledger.leases import POLL
from bundle_loader.ledger.operations import Alert, Refused
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.charged import amount, vendors_limit
from bundle_loader.routing.model_names import family
from bundle_loader.routing.standing import Down


def over_budget(refused: Refused, candidate: Candidate) -> OverBudget:
    """The failure for a call that a budget refuses: which, how much is left of it, and how much the call needed."""
    hold = refused.hold
    if hold is None:
        why = vendors_limit(candidate.provider, family(candidate.model), refused.reason)
        return OverBudget(
            candidate.provider, why, model=candidate.model, retry_after=refused.retry_after, renews=refused.renews, why=why
        )
    budget = hold.budget
    left = needed = None
    words = refused.reason
    if refused.needed:
        left, needed = amount(budget.unit, refused.left), amount(budget.unit, refused.needed, up=True)
        words = f"{words}; {left} left, a call needs at least {needed}"
        if refused.held:
            words += ", and calls under way hold the rest"
    for other in refused.others:
        words += f"; {_named(other)} refuses it too"
    named = [one.budget.emergency for one in (hold, *refused.others) if one.budget.emergency is not None]
    return OverBudget(
        candidate.provider,
        f"{_named(hold)}: {words}",
        model=candidate.model,
        retry_after=refused.retry_after,
        budget=budget.id,
        left=left,
        needed=needed,
        renews=refused.renews,
        sliding=budget.per == "minute",
        zone=budget.zone,
        emergency=named[0] if named and not refused.held else None,
        own_limit=hold.account.startswith(CAP),
        held=refused.held,
        why=refused.reason,
    )


def unhealthy(down: Down, candidate: Candidate, now: float) -> Unhealthy:
    """The failure for a call to what is known to be down."""
    after = again_in(down, now)
    return Unhealthy(
        candidate.provider,
        down.told(now),
        model=candidate.model,
        retry_after=None if down.refused and not down.probing else after,
        recovers=now + after,
        held=down.probing,
    )


def again_in(down: Down, now: float) -> float:
    """Seconds until it is worth asking again."""
    return POLL if down.probing else max(down.until - now, 0.001)


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
    return f"${budget.limit.normalize():f}" if budget.unit == "money" else f"{counted(budget.limit, budget.unit)}"

"""The errors in which a delegation without an answer ends: which kind, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final
from zoneinfo import ZoneInfo

from bundle_loader.delegation.attempts import End, Verdict
from bundle_loader.errors import (
    AllDown,
    AllFailed,
    BrokenAnswer,
    BudgetRefused,
    DeadlineExceeded,
    FailureKind,
    Forbidden,
    LimitReached,
    NoAnswer,
    NoCandidate,
    NotSent,
    OverBudget,
    ProviderFailure,
    Stopped,
    Unhealthy,
)
from bundle_loader.routing.candidate import Route
from bundle_loader.routing.charged import in_seconds
from bundle_loader.routing.gates import FORBIDDEN

NO_KEY: Final = "no key: "


def defeat(
    agent: str,
    verdict: Verdict,
    failure: ProviderFailure,
    *,
    route: Route,
    kept: Mapping[tuple[str, str], NotSent],
    now: float,
    partial: str,
    timeout: float,
    reasons: dict[str, Any],
) -> NoAnswer:
    """The error for the end of the flow. `reasons` are every attempt and every rejection, `partial` is what was shown.

    `kept` is what kept calls from being made, by provider and model. Which error it is, where all failed:
    1. Where only budgets and vendors' limits stand against all, BudgetRefused.
    2. Else AllDown where anybody is down, and AllFailed where nobody is.
    3. Each says when the first of all may be asked again, whatever stands against it.
    """
    if verdict.end is End.BROKEN:
        return BrokenAnswer(f"agent '{agent}': the answer broke off after text was shown", partial=partial, **reasons)
    if verdict.end is End.STOPPED:
        return Stopped(f"agent '{agent}': stopped, since no other model would mend this ({failure})", **reasons)
    if verdict.end is End.LATE:
        return DeadlineExceeded(f"agent '{agent}': no answer within {timeout:g} s", **reasons)
    if isinstance(failure, OverBudget) and failure.own_limit:
        return LimitReached(f"agent '{agent}': {failure.message}", limit="max_cost", **reasons)
    over = {key: one for key, one in kept.items() if isinstance(one, OverBudget)}
    tried = {(one.provider, one.model) for one in reasons["attempts"]}
    down = [one.recovers for one in kept.values() if isinstance(one, Unhealthy)]
    down += [one.until for at, one in route.waiting if (at.provider, at.model) not in tried | set(kept)]
    renewals = [*(one.renews for one in over.values()), *(bar.renews for bar in route.barred)]
    limited = [at for at in renewals if at is not None]
    # one that failed, and that a budget did not let be asked again, would be asked but for the budget
    refused = all(one.kind == FailureKind.OVER_BUDGET or (one.provider, one.model) in over for one in reasons["attempts"])
    if isinstance(failure, OverBudget) and refused and not down:
        return _refused(agent, next(iter(over.values()), failure), min(limited, default=None), now, reasons)
    later = [] if verdict.after is None else [now + verdict.after]
    recovers = min((at for at in (*down, *limited, *later) if at > now), default=None)
    ways = _ways(bool(reasons["attempts"]), bool(down), bool(over or route.barred))
    if down and recovers is not None:
        return _down(agent, ways, recovers, now, reasons)
    when = "" if recovers is None else f"; the first may be asked again {_moment(recovers, now)}"
    return AllFailed(f"agent '{agent}': every candidate {ways}{when}", recovers=recovers, **reasons)


def _ways(failed: bool, down: bool, limited: bool) -> str:
    """What is the matter with the candidates, in words."""
    ways = [said for said, so in (("failed", failed), ("is down", down), ("is held back", limited)) if so] or ["failed"]
    *before, last = ways
    return f"{', '.join(before)} or {last}" if before else last


def _down(agent: str, ways: str, recovers: float, now: float, reasons: dict[str, Any]) -> AllDown:
    """The error where nobody is up that could answer: it says when the first is asked again."""
    message = f"agent '{agent}': every candidate {ways}; the first is asked again {_moment(recovers, now)}"
    return AllDown(message, recovers=recovers, **reasons)


def _moment(at: float, now: float) -> str:
    return f"in {max(ceil(at - now), 1)} s, at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def no_candidate(agent: str, route: Route, now: float) -> NoAnswer:
    """The error for a route without candidates, with what would help."""
    message = f"agent '{agent}': none of its preferences can be met (decided by {route.decided_by}: {route.decision})"
    said = [rejection.reason for rejection in route.rejections]
    if said and all(reason.startswith(FORBIDDEN) for reason in said):
        return Forbidden(f"{message}; {said[0].removeprefix(FORBIDDEN)}", rejections=route.rejections)
    renewals = [bar.renews for bar in route.barred if bar.renews is not None]
    if route.waiting:
        first = min((*(down.until for _, down in route.waiting), *renewals))
        return _down(agent, _ways(False, True, bool(route.barred)), first, now, {"rejections": route.rejections})
    if route.barred:  # it is the last gate: but for it, these models would have been tried
        bar, recovers = route.barred[0], min(renewals, default=None)
        return BudgetRefused(
            f"agent '{agent}': {_against(bar.budget)}: {bar.reason}{_sooner(bar.renews, recovers, now)}",
            budget=bar.budget,
            left=bar.left,
            needed=bar.needed,
            renews=bar.renews,
            zone=bar.zone,
            recovers=recovers,
            rejections=route.rejections,
        )
    if any(reason.startswith(NO_KEY) for reason in said):
        message += "; set one of the keys below, or try it without any: --simulate, Host(simulate=True)"
    return NoCandidate(message, rejections=route.rejections)


def _refused(agent: str, failure: OverBudget, recovers: float | None, now: float, reasons: dict[str, Any]) -> NoAnswer:
    """The error for work that only budgets stand against."""
    when = f"{_when(failure)}{_sooner(failure.renews, recovers, now)}"
    return BudgetRefused(
        f"agent '{agent}': {_against(failure.budget)}: {failure.message}{when}",
        budget=failure.budget,
        left=failure.left,
        needed=failure.needed,
        renews=failure.renews,
        zone=failure.zone,
        recovers=recovers,
        **reasons,
    )


def _sooner(renews: float | None, recovers: float | None, now: float) -> str:
    """When another may be asked before the one that the message is about."""
    if recovers is None or (renews is not None and renews <= recovers):
        return ""
    return f"; the first may be asked again {_moment(recovers, now)}"


def _against(budget: str | None) -> str:
    return "its vendor takes no call now" if budget is None else "no budget is left for it"


def _when(failure: OverBudget) -> str:
    """When it is worth asking again."""
    if failure.held or failure.renews is None:
        return ""
    if failure.budget is None:
        return "" if failure.retry_after is None else f"; {in_seconds(failure.retry_after)}"
    if failure.sliding:
        return "" if failure.retry_after is None else f"; enough of it is {in_seconds(failure.retry_after)}"
    at = datetime.fromtimestamp(failure.renews, UTC).astimezone(ZoneInfo(failure.zone))
    return f"; it renews at {at:%Y-%m-%d %H:%M} {failure.zone}"

"""What the ledger must hold after a chaos run: no budget passed, nothing left reserved, a record of every hop and refusal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bundle_loader import Host
from bundle_loader.declared.budget import Budget

if TYPE_CHECKING:
    from benchmarks.chaos_run import Ended

PICO = 10**12
_PAGE = 1000


def checked(host: Host, ended: Iterable[Ended]) -> list[str]:
    """Every way in which it does not hold, in words."""
    return [*passed_budgets(host), *unrecorded(host, list(ended))]


def passed_budgets(host: Host) -> list[str]:
    """Budgets of which more was used than they allow, by the accounts and by the sum of the calls; and what is left reserved."""
    found = []
    rows = host.ledger.query("accounts", account=None)
    calls = pages(host, "calls")
    for budget in host.budgets.declared:
        buckets: dict[str, dict[int, int]] = defaultdict(dict)
        for row in rows:
            if row["account"] == budget.id or row["account"].startswith(f"{budget.id}|"):
                buckets[row["account"]][row["bucket"]] = row["settled"] + row["reserved"]
        used = max((_most(kept, budget) for kept in buckets.values()), default=0)
        if used > _ceiling(budget):
            found.append(f"budget '{budget.id}': {used} used of {_ceiling(budget)} by its accounts")
        if budget.unit == "money":
            tier = budget.scope.get("tier")
            spent = sum(int(call["cost_pico"] or 0) for call in calls if tier is None or call["tier"] in tier)
            if spent > _ceiling(budget):
                found.append(f"budget '{budget.id}': {spent} used of {_ceiling(budget)} by its calls")
    if left := sum(row["reserved"] for row in rows):
        found.append(f"{left} units are still reserved")
    return found


def _ceiling(budget: Budget) -> int:
    return int(budget.limit * PICO) if budget.unit == "money" else int(budget.limit)


def _most(buckets: dict[int, int], budget: Budget) -> int:
    """The most in one window."""
    if budget.per != "minute":
        return max(buckets.values())
    return max(sum(used for other, used in buckets.items() if at - 60 < other <= at) for at in buckets)


def unrecorded(host: Host, ended: list[Ended]) -> list[str]:
    """Delegations that ended otherwise than by their first candidate's answer, and that the ledger cannot explain."""
    delegations = {row["id"]: row for row in pages(host, "delegations")}
    attempts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pages(host, "attempts"):
        attempts[row["delegation"]].append(row)
    found = []
    outcomes = [row["outcome"] for row in delegations.values()]
    for what, outcome in (("answered", "answered"), ("refused", "refused")):
        seen = sum(one.what == what or (what == "answered" and one.what == "garbage") for one in ended)
        if seen != outcomes.count(outcome):
            found.append(f"{seen} delegations were {what}, {outcomes.count(outcome)} are recorded so")
    for one in ended:
        result = one.result
        if result is None:
            continue
        rows = attempts[result.id]
        tried = [(row["provider"], row["model"], row["outcome"]) for row in rows]
        if tried != [(attempt.provider, attempt.model, attempt.outcome) for attempt in result.attempts]:
            found.append(f"delegation {result.id}: its attempts are recorded as {tried}")
        if any(row["outcome"] == "failed" and not row["reason"] for row in rows):
            found.append(f"delegation {result.id}: a failed attempt has no reason")
        passed_over = {name for name, _, _ in tried[:-1]} | {
            provider for provider, _, _ in json.loads(delegations[result.id]["rejected"] or "[]")
        }
        first = one.first
        if first != f"{result.provider}/{result.model}" and first.partition("/")[0] not in passed_over:
            found.append(f"delegation {result.id}: nothing says why {first} did not answer")
        if one.hops is not None and one.hops < sum(outcome == "failed" for _, _, outcome in tried) - _again(tried):
            found.append(f"delegation {result.id}: {one.hops} fallback events for {tried}")
    return found[:20]


def _again(tried: list[tuple[str, str, str]]) -> int:
    """How often one was asked again: waiting is no hop."""
    whom = [(provider, model) for provider, model, _ in tried]
    return len(whom) - len(set(whom))


def pages(host: Host, table: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    rows: list[dict[str, Any]] = []
    while True:
        page = host.ledger.query(f"{table} by page", after=rows[-1]["place"] if rows else 0, since=None, limit=_PAGE)
        rows += page
        if len(page) < _PAGE:
            return rows

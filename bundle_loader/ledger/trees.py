"""One delegation with all below it: its attempts, calls and rejections, its own cost and that with its children."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bundle_loader.ledger.reports import Ask, Row, costed


@dataclass(frozen=True, slots=True)
class DelegationTree:
    """A delegation's row and what belongs to it. `own` and `inclusive` have `cost`, `known_cost`, `calls` and `estimated`."""

    row: Row
    rejected: tuple[tuple[str, str, str], ...]
    """Provider, pattern and reason."""
    attempts: tuple[tuple[Row, tuple[Row, ...]], ...]
    """Each with its calls."""
    own: Row
    inclusive: Row
    children: tuple[DelegationTree, ...]


def delegation_tree(ask: Ask, root: str, id: str) -> DelegationTree:
    """The delegation `id` of the tree of `root`. Of one that was never recorded, what its calls tell."""
    rows = {row["id"]: costed(row) for row in ask("tree", root=root, bundle=None)}
    attempts = ask("attempts of a tree", root=root)
    calls = [costed(row) for row in ask("calls of a tree", root=root)]
    for call in calls:
        rows.setdefault(call["delegation"], _unrecorded(call))
    children: dict[str | None, list[str]] = {}
    for row in rows.values():
        children.setdefault(row["parent"], []).append(row["id"])
    return _grown(id, rows, children, attempts, calls)


def _grown(
    id: str, rows: dict[str, Row], children: dict[str | None, list[str]], attempts: Sequence[Row], calls: Sequence[Row]
) -> DelegationTree:
    row = rows[id]
    mine = [call for call in calls if call["delegation"] == id]
    tried = [attempt for attempt in attempts if attempt["delegation"] == id]
    lone = {call["attempt"]: call for call in mine if call["attempt"] not in {attempt["id"] for attempt in tried}}
    tried += [_unrecorded_attempt(call) for call in lone.values()]
    below = tuple(_grown(child, rows, children, attempts, calls) for child in children.get(id, ()) if child != id)
    rejected = tuple((provider, pattern, reason) for provider, pattern, reason in json.loads(row.get("rejected") or "[]"))
    own = _sum(mine)
    return DelegationTree(
        row,
        rejected,
        tuple((attempt, tuple(call for call in mine if call["attempt"] == attempt["id"])) for attempt in tried),
        own,
        _together([own, *(child.inclusive for child in below)]),
        below,
    )


def _sum(calls: Iterable[Row]) -> Row:
    one_by_one = [
        {"calls": 1, "cost": call["cost"], "known_cost": call["known_cost"], "estimated": call["estimated"]} for call in calls
    ]
    return _together(one_by_one)


def _together(parts: Sequence[Row]) -> Row:
    known = sum((part["known_cost"] or Decimal(0) for part in parts), Decimal(0))
    unknown = any(part["cost"] is None for part in parts)
    return {
        "calls": sum(part["calls"] for part in parts),
        "cost": None if unknown else known,
        "known_cost": known,
        "estimated": sum(part["estimated"] for part in parts),
    }


def _unrecorded(call: Row) -> Row:
    empty = ("parent", "decided_by", "bundle", "bundle_hash", "latency", "outcome", "provider", "model", "reason", "rejected")
    return {
        **dict.fromkeys(empty),
        **{key: call[key] for key in ("root", "agent", "tier", "profile", "stage", "role", "started", "simulated")},
        "id": call["delegation"],
    }


def _unrecorded_attempt(call: Row) -> Row:
    return {
        "id": call["attempt"],
        "delegation": call["delegation"],
        "number": call["attempt"].rpartition("-")[2],
        "provider": call["provider"],
        "model": call["asked"],
        "pattern": call["pattern"],
        "started": call["started"],
        "latency": call["latency"],
        "outcome": call["outcome"],
        "kind": None,
        "reason": None,
    }

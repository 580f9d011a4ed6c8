"""What is told of a ledger: sums by one aspect, delegations as they end, trees, and all records page by page."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Protocol

from bundle_loader.ledger.records import from_pico

Row = dict[str, Any]
_PARTS = ("p50", "p95", "p99")


class Ask(Protocol):
    """One of the storage's named questions."""

    def __call__(self, name: str, /, **parameters: Any) -> list[Row]:
        """The rows. Raises LedgerError."""
        ...


def costed(row: Row) -> Row:
    """`cost_pico` as `cost` in dollars; None where any part of it is unknown."""
    cost = from_pico(row.pop("cost_pico"))
    row["cost"] = None if row.get("unknown") else cost
    row["known_cost"] = cost
    return row


def totals(ask: Ask, by: str, *, simulated: bool, bundle: str | None, since: float | None) -> list[Row]:
    """Calls, tokens, cost and latency by one aspect, the dearest first.

    `p50`, `p95` and `p99` are seconds of answered calls, None without any. By agent, `with_sub_agents` is what its
    delegations cost with all below them; a call counts once for each agent that it was made for.
    """
    chosen = {"simulated": int(simulated), "bundle": bundle, "since": since}
    rows = [costed(row) for row in ask(f"totals by {by}", **chosen)]
    latency = {row["name"]: row for row in ask(f"latency by {by}", **chosen)}
    for row in rows:
        row |= {part: latency[row["name"]][part] if row["name"] in latency else None for part in _PARTS}
    if by == "agent":
        whole = {row["name"]: costed(row) for row in ask("totals with sub-agents", **chosen)}
        rows += [_no_calls(name) for name in whole if name not in {row["name"] for row in rows}]
        for row in rows:
            row["with_sub_agents"] = whole.get(row["name"], dict(row))  # else it is just being written
    return rows


def _no_calls(name: str) -> Row:
    """An agent that only delegated."""
    counts = dict.fromkeys(("calls", "input_tokens", "output_tokens", "unknown", "estimated"), 0)
    return {"name": name, **counts, **dict.fromkeys(("latency", *_PARTS)), "cost": Decimal(0), "known_cost": Decimal(0)}


def ended(ask: Ask, after: int, limit: int, *, bundle: str | None = None) -> list[Row]:
    """Delegations recorded after that place, in that order: `place`, and what `Ledger.delegations` gives."""
    return [costed(row) for row in ask("delegations after", after=after, limit=limit, bundle=bundle)]


def begin_with(ask: Ask, prefix: str, limit: int) -> list[Row]:
    """`id` and `root` of delegations whose id begins so."""
    return ask("roots of delegations that begin with", prefix=prefix, limit=limit)


def pages(ask: Ask, table: str, *, since: float | None = None, size: int = 1000) -> Iterator[list[Row]]:
    """All `delegations`, `attempts` or `calls` in the order in which they were recorded, so many at a time."""
    after = 0
    while rows := ask(f"{table} by page", after=after, since=since, limit=size):
        after = rows[-1]["place"]
        yield [costed(row) if "cost_pico" in row else row for row in rows]


def counted_calls(ask: Ask, *, simulated: bool, bundle: str | None, since: float | None, size: int = 1000) -> Iterator[Row]:
    """The calls that `totals` sums, oldest first, each with its `day`."""
    chosen = {"simulated": int(simulated), "bundle": bundle, "since": since}
    after = 0
    while rows := ask("counted calls by page", after=after, limit=size, **chosen):
        after = rows[-1]["place"]
        yield from map(costed, rows)

"""What recorded calls would have cost at another model's price: the saving of a cheaper tier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bundle_loader.ledger.records import from_pico
from bundle_loader.messages import Usage
from bundle_loader.routing.price import Price


@dataclass(frozen=True, slots=True)
class Saving:
    """Calls at their own cost and at another model's price, over the calls of which both are known."""

    calls: int
    unknown: int
    """Calls left out: their cost, or their tokens, are not known."""
    cost: Decimal
    """US dollars as recorded."""
    against: Decimal
    """US dollars for the same tokens at the other price."""

    @property
    def ratio(self) -> Decimal | None:
        """How many times dearer the other price is; None where nothing was paid."""
        return self.against / self.cost if self.cost else None

    @property
    def saved(self) -> Decimal:
        """US dollars, below 0 where the other price is the cheaper one."""
        return self.against - self.cost

    def __str__(self) -> str:
        times = f"{self.ratio:.1f} times as much" if self.ratio is not None else "nothing was paid"
        left = f"; {self.unknown} calls of unknown cost are left out" if self.unknown else ""
        return f"${self.cost:.6f} instead of ${self.against:.6f} ({times}) for {self.calls} calls{left}"


def saving(calls: Iterable[Mapping[str, Any]], price: Price) -> Saving:
    """The saving of recorded calls (rows of the ledger's `calls`) against a price.

    The other model is taken to use as many tokens, and to be served from its cache as often: what it would really use, nobody
    can know. Parts that the ledger does not keep (sound, pictures, searches, how long a cache keeps) are taken as plain text.
    """
    number = unknown = 0
    cost = against = Decimal(0)
    for row in calls:
        paid, usage = _cost(row), _usage(row)
        if paid is None or usage is None:
            unknown += 1
            continue
        number += 1
        cost += paid
        if usage.input_tokens or usage.output_tokens:
            against += price.cost(usage)
    return Saving(number, unknown, cost, against)


def savings_by(column: str, calls: Iterable[Mapping[str, Any]], price: Price) -> dict[str | None, Saving]:
    """As `saving`, for each value of a column (`tier`, `agent`, `asked`, ...), in the order in which they first appear."""
    groups: dict[str | None, list[Mapping[str, Any]]] = {}
    for row in calls:
        groups.setdefault(row[column], []).append(row)
    return {name: saving(rows, price) for name, rows in groups.items()}


def _cost(row: Mapping[str, Any]) -> Decimal | None:
    """The cost of a row as it lies in the file, or as the ledger gives it."""
    cost: Decimal | None = row["cost"] if "cost" in row else from_pico(row["cost_pico"])
    return cost


def _usage(row: Mapping[str, Any]) -> Usage | None:
    if row["input_tokens"] is None or row["output_tokens"] is None:
        return None
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cache_read_tokens"] or 0,
        row["cache_write_tokens"] or 0,
        row["reasoning_tokens"] or 0,
    )

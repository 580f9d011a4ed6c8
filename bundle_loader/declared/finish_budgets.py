"""Written budgets to final ones: shares resolved, every name checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from bundle_loader.declared.budget import Budget, Unit, Window, WrittenBudget
from bundle_loader.declared.tree import Mapping as Tree
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, did_you_mean

Ceiling = tuple[Unit, Decimal, Window, str]

WHOLE = Decimal(1)


class _Budgets:
    def __init__(self, written: Mapping[str, WrittenBudget], tiers: Sequence[str], header: Tree) -> None:
        self._written = written
        self._tiers = tiers
        self._header = header
        self.faults: list[Fault] = []

    def fault(self, path: tuple[str, ...], message: str, level: str = "error") -> None:
        """Note what is wrong at a place below `budgets`."""
        whole = ("budgets", *path)
        self.faults.append(Fault(*position(self._header, whole), ".".join(whole), message, level))

    def ceiling(self, name: str, chain: tuple[str, ...] = ()) -> Ceiling | None:
        """A budget's unit, limit, window and zone; of a share, those of what it is a part of."""
        written = self._written[name]
        if written.share is None:
            for unit, amount in (("money", written.money), ("tokens", written.tokens), ("requests", written.requests)):
                if amount is not None and written.per is not None:
                    return _unit(unit), Decimal(amount), written.per, written.zone or "UTC"
            return None
        of = written.share.of
        if of in (*chain, name):
            loop = " -> ".join([*chain, name, of])
            self.fault((name, "share", "of"), f"budgets are shares of each other in a loop: {loop}")
            return None
        if of not in self._written:
            self.fault((name, "share", "of"), f"no budget '{of}'{did_you_mean(of, list(self._written))}")
            return None
        above = self.ceiling(of, (*chain, name))
        if above is None:
            return None
        unit, limit, per, zone = above
        part = limit * written.share.percent
        return unit, part if unit == "money" else Decimal(int(part)), per, zone

    def finished(self, name: str) -> Budget | None:
        """The final budget, None where it has faults."""
        written = self._written[name]
        found = self.ceiling(name)
        if written.emergency is not None and written.emergency not in self._tiers:
            near = did_you_mean(written.emergency, list(self._tiers))
            self.fault((name, "emergency"), f"no tier '{written.emergency}'{near}")
            return None
        if found is None:
            return None
        unit, limit, per, zone = found
        scope = written.scope.model_dump(exclude_none=True) if written.scope else {}
        return Budget(
            id=name,
            unit=unit,
            limit=limit,
            per=per,
            zone=zone,
            scope={aspect: tuple(patterns) for aspect, patterns in scope.items()},
            each=tuple(written.each or ()),
            alert_at=tuple(sorted(written.alert_at or ())),
            throttle_at=written.throttle_at,
            emergency=written.emergency,
            unknown_price=written.unknown_price if isinstance(written.unknown_price, Decimal) else None,
            least_tokens=Budget.model_fields["least_tokens"].default if written.least_tokens is None else written.least_tokens,
            share_of=written.share.of if written.share else None,
        )

    def check_shares(self) -> None:
        """The shares of one budget are at most the whole of it."""
        parts: dict[str, Decimal] = {}
        for written in self._written.values():
            if written.share is not None:
                parts[written.share.of] = parts.get(written.share.of, Decimal(0)) + written.share.percent
        for of, part in parts.items():
            if part > WHOLE and of in self._written:
                self.fault((of,), f"its shares come to {part:.0%}; they can be 100% at most together")


def finish_budgets(
    written: Mapping[str, WrittenBudget | None] | None,
    header: Tree,
    tiers: Sequence[str],
) -> tuple[dict[str, Budget], list[Fault]]:
    """The final budgets by id, and what is wrong with them, each fault at its place in `header`."""
    budgets = _Budgets({name: value for name, value in (written or {}).items() if value is not None}, tiers, header)
    budgets.check_shares()
    final = {name: budget for name in budgets._written if (budget := budgets.finished(name)) is not None}
    return final, list(dict.fromkeys(budgets.faults))


def _unit(word: str) -> Unit:
    units: dict[str, Unit] = {"money": "money", "tokens": "tokens", "requests": "requests"}
    return units[word]

"""Written budgets to final ones: shares resolved, every name checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from bundle_loader.declared.budget import Aspect, Budget, Unit, Window, WrittenBudget, misfits, missing
from bundle_loader.declared.tree import Mapping as Tree
from bundle_loader.declared.tree import position
from bundle_loader.errors import Fault, Hints

WHOLE: Final = Decimal(1)
MAX_CHAIN: Final = 100
"""Budgets that are shares of shares, from the first to the last."""
SHARES: Final = "shares"


@dataclass(frozen=True, slots=True)
class _Ceiling:
    """What a share takes over from the budget that it is a part of."""

    unit: Unit
    limit: Decimal
    per: Window
    zone: str
    scope: Mapping[str, tuple[str, ...]]
    each: tuple[Aspect, ...]
    unknown_price: Decimal | None
    least_tokens: int


class _Budgets:
    def __init__(
        self, written: Mapping[str, WrittenBudget], tiers: Sequence[str], header: Tree, lenient: Collection[str] = ()
    ) -> None:
        self._written = written
        self._tiers = tiers
        self._header = header
        self._lenient = lenient
        self._hints = Hints()
        self._known: dict[str, _Ceiling | None] = {}
        self.faults: list[Fault] = []

    def fault(self, path: tuple[str, ...], message: str, level: str = "error", rule: str = "declaration") -> None:
        """Note what is wrong at a place below `budgets`."""
        whole = ("budgets", *path)
        self.faults.append(Fault(*position(self._header, whole, key=True), ".".join(whole), message, level, rule))

    def resolve(self, name: str) -> _Ceiling | None:
        """The ceiling of a budget; of a share, a part of that of the budget that it leads to."""
        chain: list[str] = []
        while name not in self._known:
            if name in chain:
                self._loop(chain[chain.index(name) :])
                return self._known[name]
            chain.append(name)
            share = self._written[name].share
            if share is None or not self._fits(name):
                self._known[name] = self._own(name) if share is None else None
            elif share.of is None or share.of not in self._written:
                near = self._hints.near(str(share.of), list(self._written))
                self.fault((name, "share", "of"), f"no budget '{share.of}'{near}")
                self._known[name] = None
            else:
                name = share.of
        if len(chain) > MAX_CHAIN:
            self.fault((chain[0], "share", "of"), f"budgets are shares of shares more than {MAX_CHAIN} deep")
        for part in reversed(chain):
            if part not in self._known:
                self._known[part] = self._part(part)
        return self._known[chain[0] if chain else name]

    def _fits(self, name: str) -> bool:
        found = [*misfits(name, self._written[name]), *missing(self._written[name])]
        for path, message in found:
            self.fault((name, *path), message)
        return not found

    def _loop(self, loop: list[str]) -> None:
        first = loop.index(min(loop))
        around = [*loop[first:], *loop[:first]]
        message = f"budgets are shares of each other in a loop: {' -> '.join([*around, around[0]])}"
        self.fault((around[0], "share", "of"), message)
        self._known.update(dict.fromkeys(loop))

    def _own(self, name: str) -> _Ceiling | None:
        written = self._written[name]
        if not self._fits(name) or written.per is None:
            return None
        amounts: dict[Unit, Decimal | int | None] = {
            "money": written.money,
            "tokens": written.tokens,
            "requests": written.requests,
        }
        unit, amount = next((unit, amount) for unit, amount in amounts.items() if amount is not None)
        least = Budget.model_fields["least_tokens"].default if written.least_tokens is None else written.least_tokens
        each = tuple(dict.fromkeys(written.each or ()))
        zone = written.zone or "UTC"
        return _Ceiling(unit, Decimal(amount), written.per, zone, _scope(written), each, _unknown(written), least)

    def _part(self, name: str) -> _Ceiling | None:
        """A share counts the calls of the budget that it is a part of, as far as its own scope has them too."""
        written = self._written[name]
        assert written.share is not None
        above = self._known[str(written.share.of)]
        if above is None or written.share.percent is None:
            return None
        part = above.limit * written.share.percent
        limit = part if above.unit == "money" else Decimal(int(part))
        if not limit and above.limit:
            message = f"comes to less than one of the {above.limit:f} {above.unit}, so nothing may be called"
            self.fault((name, "share"), message, "warning", SHARES)
        return _Ceiling(
            above.unit,
            limit,
            above.per,
            above.zone,
            {**above.scope, **_scope(written)},
            tuple(dict.fromkeys((*above.each, *(written.each or ())))),
            above.unknown_price if written.unknown_price is None else _unknown(written),
            above.least_tokens if written.least_tokens is None else written.least_tokens,
        )

    def finished(self, name: str) -> Budget | None:
        """The final budget, None where it has faults."""
        written, found = self._written[name], self.resolve(name)
        emergency = self._emergency(name)
        if found is None:
            return None
        return Budget(
            id=name,
            unit=found.unit,
            limit=found.limit,
            per=found.per,
            zone=found.zone,
            scope=dict(found.scope),
            each=found.each,
            alert_at=tuple(sorted(set(written.alert_at or ()))),
            throttle_at=written.throttle_at,
            emergency=emergency,
            unknown_price=found.unknown_price,
            least_tokens=found.least_tokens,
            share_of=written.share.of if written.share else None,
        )

    def _emergency(self, name: str) -> str | None:
        """The tier that takes over. Settings are laid over bundles of many kinds: there a tier that is missing is a warning."""
        tier = self._written[name].emergency
        if tier is None or tier in self._tiers:
            return tier
        message = f"no tier '{tier}'{self._hints.near(tier, list(self._tiers))}"
        if position(self._header, ("budgets", name, "emergency"))[0] in self._lenient:
            self.fault((name, "emergency"), f"{message}; nothing takes over in this bundle", "warning", "settings")
        else:
            self.fault((name, "emergency"), message, rule="unknown-tier")
        return None

    def check_shares(self) -> None:
        """The shares of one budget are at most the whole of it."""
        parts: dict[str, Decimal] = {}
        for written in self._written.values():
            share = written.share
            if share is not None and share.of is not None and share.of in self._written and share.percent is not None:
                parts[share.of] = parts.get(share.of, Decimal(0)) + share.percent
        for of, part in parts.items():
            percent = f"{(part * 100).normalize():f}%"
            if part > WHOLE:
                self.fault((of,), f"its shares come to {percent}; together they can be 100% at most", rule=SHARES)
            elif part < WHOLE:
                self.fault((of,), f"its shares come to {percent}; the rest is open to every call in its scope", "note", SHARES)


def finish_budgets(
    written: Mapping[str, WrittenBudget | None] | None, header: Tree, tiers: Sequence[str], lenient: Collection[str] = ()
) -> tuple[dict[str, Budget], list[Fault]]:
    """The final budgets by id, and what is wrong with them, each fault at its place in `header`.

    `lenient` are the files of settings, which may name a tier that this bundle does not have.
    """
    budgets = _Budgets({name: value for name, value in (written or {}).items() if value is not None}, tiers, header, lenient)
    budgets.check_shares()
    final = {name: budget for name in budgets._written if (budget := budgets.finished(name)) is not None}
    return final, list(dict.fromkeys(budgets.faults))


def misfitting(written: Mapping[str, WrittenBudget | None] | None, header: Tree) -> list[Fault]:
    """What does not go together in the budgets of one file, whatever it is laid over."""
    return [
        Fault(*position(header, ("budgets", name, *path), key=True), ".".join(("budgets", name, *path)), message)
        for name, value in (written or {}).items()
        if value is not None
        for path, message in misfits(name, value)
    ]


def _scope(written: WrittenBudget) -> dict[str, tuple[str, ...]]:
    said = written.scope.model_dump(exclude_none=True) if written.scope else {}
    return {aspect: tuple(patterns) for aspect, patterns in said.items()}


def _unknown(written: WrittenBudget) -> Decimal | None:
    return written.unknown_price if isinstance(written.unknown_price, Decimal) else None

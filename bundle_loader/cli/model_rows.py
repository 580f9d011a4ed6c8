"""Models as `bundle-loader models` shows them: each with its stage and price, held against what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from bundle_loader.cli.output import jsonable
from bundle_loader.declared.preference import Preference
from bundle_loader.ledger.prices import Priced
from bundle_loader.routing.candidate import Candidate
from bundle_loader.routing.catalogue import ModelInfo
from bundle_loader.routing.described import CHAT, kind_of, stage_of
from bundle_loader.routing.gates import runs_here
from bundle_loader.routing.model_ids import matches
from bundle_loader.routing.offer import Offer
from bundle_loader.routing.price import Price, Rate, dearest

HEADERS: Final = (
    "provider",
    "model",
    "kind",
    "created",
    "window",
    "output",
    "capabilities",
    "stage",
    "in $/M",
    "out $/M",
    "price by",
)
UNKNOWN: Final = "unknown"
UNTOLD: Final = "-"


@dataclass(frozen=True)
class Shown:
    """One model of one provider; `now` is seconds since the epoch."""

    offer: Offer
    model: ModelInfo
    now: float
    price_of: Callable[[Candidate, str | None], Priced]

    @cached_property
    def kind(self) -> str:
        return kind_of(self.model)

    @cached_property
    def stage(self) -> str | None:
        return stage_of(self.model, self.now)

    @property
    def local(self) -> bool:
        """Whether nothing that is sent to it leaves the machine or its private network."""
        return runs_here(self.offer, self.model)

    @cached_property
    def priced(self) -> Priced:
        preference = Preference.model_construct(provider=self.offer.provider, model=self.model.id, config={})
        return self.price_of(Candidate(self.offer.provider, self.model.id, preference, info=self.model, local=self.local), None)

    @property
    def dearest(self) -> Decimal | None:
        """US dollars for a million tokens, of input or of output, whichever costs more; None where no price is known."""
        price = self.priced.price
        return None if price is None else max(dearest(price.input), dearest(price.output))

    def row(self) -> tuple[str, ...]:
        """The cells under `HEADERS`."""
        model, price = self.model, self.priced.price
        return (
            self.offer.provider,
            model.id,
            self.kind,
            str(model.created.date()) if model.created else UNTOLD,
            _told(model.window),
            _told(model.output_limit),
            _capabilities(model),
            _stage(self.stage, model),
            *((rate_text(price.input), rate_text(price.output)) if price else (UNKNOWN, UNKNOWN)),
            self.priced.source or UNTOLD,
        )

    def as_json(self) -> dict[str, Any]:
        """Everything that is known: as listed, and under `shown` what is made of it."""
        listed: dict[str, Any] = jsonable(self.model)
        shown = {"kind": self.kind, "stage": self.stage, "local": self.local}
        return {**listed, "shown": shown, "price": _price(self.priced)}


@dataclass(frozen=True)
class Wanted:
    """What a model must be to be shown; what is None or empty asks nothing."""

    patterns: Sequence[str] = ()
    kind: str | None = None
    stage: str | None = None
    needs: frozenset[str] = frozenset()
    local: bool | None = None
    free: bool = False
    window: int | None = None
    price: Decimal | None = None

    def of(self, models: Iterable[Shown]) -> tuple[list[Shown], dict[str, int]]:
        """Those that fit, and how many were left out only because a figure is not known.

        A capability that a list leaves open is taken to be there, as everywhere. A window or a price that is not known fits
        no bound.
        """
        fitting = []
        unknown = {"window": 0, "price": 0}
        for one in models:
            if not self._is_kind(one):
                continue
            lacking = self._unknown(one)
            if lacking is not None:
                unknown[lacking] += 1
            elif self._within(one):
                fitting.append(one)
        return fitting, {name: count for name, count in unknown.items() if count}

    def _is_kind(self, one: Shown) -> bool:
        ids = (one.model.id, *one.model.aliases)
        able = one.model.capabilities
        return (
            (not self.patterns or any(matches(pattern, id) for pattern in self.patterns for id in ids))
            and self.kind in (None, one.kind)
            and self.stage in (None, one.stage or "stable")
            and (able is None or self.needs <= able)
            and self.local in (None, one.local)
        )

    def _unknown(self, one: Shown) -> str | None:
        if self.window is not None and one.model.window is None:
            return "window"
        return "price" if (self.free or self.price is not None) and one.dearest is None else None

    def _within(self, one: Shown) -> bool:
        if self.window is not None and (one.model.window or 0) < self.window:
            return False
        limit = Decimal(0) if self.free else self.price
        return limit is None or (one.dearest is not None and one.dearest <= limit)


def columns(shown: Sequence[Shown]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Headers and rows; the kind is left out where all of them are for chat."""
    rows: list[Sequence[str]] = [one.row() for one in shown]
    if any(one.kind != CHAT for one in shown):
        return HEADERS, rows
    at = HEADERS.index("kind")
    return HEADERS[:at] + HEADERS[at + 1 :], [(*row[:at], *row[at + 1 :]) for row in rows]


def rate_text(rate: Rate) -> str:
    """Dollars per million tokens; of a rate that depends on the size of the prompt the least and the most: `3..6`."""
    amounts = sorted({amount for _, amount in rate})
    return "..".join(_plain(amount) for amount in (amounts if len(amounts) == 1 else (amounts[0], amounts[-1])))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _told(count: int | None) -> str:
    return UNTOLD if count is None else str(count)


def _capabilities(model: ModelInfo) -> str:
    """What it can do, `?` behind what its list leaves open."""
    if model.capabilities is None:
        return UNTOLD
    words = sorted(model.capabilities - {"streaming"})
    return ", ".join(f"{word}?" if word in model.assumed else word for word in words) or "none"


def _stage(stage: str | None, model: ModelInfo) -> str:
    if model.retires is None:
        return stage or UNTOLD
    return f"{stage} {'since' if stage == 'retired' else 'until'} {model.retires.date()}"


def _price(priced: Priced) -> dict[str, Any]:
    """Dollars per million tokens as decimal texts, by size of the prompt; `per_million` is None where no price is known."""
    rates = _rates(priced.price) if priced.price is not None else None
    return {"per_million": rates, "source": priced.source, "note": priced.note}


def _rates(price: Price) -> Mapping[str, list[dict[str, Any]]]:
    names = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
    said: dict[str, Rate | None] = {name: getattr(price, name) for name in names}
    return {
        name: [{"above": above, "usd": _plain(amount)} for above, amount in rate]
        for name, rate in said.items()
        if rate is not None
    }

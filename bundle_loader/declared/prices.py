"""Declared prices: what a model costs, by `provider/model` pattern, in US dollars per million tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from typing import Final as Constant

from pydantic import BeforeValidator, Field, WithJsonSchema

from bundle_loader.declared.tree import Mapping as Tree
from bundle_loader.declared.tree import position
from bundle_loader.declared.written import Final, Written, WrongWithin
from bundle_loader.errors import Fault

MOST: Constant = Decimal(100_000)
"""The highest price that is taken: what is above it was meant for something else."""

_AMOUNT = re.compile(r"\$?\s*(\d+(?:\.\d*)?(?:e[-+]?\d{1,2})?|\.\d+(?:e[-+]?\d{1,2})?)(?:\s*USD)?", re.IGNORECASE)
_PATTERN = re.compile(r"[^/\s][^/]*/\S.*")
_TIMES = re.compile(r"((?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d{1,2})?)\s*(%|x)?", re.IGNORECASE)
_SIZE = re.compile(r"\d[\d_]{0,15}")
_WILD: Constant = frozenset("*?[")


def _amount(value: Any) -> Any:
    """`5`, `0.05`, `$5` or `5 USD`, as a Decimal."""
    match = _AMOUNT.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
    if match is None or isinstance(value, bool):
        raise ValueError("write US dollars, 0 or more, such as 3, 0.25 or $15")
    amount = Decimal(match[1])
    if amount > MOST:
        raise ValueError(f"write at most {MOST:,} US dollars; prices are for a million tokens, or for one request")
    return amount


def _multiple(value: Any) -> Any:
    """`50%`, `0.5` or `2x`, as the factor."""
    match = _TIMES.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
    factor = Decimal(match[1]) / (100 if match[2] == "%" else 1) if match else Decimal(-1)
    if not 0 <= factor <= 100:
        raise ValueError("write what it multiplies the price by, such as 50%, 0.5 or 2x")
    return factor


def _steps(value: Any) -> Any:
    """Sizes of a prompt, each a whole number; faults are told at each of them."""
    if not isinstance(value, dict):
        raise ValueError("write the size of a prompt and the prices beyond it, such as {200000: {input: 6}}")
    sizes: set[int] = set()
    wrong: list[tuple[tuple[str | int, ...], str]] = []
    for key in value:
        size = _size(str(key)) if _SIZE.fullmatch(str(key)) else 0
        if not size:
            wrong.append(((key,), "write the tokens of a prompt above which the prices hold, such as 200000"))
        elif size in sizes:
            wrong.append(((key,), f"{size} is written twice"))
        sizes.add(size)
    if wrong:
        raise WrongWithin(wrong)
    return value


def _size(written: str) -> int:
    return int(written.replace("_", ""))


def _read(pattern: str, most: Decimal) -> WithJsonSchema:
    """What an editor may take: a number from 0 on, or text of that form."""
    number = {"type": "number", "minimum": 0, "maximum": int(most)}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": pattern}]})


_DOLLARS_READ = r"^\s*\$?\s*(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?\s*([Uu][Ss][Dd])?\s*$"
PerMillion = Annotated[Decimal, BeforeValidator(_amount), _read(_DOLLARS_READ, MOST)]
Multiple = Annotated[
    Decimal, BeforeValidator(_multiple), _read(r"^\s*(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?\s*([%xX])?\s*$", Decimal(100))
]


class WrittenRates(Written):
    """US dollars per million tokens."""

    input: PerMillion | None = None
    output: PerMillion | None = None
    cache_read: PerMillion | None = None
    cache_write: PerMillion | None = None
    cache_write_1h: PerMillion | None = None


class WrittenPrice(WrittenRates):
    """What a model costs."""

    request: PerMillion | None = None
    above: Annotated[dict[str, WrittenRates | None], BeforeValidator(_steps)] | None = None
    service_tiers: dict[str, Multiple | None] | None = None


class Rates(Final):
    """US dollars per million tokens; None is what the step below says, or no rate of its own."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None


class DeclaredPrice(Final):
    """What the models of a pattern cost."""

    provider: str
    """An id, or a pattern of ids."""
    model: str
    rates: Rates
    request: Decimal = Decimal(0)
    """US dollars for each request."""
    above: tuple[tuple[int, Rates], ...] = ()
    """Tokens of a prompt beyond which other rates hold, for the whole request; smallest first."""
    service_tiers: dict[str, Decimal] = Field(default_factory=dict)
    """A way in which a provider serves -> what it multiplies the price by. The cost of any other way is unknown."""

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def is_glob(text: str) -> bool:
    """Whether a wildcard stands in it."""
    return not _WILD.isdisjoint(text)


def finish_prices(
    written: Mapping[str, WrittenPrice | None] | None, header: Tree, order: Mapping[str, int]
) -> tuple[tuple[DeclaredPrice, ...], list[Fault]]:
    """The final prices, the most specific first, and what is wrong with them. `order` is file -> the place of its layer.

    Which pattern holds for a model:
    1. An exact `provider/model` before a pattern.
    2. A longer pattern before a shorter one.
    3. One of a later layer before one of an earlier; within a file the one that is written later.
    """
    faults: list[Fault] = []
    found: list[tuple[tuple[object, ...], DeclaredPrice]] = []
    for pattern, value in (written or {}).items():
        if value is None:
            continue
        file, line, column = position(header, ("prices", pattern))
        if not _PATTERN.fullmatch(pattern):
            message = 'prices are for "provider/model", such as "anthropic/claude-opus-4-6" or "ollama/*"'
            faults.append(Fault(file, line, column, f"prices.{pattern}", message))
            continue
        missing = [name for name in ("input", "output") if getattr(value, name) is None]
        if missing:
            message = f"a price has input and output, in US dollars per million tokens; add {' and '.join(missing)}"
            faults.append(Fault(file, line, column, f"prices.{pattern}", message))
            continue
        provider, _, model = pattern.partition("/")
        specific = (is_glob(pattern), -len(pattern), -order.get(file, 0), -line, -column)
        found.append((specific, _final(provider.strip(), model.strip(), value)))
    found.sort(key=lambda pair: pair[0])
    return tuple(price for _, price in found), faults


def _final(provider: str, model: str, written: WrittenPrice) -> DeclaredPrice:
    steps = sorted(((_size(size), rates) for size, rates in (written.above or {}).items() if rates), key=lambda step: step[0])
    return DeclaredPrice(
        provider=provider,
        model=model,
        rates=_rates(written),
        request=written.request or Decimal(0),
        above=tuple((size, _rates(rates)) for size, rates in steps),
        service_tiers={word.strip().lower(): times for word, times in (written.service_tiers or {}).items() if times is not None},
    )


def _rates(written: WrittenRates) -> Rates:
    return Rates(**{name: getattr(written, name) for name in Rates.model_fields})

"""Budgets: a ceiling of money, tokens or requests over a window, for a scope."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias, get_args
from typing import Final as Constant
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field, WithJsonSchema

from bundle_loader.declared.written import Final, Written, one_or_many
from bundle_loader.errors import did_you_mean

Unit: TypeAlias = Literal["money", "tokens", "requests"]
Window: TypeAlias = Literal["minute", "day", "month", "run"]
Aspect: TypeAlias = Literal["agent", "profile", "stage", "role", "tier", "provider", "family", "model", "tag", "tree"]
"""What a call is told apart by; `tree` is the delegation that everything began with."""

RATE: Constant = "rate:"
"""How the ids of rate limits begin; the provider's id follows."""
CEILINGS: Constant = ("money", "tokens", "requests", "share")
"""Keys of which a budget has one."""
MOST_DOLLARS: Constant = Decimal(1_000_000)
MOST_COUNTED: Constant = 10**15
"""The highest ceilings: a ledger adds them exactly."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_. -]{0,98}[A-Za-z0-9_.-])?")
_DIGITS = r"((?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:e[-+]?\d{1,2})?)"
_AMOUNT = re.compile(rf"(?:\$|USD)?\s*{_DIGITS}\s*(?:\$|USD)?", re.IGNORECASE)
_PERCENT = re.compile(rf"{_DIGITS}\s*(%)?", re.IGNORECASE)
_COUNT = re.compile(rf"{_DIGITS}\s*([kM])?", re.IGNORECASE)
_TIMES: Constant = {"": 1, "k": 1_000, "m": 1_000_000}


def _matched(pattern: re.Pattern[str], value: Any) -> re.Match[str] | None:
    written = isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool)
    return pattern.fullmatch(str(value).strip()) if written else None


def _number(digits: str) -> Decimal:
    return Decimal(digits.replace("_", ""))


def _dollars(value: Any) -> Any:
    """`5`, `0.05`, `$5` or `5 USD`, as a Decimal."""
    match = _matched(_AMOUNT, value)
    if match is None:
        raise ValueError("write an amount of US dollars such as 5, 0.05 or $5")
    amount = _number(match[1])
    if amount > MOST_DOLLARS:
        raise ValueError(f"write at most {MOST_DOLLARS:,} US dollars")
    return amount


def _percent(value: Any) -> Any:
    """`80%` or `80`, as the fraction 0.8."""
    match = _matched(_PERCENT, value)
    if match is None:
        raise ValueError("write a percentage such as 80%")
    percent = _number(match[1])
    if not match[2] and 0 < percent < 1:
        raise ValueError(f"is less than one percent; write {(percent * 100).normalize():f}%, or {percent}% if that is meant")
    if not 0 < percent <= 100:
        raise ValueError("write a percentage above 0 and up to 100")
    return percent / 100


def _count(value: Any) -> Any:
    """`200000`, `200_000` or `200k`, as a whole number."""
    match = _matched(_COUNT, value)
    number = _number(match[1]) * _TIMES[(match[2] or "").lower()] if match else Decimal("0.5")
    if number != number.to_integral_value():
        raise ValueError("write a whole number such as 200000, 200_000 or 200k")
    if number > MOST_COUNTED:
        raise ValueError(f"write at most {MOST_COUNTED:,}")
    return int(number)


def _zone(value: Any) -> Any:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            near = did_you_mean(value, available_timezones()) or "; write a name such as UTC or Europe/Berlin"
            raise ValueError(f"no time zone {value[:100]!r}{near}") from None
    return value


def _refuse_or_dollars(value: Any) -> Any:
    if value == "refuse":
        return value
    amount = _dollars(value)
    if not amount:
        raise ValueError("write refuse, or the most that a call without a known price can cost: above 0")
    return amount


def _patterns(value: Any) -> Any:
    listed = one_or_many(value)
    if listed == [] or (isinstance(listed, list) and "" in listed):
        raise ValueError("no call fits what is empty; write patterns, or leave the key out")
    return listed


_NUMERAL = r"(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d{1,2})?"
_SIGN = r"(\$|[Uu][Ss][Dd])?"
_DOLLARS_READ = {"type": "string", "pattern": rf"^\s*{_SIGN}\s*{_NUMERAL}\s*{_SIGN}\s*$"}


def _number_or(text: dict[str, Any], **bounds: Any) -> WithJsonSchema:
    """What an editor may take: a number within bounds, or text of that form."""
    return WithJsonSchema({"anyOf": [{"type": "number", **bounds}, text]})


_PERCENT_READ = r"^\s*([1-9]\d?(\.\d*)?|100(\.0*)?|(?=[^%]*[1-9])(\d?\d(\.\d*)?|100|\.\d+)\s*%)\s*$"
_COUNT_READ = r"^\s*(\d[\d_]*(\.0*)?|(\d[\d_]*(\.\d{0,3}0*)?|\.\d{1,3}0*)\s*[kM]|(\d[\d_]*(\.\d{0,6}0*)?|\.\d{1,6}0*)\s*[mM])\s*$"

Dollars = Annotated[Decimal, BeforeValidator(_dollars), _number_or(_DOLLARS_READ, minimum=0, maximum=float(MOST_DOLLARS))]
_PERCENT_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 1, "maximum": 100}, {"type": "string", "pattern": _PERCENT_READ}]
}
Percent = Annotated[Decimal, BeforeValidator(_percent), WithJsonSchema(_PERCENT_SCHEMA)]
Count = Annotated[
    int,
    BeforeValidator(_count),
    _number_or({"type": "string", "pattern": _COUNT_READ}, minimum=0, maximum=MOST_COUNTED, multipleOf=1),
]
Patterns = Annotated[list[str], BeforeValidator(_patterns)]


_ASPECTS = list(get_args(Aspect))


def _several(item: dict[str, Any]) -> dict[str, Any]:
    """One of them, or a list."""
    return {"anyOf": [{"type": "array", "items": item}, item]}


def _percents(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class WrittenScope(Written):
    """Which calls count; a call must fit every key that is written, by any of its patterns."""

    agent: Patterns | None = None
    profile: Patterns | None = None
    stage: Patterns | None = None
    role: Patterns | None = None
    tier: Patterns | None = None
    provider: Patterns | None = None
    family: Patterns | None = None
    model: Patterns | None = None
    tag: Patterns | None = None


class WrittenShare(Written):
    """A part of another budget."""

    of: str | None = None
    percent: Percent | None = None


class WrittenBudget(Written):
    """One ceiling, and what happens near it."""

    money: Dollars | None = None
    tokens: Count | None = None
    requests: Count | None = None
    share: WrittenShare | None = None
    per: Window | None = None
    zone: Annotated[str, BeforeValidator(_zone)] | None = None
    scope: WrittenScope | None = None
    each: Annotated[list[Aspect], BeforeValidator(one_or_many), WithJsonSchema(_several({"enum": _ASPECTS}))] | None = None
    alert_at: Annotated[list[Percent], BeforeValidator(_percents), WithJsonSchema(_several(_PERCENT_SCHEMA))] | None = None
    throttle_at: Percent | None = None
    emergency: str | None = None
    unknown_price: (
        Annotated[
            Literal["refuse"] | Decimal,
            BeforeValidator(_refuse_or_dollars),
            _number_or({"type": "string", "pattern": rf"{_DOLLARS_READ['pattern']}|^refuse$"}, exclusiveMinimum=0),
        ]
        | None
    ) = None
    least_tokens: Count | None = None
    mandatory: bool | None = None


def misfits(name: str, written: WrittenBudget) -> Iterator[tuple[tuple[str, ...], str]]:
    """What does not go together in one budget, whole or patch: the path below it and the words."""
    if not _NAME.fullmatch(name):
        yield (), "a budget's name has letters, digits, '-', '_', '.' and spaces, at most 100 of them"
    said = [key for key in CEILINGS if getattr(written, key) is not None]
    for key in said[1:]:
        yield (key,), f"a budget has one of money, tokens, requests and share; it has {said[0]} too (null takes one out)"
    if written.share is not None:
        for key in ("per", "zone"):
            if getattr(written, key) is not None:
                yield (key,), "a share has the window of the budget that it is a part of; leave out per and zone"
    if written.zone is not None and written.per in ("minute", "run"):
        yield ("zone",), "a zone tells when a day or a month begins; leave it out here"


def missing(written: WrittenBudget) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a whole budget still needs."""
    if all(getattr(written, key) is None for key in CEILINGS):
        yield (), "a budget has one of money, tokens, requests and share; add one"
    elif written.share is not None:
        if written.share.of is None or written.share.percent is None:
            yield ("share",), "a share is a part of another budget; write {of: name, percent: 40%}"
    elif written.per is None:
        yield (), "write per: minute, day, month or run"


class Budget(Final):
    """A ceiling that holds for every call in its scope."""

    id: str
    unit: Unit
    limit: Decimal
    """US dollars, tokens or requests."""
    per: Window
    """`minute` is sliding, `day` and `month` are civil, `run` lasts as long as one delegation with all below it."""
    zone: str = "UTC"
    scope: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Aspect -> patterns, one of which must fit; empty is every call."""
    each: tuple[Aspect, ...] = ()
    """One ceiling of its own for each value of these."""
    alert_at: tuple[Decimal, ...] = ()
    """Fractions of the ceiling at which an alert is given, once in a window."""
    throttle_at: Decimal | None = None
    """The fraction from which on one call at a time may run."""
    emergency: str | None = None
    """The tier that takes over where this budget would refuse."""
    unknown_price: Decimal | None = None
    """Dollars at which a call without a known price is taken; None refuses it."""
    least_tokens: int = 256
    """Answers are cut down to what is left, but not below this many tokens."""
    share_of: str | None = None
    firm: bool = False
    """Of a rate limit: the user's own, which a vendor's higher one does not raise."""

    def __str__(self) -> str:
        amount = f"${self.limit.normalize():f}" if self.unit == "money" else counted(self.limit, self.unit)
        whom = ", ".join(f"{key} {'|'.join(values)}" for key, values in self.scope.items())
        each = f" for each {' and '.join(self.each)}" if self.each else ""
        return f"{amount} a {self.per}{f' for {whom}' if whom else ''}{each}"


def counted(number: Decimal | int, unit: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{number:f} {unit.removesuffix('s') if number == 1 else unit}"


def rate_limit(provider: str, unit: str, limit: int, models: Sequence[str] = (), *, firm: bool = False) -> Budget:
    """So many requests or tokens a minute, for each model family of a provider."""
    scope = {"provider": (provider,), **({"model": tuple(models)} if models else {})}
    id = f"{RATE}{provider}" if unit == "requests" else f"{RATE}{provider}:{unit}"
    each = ("provider", "family")
    return Budget.model_validate(
        {"id": id, "unit": unit, "limit": Decimal(limit), "per": "minute", "scope": scope, "each": each, "firm": firm}
    )

"""Budgets: a ceiling of money, tokens or requests over a window, for a scope."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeAlias
from typing import Final as Constant
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bundle_loader.declared.written import Final, Written, one_or_many

Unit: TypeAlias = Literal["money", "tokens", "requests"]
Window: TypeAlias = Literal["minute", "day", "month", "run"]
Aspect: TypeAlias = Literal["agent", "profile", "stage", "role", "tier", "provider", "family", "model", "tag", "tree"]
"""What a call is told apart by; `tree` is the delegation that everything began with."""

RATE: Constant = "rate:"
"""How the ids of rate limits begin; the provider's id follows."""
_AMOUNT = re.compile(r"\$?\s*(\d+(?:\.\d+)?)(?:\s*USD)?", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%?")


def _dollars(value: Any) -> Any:
    """`5`, `0.05`, `$5` or `5 USD`, as a Decimal."""
    match = _AMOUNT.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
    if match is None:
        raise ValueError("write an amount of US dollars such as 5, 0.05 or $5")
    return Decimal(match[1])


def _percent(value: Any) -> Any:
    """`80%` or `80`, as the fraction 0.8."""
    match = _PERCENT.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
    if match is None:
        raise ValueError("write a percentage such as 80%")
    fraction = Decimal(match[1]) / 100
    if not 0 < fraction <= 1:
        raise ValueError("write a percentage above 0 and up to 100")
    return fraction


def _count(value: Any) -> Any:
    """`200000` or `200_000`, as a whole number."""
    try:
        number = Decimal(str(value).replace("_", ""))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number != number.to_integral_value() or number < 0:
        raise ValueError("write a whole number such as 200000")
    return int(number)


def _zone(value: Any) -> Any:
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"no time zone {value!r}; write a name such as UTC or Europe/Berlin") from None
    return value


def _refuse_or_dollars(value: Any) -> Any:
    return value if value == "refuse" else _dollars(value)


_TEXT_OR_NUMBER: dict[str, Any] = {"type": ["string", "number"]}

Dollars = Annotated[Decimal, BeforeValidator(_dollars), WithJsonSchema(_TEXT_OR_NUMBER)]
Percent = Annotated[Decimal, BeforeValidator(_percent), WithJsonSchema(_TEXT_OR_NUMBER)]
Count = Annotated[int, BeforeValidator(_count), WithJsonSchema(_TEXT_OR_NUMBER)]
Texts = Annotated[list[str], BeforeValidator(one_or_many)]


def _percents(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class WrittenScope(Written):
    """Which calls count; a call must fit every key that is written, by any of its patterns."""

    agent: Texts | None = None
    profile: Texts | None = None
    stage: Texts | None = None
    role: Texts | None = None
    tier: Texts | None = None
    provider: Texts | None = None
    family: Texts | None = None
    model: Texts | None = None
    tag: Texts | None = None


class WrittenShare(Written):
    """A part of another budget."""

    of: str
    percent: Percent


class WrittenBudget(Written):
    """One ceiling, and what happens near it."""

    money: Dollars | None = None
    tokens: Count | None = None
    requests: Count | None = None
    share: WrittenShare | None = None
    per: Window | None = None
    zone: Annotated[str, BeforeValidator(_zone)] | None = None
    scope: WrittenScope | None = None
    each: Annotated[list[Aspect], BeforeValidator(one_or_many)] | None = None
    alert_at: Annotated[list[Percent], BeforeValidator(_percents)] | None = None
    throttle_at: Percent | None = None
    emergency: str | None = None
    unknown_price: (
        Annotated[Literal["refuse"] | Decimal, BeforeValidator(_refuse_or_dollars), WithJsonSchema(_TEXT_OR_NUMBER)] | None
    ) = None
    least_tokens: Count | None = None
    mandatory: bool | None = None

    @model_validator(mode="after")
    def _one_ceiling(self) -> WrittenBudget:
        said = [key for key in ("money", "tokens", "requests", "share") if getattr(self, key) is not None]
        if len(said) != 1:
            raise ValueError("a budget has one of money, tokens, requests and share")
        if self.share is not None and (self.per is not None or self.zone is not None):
            raise ValueError("a share has the window of the budget that it is a part of; leave out per and zone")
        if self.share is None and self.per is None:
            raise ValueError("write per: minute, day, month or run")
        if self.zone is not None and self.per not in ("day", "month"):
            raise ValueError("a zone tells when a day or a month begins; leave it out here")
        return self


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

    def __str__(self) -> str:
        amount = f"${self.limit.normalize():f}" if self.unit == "money" else f"{self.limit:f} {self.unit}"
        whom = ", ".join(f"{key} {'|'.join(values)}" for key, values in self.scope.items())
        each = f" for each {' and '.join(self.each)}" if self.each else ""
        return f"{amount} a {self.per}{f' for {whom}' if whom else ''}{each}"


def rate_limit(provider: str, unit: str, limit: int, models: Sequence[str] = ()) -> Budget:
    """So many requests or tokens a minute, for each model family of a provider."""
    scope = {"provider": (provider,), **({"model": tuple(models)} if models else {})}
    id = f"{RATE}{provider}" if unit == "requests" else f"{RATE}{provider}:{unit}"
    return Budget.model_validate(
        {"id": id, "unit": unit, "limit": Decimal(limit), "per": "minute", "scope": scope, "each": ("provider", "family")}
    )
